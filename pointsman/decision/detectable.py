"""The minimum detectable saving: what this comparison could have found, given the spread it met."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from pointsman.decision.cells import cells, faults
from pointsman.decision.plan import VerdictPlan
from pointsman.decision.procedure import QUALITY, SUCCESS, ClusterTotals, contributions, cost_per_success
from pointsman.model import Measurement, Missing, Number
from pointsman.statistics import (
    Floats,
    LabelSwaps,
    cluster_weights,
    clusters_needed,
    critical_value,
    weakest_conditions,
)

_POWER = 0.8
_SWAPS = 2_000
_SWAPS_TIMES_ALPHA = 10
"""A smaller alpha takes more of them."""
_RESAMPLES = 1_000
_HALVINGS = 16
_LARGEST = 0.999


def minimum_detectable_saving(plan: VerdictPlan, data: Sequence[Measurement]) -> Number:
    """The smallest true saving (share of the incumbent's cost per success) that the procedure finds with 80 % power.

    For each priced challenger its spread is kept, its true differences in success rate and quality are set to zero, and
    its costs are scaled until its true saving is d. Clusters are drawn anew (bootstrap, 1,000 times) and each gate's
    statistic T = sum(z) / sqrt(sum(z^2)) is held against the max-T critical value of the observed data; the smallest d
    at which all three gates pass in 80 % of the draws is searched by halving. Returned is the upper median over the
    challengers. An approximation that is a little hopeful with few clusters. `Missing` says why there is none: also for
    a sequential plan, whose p values hold for all looks and find less.
    """
    if plan.sequential:
        return Missing("sequential: `pointsman hud plan --sequential --saving 0.2` says how many inputs a saving takes")
    wrong = faults(plan, data)
    if wrong:
        return Missing(f"the comparison is invalid: {wrong[0]}")
    measured = cells(plan, data)
    if measured.unjudged:
        return Missing("successful cells were not judged")
    if len(plan.clusters) < clusters_needed(plan.alpha):
        has = f"{len(plan.clusters)} {'cluster' if len(plan.clusters) == 1 else 'clusters'}"
        return Missing(f"{has} can never reach alpha = {plan.alpha:g}")
    success = measured.totals.success.sum(axis=1)
    kept = [
        at
        for at, variant in enumerate(plan.variants)
        if variant not in measured.unpriced and success[at] > 0 and measured.totals.cost[at].sum() > 0
    ]
    if 0 not in kept or len(kept) == 1:
        return Missing("incumbent or challengers have no cost per success")
    found = np.sort(_savings(plan, measured.totals, kept[1:]))
    median = float(found[len(found) // 2])
    if not np.isfinite(median):
        return Missing("the spread between inputs is so large that no saving would be found with 80 % power")
    return Decimal(f"{median:.4f}")


def _savings(plan: VerdictPlan, totals: ClusterTotals, challengers: list[int]) -> Floats:
    """Per challenger the smallest saving with enough power; infinite where there is none."""
    clusters = len(plan.clusters)
    drawn = min(plan.swaps, max(_SWAPS, math.ceil(_SWAPS_TIMES_ALPHA / plan.alpha)))
    swaps = LabelSwaps.draw(clusters, swaps=drawn, seed=plan.seed)
    favour = contributions(totals, plan.margins)
    critical = critical_value(weakest_conditions(favour), swaps, plan.alpha)
    weights = cluster_weights(clusters, resamples=_RESAMPLES, seed=plan.seed, draws=clusters - 1)
    rows = [at - 1 for at in challengers]
    passed = np.ones((_RESAMPLES, len(rows)), dtype=bool)
    for gate, margin in ((SUCCESS, plan.success_margin), (QUALITY, plan.quality_margin)):
        z = favour[gate, rows]
        difference = z.sum(axis=1, keepdims=True) / totals.inputs.sum() - margin
        z = z - difference * totals.inputs
        passed &= _statistic(weights @ z.T, weights @ (z**2).T) >= critical
    cost = _ScaledCost.of(totals, challengers, weights, 1 - plan.min_saving)
    low, high = np.full(len(rows), plan.min_saving), np.full(len(rows), _LARGEST)
    enough = (passed & (cost.statistic(high) >= critical)).mean(axis=0) >= _POWER
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = (passed & (cost.statistic(middle) >= critical)).mean(axis=0) >= _POWER
        low, high = np.where(found, low, middle), np.where(found, middle, high)
    return np.where(enough, high, np.inf)


def _statistic(total: Floats, squares: Floats) -> Floats:
    return np.divide(total, np.sqrt(np.maximum(squares, 0.0)), out=np.zeros_like(total), where=squares > 0)


@dataclass(frozen=True, slots=True, eq=False)
class _ScaledCost:
    """The cost gate's statistic when each challenger's costs are scaled to a given saving: `[resample, challenger]`.

    The contributions are linear in the scale f: z = C_0 - f C_c - r (S_0 - S_c) with r = (sum C_0 + f sum C_c) /
    (sum S_0 + sum S_c), all from resampled sums of the amounts and of their products.
    """

    ratio: Floats
    sums: dict[str, Floats]

    @classmethod
    def of(cls, totals: ClusterTotals, challengers: list[int], weights: Floats, kept: float) -> _ScaledCost:
        ours, own = kept * totals.cost[:1], totals.cost[challengers]
        ahead = totals.success[:1] - totals.success[challengers]
        both = totals.success[:1] + totals.success[challengers]
        amounts = {
            "ours": np.broadcast_to(ours, own.shape),
            "own": own,
            "ahead": ahead,
            "both": both,
            "ours_ours": np.broadcast_to(ours * ours, own.shape),
            "own_own": own * own,
            "ahead_ahead": ahead * ahead,
            "ours_own": ours * own,
            "ours_ahead": ours * ahead,
            "own_ahead": own * ahead,
        }
        price = cost_per_success(totals)
        return cls(price[0] / price[challengers], {name: weights @ amount.T for name, amount in amounts.items()})

    def statistic(self, saving: Floats) -> Floats:
        f, s = (1 - saving) * self.ratio, self.sums
        total = s["ours"] + f * s["own"]
        r = np.divide(total, s["both"], out=np.zeros_like(total), where=s["both"] > 0)
        difference = s["ours"] - f * s["own"] - r * s["ahead"]
        squares = s["ours_ours"] + f * f * s["own_own"] + r * r * s["ahead_ahead"]
        squares = squares + 2 * (f * r * s["own_ahead"] - f * s["ours_own"] - r * s["ours_ahead"])
        return _statistic(difference, squares)
