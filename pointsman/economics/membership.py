"""How sure it is that a variant stands on the frontier of cost and quality, over inputs as those that were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pointsman.economics.cells import PricedCell
from pointsman.ids import VariantId
from pointsman.model import Missing, Number
from pointsman.statistics import Floats, cluster_weights

_RESAMPLES = 1_000


def frontier_membership(
    cells: Sequence[PricedCell], qualities: Mapping[str, Number], *, seed: int
) -> dict[VariantId, float | Missing]:
    """The share of resamples of the clusters in which no other variant is as cheap and as good, and better in one.

    A cell without an output has quality 0, as in the verdict. A variant with a cost or a quality that is not known, or
    with a cell that our own side lost, is on no frontier and beats nobody. Of a single cluster nothing can be said: it
    is drawn each time. `qualities` are by dispatch id.
    """
    variants = sorted({cell.variant for cell in cells})
    clusters = sorted({cell.cluster for cell in cells})
    row = {variant: at for at, variant in enumerate(variants)}
    column = {cluster: at for at, cluster in enumerate(clusters)}
    cost, success, quality, counted = np.zeros((4, len(variants), len(clusters)))
    why: dict[VariantId, str] = {}
    for cell in cells:
        at = row[cell.variant], column[cell.cluster]
        counted[at] += 1
        if cell.outcome == "infrastructure":
            why.setdefault(cell.variant, "a cell of it was lost by our own infrastructure")
        spent = cell.cost
        if isinstance(spent, Missing):
            why.setdefault(cell.variant, spent.reason)
        else:
            cost[at] += float(spent)
        if cell.outcome != "success":
            continue
        success[at] += 1
        judged = qualities.get(cell.dispatch_id, Missing("not judged"))
        if isinstance(judged, Missing):
            why.setdefault(cell.variant, judged.reason)
        else:
            quality[at] += float(judged)
    if len(clusters) == 1:
        why = dict.fromkeys(variants, "inputs of a single source show no spread") | why
    known = [at for variant, at in row.items() if variant not in why]
    shares = _shares(cost[known], success[known], quality[known], counted[known], seed) if known else np.zeros(0)
    found = {variants[at]: float(share) for at, share in zip(known, shares, strict=True)}
    return {variant: Missing(why[variant]) if variant in why else found[variant] for variant in variants}


def _shares(cost: Floats, success: Floats, quality: Floats, counted: Floats, seed: int) -> Floats:
    weights = cluster_weights(cost.shape[1], resamples=_RESAMPLES, seed=seed).T
    successes = success @ weights
    with np.errstate(divide="ignore", invalid="ignore"):
        prices = np.where(successes > 0, cost @ weights / successes, np.inf)
        scores = np.nan_to_num(quality @ weights / (counted @ weights))
    order = np.lexsort((-scores, prices), axis=0)  # by price, and of equal ones the better first
    prices, scores = np.take_along_axis(prices, order, axis=0), np.take_along_axis(scores, order, axis=0)
    best_before = np.vstack([np.full(scores.shape[1], -np.inf), np.maximum.accumulate(scores, axis=0)[:-1]])
    on = np.isfinite(prices) & (scores > best_before)
    for at in range(1, len(on)):  # equal ones stand or fall together
        on[at] |= on[at - 1] & (prices[at] == prices[at - 1]) & (scores[at] == scores[at - 1])
    back = np.empty_like(on)
    np.put_along_axis(back, order, on, axis=0)
    shares: Floats = back.mean(axis=1)
    return shares
