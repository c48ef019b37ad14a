"""Tests that may be looked at after every cluster: always-valid p values of sums whose signs are fair under the null.

The same null as label swaps: in each cluster the contribution z is as likely as -z. Then for every L the product of
exp(L z) / cosh(L z) over the clusters is a martingale that starts at 1, whatever the sizes of the z are, and so is the
mean M of several such products. (It improves on exp(L z - L^2 z^2 / 2) of de la Peña, Annals of Probability 27, 1999:
Ramdas, Ruf, Larsson and Koolen, "Admissible anytime-valid sequential inference must rely on nonnegative martingales",
2020, on symmetric distributions.) By Ville's inequality M ever reaches 1/alpha with a chance of at most alpha, so
1 / (largest M so far) is a p value at every look, however the looks are chosen. The margins at which M stays below
1/alpha form a confidence sequence: it holds the true one at all looks together with confidence 1 - alpha.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pointsman.statistics.label_swaps import Floats

_STAKES = (0.125, 0.25, 0.5, 1.0, 2.0)
"""Values of L x the size of a contribution: small ones find small effects after many clusters, large ones large effects
early."""
_FIRST = 5
"""Contributions whose sizes say how large the others may be. Signs are fair given all sizes, so this costs nothing, as
long as nothing is concluded before they are known."""
_HALVINGS = 40


def always_valid_p_values(contributions: Floats) -> Floats:
    """One-sided p values that sums are above 0, valid at every look: `[..., cluster]`, in the order taken, to `[...]`.

    The evidence is kept: a p value never rises from one look to the next. It is 1 until five contributions are not 0.
    """
    there = contributions != 0.0
    first = there & (np.cumsum(there, axis=-1) <= _FIRST)
    squares = np.sum(contributions**2, axis=-1, where=first, keepdims=True)
    size = np.sqrt(squares / np.maximum(first.sum(axis=-1, keepdims=True), 1))
    units = np.divide(contributions, size, out=np.zeros_like(contributions), where=size > 0)
    evidence = np.full(units.shape, -np.inf)
    for stake in _STAKES:
        bet = stake * units
        # log cosh(x) = |x| + log(1 + exp(-2 |x|)) - log 2
        log_cosh = np.abs(bet) + np.log1p(np.exp(-2 * np.abs(bet))) - np.log(2)
        np.logaddexp(evidence, np.cumsum(bet - log_cosh, axis=-1), out=evidence)
    largest = np.maximum(evidence.max(axis=-1) - np.log(len(_STAKES)), 0.0)
    p: Floats = np.where(there.sum(axis=-1) >= _FIRST, np.exp(-largest), 1.0)
    return p


def smallest_sequential_p(clusters: int) -> float:
    """The smallest p value that so many clusters can give, whatever they hold.

    A product grows by the factor 2 at most with each contribution. Of the first five, whose mean square is 1, the sum
    of L z - log cosh(L z) is largest when all are 1, because that function is concave.
    """
    if clusters < _FIRST:
        return 1.0
    stakes = np.asarray(_STAKES)
    first = float(np.mean(np.exp(_FIRST * (stakes - np.log(np.cosh(stakes))))))
    return 2.0 ** (_FIRST - clusters) / first


def sequential_clusters_needed(alpha: float) -> int:
    """The fewest clusters with which an always-valid p value can reach `alpha` at all."""
    clusters = _FIRST
    while smallest_sequential_p(clusters) > alpha:
        clusters += 1
    return clusters


def confidence_bound(
    contributions_at: Callable[[float], Floats], low: float, high: float, *, alpha: float
) -> float | None:
    """The largest margin from `low` to `high` that the contributions `[cluster]` at it exceed at every look together.

    The evidence must fall as the margin grows. None when not even `low` is exceeded.
    """

    def shown(margin: float) -> bool:
        return bool(always_valid_p_values(contributions_at(margin)) <= alpha)

    if not shown(low):
        return None
    if shown(high):
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if shown(middle) else (low, middle)
    return low


def holm(p_values: Floats) -> Floats:
    """Adjust p values for all challengers together: `[..., condition, challenger]`, each a test of its own challenger.

    A challenger is accepted when all its conditions are, so the family holds its weakest one. Source: Holm (1979); no
    matter how the p values hang together, and valid at every look when they are.
    """
    weakest = p_values.max(axis=-2)
    order = np.argsort(weakest, axis=-1, kind="stable")
    times = np.arange(order.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(weakest, order, axis=-1) * times, axis=-1)
    factor = np.empty(weakest.shape)
    least = np.empty_like(weakest)
    np.put_along_axis(factor, order, np.broadcast_to(times, order.shape).astype(np.float64), axis=-1)
    np.put_along_axis(least, order, stepped, axis=-1)
    adjusted = p_values * factor[..., None, :]
    adjusted = np.where(p_values == weakest[..., None, :], np.maximum(adjusted, least[..., None, :]), adjusted)
    return np.minimum(adjusted, 1.0)
