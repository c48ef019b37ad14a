"""Does production keep what the verdict promised of the variant that serves?

Four promises, each held against jobs of now: routed jobs say how often the variant fails and how long it takes; jobs on
the inputs of the verdict, sent to the variant itself and judged and priced like a benchmark, say what it costs and how
good it is. A promise is broken when jobs of now are worse than it by more than a margin and more than chance explains:
each is a one-sided test at `watch_alpha`. What was not promised or not measured is not held against anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from math import comb
from typing import Any, Literal

import polars as pl

from pointsman.model import Measurement, Missing, Number
from pointsman.routing.evidence import Evidence
from pointsman.routing.rules import RoutingRules

State = Literal["kept", "broken", "not measured"]
_TAIL = 0.05


@dataclass(frozen=True, slots=True)
class Kept:
    """One promise: what it was and what is, in words, and whether it is kept."""

    name: Literal["failures", "latency", "cost", "quality"]
    promised: str
    found: str
    state: State

    def as_document(self) -> dict[str, Any]:
        """Plain data for events, artifacts and `--json`."""
        return asdict(self)


def hold_to_promise(
    promise: Evidence, routed: pl.DataFrame, mirrored: Sequence[Measurement], rules: RoutingRules
) -> list[Kept]:
    """Hold the promise of a verdict against routed jobs (`state`, `variant`, `total_ms`) and mirrored cells."""
    mine = routed.filter(pl.col("variant") == str(promise.variant))
    cells = [cell for cell in mirrored if cell.variant == promise.variant and cell.outcome != "infrastructure"]
    return [
        _failures(promise, mine, cells, rules),
        _latency(promise, mine, rules),
        _paired("cost", promise, cells, rules, _cost, _dearer(rules)),
        _paired("quality", promise, cells, rules, _quality, _worse(promise)),
    ]


def _failures(promise: Evidence, routed: pl.DataFrame, cells: Sequence[Measurement], rules: RoutingRules) -> Kept:
    jobs = routed.height + len(cells)
    done = int((routed["state"] == "completed").sum()) + sum(cell.outcome == "success" for cell in cells)
    if isinstance(promise.success_rate, Missing) or not jobs:
        return Kept("failures", str(promise.success_rate), f"{jobs} jobs", "not measured")
    allowed = max(0.0, float(promise.success_rate) - rules.watch_success_margin)
    chance = sum(comb(jobs, k) * allowed**k * (1 - allowed) ** (jobs - k) for k in range(done + 1))
    promised = f"{float(promise.success_rate):.1%} succeed, {allowed:.1%} at least"
    return Kept("failures", promised, f"{done} of {jobs} succeeded", _state(chance, rules))


def _latency(promise: Evidence, routed: pl.DataFrame, rules: RoutingRules) -> Kept:
    times = routed.filter(pl.col("state") == "completed")["total_ms"].drop_nulls()
    if isinstance(promise.p95_ms, Missing) or not times.len():
        return Kept("latency", str(promise.p95_ms), f"{times.len()} times", "not measured")
    limit = float(promise.p95_ms) * rules.watch_latency_ratio
    slow, jobs = int((times > limit).sum()), times.len()
    chance = sum(comb(jobs, k) * _TAIL**k * (1 - _TAIL) ** (jobs - k) for k in range(slow, jobs + 1))
    return Kept(
        "latency",
        f"p95 {promise.p95_ms:.0f} ms, {limit:.0f} ms at most",
        f"{slow} of {jobs} took longer",
        _state(chance, rules),
    )


def _paired(
    name: Literal["cost", "quality"],
    promise: Evidence,
    cells: Sequence[Measurement],
    rules: RoutingRules,
    value: Callable[[Measurement], Number],
    is_worse: Callable[[Decimal, Decimal], bool],
) -> Kept:
    """A sign test over inputs: as often worse than promised on the same input, by more than the margin, as not."""
    before, now = (_means(of, value) for of in (promise.measurements, cells))
    both = sorted(set(before) & set(now))
    if not both:
        return Kept(name, "", "no input has it then and now", "not measured")
    worse = sum(is_worse(before[one], now[one]) for one in both)
    chance = sum(comb(len(both), k) for k in range(worse, len(both) + 1)) / 2 ** len(both)
    was, found = (sum((of[one] for one in both), Decimal(0)) / len(both) for of in (before, now))
    return Kept(
        name,
        f"{was:.6g} on average of {len(both)} inputs",
        f"{found:.6g}; worse than promised on {worse}",
        _state(chance, rules),
    )


def _means(cells: Sequence[Measurement], value: Callable[[Measurement], Number]) -> Mapping[str, Decimal]:
    """By input, of inputs of which every value is known."""
    kept: dict[str, list[Number]] = {}
    for cell in cells:
        kept.setdefault(cell.input_id, []).append(value(cell))
    known = {one: [number for number in of if not isinstance(number, Missing)] for one, of in kept.items()}
    return {one: sum(of, Decimal(0)) / len(of) for one, of in known.items() if len(of) == len(kept[one])}


def _cost(cell: Measurement) -> Number:
    return cell.cost_usd


def _quality(cell: Measurement) -> Number:
    return cell.quality if cell.outcome == "success" else Decimal(0)


def _dearer(rules: RoutingRules) -> Callable[[Decimal, Decimal], bool]:
    ratio = Decimal(str(rules.watch_cost_ratio))
    return lambda promised, found: found > promised * ratio


def _worse(promise: Evidence) -> Callable[[Decimal, Decimal], bool]:
    margin = Decimal(str(promise.plan.quality_margin))
    return lambda promised, found: found < promised - margin


def _state(chance: float, rules: RoutingRules) -> State:
    return "broken" if chance < rules.watch_alpha else "kept"


def broken(held: Sequence[Kept]) -> str:
    """The broken promises in one line; empty when all are kept."""
    return "; ".join(f"{one.name}: promised {one.promised}, found {one.found}" for one in held if one.state == "broken")
