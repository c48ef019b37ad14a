"""A comparison of two runs as a report for people and as a document for programs."""

from __future__ import annotations

from typing import Any

from pointsman.model import Missing
from pointsman.reporting import Cell, Figures, Report, Section, Table, Text, escape_markdown
from pointsman.scenario.comparison import CONFIDENCE, LATENCY_MARGIN, SHARE_MARGIN, Compared, Comparison
from pointsman.statistics import BATCHES

METHOD = (
    f"Both ledgers are cut into {BATCHES} batches in the order of the schedule and compared batch by batch: Student "
    "intervals of the differences, wider where neighbouring batches resemble each other "
    "(batch means: Conway 1963, Schmeiser 1982; sectioning: Asmussen and Glynn 2007). All intervals hold together with "
    f"{CONFIDENCE:.0%} (Bonferroni). A regression is called when an interval lies wholly beyond {LATENCY_MARGIN:.0%} "
    f"of a percentile or {SHARE_MARGIN * 100:g} points of a share; 'same' is an interval wholly within. How much two "
    "runs of the very same thing differ by the hour or the machine is not in the intervals: repeat what matters."
)


def comparison_report(found: Comparison) -> Report:
    """The verdict in a sentence, the figures, what else differs, and how it was decided."""
    rows: list[list[Cell]] = [
        [figure.name, _shown(figure, figure.first), _shown(figure, figure.second), *_change(figure), figure.call]
        for figure in found.figures
    ]
    columns = ["figure", "first", "second", "change", "interval", "call"]
    sections: list[Section] = [Table(columns, rows, title="Figures")]
    differs = "\n".join(f"- {escape_markdown(line)}" for line in found.differs) or "Nothing but the time of the run."
    sections.append(Text(f"## What else differs\n\n{differs}"))
    runs = (("first", found.first), ("second", found.second))
    pairs: list[tuple[str, Cell]] = [
        (name, f"{run.id}, {run.variant_id}, {run.created_at:%F %T} UTC") for name, run in runs
    ]
    sections += [Figures(pairs, title="Runs"), Text(f"## How it is decided\n\n{escape_markdown(METHOD)}")]
    return Report("Two runs compared", escape_markdown(verdict(found)), sections)


def verdict(found: Comparison) -> str:
    """The outcome in a sentence."""
    better = [figure.name for figure in found.figures if figure.call == "improvement"]
    said = f"Regression of {', '.join(found.regressed)}." if found.regressed else "No regression is shown."
    if better:
        said += f" Improvement of {', '.join(better)}."
    same = [figure.name for figure in found.figures if figure.call == "same"]
    return said + (f" The same, as far as it matters: {', '.join(same)}." if same else "")


def comparison_document(found: Comparison) -> dict[str, Any]:
    """For programs: what is not known is null, and `missing` beside it says why."""
    figures = []
    for figure in found.figures:
        values: dict[str, Any] = {"first": figure.first, "second": figure.second, "change": figure.change}
        missing = {name: value.reason for name, value in values.items() if isinstance(value, Missing)}
        figures.append(
            {
                "name": figure.name,
                "unit": figure.unit,
                "first": None if isinstance(figure.first, Missing) else figure.first,
                "second": None if isinstance(figure.second, Missing) else figure.second,
                "change": None
                if isinstance(figure.change, Missing)
                else {"value": figure.change.value, "low": figure.change.low, "high": figure.change.high},
                "call": figure.call,
                **({"missing": missing} if missing else {}),
            }
        )
    return {
        "first": found.first.id,
        "second": found.second.id,
        "verdict": verdict(found),
        "regressed": list(found.regressed),
        "differs": list(found.differs),
        "figures": figures,
        "confidence": CONFIDENCE,
        "method": METHOD,
    }


def _shown(figure: Compared, value: float | Missing) -> Cell:
    if isinstance(value, Missing):
        return value
    return value if figure.unit == "ms" else f"{100 * value:.4g} %"


def _change(figure: Compared) -> list[Cell]:
    change = figure.change
    if isinstance(change, Missing):
        return [change, ""]
    unit = " %" if figure.unit == "ms" else " points"
    return [f"{100 * change.value:+.2f}{unit}", f"{100 * change.low:+.2f} to {100 * change.high:+.2f}{unit}"]
