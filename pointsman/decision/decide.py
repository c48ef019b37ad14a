"""decide(plan, data): the verdict, a pure function. Gates in order, errors controlled over all challengers together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from pointsman.decision.cells import Cells, cells, data_sha256, faults
from pointsman.decision.plan import VerdictPlan
from pointsman.decision.procedure import COST, QUALITY, SUCCESS, cost_per_success, gate_p_values
from pointsman.ids import VariantId
from pointsman.model import Gate, Measurement, Verdict, VerdictOutcome
from pointsman.statistics import LabelSwaps, clusters_needed


def decide(plan: VerdictPlan, data: Sequence[Measurement]) -> Verdict:
    """Decide whether a challenger replaces the incumbent. Equal plan and data, in any order, give an equal verdict.

    A winner passes three gates: its success rate is not lower by the margin, its quality is not lower by the margin,
    and its cost per success is lower by at least `min_saving`. Each gate is a one-sided label swap per cluster at
    `alpha`, adjusted by step-down max-T over all challengers so that a false winner at whichever gate has at most that
    probability (see `procedure` and `statistics.label_swaps`). A gate behind a failed one is not asked. Among several
    that pass, the lowest cost per success wins.

    INVALID: a planned cell is missing, doubled, unplanned, impossible or lost by our own infrastructure.
    INSUFFICIENT_DATA: a successful cell was not judged, nothing is priced, or there are too few clusters to ever reach
    `alpha`.
    """
    sha256 = data_sha256(data)

    def verdict(
        outcome: VerdictOutcome, why: str, gates: Sequence[Gate] = (), winner: VariantId | None = None
    ) -> Verdict:
        return Verdict(outcome, winner, tuple(gates), plan.sha256, sha256, plan.code_version, why)

    wrong = faults(plan, data)
    if wrong:
        return verdict("INVALID", " ".join(wrong))
    measured = cells(plan, data)
    lacking = _lacking(plan, measured)
    if lacking:
        return verdict("INSUFFICIENT_DATA", " ".join(lacking))
    candidates = _candidates(plan, measured)
    gates = [gate for candidate in candidates for gate in candidate.gates]
    passed = [candidate for candidate in candidates if candidate.passes]
    if passed:
        best = min(passed, key=lambda candidate: candidate.cost_per_success)
        return verdict("WINNER", _why_it_wins(best, len(passed)), gates, best.variant)
    return verdict("NO_SIGNIFICANT_WINNER", _why_none(candidates), gates)


@dataclass(frozen=True, slots=True)
class _Candidate:
    variant: VariantId
    gates: tuple[Gate, ...]
    cost_per_success: float
    unpriced: str | None

    @property
    def passes(self) -> bool:
        return self.unpriced is None and all(gate.passed for gate in self.gates)


def _lacking(plan: VerdictPlan, measured: Cells) -> list[str]:
    lacking = []
    if measured.unjudged:
        first = measured.unjudged[0]
        lacking.append(f"{len(measured.unjudged)} successful cells have no quality (the first: {first}).")
    needed = clusters_needed(plan.alpha)
    if len(plan.clusters) < needed:
        lacking.append(
            f"{len(plan.clusters)} clusters of inputs can never reach alpha = {plan.alpha:g}; "
            f"{needed} or more are needed."
        )
    if plan.incumbent in measured.unpriced:
        reason = measured.unpriced[plan.incumbent]
        lacking.append(f"The cost of the incumbent {plan.incumbent.label} is not known ({reason}).")
    elif all(variant in measured.unpriced for variant in plan.challengers):
        reason = next(iter(measured.unpriced.values()))
        lacking.append(f"The cost of no challenger is known ({reason}).")
    return lacking


def _candidates(plan: VerdictPlan, measured: Cells) -> list[_Candidate]:
    totals = measured.totals
    swaps = LabelSwaps.draw(len(plan.clusters), swaps=plan.swaps, seed=plan.seed)
    p_values = gate_p_values(totals, plan.margins, swaps)
    inputs = float(totals.inputs.sum())
    success = (totals.success.sum(axis=1) / inputs).tolist()
    quality = (totals.quality.sum(axis=1) / inputs).tolist()
    cost: list[float] = cost_per_success(totals).tolist()
    candidates = []
    for at, variant in enumerate(plan.challengers, start=1):
        p_value = p_values[:, at - 1].tolist()
        unpriced = measured.unpriced.get(variant)
        questions = [
            _success(plan, success[at] - success[0], p_value[SUCCESS]),
            _quality(plan, quality[at] - quality[0], p_value[QUALITY]),
        ]
        if unpriced is None:
            questions.append(_cost(plan, _saving(cost[at], cost[0]), p_value[COST]))
        gates = _ask_in_order(variant, questions, plan.alpha)
        candidates.append(_Candidate(variant, gates, cost[at], unpriced))
    return candidates


@dataclass(frozen=True, slots=True)
class _Question:
    name: Literal["success", "quality", "cost"]
    estimate: float | None
    margin: float
    p_value: float
    found: str
    claim: str


def _success(plan: VerdictPlan, difference: float, p_value: float) -> _Question:
    found = f"success rate {100 * difference:+.2f} points of a hundred against the incumbent"
    margin = plan.success_margin
    return _Question("success", difference, margin, p_value, found, f"lower by less than {100 * margin:g} points")


def _quality(plan: VerdictPlan, difference: float, p_value: float) -> _Question:
    found = f"mean quality {difference:+.2f} points against the incumbent"
    margin = plan.quality_margin
    return _Question("quality", difference, margin, p_value, found, f"lower by less than {margin:g} points")


def _cost(plan: VerdictPlan, saving: float | None, p_value: float) -> _Question:
    found = "no cost per success to compare with" if saving is None else f"cost per success {-100 * saving:+.2f} %"
    margin = plan.min_saving
    return _Question("cost", saving, margin, p_value, found, f"lower by more than {100 * margin:g} %")


def _saving(cost: float, incumbent: float) -> float | None:
    return 1 - cost / incumbent if isfinite(cost) and isfinite(incumbent) and incumbent > 0 else None


def _ask_in_order(variant: VariantId, questions: Sequence[_Question], alpha: float) -> tuple[Gate, ...]:
    gates: list[Gate] = []
    failed: str | None = None
    for ask in questions:
        if failed is not None:
            why = f"{ask.found}; not asked, because the {failed} gate failed"
            gates.append(Gate(ask.name, variant, ask.estimate, ask.margin, None, False, why))
            continue
        passed = ask.p_value <= alpha
        word = "shown" if passed else "not shown"
        why = f"{ask.found}; {ask.claim}: {word} (p = {ask.p_value:.4f}, alpha = {alpha:g})"
        gates.append(Gate(ask.name, variant, ask.estimate, ask.margin, ask.p_value, passed, why))
        failed = None if passed else ask.name
    return tuple(gates)


def _why_it_wins(best: _Candidate, passing: int) -> str:
    among = (
        "It is the only challenger that passes all gates"
        if passing == 1
        else (f"{passing} challengers pass all gates and it has the lowest cost per success")
    )
    return f"{best.variant.label} wins. {among}: {'; '.join(gate.why for gate in best.gates)}."


def _why_none(candidates: Sequence[_Candidate]) -> str:
    def progress(candidate: _Candidate) -> tuple[int, float]:
        return -sum(gate.passed for gate in candidate.gates), candidate.cost_per_success

    priced = [candidate for candidate in candidates if candidate.unpriced is None]
    best = min(priced, key=progress)
    failed = next(gate for gate in best.gates if not gate.passed)
    sentences = [
        f"No challenger passes all gates. The one that comes furthest, {best.variant.label}, "
        f"fails the {failed.name} gate: {failed.why}."
    ]
    sentences += [
        f"{candidate.variant.label} is UNPRICED ({candidate.unpriced}) and can not win."
        for candidate in candidates
        if candidate.unpriced is not None
    ]
    return " ".join(sentences)
