"""The questions that a verdict asks of each challenger: tests of differences, and limits, in the declared order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from pointsman.decision.plan import VerdictPlan
from pointsman.decision.procedure import COST, QUALITY, SUCCESS, ClusterTotals, contributions, cost_per_success
from pointsman.decision.service import Service, Services, p95_of
from pointsman.economics.plain import exact_text
from pointsman.ids import VariantId
from pointsman.model import Gate, Measurement, Missing, Number
from pointsman.statistics import Floats, confidence_bound, wilson_interval

_MOST_SAVED = 0.999


@dataclass(frozen=True, slots=True)
class Question:
    """`found` says what was found, `claim` what must be shown. A limit has no p value; `holds` says whether it does."""

    name: str
    estimate: float | None
    margin: float
    found: str
    claim: str
    p_value: float | None = None
    holds: bool = False


def ask_in_order(variant: VariantId, questions: Sequence[Question], alpha: float) -> tuple[Gate, ...]:
    """The gates of one challenger; those behind a failed one are not asked."""
    gates: list[Gate] = []
    failed: str | None = None
    for ask in questions:
        if failed is not None:
            why = f"{ask.found}; not asked, because the {failed} gate failed"
            gates.append(Gate(ask.name, variant, ask.estimate, ask.margin, None, False, why, asked=False))
            continue
        if ask.p_value is None:
            passed = ask.holds
            word = "it holds" if passed else "not known" if ask.estimate is None else "it does not hold"
            why = f"{ask.found}; {ask.claim}: {word}"
        else:
            passed = ask.p_value <= alpha
            word = "shown" if passed else "not shown"
            why = f"{ask.found}; {ask.claim}: {word} (p = {ask.p_value:.4f}, alpha = {alpha:g})"
        gates.append(Gate(ask.name, variant, ask.estimate, ask.margin, ask.p_value, passed, why))
        failed = None if passed else ask.name
    return tuple(gates)


def is_known(gate: Gate) -> bool:
    """Whether there was something to hold against a gate that was asked: a limit of what nobody measured is neither
    kept nor broken, and does not pass.
    """
    return gate.p_value is not None or gate.estimate is not None


def tested_questions(
    plan: VerdictPlan, totals: ClusterTotals, p_values: Floats
) -> dict[VariantId, dict[str, Question]]:
    """What is tested, by challenger and gate. `p_values[gate, challenger]` in the order of `procedure`."""
    inputs = float(totals.inputs.sum())
    success = (totals.success.sum(axis=1) / inputs).tolist()
    quality = (totals.quality.sum(axis=1) / inputs).tolist()
    further = {
        name: (amount.sum(axis=1) / inputs).tolist() for name, amount in zip(plan.further, totals.further, strict=True)
    }
    cost: list[float] = cost_per_success(totals).tolist()
    found = {}
    for at, variant in enumerate(plan.challengers, start=1):
        p = p_values[:, at - 1].tolist()
        questions = [
            _success(plan, success[at] - success[0], p[SUCCESS], totals.success[at] < totals.inputs),
            _quality(plan, quality[at] - quality[0], p[QUALITY]),
            _cost(plan, _saving(cost[at], cost[0]), p[COST], _least_saving(plan, totals, at, p[COST])),
        ]
        for place, (name, means) in enumerate(further.items(), start=COST + 1):
            ask = _refusals if name == "refusals" else _score
            questions.append(ask(name, means[at] - means[0], plan.further[name], p[place]))
        found[variant] = {ask.name: ask for ask in questions}
    return found


def _success(plan: VerdictPlan, difference: float, p_value: float, failed: NDArray[np.bool_]) -> Question:
    """Few inputs show no rare failures: `failed` says in which clusters there was one, and how many more there may be
    is told beside the answer.
    """
    low, high = wilson_interval(int(failed.sum()), failed.size)
    found = f"success rate {100 * difference:+.2f} points of a hundred against the incumbent, "
    found += f"failures in {failed.sum()} of {failed.size} sources (95 %: {100 * low:.0f} to {100 * high:.0f} %)"
    margin = plan.success_margin
    return Question("success", difference, margin, found, f"lower by less than {100 * margin:g} points", p_value)


def _quality(plan: VerdictPlan, difference: float, p_value: float) -> Question:
    found = f"mean quality {difference:+.2f} points against the incumbent"
    margin = plan.quality_margin
    return Question("quality", difference, margin, found, f"lower by less than {margin:g} points", p_value)


def _refusals(name: str, difference: float, margin: float, p_value: float) -> Question:
    """What is counted is less when it is more: `difference` is of the jobs that were not refused."""
    found = f"refused jobs {-100 * difference:+.2f} points of a hundred against the incumbent"
    return Question(name, -difference, margin, found, f"higher by less than {100 * margin:g} points", p_value)


def _score(name: str, difference: float, margin: float, p_value: float) -> Question:
    found = f"mean {name} {difference:+.4g} against the incumbent"
    return Question(name, difference, margin, found, f"lower by less than {margin:g}", p_value)


def _cost(plan: VerdictPlan, saving: float | None, p_value: float, least: float | None) -> Question:
    found = "no cost per success to compare with" if saving is None else f"cost per success {-100 * saving:+.2f} %"
    if least is not None:
        found += f" (lower by at least {100 * least:.2f} % at every look, with confidence {1 - plan.alpha:g})"
    margin = plan.min_saving
    return Question("cost", saving, margin, found, f"lower by more than {100 * margin:g} %", p_value)


def _least_saving(plan: VerdictPlan, totals: ClusterTotals, at: int, p_value: float) -> float | None:
    """The lower end of the saving's confidence sequence, for those of a sequential plan that save enough."""
    if not plan.sequential or p_value > plan.alpha:
        return None
    pair = totals.of([0, at])

    def favour(saving: float) -> Floats:
        margins = replace(plan.margins, min_saving=saving)
        at_it: Floats = contributions(pair, margins, so_far=True)[COST, 0]
        return at_it

    return confidence_bound(favour, plan.min_saving, _MOST_SAVED, alpha=plan.alpha / len(plan.challengers))


