"""A mean of what people would say, from a few things that people rated and many that only a judge did."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from pointsman.statistics.batches import Interval
from pointsman.statistics.student import t_reach


def corrected_mean(
    people: Sequence[float], judge: Sequence[float], elsewhere: Sequence[float], *, confidence: float = 0.95
) -> Interval | None:
    """The mean that people would give to everything. None for fewer than two things that people rated.

    `people` and `judge` are what both say of the same things, in one order; `elsewhere` is what the judge says of the
    rest. The judge's mean is taken with the weight that makes the error smallest, and its bias, as seen where people
    rated, is taken out. What people rated has to be a random choice.

    Source: Angelopoulos, Duchi and Zrnic, PPI++ (2023), for means: with weight w the estimate is
    mean(people) + w (mean(elsewhere) - mean(judge)), its variance w^2 var(elsewhere) / N + var(people - w judge) / n,
    and w = cov(people, judge) / ((1 + n / N) var(judge)), held within 0 and 1. Student's t for n - 1 degrees of freedom
    in the place of the normal distribution, because n is small here.
    """
    n, rest = len(people), len(elsewhere)
    if n < 2:
        return None
    said, scored = np.asarray(people, dtype=float), np.asarray(judge, dtype=float)
    weight, around = 0.0, 0.0
    if rest:
        other = np.asarray(elsewhere, dtype=float)
        everything = np.concatenate([scored, other])
        spread = float(everything.var(ddof=1))
        if spread > 0:
            together = float(np.cov(said, scored, ddof=1)[0, 1])
            weight = min(1.0, max(0.0, together / ((1 + n / rest) * spread)))
        # What varies elsewhere is taken from everything: `elsewhere` may be a single thing.
        around = weight**2 * spread / rest
        value = float(said.mean()) + weight * (float(other.mean()) - float(scored.mean()))
    else:
        value = float(said.mean())
    error = sqrt(around + float((said - weight * scored).var(ddof=1)) / n)
    half = t_reach(n - 1, confidence=confidence) * error
    return Interval(value, value - half, value + half)
