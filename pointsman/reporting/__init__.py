"""One `Report`, rendered as markdown for artifacts and as a self-contained HTML page; plots as deterministic SVG."""

from pointsman.reporting.markdown import ARTIFACT_LIMIT_BYTES, escape_markdown, to_markdown
from pointsman.reporting.page import to_html
from pointsman.reporting.plots import CostQuality, cost_quality, histogram, lines
from pointsman.reporting.report import Cell, Chart, Figures, Report, Section, Table, Text, show

__all__ = [
    "ARTIFACT_LIMIT_BYTES",
    "Cell",
    "Chart",
    "CostQuality",
    "Figures",
    "Report",
    "Section",
    "Table",
    "Text",
    "cost_quality",
    "escape_markdown",
    "histogram",
    "lines",
    "show",
    "to_html",
    "to_markdown",
]
