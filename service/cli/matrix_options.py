"""What several commands ask about a matrix: which variants, when one is given up, what would count as better."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Annotated, Any

import typer

from pointsman.errors import InputRefused

ROUND_CELLS = 84
"""What a request of `benchmark-matrix` has when it says nothing."""

LOOKS = 50
"""At a comparison that is on its way: each takes about a second."""

Workflow = Annotated[str | None, typer.Option(help="Only the variants of this workflow.")]
Provider = Annotated[str | None, typer.Option(help="Only the variants of this provider.")]
Experiment = Annotated[str | None, typer.Option(help="Only the variants of this experiment.")]
Tag = Annotated[list[str] | None, typer.Option(help="Only the variants with this tag; repeat for all of several.")]
StopAfter = Annotated[
    str | None, typer.Option(help="Give a variant up by this rule: 3/5 = when 3 of its first 5 cells have failed.")
]
Budget = Annotated[str | None, typer.Option(help="Most to spend on attempts, as in 3USD.")]
InFlight = Annotated[
    int | None, typer.Option(min=1, max=1000, help="Jobs at one provider at the same time; by default 2.")
]
DrainLimit = Annotated[
    float | None,
    typer.Option(
        min=1,
        max=86_400,
        help="Seconds without news after which open jobs count as unknown: more than the longest job; by default 300.",
    ),
]
MinSaving = Annotated[float, typer.Option(min=0, max=0.99, help="Saving that makes a switch worth it, as a share.")]
SuccessMargin = Annotated[float, typer.Option(min=0, max=1, help="By how much the success rate may be lower.")]
QualityMargin = Annotated[
    float, typer.Option(min=0, max=100, help="By how many points of 100 the quality may be lower.")
]
Alpha = Annotated[float, typer.Option(min=0.0001, max=0.5, help="Risk of a false winner.")]


def narrower(
    workflow: str | None, provider: str | None, experiment: str | None, tag: Sequence[str] | None
) -> dict[str, Any]:
    """The filters of `list_variants`."""
    return {"workflow": workflow, "provider": provider, "experiment": experiment, "tags": tuple(tag or ())}


def asked_of(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the filters that say anything."""
    return {name: value for name, value in filters.items() if value}


def stop_rule(text: str | None) -> dict[str, int] | None:
    """The rule of `--stop-after`. Raises `InputRefused`."""
    if text is None:
        return None
    failures, slash, of_first = text.partition("/")
    if not (slash and failures.isdecimal() and of_first.isdecimal()):
        raise InputRefused("--stop-after", text, "two numbers such as 3/5")
    return {"failures": int(failures), "of_first": int(of_first)}


def round_cells(
    variants: int, *, budget: bool, rule: Mapping[str, int] | None, looks_at: int | None = None
) -> dict[str, int]:
    """How many cells a round holds where something is looked at after each; nothing, where the flow's own number does.

    What was spent is looked at after each input, on all variants. Else a rule of `--stop-after` is as soon as it can
    apply, and a comparison of `looks_at` runs of each variant about `LOOKS` times.
    """
    if budget:
        return {"round_cells": variants}
    least = [variants * rule["of_first"]] if rule is not None else []
    least += [variants * ceil(looks_at / LOOKS)] if looks_at is not None else []
    return {"round_cells": min(ROUND_CELLS, *least)} if least else {}


def usd(budget: str | None) -> float | None:
    """The amount of `--budget`. Raises `InputRefused`."""
    if budget is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:USD)?", budget.strip(), re.IGNORECASE)
    if not found or float(found[1]) <= 0:
        raise InputRefused("--budget", budget, "an amount above zero such as 3USD")
    return float(found[1])
