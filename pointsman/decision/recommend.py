"""What to do next, in plain words, each with the command that carries it out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from pointsman.decision.figures import VariantFigures
from pointsman.decision.plan import VerdictPlan
from pointsman.ids import VariantId
from pointsman.model import Missing, Number, Verdict


@dataclass(frozen=True, slots=True)
class Recommendation:
    text: str
    command: str


def recommend(
    plan: VerdictPlan,
    verdict: Verdict,
    figures: Mapping[VariantId, VariantFigures],
    *,
    verdict_id: str,
    benchmark_id: str,
    minimum_detectable_saving: Number,
    load_p95_ms: Mapping[VariantId, Number],
    measure_again: str,
) -> list[Recommendation]:
    """The recommendations of one verdict, the most important first. `measure_again` repeats the comparison."""
    route = shlex.quote(str(plan.incumbent.route_key))
    incumbent = figures[plan.incumbent]
    found = []
    if verdict.outcome == "WINNER" and verdict.winner is not None:
        text = _switch(figures[verdict.winner], incumbent, load_p95_ms)
        found.append(Recommendation(text, f"pointsman route apply --verdict {shlex.quote(verdict_id)}"))
        found.append(
            Recommendation(
                "Should it turn out worse in production, go back to what was routed before.",
                f"pointsman route rollback {route}",
            )
        )
    elif verdict.outcome == "EQUIVALENT":
        text = f"Keep {incumbent.label}: the variants do not differ by what was declared to matter."
        found.append(Recommendation(text, f"pointsman route show {route}"))
    elif verdict.outcome == "NO_SIGNIFICANT_WINNER":
        found.append(Recommendation(_keep(incumbent, minimum_detectable_saving), measure_again))
        found += _capacities(verdict, figures)
    elif verdict.outcome == "INSUFFICIENT_DATA" and len(plan.clusters) < plan.clusters_needed:
        text = (
            f"Decide nothing yet: {verdict.why} Measuring the same inputs again cannot help; add some of other sources."
        )
        found.append(Recommendation(text, "pointsman compare --help"))
    elif verdict.outcome == "INSUFFICIENT_DATA" and incumbent.cells < len(plan.inputs) * plan.repeats:
        go_on = f"pointsman benchmark run --benchmark-id {shlex.quote(benchmark_id)}"
        found.append(Recommendation(f"Decide nothing yet, and measure on: {verdict.why}", go_on))
    elif verdict.outcome == "INSUFFICIENT_DATA":
        found.append(Recommendation(f"Decide nothing yet: {verdict.why}", measure_again))
    else:
        text = f"Do not use this comparison: {verdict.why} Look at its cells, then continue or repeat it."
        found.append(Recommendation(text, f"pointsman benchmark show {shlex.quote(benchmark_id)}"))
        found.append(Recommendation("Measure again once the cause is gone.", measure_again))
    found += [advice for one in figures.values() for advice in _troubles(one)]
    return found


def _switch(winner: VariantFigures, incumbent: VariantFigures, load_p95_ms: Mapping[VariantId, Number]) -> str:
    parts = [f"Route {incumbent.variant.route_key} to {winner.label} instead of {incumbent.label}."]
    if not isinstance(winner.saving, Missing):
        parts.append(f"A success costs {_percent(winner.saving)} less.")
    if not isinstance(winner.quality, Missing) and not isinstance(incumbent.quality, Missing):
        parts.append(f"Mean quality is {winner.quality:.1f} against {incumbent.quality:.1f}.")
    own = load_p95_ms.get(winner.variant, Missing("no load run"))
    other = load_p95_ms.get(incumbent.variant, Missing("no load run"))
    if isinstance(own, Missing) or isinstance(other, Missing):
        parts.append("Its p95 under load was not compared.")
    else:
        parts.append(f"Its p95 under load is {own:.0f} ms against {other:.0f} ms.")
    return " ".join(parts)


def _keep(incumbent: VariantFigures, minimum_detectable_saving: Number) -> str:
    kept = f"Keep {incumbent.label}: no challenger was shown to be cheaper at no loss."
    if isinstance(minimum_detectable_saving, Missing):
        return f"{kept} To find smaller differences, measure again with more inputs."
    return (
        f"{kept} The smallest saving that this comparison would find is {_percent(minimum_detectable_saving)}; to find "
        "smaller ones, measure again, best with more inputs of other sources."
    )


def _capacities(verdict: Verdict, figures: Mapping[VariantId, VariantFigures]) -> list[Recommendation]:
    """Of challengers that nothing but an unknown capacity stands in the way of, so far as was asked."""
    return [
        Recommendation(
            f"{figures[gate.challenger].label} cannot win before its capacity is known; search it, then decide again.",
            f"pointsman scenario capacity --variant {shlex.quote(str(gate.challenger))}",
        )
        for gate in verdict.gates
        if gate.name == "capacity" and gate.asked and gate.estimate is None
    ]


def _troubles(one: VariantFigures) -> list[Recommendation]:
    found = []
    if one.cells > one.successes and one.first_trouble is not None:
        text = f"{one.label} gave no output in {one.cells - one.successes} of {one.cells} cells; see why."
        found.append(Recommendation(text, f"pointsman trace {shlex.quote(one.first_trouble)}"))
    if isinstance(one.cost, Missing) and not one.lost:
        text = f"{one.label} is UNPRICED and can neither win nor stand on the frontier: {one.cost.reason}."
        found.append(Recommendation(text, "pointsman prices list"))
    return found


def _percent(share: Number) -> str:
    return f"not measured ({share.reason})" if isinstance(share, Missing) else f"{100 * share:.1f} %"
