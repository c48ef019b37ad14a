"""How far two raters agree on ordered categories beyond what chance would give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pointsman.statistics.batches import Interval
from pointsman.statistics.student import t_reach


def weighted_kappa(
    pairs: Sequence[tuple[int, int]], *, categories: int, independent: int | None = None, confidence: float = 0.95
) -> Interval | None:
    """Cohen's kappa with quadratic weights over pairs of categories 0 .. `categories` - 1, and its interval.

    1 = they always agree, 0 = as by chance. None when there is nothing to agree on: no pair, or all in one category.
    `independent`: of how many things that do not hang together the pairs are; of as many as there are pairs when
    nothing is said. None for fewer than two.

    Sources: Cohen (1968) for kappa; Fleiss, Cohen and Everitt (1969) for its large-sample standard error, formula 9,
    here with Student's t. That error is 0 where all agree or one rater knows a single category. But g things without
    an exception may, with a chance of 2.5 %, be those of a world in which a share of 1 - 0.025^(1/g) are exceptions
    (Clopper and Pearson 1934), and exceptions that are as by chance move kappa by that share: the interval reaches as
    far at least.
    """
    things = len(pairs) if independent is None else independent
    if things < 2:
        return None
    counts = np.zeros((categories, categories))
    for one, other in pairs:
        counts[one, other] += 1
    total = len(pairs)
    share = counts / total
    steps = np.arange(categories)
    weights = 1 - ((steps[:, None] - steps[None, :]) / (categories - 1)) ** 2
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    observed = float((weights * share).sum())
    by_chance = float((weights * np.outer(rows, columns)).sum())
    if by_chance >= 1 - 1e-12:
        return None
    kappa = (observed - by_chance) / (1 - by_chance)
    of_rows, of_columns = weights @ columns, rows @ weights
    inner = weights - (of_rows[:, None] + of_columns[None, :]) * (1 - kappa)
    variance = float((share * inner**2).sum()) - (kappa - by_chance * (1 - kappa)) ** 2
    error = np.sqrt(max(0.0, variance) / things) / (1 - by_chance)
    unseen = 1 - ((1 - confidence) / 2) ** (1 / things)
    half = max(t_reach(things - 1, confidence=confidence) * float(error), unseen)
    return Interval(kappa, max(-1.0, kappa - half), min(1.0, kappa + half))
