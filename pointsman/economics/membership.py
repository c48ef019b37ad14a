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

    A cell without an output has quality 0, as in the verdict. A variant with a cost or a quality that is not known is
    on no frontier and beats nobody. `qualities` are by dispatch id.
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
    on = np.zeros(prices.shape, dtype=bool)
    for resample in range(prices.shape[1]):
        order = np.lexsort((-scores[:, resample], prices[:, resample]))
        best_price, best_score = np.inf, -np.inf
        for at in order:
            price, score = prices[at, resample], scores[at, resample]
            if np.isfinite(price) and (score > best_score or (price, score) == (best_price, best_score)):
                on[at, resample] = True
                best_price, best_score = price, score
    shares: Floats = on.mean(axis=1)
    return shares
