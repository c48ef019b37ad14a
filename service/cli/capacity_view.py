"""What a capacity search came to, in the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pointsman.model import Missing, Number
from pointsman.scenario import Capacity
from service.cli.output import console, emit, table


def show_capacity(found: Capacity, as_json: bool) -> None:
    """Each step, and the highest rate that held."""
    document = {
        "id": found.id,
        "variant": str(found.variant),
        "capacity_per_s": _plain(found.per_s),
        "not_sustained_per_s": _plain(found.high),
        "slos": list(found.slos),
        "why": found.why,
        "steps": [dict(step) for step in found.steps],
    }

    def render() -> None:
        columns = ("run", "per second", "sustained", "why")
        table(f"Capacity of {found.variant.label}", columns, [_row(step) for step in found.steps])
        if isinstance(found.per_s, Missing):
            said = f"No rate is sustained: {found.why}."
        else:
            until = "" if isinstance(found.high, Missing) else f", {found.high} are not"
            said = f"{found.per_s} per second are sustained{until}: {found.why}."
        console.print(said, markup=False, soft_wrap=True)

    emit(as_json, document, render)


def _row(step: Mapping[str, Any]) -> tuple[object, ...]:
    sustained = {True: "yes", False: "no"}.get(step.get("sustained", ""), "")
    return step["run_id"], step.get("per_s", ""), sustained, step["why"]


def _plain(number: Number) -> str | dict[str, str]:
    return {"missing": number.reason} if isinstance(number, Missing) else str(number)
