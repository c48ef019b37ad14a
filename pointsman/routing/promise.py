"""Does production keep what the verdict promised of the variant that serves?

Four promises, each held against jobs of now: routed jobs say how often the variant fails and how long it takes; jobs on
the inputs of the verdict, sent to the variant itself and judged and priced like a benchmark, say what it costs and how
good it is. A promise is broken when jobs of now are worse than it by more than a margin and more than chance explains:
each is a one-sided test at `watch_alpha`. Where even the worst that these jobs could have shown would not have been
enough they are too few to tell. What was not promised or not measured is not held against anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from math import comb, exp, lgamma, log
from typing import Any, Literal

import polars as pl

from pointsman.ids import VariantId
from pointsman.model import Measurement, Missing, Number
from pointsman.routing.evidence import Evidence
from pointsman.routing.rules import RoutingRules

State = Literal["kept", "broken", "too few", "not measured"]
_TAIL = 0.05
_ANSWERED = ("completed", "failed")
"""How jobs end that say something of the variant; others were not sent, were withdrawn, or nothing was learnt of. One
that the variant took and did not end, for as long as it was waited for, says something as well."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Cells of now, and why they or their qualities say nothing, where they do not."""

    cells: Sequence[Measurement] = ()
    unknown: str = ""
    unjudged: str = ""


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


def hold_to_promise(promise: Evidence, routed: pl.DataFrame, mirrored: Mirrored, rules: RoutingRules) -> list[Kept]:
    """Hold the promise of a verdict against routed jobs (`state`, `variant`, `total_ms`) and mirrored cells.

    The variant is the only one that serves: a job that failed before it was given one is its failure.
    """
    own = pl.col("variant") == str(promise.variant)
    answered = pl.col("state").is_in(_ANSWERED) & (pl.col("variant").is_null() | own)
    mine = routed.filter(answered | ((pl.col("state") == "unknown") & own))
    cells = [cell for cell in mirrored.cells if cell.variant == promise.variant and cell.outcome != "infrastructure"]
    return [
        _failures(promise, mine, cells, rules),
        _latency(promise, mine, rules),
        _paired(_cost(rules), promise, cells, mirrored.unknown, rules),
        _paired(_quality(promise), promise, cells, mirrored.unknown or mirrored.unjudged, rules),
    ]


def astray(routed: pl.DataFrame, variant: VariantId, generation: int) -> str:
    """Which routed jobs did not go where the generation sends everything, in words; empty when all did."""
    elsewhere = routed.filter(
        (pl.col("generation").is_not_null() & (pl.col("generation") != generation))
        | (pl.col("variant").is_not_null() & (pl.col("variant") != str(variant)))
    )
    met = Counter(
        f"{VariantId.parse(one).label if one else 'no variant'} at generation {shown or 'unknown'}"
        for one, shown in elsewhere.select("variant", "generation").iter_rows()
    )
    if not met:
        return ""
    words = ", ".join(f"{count} on {one}" for one, count in sorted(met.items()))
    return f"{elsewhere.height} of {routed.height} routed jobs did not follow generation {generation}: {words}"


def _failures(promise: Evidence, routed: pl.DataFrame, cells: Sequence[Measurement], rules: RoutingRules) -> Kept:
    jobs = routed.height + len(cells)
    done = int((routed["state"] == "completed").sum()) + sum(cell.outcome == "success" for cell in cells)
    if isinstance(promise.success_rate, Missing) or not jobs:
        return Kept("failures", str(promise.success_rate), f"{jobs} jobs", "not measured")
    allowed = max(0.0, float(promise.success_rate) - rules.watch_success_margin)
    chance = sum(_chance_of(k, jobs, allowed) for k in range(done + 1))
    promised = f"{float(promise.success_rate):.1%} succeed, {allowed:.1%} at least"
    return Kept("failures", promised, f"{done} of {jobs} succeeded", _state(chance, (1 - allowed) ** jobs, rules))


