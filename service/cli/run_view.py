"""How a load test stands, in the terminal: counts, times, cost, faults, rules, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pointsman.model import Missing
from pointsman.reporting import Cell, Table, show
from pointsman.scenario import cost_figures, fault_sections
from service.cli.output import console, table

_ALWAYS = ("planned", "sent", "completed", "failed", "unknown")
"""Terms that are shown also when they are zero."""

_ONLY_IN_REPORT = ("detected after, s", "recovered after, s")
"""Columns of a fault for which a terminal is too narrow."""


def show_run(document: Mapping[str, Any]) -> None:
    """The document of `run_status`."""
    if document["refused"]:
        console.print(f"{document['run_id']}: refused, and nothing was sent")
        console.print(document["failure"]["message"], markup=False, soft_wrap=True)
        console.print(f"  -> {document['failure']['instruction']}", markup=False, soft_wrap=True)
        return
    counts = document["counts"]
    shown = [(term, count) for term, count in counts.items() if count or term in _ALWAYS]
    table(f"{document['run_id']}: {document['status']}", ("dispatches", "count"), shown)
    table("Times", ("what", "ms"), [*_times("p95", document["p95"]), *_times("lateness", document["lateness"])])
    show_cost(cost_figures(document["cost"], counts["completed"]))
    for section in fault_sections(document["stages"], {}):
        if isinstance(section, Table):
            kept = [at for at, column in enumerate(section.columns) if column not in _ONLY_IN_REPORT]
            rows = [[show(row[at]) for at in kept] for row in section.rows]
            table(section.title, [section.columns[at] for at in kept], rows)
    if rules := [*document["slos"], *document["stop_conditions"]]:
        rows = [(rule["condition"], rule["verdict"], rule["worst"] or "") for rule in rules]
        table("SLOs and stop conditions", ("condition", "verdict", "worst"), rows)
    if failure := document.get("failure"):
        console.print(f"Failed: {failure['message']}", markup=False, soft_wrap=True)
        console.print(f"  -> {failure['instruction']}", markup=False, soft_wrap=True)


def show_cost(figures: Sequence[tuple[str, Cell]]) -> None:
    """What a run is expected to cost, may cost, and did cost."""
    table("Cost", ("what", "how much"), [(name, show(cell)) for name, cell in figures])


def _times(what: str, times: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in times.items():
        if name != "missing":
            said = show(Missing(times["missing"][name])) if value is None else f"{value:.1f}"
            yield f"{what} {name.removesuffix('_ms')}", said
