"""Label swaps: a permutation test of paired clusters, with step-down max-T over several challengers.

In each cluster the labels "incumbent" and "challenger" are swapped or kept; a swap turns the sign of the cluster's
contribution. The statistic is self-normalised, T = sum(z) / sqrt(sum(z^2)): a monotone function of Student's t
(t = T * sqrt((G-1) / (G-T^2)) with G clusters), bounded by sqrt(G) and thus defined for constant contributions too. Its
denominator does not change under a swap, so all swaps of all challengers are one matrix product.

The same swaps are applied to all challengers at once, which keeps the dependence they have by sharing an incumbent.
Source: Westfall and Young, Resampling-Based Multiple Testing (1993), algorithm 4.1 (step-down max-T); studentising as
in Janssen (1997), so that unequal variances do no harm when there are many clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

_TIE = 1e-9
"""Statistics closer than this count as equal, so that the last bits of a matrix product decide nothing."""
_BLOCK = 2_000_000
"""Statistics held in memory at a time: 16 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelSwaps:
    """`signs[swap, cluster]` is -1 where the labels are swapped and 1 where they are kept."""

    signs: Floats
    exact: bool

    @classmethod
    def draw(cls, clusters: int, *, swaps: int, seed: int) -> LabelSwaps:
        """All 2^clusters ways when these are at most `swaps`, else `swaps` random ones from PCG64(seed)."""
        if 2**clusters <= swaps:
            ways = np.arange(2**clusters)
            bits = (ways[:, None] >> np.arange(clusters)[None, :]) & 1
        else:
            bits = np.random.Generator(np.random.PCG64(seed)).integers(0, 2, size=(swaps, clusters), dtype=np.int8)
        return cls(1.0 - 2.0 * bits.astype(np.float64), exact=2**clusters <= swaps)

    @property
    def smallest_p(self) -> float:
        """The smallest p value these swaps can give; random ones count the observed labelling as one more (add-one)."""
        return 1 / (len(self.signs) + (0 if self.exact else 1))

    def p_values(self, at_least_as_large: NDArray[np.int64]) -> Floats:
        """From how many swaps were at least as large as what was observed."""
        extra = 0 if self.exact else 1
        share: Floats = (at_least_as_large + extra) / (len(self.signs) + extra)
        return share


def clusters_needed(alpha: float) -> int:
    """The fewest clusters with which a one-sided label swap can reach `alpha`: 2^-G <= alpha."""
    clusters = 1
    while 2.0**-clusters > alpha:
        clusters += 1
    return clusters


def unit_contributions(contributions: Floats) -> Floats:
    """Each row of the last axis divided by its length; a row of zeros, which is no evidence, stays zero."""
    length = np.sqrt(np.sum(contributions**2, axis=-1, keepdims=True))
    unit: Floats = np.divide(contributions, length, out=np.zeros_like(contributions), where=length > 0)
    return unit


def weakest_conditions(contributions: Floats) -> Floats:
    """Of each challenger's conditions the one with the smallest statistic: `[..., condition, challenger, cluster]` to
    `[..., challenger, cluster]`, as unit contributions.
    """
    return _weakest(unit_contributions(contributions))


def _weakest(units: Floats) -> Floats:
    at = units.sum(axis=-1).argmin(axis=-2)
    chosen: Floats = np.take_along_axis(units, at[..., None, :, None], axis=-3)[..., 0, :, :]
    return chosen


def p_values(contributions: Floats, swaps: LabelSwaps) -> Floats:
    """One-sided p values that the sum of a row is above 0, each row by itself: `[..., cluster]` to `[...]`."""
    *lead, clusters = contributions.shape
    units = unit_contributions(contributions.reshape(-1, clusters))
    block = max(1, _BLOCK // len(swaps.signs))
    counts = [
        ((units[at : at + block] @ swaps.signs.T) >= units[at : at + block].sum(axis=1)[:, None] - _TIE).sum(axis=1)
        for at in range(0, len(units), block)
    ]
    return swaps.p_values(np.concatenate(counts)).reshape(lead)


def step_down_p_values(contributions: Floats, swaps: LabelSwaps) -> Floats:
    """One-sided p values that the sum of a row is above 0, adjusted for all challengers of a family together.

    `contributions[..., condition, challenger, cluster]`, positive in favour of the challenger; leading axes are
    separate families. Returns `[..., condition, challenger]`.

    A challenger is accepted when all its conditions are (intersection-union), so the family has one member for each
    challenger: its weakest condition. Max-T over each condition apart would let more false acceptances through when
    challengers fail at different conditions. Every condition is held against the same maximum, and against itself.
    """
    *_, conditions, challengers, clusters = contributions.shape
    families = unit_contributions(contributions.reshape(-1, conditions, challengers, clusters))
    block = max(1, _BLOCK // (challengers * len(swaps.signs)))
    parts = [_step_down(families[at : at + block], swaps) for at in range(0, len(families), block)]
    p: Floats = np.concatenate(parts).reshape(contributions.shape[:-1])
    return p


def _step_down(units: Floats, swaps: LabelSwaps) -> Floats:
    family = _weakest(units)
    order = np.argsort(family.sum(axis=-1), axis=1, kind="stable")
    units = np.take_along_axis(units, order[:, None, :, None], axis=2)
    family = np.take_along_axis(family, order[:, :, None], axis=1)
    strength = family.sum(axis=-1)
    # A challenger competes with those that look no better than it: the better ones were accepted before it.
    rivals = (strength[:, None, :] <= strength[:, :, None] + _TIE).sum(axis=2) - 1
    largest = family @ swaps.signs.T
    np.maximum.accumulate(largest, axis=1, out=largest)
    largest = np.take_along_axis(largest, rivals[:, :, None], axis=1)
    observed: Floats = units.sum(axis=-1)
    p = np.empty_like(observed)
    for condition in range(units.shape[1]):
        swapped = units[:, condition] @ swaps.signs.T
        np.maximum(swapped, largest, out=swapped)
        p[:, condition] = swaps.p_values((swapped >= observed[:, condition, :, None] - _TIE).sum(axis=-1))
    # No challenger is accepted before a better one: p values do not fall from the best to the worst.
    weakest = observed.argmin(axis=1)[:, None, :]
    stepped = np.maximum.accumulate(np.take_along_axis(p, weakest, axis=1)[:, :, ::-1], axis=2)[:, :, ::-1]
    np.put_along_axis(p, weakest, stepped, axis=1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, np.broadcast_to(order[:, None, :], p.shape), p, axis=2)
    return adjusted


def critical_value(contributions: Floats, swaps: LabelSwaps, alpha: float) -> float:
    """The smallest statistic T that max-T over the challengers of one family calls significant at `alpha`.

    `contributions[challenger, cluster]`. Infinite when even the largest possible statistic would not be significant.
    """
    largest = np.sort((unit_contributions(contributions) @ swaps.signs.T).max(axis=0))[::-1]
    extra = 0 if swaps.exact else 1
    allowed = int(np.floor(alpha * (len(largest) + extra) + _TIE)) - extra
    if allowed < 0 or (swaps.exact and allowed < 1):
        return float("inf")
    # With `allowed` swaps at least as large as T still significant, T lies above the next one.
    return float(largest[allowed] + 2 * _TIE) if allowed < len(largest) else float("-inf")
