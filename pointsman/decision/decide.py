"""decide(plan, data): the verdict, a pure function. Gates in order, errors controlled over all challengers together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pointsman.decision.asking import Question, ask_in_order, is_known, limit_questions, tested_questions
from pointsman.decision.cells import Cells, cells, data_sha256, faults
from pointsman.decision.looking import is_complete, seen
from pointsman.decision.plan import VerdictPlan
from pointsman.decision.procedure import (
    cost_per_success,
    equivalent,
    gate_p_values,
    sequential_p_values,
    sequentially_equivalent,
)
from pointsman.decision.service import Services, services_document
from pointsman.ids import VariantId
from pointsman.model import Gate, Measurement, Verdict, VerdictOutcome
from pointsman.statistics import Floats, LabelSwaps

NO_SERVICES: Services = {}


def decide(plan: VerdictPlan, data: Sequence[Measurement], services: Services = NO_SERVICES) -> Verdict:
    """Decide whether a challenger replaces the incumbent. Equal arguments, data in any order, give an equal verdict.

    A winner passes every gate of the plan: its success rate is not lower by the margin, its quality is not lower by the
    margin, its cost per success is lower by at least `min_saving`, and what else the plan declares. Each tested gate is
    a one-sided label swap per cluster at `alpha`, adjusted by step-down max-T over all challengers so that a false
    winner at whichever gate has at most that probability (see `procedure` and `statistics.label_swaps`). Latency and
    capacity are limits, held against what was measured of the challenger (`services`); what is not known is not enough.
    A gate behind a failed one is not asked. Among several that pass, the lowest cost per success wins.

    A sequential plan is decided on the clusters that are complete so far, by p values that hold at every look together;
    before the last cluster, nobody winning is INSUFFICIENT_DATA.

    EQUIVALENT: nobody wins, and every challenger is shown to differ from the incumbent by less than the margins.
    INVALID: a planned cell is missing, doubled, unplanned, impossible or lost by our own infrastructure.
    INSUFFICIENT_DATA: a successful cell was not judged, the incumbent's all scored 0, nothing is priced, or there are
    too few clusters to ever reach `alpha`.
    """
    sha256 = data_sha256(data, services_document(services))

    def verdict(
        outcome: VerdictOutcome, why: str, gates: Sequence[Gate] = (), winner: VariantId | None = None
    ) -> Verdict:
        return Verdict(outcome, winner, tuple(gates), plan.sha256, sha256, plan.code_version, why)

    looked, cells_seen = seen(plan, data)
    if plan.sequential and not cells_seen:
        return verdict("INSUFFICIENT_DATA", f"None of {len(plan.clusters)} clusters is complete yet.")
    wrong = faults(looked, cells_seen)
    if wrong:
        return verdict("INVALID", " ".join(wrong))
    measured = cells(looked, cells_seen)
    lacking = _lacking(plan, measured)
    if lacking:
        return verdict("INSUFFICIENT_DATA", " ".join(lacking))
    test = _Sequential(plan, measured) if plan.sequential else _Fixed.of(plan, measured)
    candidates = _candidates(plan, measured, test.p_values(), limit_questions(plan, cells_seen, services))
    gates = [gate for candidate in candidates for gate in candidate.gates]
    passed = [candidate for candidate in candidates if candidate.passes]
    if passed:
        best = min(passed, key=lambda candidate: candidate.cost_per_success)
        return verdict("WINNER", _why_it_wins(best, len(passed)), gates, best.variant)
    if not measured.unpriced and test.equivalent():
        return verdict("EQUIVALENT", _why_equivalent(plan), gates)
    if not is_complete(plan, looked):
        so_far = f"After {len(looked.clusters)} of {len(plan.clusters)} clusters:"
        return verdict("INSUFFICIENT_DATA", f"{so_far} {_why_none(candidates)}", gates)
    return verdict("NO_SIGNIFICANT_WINNER", _why_none(candidates), gates)


@dataclass(frozen=True, slots=True)
class _Fixed:
    """Label swaps, of all planned clusters at once."""

    plan: VerdictPlan
    measured: Cells
    swaps: LabelSwaps

    @classmethod
    def of(cls, plan: VerdictPlan, measured: Cells) -> _Fixed:
        return cls(plan, measured, LabelSwaps.draw(len(plan.clusters), swaps=plan.swaps, seed=plan.seed))

    def p_values(self) -> Floats:
        return gate_p_values(self.measured.totals, self.plan.margins, self.swaps)

    def equivalent(self) -> bool:
        return bool(equivalent(self.measured.totals, self.plan.margins, self.swaps, self.plan.alpha))


@dataclass(frozen=True, slots=True)
class _Sequential:
    """Always-valid p values, of the clusters seen so far."""

    plan: VerdictPlan
    measured: Cells

    def p_values(self) -> Floats:
        return sequential_p_values(self.measured.totals, self.plan.margins)

    def equivalent(self) -> bool:
        return bool(sequentially_equivalent(self.measured.totals, self.plan.margins, self.plan.alpha))


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
        what = "no quality" if not plan.scores else f"no quality, or not each of {', '.join(plan.scores)}"
        lacking.append(f"{len(measured.unjudged)} successful cells have {what} (the first: {first}).")
    totals = measured.totals
    if totals.success[0].sum() > 0 and totals.quality[0].sum() == 0:
        lacking.append(
            f"All outputs of the incumbent {plan.incumbent.label} scored 0, so that no quality is too low beside them."
        )
    if len(plan.clusters) < plan.clusters_needed:
        has = f"{len(plan.clusters)} {'cluster' if len(plan.clusters) == 1 else 'clusters'} of inputs"
        lacking.append(f"{has} can never reach alpha = {plan.alpha:g}; {plan.clusters_needed} or more are needed.")
    if plan.incumbent in measured.unpriced:
        reason = measured.unpriced[plan.incumbent]
        lacking.append(f"The cost of the incumbent {plan.incumbent.label} is not known ({reason}).")
    elif all(variant in measured.unpriced for variant in plan.challengers):
        reason = next(iter(measured.unpriced.values()))
        lacking.append(f"The cost of no challenger is known ({reason}).")
    return lacking


def _candidates(
    plan: VerdictPlan, measured: Cells, p_values: Floats, limits: Mapping[VariantId, Mapping[str, Question]]
) -> list[_Candidate]:
    cost: list[float] = cost_per_success(measured.totals).tolist()
    candidates = []
    for at, (variant, tests) in enumerate(tested_questions(plan, measured.totals, p_values).items(), start=1):
        unpriced = measured.unpriced.get(variant)
        questions = {**tests, **limits[variant]}
        asked = [questions[name] for name in plan.order if name != "cost" or unpriced is None]
        candidates.append(_Candidate(variant, ask_in_order(variant, asked, plan.alpha), cost[at], unpriced))
    return candidates


def _why_it_wins(best: _Candidate, passing: int) -> str:
    among = (
        "It is the only challenger that passes all gates"
        if passing == 1
        else (f"{passing} challengers pass all gates and it has the lowest cost per success")
    )
    return f"{best.variant.label} wins. {among}: {'; '.join(gate.why for gate in best.gates)}."


def _why_equivalent(plan: VerdictPlan) -> str:
    who = f"{len(plan.challengers)} challengers are" if len(plan.challengers) > 1 else "The challenger is"
    margins = [f"cost by {100 * plan.min_saving:g} %", f"quality by {plan.quality_margin:g} points"]
    margins.append(f"success by {100 * plan.success_margin:g} points of a hundred")
    margins += [f"{name} by {margin:g}" for name, margin in plan.further.items()]
    differ = ", ".join(margins)
    return f"{who} shown to differ from the incumbent by less than what was declared to matter: {differ}."


def _why_none(candidates: Sequence[_Candidate]) -> str:
    def progress(candidate: _Candidate) -> tuple[int, float]:
        return -sum(gate.passed for gate in candidate.gates), candidate.cost_per_success

    priced = [candidate for candidate in candidates if candidate.unpriced is None]
    best = min(priced, key=progress)
    failed = next(gate for gate in best.gates if not gate.passed)
    verb = "fails" if is_known(failed) else "cannot pass"
    sentences = [
        f"No challenger passes all gates. The one that comes furthest, {best.variant.label}, "
        f"{verb} the {failed.name} gate: {failed.why}."
    ]
    sentences += [
        f"{candidate.variant.label} is UNPRICED ({candidate.unpriced}) and can not win."
        for candidate in candidates
        if candidate.unpriced is not None
    ]
    return " ".join(sentences)
