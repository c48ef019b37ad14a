"""What was found for each variant: success rate, quality, cost per success with an interval for display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from pointsman.decision.cells import cells
from pointsman.decision.plan import VerdictPlan
from pointsman.decision.procedure import cost_per_success
from pointsman.ids import VariantId
from pointsman.model import Measurement
from pointsman.statistics import ratio_intervals


@dataclass(frozen=True, slots=True)
class Estimate:
    """`success_rate` 0..1; `quality` 0..100, failed cells counting 0; `usd_per_success` = sum(cost) / sum(success).

    The interval is a cluster bootstrap at 95 %, for display only. `why` says why a cost is None; an upper end of None
    beside a known cost is unbounded.
    """

    variant: VariantId
    success_rate: float
    quality: float | None
    usd_per_success: float | None
    usd_low: float | None
    usd_high: float | None
    why: str


def estimates(plan: VerdictPlan, data: Sequence[Measurement]) -> tuple[Estimate, ...]:
    """One for each planned variant, of data without `faults`."""
    measured = cells(plan, data)
    totals = measured.totals
    inputs = float(totals.inputs.sum())
    unjudged = frozenset(measured.unjudged)
    without_quality = {cell.variant for cell in data if cell.dispatch_id in unjudged}
    prices = cost_per_success(totals).tolist()
    intervals = ratio_intervals(totals.cost, totals.success, seed=plan.seed).tolist()
    found = []
    for at, variant in enumerate(plan.variants):
        price, (low, high) = prices[at], intervals[at]
        why = ""
        if not isfinite(price):
            why = f"UNPRICED: {measured.unpriced[variant]}" if variant in measured.unpriced else "no cell succeeded"
        found.append(
            Estimate(
                variant=variant,
                success_rate=float(totals.success[at].sum()) / inputs,
                quality=None if variant in without_quality else float(totals.quality[at].sum()) / inputs,
                usd_per_success=_finite(price),
                usd_low=_finite(low) if isfinite(price) else None,
                usd_high=_finite(high) if isfinite(price) else None,
                why=why,
            )
        )
    return tuple(found)


def _finite(amount: float) -> float | None:
    return amount if isfinite(amount) else None
