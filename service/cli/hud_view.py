"""A HUD, a verdict and a change of routing as a terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pointsman.decision import hud_table
from pointsman.errors import RunFailed
from pointsman.ids import VariantId
from pointsman.model import Missing
from pointsman.reporting import show
from service.cli.output import console, table

_OF_LOAD = ("p95 ms under load", "capacity per s")
"""Shown when it is known of any variant."""
_PEOPLE = "by people (95 %)"
"""Shown when people labelled outputs."""
_COLUMNS = ("variant", "quality", _PEOPLE, "USD per success", "saving (95 %)", "p95 ms", *_OF_LOAD, "gates")


def show_hud(hud: Mapping[str, Any], *, moved: bool = False) -> None:
    """The table per variant, the verdict with its reason, and what is left to do when the route has `moved` already."""
    full = hud_table(hud)
    unknown = {
        column for column in _OF_LOAD if all(isinstance(row[full.columns.index(column)], Missing) for row in full.rows)
    }
    columns = [column for column in _COLUMNS if column not in unknown and column in full.columns]
    kept = [full.columns.index(column) for column in columns]
    role = full.columns.index("role")
    rows = [
        [f"{row[at]}{_MARKS.get(str(row[role]), '')}" if at == kept[0] else show(row[at]) for at in kept]
        for row in full.rows
    ]
    table(f"Money HUD of {hud['route_key']}", columns, rows)
    verdict = hud["verdict"]
    console.print(f"\n[bold]Verdict: {verdict['outcome']}[/bold]")
    console.print(verdict["why"], markup=False)
    for advice in hud["recommendations"]:
        if moved and advice["command"].startswith("pointsman route apply"):
            continue
        console.print(f"\n{advice['text']}", markup=False)
        console.print(f"  {advice['command']}", style="cyan", markup=False, soft_wrap=True)


def fail_if_invalid(hud: Mapping[str, Any]) -> None:
    """Raise `RunFailed` for a verdict that is INVALID: the comparison itself went wrong."""
    if hud["verdict"]["outcome"] == "INVALID":
        raise RunFailed(
            f"The verdict is INVALID: {hud['verdict']['why']}",
            instruction=f"pointsman benchmark show {hud['benchmark_id']}",
            code="verdict_invalid",
        )


_MARKS = {"winner": " (winner)", "incumbent": " (incumbent)"}


def show_move(moved: Mapping[str, Any]) -> None:
    """Before, after, and what the routed jobs met."""
    before, after = _weights(moved["before"]), _weights(moved["after"])
    rows = [
        ("before", moved["before_generation"], before),
        ("after", moved["generation"] or "(not applied)", after),
    ]
    table(f"Binding of {moved['route_key']}", ("", "generation", "traffic"), rows)
    probe = moved["probe"]
    if probe is not None:
        met = ", ".join(f"{count} x {VariantId.parse(variant).label}" for variant, count in probe["seen"].items())
        console.print(f"Routed jobs met {met} at generation {', '.join(map(str, probe['generations']))}", markup=False)
        if not probe["passed"]:
            console.print(f"The probe failed: {probe['why']}", style="red", markup=False)


def _weights(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{share} % {VariantId.parse(variant).label}" for variant, share in weights.items()) or "none"
