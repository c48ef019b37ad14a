"""The money HUD as a document: what each variant delivers and costs, the verdict, and what to do next.

A pure function of what was measured and decided. Money is in decimal strings; a number that is not known is
`{"missing": why}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pointsman.decision.asking import is_known
from pointsman.decision.figures import VariantFigures, variant_figures
from pointsman.decision.frontier import pareto_frontier
from pointsman.decision.looking import seen
from pointsman.decision.plan import VerdictPlan
from pointsman.decision.recommend import recommend
from pointsman.economics import ExperimentCost, Waterfall, margin, per_delivered_view
from pointsman.economics.plain import plain
from pointsman.ids import VariantId
from pointsman.model import Gate, Measurement, Missing, Number, Verdict
from pointsman.quality import Corrected
from pointsman.scenario import Capacity


@dataclass(frozen=True, slots=True)
class HudContext:
    """What the HUD shows beside measurements and verdict.

    `minimum_detectable_saving` is a share of the incumbent's cost per success. `measure_again` is the command that
    repeats the comparison. `price_per_view_usd` is what one view is sold for, where a margin is wanted.
    """

    verdict_id: str
    benchmark_id: str
    evaluation_set_id: str
    waterfalls: Sequence[Waterfall]
    experiment_cost: ExperimentCost
    minimum_detectable_saving: Number
    measure_again: str
    load_p95_ms: Mapping[VariantId, Number] = field(default_factory=dict)
    capacities: Mapping[VariantId, Capacity] = field(default_factory=dict)
    price_per_view_usd: Decimal | None = None
    by_people: Mapping[VariantId, Corrected] = field(default_factory=dict)
    """Quality as people would see it, of the variants of which they labelled some outputs."""


def build_hud(
    plan: VerdictPlan, measurements: Sequence[Measurement], verdict: Verdict, context: HudContext
) -> dict[str, Any]:
    """The HUD document of one verdict, made of plain JSON. Equal arguments give equal documents."""
    figures = variant_figures(*seen(plan, measurements))
    whole = [one for one in figures.values() if one.is_whole]
    frontier = pareto_frontier((one.variant, one.cost_per_success, one.quality) for one in whole)
    advice = recommend(
        plan,
        verdict,
        figures,
        verdict_id=context.verdict_id,
        benchmark_id=context.benchmark_id,
        minimum_detectable_saving=context.minimum_detectable_saving,
        load_p95_ms=context.load_p95_ms,
        measure_again=context.measure_again,
    )
    experiment = context.experiment_cost
    return {
        "verdict_id": context.verdict_id,
        "benchmark_id": context.benchmark_id,
        "evaluation_set_id": context.evaluation_set_id,
        "route_key": str(plan.incumbent.route_key),
        "incumbent": str(plan.incumbent),
        "winner": None if verdict.winner is None else str(verdict.winner),
        "verdict": {
            "outcome": verdict.outcome,
            "why": verdict.why,
            "gates": [_gate(gate) for gate in verdict.gates],
            "plan_sha256": verdict.plan_sha256,
            "data_sha256": verdict.data_sha256,
            "code_version": verdict.code_version,
        },
        "judge": dict(plan.judge),
        "price_book_sha256": plan.price_book_sha256,
        "deliveries_per_output": plan.deliveries_per_output,
        "minimum_saving": plan.min_saving,
        "minimum_detectable_saving": plain(context.minimum_detectable_saving),
        "rows": [_row(plan, verdict, context, one, frontier) for one in figures.values()],
        "frontier": [str(variant) for variant in frontier],
        "waterfall": [_waterfall(one, figures) for one in context.waterfalls if one.variant in figures],
        "experiment_cost_usd": {
            "matrix": plain(experiment.matrix),
            "judging": plain(experiment.judging),
            "load": plain(experiment.load),
            "total": plain(experiment.total),
        },
        "recommendations": [{"text": one.text, "command": one.command} for one in advice],
    }


def _row(
    plan: VerdictPlan, verdict: Verdict, context: HudContext, one: VariantFigures, frontier: Sequence[VariantId]
) -> dict[str, Any]:
    per_view = per_delivered_view(one.cost_per_success, plan.deliveries_per_output)
    waterfall = next((fall for fall in context.waterfalls if fall.variant == one.variant), None)
    per_attempt = waterfall.compute_per_attempt if waterfall else Missing("no attempts were priced")
    row: dict[str, Any] = {
        "variant": str(one.variant),
        "label": one.label,
        "role": _role(plan, verdict, one.variant),
        "on_frontier": one.variant in frontier,
        "cells": one.cells,
        "successes": one.successes,
        "lost": one.lost,
        "attempts": waterfall.attempts if waterfall else None,
        "compute_per_attempt_usd": plain(per_attempt),
        "quality": plain(one.quality),
        "quality_by_people": _by_people(context.by_people.get(one.variant), one),
        "cost_usd": plain(one.cost),
        "cost_per_success_usd": plain(one.cost_per_success),
        "cost_per_delivered_view_usd": plain(per_view),
        "saving": plain(one.saving),
        "saving_interval": [plain(end) for end in one.saving_interval],
        "p95_total_ms": plain(one.p95_ms),
        "p95_total_ms_under_load": plain(context.load_p95_ms.get(one.variant, Missing("no load run"))),
        **_capacity(context.capacities.get(one.variant)),
        "gates": {gate.name: _answer(gate) for gate in verdict.gates if gate.challenger == one.variant},
    }
    if context.price_per_view_usd is not None:
        row["margin"] = plain(margin(context.price_per_view_usd, per_view))
    return row


def _capacity(found: Capacity | None) -> dict[str, Any]:
    """The highest rate that was seen to hold; the limit lies between the ends of the interval."""
    unknown = Missing("no capacity search")
    low, high = (unknown, unknown) if found is None else (found.per_s, found.high)
    return {
        "capacity_per_s": plain(low),
        "capacity_interval": [plain(low), plain(high)],
    }


def _by_people(found: Corrected | None, figures: VariantFigures) -> dict[str, Any]:
    """The judge's mean with its bias taken out, as seen on what people labelled; 95 % interval.

    A cell without output counts as 0, as it does in the quality beside it.
    """
    counted = figures.cells - figures.lost
    if found is None or not counted:
        return {"missing": "people labelled too little of it"}
    quality, share = found.quality, figures.successes / counted
    return {
        **{name: round(share * getattr(quality, name), 4) for name in ("value", "low", "high")},
        "bias": round(found.bias, 4),
        "labelled": found.labelled,
        "inputs": found.inputs,
    }


def _role(plan: VerdictPlan, verdict: Verdict, variant: VariantId) -> str:
    if variant == verdict.winner:
        return "winner"
    return "incumbent" if variant == plan.incumbent else "candidate"


def _answer(gate: Gate) -> str:
    if gate.passed:
        return "passed"
    if not gate.asked:
        return "not asked"
    return "failed" if is_known(gate) else "not known"


def _gate(gate: Gate) -> dict[str, Any]:
    return {
        "name": gate.name,
        "challenger": str(gate.challenger),
        "answer": _answer(gate),
        "estimate": gate.estimate,
        "margin": gate.margin,
        "p_value": gate.p_value,
        "why": gate.why,
    }


def _waterfall(waterfall: Waterfall, figures: Mapping[VariantId, VariantFigures]) -> dict[str, Any]:
    return {
        "variant": str(waterfall.variant),
        "label": figures[waterfall.variant].label,
        "attempts": waterfall.attempts,
        "steps": [{"name": name, "usd": plain(amount)} for name, amount in waterfall.steps],
        "total_usd": plain(waterfall.total),
    }