def _latency(promise: Evidence, routed: pl.DataFrame, rules: RoutingRules) -> Kept:
    times = routed.filter(pl.col("state") == "completed")["total_ms"].drop_nulls()
    if isinstance(promise.p95_ms, Missing) or not times.len():
        return Kept("latency", str(promise.p95_ms), f"{times.len()} times", "not measured")
    limit = float(promise.p95_ms) * rules.watch_latency_ratio
    slow, jobs = int((times > limit).sum()), times.len()
    chance = sum(_chance_of(k, jobs, _TAIL) for k in range(slow, jobs + 1))
    return Kept(
        "latency",
        f"p95 {promise.p95_ms:.0f} ms, {limit:.0f} ms at most",
        f"{slow} of {jobs} took longer",
        _state(chance, _TAIL**jobs, rules),
    )


def _chance_of(count: int, of: int, share: float) -> float:
    """The binomial probability of just so many, by logarithms: the coefficient of a thousand jobs is no float."""
    if share in (0, 1):
        return float(count == of * share)
    ways = lgamma(of + 1) - lgamma(count + 1) - lgamma(of - count + 1)
    return exp(ways + count * log(share) + (of - count) * log(1 - share))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is compared input by input: its value of a cell, when one is worse than another, and both in words."""

    name: Literal["cost", "quality"]
    value: Callable[[Measurement], Number]
    is_worse: Callable[[Decimal, Decimal], bool]
    unit: str
    margin: str


def _cost(rules: RoutingRules) -> _Asked:
    ratio = Decimal(str(rules.watch_cost_ratio))
    margin = f"{100 * (rules.watch_cost_ratio - 1):.3g} % more at most"
    return _Asked("cost", lambda cell: cell.cost_usd, lambda was, now: now > was * ratio, " USD", margin)


def _quality(promise: Evidence) -> _Asked:
    margin = Decimal(str(promise.plan.quality_margin))
    return _Asked(
        "quality",
        lambda cell: cell.quality if cell.outcome == "success" else Decimal(0),
        lambda was, now: now < was - margin,
        "",
        f"{promise.plan.quality_margin:g} less at most",
    )


def _paired(asked: _Asked, promise: Evidence, cells: Sequence[Measurement], unknown: str, rules: RoutingRules) -> Kept:
    """A sign test over inputs: as often worse than promised on the same input, by more than the margin, as not."""
    before, now = (_means(of, asked.value) for of in (promise.measurements, () if unknown else cells))
    both = sorted(set(before) & set(now))
    if not both:
        return Kept(asked.name, "", unknown or _why_none(cells, asked.value), "not measured")
    worse = sum(asked.is_worse(before[one], now[one]) for one in both)
    chance = sum(comb(len(both), k) for k in range(worse, len(both) + 1)) / 2 ** len(both)
    was, found = (sum((of[one] for one in both), Decimal(0)) / len(both) for of in (before, now))
    left = len({cell.input_id for cell in cells} & set(before)) - len(both)
    return Kept(
        asked.name,
        f"{was:.6g}{asked.unit} on average of {len(both)} inputs, {asked.margin}",
        f"{found:.6g}{asked.unit}; worse than promised on {worse}" + (f", not known on {left}" if left else ""),
        _state(chance, 0.5 ** len(both), rules),
    )


def _means(cells: Sequence[Measurement], value: Callable[[Measurement], Number]) -> Mapping[str, Decimal]:
    """By input, of inputs of which every value is known."""
    kept: dict[str, list[Number]] = {}
    for cell in cells:
        kept.setdefault(cell.input_id, []).append(value(cell))
    known = {one: [number for number in of if not isinstance(number, Missing)] for one, of in kept.items()}
    return {one: sum(of, Decimal(0)) / len(of) for one, of in known.items() if len(of) == len(kept[one])}


def _why_none(cells: Sequence[Measurement], value: Callable[[Measurement], Number]) -> str:
    found = (value(cell) for cell in cells)
    return next((one.reason for one in found if isinstance(one, Missing)), "no input has it then and now")


def _state(chance: float, at_worst: float, rules: RoutingRules) -> State:
    if chance < rules.watch_alpha:
        return "broken"
    return "kept" if at_worst < rules.watch_alpha else "too few"


def broken(held: Sequence[Kept]) -> str:
    """The broken promises in one line; empty when none is."""
    return "; ".join(f"{one.name}: promised {one.promised}, found {one.found}" for one in held if one.state == "broken")
