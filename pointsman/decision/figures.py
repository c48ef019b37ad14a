"""Each variant's cells in figures for display: totals in exact money, quality, p95, and its saving with an interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from pointsman.decision.cells import is_possible
from pointsman.decision.plan import VerdictPlan
from pointsman.economics import per_success, total
from pointsman.ids import VariantId
from pointsman.model import Measurement, Missing, Number
from pointsman.statistics import cluster_weights

_RESAMPLES = 1_000
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class VariantFigures:
    """`lost` counts cells that our own side lost. `saving` is a share of the incumbent's cost per success.

    `is_whole`: every planned cell was measured once, none was lost, and no number is impossible.

    `label` is short, and no other variant of the comparison has it.

    Quality counts a cell without output as 0, as the verdict does. The saving's interval is a cluster bootstrap at 95 %
    for display; no verdict rests on it. The incumbent's saving is `Missing`: there is nothing to compare it with.
    """

    variant: VariantId
    label: str
    cells: int
    successes: int
    lost: int
    is_whole: bool
    first_trouble: str | None
    quality: Number
    cost: Number
    cost_per_success: Number
    p95_ms: Number
    saving: Number
    saving_interval: tuple[Number, Number]


def variant_figures(plan: VerdictPlan, data: Sequence[Measurement]) -> dict[VariantId, VariantFigures]:
    """Figures of every planned variant, in the plan's order; measurements of other variants are left out."""
    planned = {(one.input_id, one.cluster, repeat) for one in plan.inputs for repeat in range(plan.repeats)}
    by_variant: dict[VariantId, list[Measurement]] = {variant: [] for variant in plan.variants}
    for cell in sorted(data, key=lambda cell: cell.dispatch_id):
        if cell.variant in by_variant:
            by_variant[cell.variant].append(cell)
    broken = {variant for variant, own in by_variant.items() if not all(map(is_possible, own))}
    for variant in broken:
        by_variant[variant] = [_finite(cell) for cell in by_variant[variant]]
    costs = {variant: cost_per_success(own) for variant, own in by_variant.items()}
    intervals = _saving_intervals(plan, by_variant)
    labels = _labels(plan.variants)
    figures = {}
    for variant, own in by_variant.items():
        successes = [cell for cell in own if cell.outcome == "success"]
        lost = sum(cell.outcome == "infrastructure" for cell in own)
        figures[variant] = VariantFigures(
            variant=variant,
            label=labels[variant],
            cells=len(own),
            successes=len(successes),
            lost=lost,
            is_whole=not lost
            and len(own) == len(planned)
            and {(cell.input_id, cell.cluster, cell.repeat) for cell in own} == planned
            and variant not in broken,
            first_trouble=next((cell.dispatch_id for cell in own if cell.outcome != "success"), None),
            quality=mean_quality(own),
            cost=_cost(own),
            cost_per_success=costs[variant],
            p95_ms=p95_of([cell.total_ms for cell in successes]),
            saving=_saving(variant, plan.incumbent, costs),
            saving_interval=intervals[variant],
        )
    return figures


def _finite(cell: Measurement) -> Measurement:
    """What is no number at all is not known, so that the others can still be shown."""

    def known(number: Number) -> Number:
        return number if isinstance(number, Missing) or number.is_finite() else Missing("what was noted is no number")

    return replace(cell, quality=known(cell.quality), cost_usd=known(cell.cost_usd), total_ms=known(cell.total_ms))


def _labels(variants: Sequence[VariantId]) -> dict[VariantId, str]:
    used = Counter(variant.label for variant in variants)
    return {
        variant: variant.label if used[variant.label] == 1 else f"{variant.label}:{variant.experiment}"
        for variant in variants
    }


def _cost(cells: Sequence[Measurement]) -> Number:
    return total(cell.cost_usd for cell in cells) if cells else Missing("no cell was measured")


def cost_per_success(cells: Sequence[Measurement]) -> Number:
    """What all of them cost, for each that succeeded."""
    return per_success(_cost(cells), sum(cell.outcome == "success" for cell in cells))


def mean_quality(cells: Sequence[Measurement]) -> Number:
    """A cell without output counts as 0, one that our own side lost not at all."""
    counted = [cell for cell in cells if cell.outcome != "infrastructure"]
    if not counted:
        return Missing("no cell was measured")
    qualities = [cell.quality for cell in counted if cell.outcome == "success"]
    known = [quality for quality in qualities if not isinstance(quality, Missing)]
    if len(known) < len(qualities):
        return Missing(f"{len(qualities) - len(known)} of {len(qualities)} outputs were not judged")
    return sum(known, Decimal(0)) / len(counted)


def p95_of(times: Sequence[Number]) -> Number:
    """Nearest rank: the smallest measured time that 95 % of the times do not exceed."""
    known = sorted(time for time in times if not isinstance(time, Missing))
    return known[math.ceil(len(known) * 95 / 100) - 1] if known else Missing("no successful cell has a time")


def _saving(variant: VariantId, incumbent: VariantId, costs: Mapping[VariantId, Number]) -> Number:
    if variant == incumbent:
        return Missing("it is the incumbent")
    own, other = costs[variant], costs[incumbent]
    if isinstance(own, Missing):
        return own
    if isinstance(other, Missing):
        return Missing(f"the incumbent's cost: {other.reason}")
    return 1 - own / other if other else Missing("the incumbent costs nothing")


def _saving_intervals(
    plan: VerdictPlan, by_variant: Mapping[VariantId, Sequence[Measurement]]
) -> dict[VariantId, tuple[Number, Number]]:
    column = {cluster: at for at, cluster in enumerate(plan.clusters)}
    cost, success = np.zeros((2, len(by_variant), len(column)))
    for row, own in enumerate(by_variant.values()):
        for cell in own:
            at = row, column.get(cell.cluster, 0)
            cost[at] += np.nan if isinstance(cell.cost_usd, Missing) else float(cell.cost_usd)
            success[at] += cell.outcome == "success"
    weights = cluster_weights(len(column), resamples=_RESAMPLES, seed=plan.seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (cost @ weights.T) / (success @ weights.T)
        savings = np.sort(1 - ratios / ratios[0], axis=1)
    low, high = math.floor(_TAIL * (_RESAMPLES - 1)), math.ceil((1 - _TAIL) * (_RESAMPLES - 1))
    ends: dict[VariantId, tuple[Number, Number]] = {}
    for row, variant in enumerate(by_variant):
        if row == 0 or len(column) < 2 or not success[0].any() or not np.isfinite(savings[row]).all():
            why = Missing("it is the incumbent" if row == 0 else "too few clusters or successes, or an unknown cost")
            ends[variant] = why, why
        else:
            ends[variant] = _share(savings[row, low]), _share(savings[row, high])
    return ends


def _share(value: float) -> Decimal:
    # Six decimals hide the last bits in which two machines' matrix products may differ.
    return Decimal(format(value + 0.0, ".6f"))
