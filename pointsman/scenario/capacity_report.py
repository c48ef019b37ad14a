"""The report of a capacity search: what the variant sustains, by which SLOs, and every step that shows it."""

from __future__ import annotations

from pointsman.model import Missing
from pointsman.reporting import Figures, Report, Table, escape_markdown
from pointsman.scenario.capacity import read_capacity
from pointsman.workspace import Workspace


def capacity_report(ws: Workspace, capacity_id: str) -> Report:
    """Raises `NotFound`."""
    found = read_capacity(ws, capacity_id)
    sustained = f"sustains {found.per_s} per second" if not isinstance(found.per_s, Missing) else "sustains no rate"
    return Report(
        f"Capacity of {found.variant.label}",
        f"{escape_markdown(found.variant.label)} **{sustained}**: {escape_markdown(found.why)}.",
        [
            Figures(
                [
                    ("sustained, per second", found.per_s),
                    ("not sustained any more, per second", found.high),
                    ("SLOs", "; ".join(found.slos)),
                    ("variant", str(found.variant)),
                    ("search", found.id),
                ]
            ),
            Table(
                ("run", "per second", "sustained", "completed per second", "why"),
                [
                    (
                        step["run_id"],
                        step.get("per_s", ""),
                        {True: "yes", False: "no"}.get(step.get("sustained", ""), ""),
                        step.get("completed_per_s", ""),
                        step["why"],
                    )
                    for step in found.steps
                ],
                "Steps",
            ),
        ],
    )
