"""The tested gates as arithmetic on arrays: from totals per cluster to adjusted p values. No ids, no money types.

The unit is the input; a cluster contributes the sum over its inputs. For challenger c and incumbent 0, with cost C,
successes S, quality Q and n inputs in cluster g, the contributions whose sum is tested to be above zero are

    success:  S_cg - S_0g + success_margin * n_g
    quality:  Q_cg - Q_0g + quality_margin * n_g
    cost:     ((1-m) C_0g - C_cg) - r ((S_0g - S_cg)),   m = min_saving,
              r = ((1-m) sum C_0 + sum C_c) / (sum S_0 + sum S_c)

and those of further metrics, of which more is better, as those of quality.

The null hypotheses are that the challenger is worse by the margin, or not cheaper by `min_saving`. The sum of the cost
contributions is 2 ((1-m) C_0 S_c - C_c S_0) / (S_0 + S_c) in totals: above zero exactly when the challenger's cost per
success, a ratio of sums, lies below (1-m) times the incumbent's. r is the cost per success of both together under the
null; it does not change when labels are swapped, so that a swap in one cluster turns the sign of that contribution.

Equivalence is two one-sided tests for each metric (Schuirmann 1987): not worse by the margin and not better by it; of
cost, that neither of the two is cheaper than the other by `min_saving`.

A plan that may be looked at while it is measured uses always-valid p values (see `statistics.sequential`). There r is
that of the clusters so far, which no swap changes either, so that later clusters do not change what earlier ones said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pointsman.statistics import (
    Floats,
    LabelSwaps,
    always_valid_p_values,
    holm,
    p_values,
    step_down_p_values,
    unit_contributions,
)

SUCCESS, QUALITY, COST = 0, 1, 2
_ROUNDING = 1e-12
"""Contributions this small beside the amounts they are the difference of are rounding, that is, zero."""


@dataclass(frozen=True, slots=True)
class Margins:
    success: float
    quality: float
    min_saving: float
    further: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ClusterTotals:
    """Sums over the inputs of each cluster, of means over repeats: `[..., variant, cluster]`, variant 0 = incumbent.

    `inputs[cluster]` counts inputs. A variant whose cost is not known has not-a-number as cost. `further` are more
    metrics, in the order of `Margins.further`.
    """

    success: Floats
    quality: Floats
    cost: Floats
    inputs: Floats
    further: tuple[Floats, ...] = ()

    def of(self, variants: slice | list[int]) -> ClusterTotals:
        """The same of some of the variants."""
        success, quality, cost = (amount[..., variants, :] for amount in (self.success, self.quality, self.cost))
        return ClusterTotals(
            success, quality, cost, self.inputs, tuple(amount[..., variants, :] for amount in self.further)
        )


def contributions(totals: ClusterTotals, margins: Margins, *, so_far: bool = False) -> Floats:
    """What each cluster says in favour of each challenger at each gate: `[..., gate, challenger, cluster]`.

    A challenger without a known cost, and a pair without any success, get zeros at the cost gate: no evidence. With
    `so_far`, no cluster's contribution depends on clusters after it.
    """
    return _in_favour(totals.of(slice(1, None)), totals.of(slice(1)), margins, so_far)


def equivalence_contributions(totals: ClusterTotals, margins: Margins, *, so_far: bool = False) -> Floats:
    """What each cluster says for each challenger being equivalent: `[..., condition, challenger, cluster]`."""
    challengers, incumbent = totals.of(slice(1, None)), totals.of(slice(1))
    pairs = ((challengers, incumbent), (incumbent, challengers))
    both = [_in_favour(ours, theirs, margins, so_far) for ours, theirs in pairs]
    for favour in both:
        favour[..., COST, :, :] *= -1
    return np.concatenate(both, axis=-3)


def _in_favour(ours: ClusterTotals, theirs: ClusterTotals, margins: Margins, so_far: bool) -> Floats:
    """What each cluster says in favour of `ours` against `theirs`; one of the two has a single variant."""

    def summed(amount: Floats) -> Floats:
        sums: Floats = amount.cumsum(axis=-1) if so_far else amount.sum(axis=-1, keepdims=True)
        return sums

    kept = 1 - margins.min_saving
    their_cost, cost = kept * theirs.cost, ours.cost
    successes = summed(theirs.success + ours.success)
    both = np.divide(summed(their_cost + cost), successes, out=np.zeros_like(successes), where=successes > 0)
    terms = [
        (ours.success, -theirs.success, margins.success * ours.inputs),
        (ours.quality, -theirs.quality, margins.quality * ours.inputs),
        (their_cost, -cost, -both * (theirs.success - ours.success)),
        *(
            (more, -other, margin * ours.inputs)
            for more, other, margin in zip(ours.further, theirs.further, margins.further, strict=True)
        ),
    ]
    gates = []
    for parts in terms:
        favour = sum(parts)
        size = sum(np.abs(part) for part in parts)
        gates.append(np.where(np.abs(favour) > _ROUNDING * size, favour, 0.0))
    gates[COST] = np.where(np.isfinite(cost + their_cost) & (successes > 0), gates[COST], 0.0)
    return np.stack(np.broadcast_arrays(*gates), axis=-3)


def gate_p_values(totals: ClusterTotals, margins: Margins, swaps: LabelSwaps) -> Floats:
    """p values `[..., gate, challenger]`, adjusted for all challengers together (see `step_down_p_values`)."""
    return step_down_p_values(contributions(totals, margins), swaps)


def sequential_p_values(totals: ClusterTotals, margins: Margins) -> Floats:
    """p values `[..., gate, challenger]` for all challengers together, valid at every look, clusters in their order."""
    return holm(always_valid_p_values(contributions(totals, margins, so_far=True)))


def sequentially_equivalent(totals: ClusterTotals, margins: Margins, alpha: float) -> NDArray[np.bool_]:
    """As `equivalent`, valid at every look."""
    p = always_valid_p_values(equivalence_contributions(totals, margins, so_far=True))
    return np.asarray(np.all(p <= alpha, axis=(-2, -1)))


def equivalent(totals: ClusterTotals, margins: Margins, swaps: LabelSwaps, alpha: float) -> NDArray[np.bool_]:
    """Whether all challengers are shown to be equivalent to the incumbent: `[...]`.

    Every condition of every challenger must be shown, so that each may be tested at `alpha` by itself
    (intersection-union).
    """
    conditions = equivalence_contributions(totals, margins)
    strength = unit_contributions(conditions).sum(axis=-1)
    # Random signs bring such a sum to t with a chance of at most exp(-t^2 / 2) (Hoeffding 1963): no need to draw those.
    shown = strength >= np.sqrt(2 * np.log(1 / alpha))
    unclear = ~shown & (strength > 0).all(axis=(-2, -1), keepdims=True)
    if unclear.any():
        shown[unclear] = p_values(conditions[unclear], swaps) <= alpha
    found: NDArray[np.bool_] = shown.all(axis=(-2, -1))
    return found


def cost_per_success(totals: ClusterTotals) -> Floats:
    """sum(cost) / sum(success) `[..., variant]`; infinite without a success, not a number where unpriced."""
    cost, success = totals.cost.sum(axis=-1), totals.success.sum(axis=-1)
    undefined = np.where(np.isnan(cost), np.nan, np.inf)
    price: Floats = np.divide(cost, success, out=undefined, where=success > 0)
    return price


def winners(totals: ClusterTotals, margins: Margins, swaps: LabelSwaps, alpha: float) -> NDArray[np.intp]:
    """The challenger (0 = the first) that passes all gates at the lowest cost per success, or -1: `[...]`."""
    return cheapest(totals, np.all(gate_p_values(totals, margins, swaps) <= alpha, axis=-2))


def sequential_winners(totals: ClusterTotals, margins: Margins, alpha: float) -> NDArray[np.intp]:
    """As `winners`, at the last look at a sequential comparison."""
    return cheapest(totals, np.all(sequential_p_values(totals, margins) <= alpha, axis=-2))


def cheapest(totals: ClusterTotals, passed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Of the challengers that passed the one with the lowest cost per success, or -1: `[...]`."""
    price = np.where(passed, cost_per_success(totals)[..., 1:], np.inf)
    return np.where(passed.any(axis=-1), price.argmin(axis=-1), -1)
