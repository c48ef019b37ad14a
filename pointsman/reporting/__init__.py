"""One `Report`, rendered as markdown for artifacts and as a self-contained HTML page; JUnit XML; plots as SVG."""

from pointsman.reporting.junit import TestCase, to_junit
from pointsman.reporting.markdown import ARTIFACT_LIMIT_BYTES, escape_markdown, to_markdown
from pointsman.reporting.page import to_html
from pointsman.reporting.plots import CostQuality, bars, cost_quality
from pointsman.reporting.report import Cell, Chart, Figures, Report, Section, Table, Text, show
from pointsman.reporting.timeline import Band, Line, timeline

__all__ = [
    "ARTIFACT_LIMIT_BYTES",
    "Band",
    "Cell",
    "Chart",
    "CostQuality",
    "Figures",
    "Line",
    "Report",
    "Section",
    "Table",
    "TestCase",
    "Text",
    "bars",
    "cost_quality",
    "escape_markdown",
    "show",
    "timeline",
    "to_html",
    "to_junit",
    "to_markdown",
]
