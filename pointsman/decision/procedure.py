"""The three gates as arithmetic on arrays: from totals per cluster to adjusted p values. No ids, no money types.

The unit is the input; a cluster contributes the sum over its inputs. For challenger c and incumbent 0, with cost C,
successes S, quality Q and n inputs in cluster g, the contributions whose sum is tested to be above zero are

    success:  S_cg - S_0g + success_margin * n_g
    quality:  Q_cg - Q_0g + quality_margin * n_g
    cost:     ((1-m) C_0g - C_cg) - r ((S_0g - S_cg)),   m = min_saving,
              r = ((1-m) sum C_0 + sum C_c) / (sum S_0 + sum S_c)

The null hypotheses are that the challenger is worse by the margin, or not cheaper by `min_saving`. The sum of the cost
contributions is 2 ((1-m) C_0 S_c - C_c S_0) / (S_0 + S_c) in totals: above zero exactly when the challenger's cost per
success, a ratio of sums, lies below (1-m) times the incumbent's. r is the cost per success of both together under the
null; it does not change when labels are swapped, so that a swap in one cluster turns the sign of that contribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pointsman.statistics import Floats, LabelSwaps, step_down_p_values

SUCCESS, QUALITY, COST = 0, 1, 2
_ROUNDING = 1e-12
"""Contributions this small beside the amounts they are the difference of are rounding, that is, zero."""


@dataclass(frozen=True, slots=True)
class Margins:
    success: float
    quality: float
    min_saving: float


@dataclass(frozen=True, slots=True, eq=False)
class ClusterTotals:
    """Sums over the inputs of each cluster, of means over repeats: `[..., variant, cluster]`, variant 0 = incumbent.

    `inputs[cluster]` counts inputs. A variant whose cost is not known has not-a-number as cost.
    """

    success: Floats
    quality: Floats
    cost: Floats
    inputs: Floats


def contributions(totals: ClusterTotals, margins: Margins) -> Floats:
    """What each cluster says in favour of each challenger at each gate: `[..., gate, challenger, cluster]`.

    A challenger without a known cost, and a pair without any success, get zeros at the cost gate: no evidence.
    """
    kept = 1 - margins.min_saving
    incumbent_cost, cost = kept * totals.cost[..., :1, :], totals.cost[..., 1:, :]
    incumbent_success, success = totals.success[..., :1, :], totals.success[..., 1:, :]
    successes = (incumbent_success + success).sum(axis=-1, keepdims=True)
    both = np.divide(
        (incumbent_cost + cost).sum(axis=-1, keepdims=True),
        successes,
        out=np.zeros_like(successes),
        where=successes > 0,
    )
    terms = [
        (success, -incumbent_success, margins.success * totals.inputs),
        (totals.quality[..., 1:, :], -totals.quality[..., :1, :], margins.quality * totals.inputs),
        (incumbent_cost, -cost, -both * (incumbent_success - success)),
    ]
    gates = []
    for parts in terms:
        favour = sum(parts)
        size = sum(np.abs(part) for part in parts)
        gates.append(np.where(np.abs(favour) > _ROUNDING * size, favour, 0.0))
    gates[COST] = np.where(np.isfinite(cost) & (successes > 0), gates[COST], 0.0)
    return np.stack(np.broadcast_arrays(*gates), axis=-3)


def gate_p_values(totals: ClusterTotals, margins: Margins, swaps: LabelSwaps) -> Floats:
    """p values `[..., gate, challenger]`, adjusted for all challengers together (see `step_down_p_values`)."""
    return step_down_p_values(contributions(totals, margins), swaps)


def cost_per_success(totals: ClusterTotals) -> Floats:
    """sum(cost) / sum(success) `[..., variant]`; infinite without a success, not a number where unpriced."""
    cost, success = totals.cost.sum(axis=-1), totals.success.sum(axis=-1)
    undefined = np.where(np.isnan(cost), np.nan, np.inf)
    price: Floats = np.divide(cost, success, out=undefined, where=success > 0)
    return price


def winners(totals: ClusterTotals, margins: Margins, swaps: LabelSwaps, alpha: float) -> NDArray[np.intp]:
    """The challenger (0 = the first) that passes all gates at the lowest cost per success, or -1: `[...]`."""
    passed = (gate_p_values(totals, margins, swaps) <= alpha).all(axis=-2)
    price = np.where(passed, cost_per_success(totals)[..., 1:], np.inf)
    return np.where(passed.any(axis=-1), price.argmin(axis=-1), -1)