def _saving(cost: float, incumbent: float) -> float | None:
    return 1 - cost / incumbent if isfinite(cost) and isfinite(incumbent) and incumbent > 0 else None


def limit_questions(
    plan: VerdictPlan, data: Sequence[Measurement], services: Services
) -> Mapping[VariantId, Mapping[str, Question]]:
    """What is held against a limit, by challenger and gate."""
    found: dict[VariantId, dict[str, Question]] = {variant: {} for variant in plan.challengers}
    for variant, questions in found.items():
        if plan.p95_limit_ms is not None:
            questions["latency"] = _latency(plan.p95_limit_ms, *p95_of(services, data, variant))
        if plan.peak_per_s is not None:
            per_s = services.get(variant, Service()).capacity_per_s
            questions["capacity"] = _capacity(plan.peak_per_s, plan.headroom, per_s)
    return found


def _latency(limit_ms: float, p95_ms: Number, source: str) -> Question:
    holds = not isinstance(p95_ms, Missing) and p95_ms <= Decimal(repr(limit_ms))
    shown = f"p95 {source} {p95_ms}" if isinstance(p95_ms, Missing) else f"p95 {source} {p95_ms:.0f} ms"
    return Question("latency", _float(p95_ms), limit_ms, shown, f"at most {limit_ms:g} ms", holds=holds)


def _capacity(peak: float, headroom: float, per_s: Number) -> Question:
    needed = Decimal(repr(peak)) * Decimal(repr(headroom))
    holds = not isinstance(per_s, Missing) and per_s >= needed
    shown = f"capacity {per_s}" if isinstance(per_s, Missing) else f"it sustains {per_s:g} per second"
    claim = f"at least {peak:g} x {headroom:g} = {exact_text(needed)} per second"
    return Question("capacity", _float(per_s), float(needed), shown, claim, holds=holds)


def _float(number: Number) -> float | None:
    return None if isinstance(number, Missing) else float(number)
