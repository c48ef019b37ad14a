"""A mean of what people would say, from a few things that people rated and many that only a judge did."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from pointsman.statistics.batches import Interval
from pointsman.statistics.student import t_reach


def corrected_mean(
    people: Sequence[float],
    judge: Sequence[float],
    elsewhere: Sequence[float],
    *,
    sources: Sequence[str] | None = None,
    confidence: float = 0.95,
) -> Interval | None:
    """The mean that people would give to everything. None for fewer than two independent things that people rated.

    `people` and `judge` are what both say of the same things, in one order; `elsewhere` is what the judge says of the
    rest. The judge's mean is taken with the weight that makes the error smallest, and its bias, as seen where people
    rated, is taken out. What people rated has to be a random choice. `sources` names, of the rated things and then of
    the rest, what each stems from: things of one source hang together and count as one. Each is one of its own when
    nothing is said.

    Source: Angelopoulos, Duchi and Zrnic, PPI++ (2023), for means: with weight w the estimate is
    mean(people) + w (mean(elsewhere) - mean(judge)), its variance w^2 var(elsewhere) / N + var(people - w judge) / n,
    and w = cov(people, judge) / ((1 + n / N) var(judge)), held within 0 and 1. Here the variance is the sum, over the
    sources, of the squared sum of what their things put in (Liang and Zeger 1986), times g / (g - 1), with Student's t
    for g - 1 degrees of freedom in the place of the normal distribution, because the g sources of which people rated
    something are few.
    """
    n, rest = len(people), len(elsewhere)
    names = [str(at) for at in range(n + rest)] if sources is None else list(sources)
    rated = len(set(names[:n]))
    if rated < 2:
        return None
    said, scored, other = (np.asarray(values, dtype=float) for values in (people, judge, elsewhere))
    weight, value = 0.0, float(said.mean())
    if rest:
        spread = float(np.concatenate([scored, other]).var(ddof=1))
        if spread > 0:
            together = float(np.cov(said, scored, ddof=1)[0, 1])
            weight = min(1.0, max(0.0, together / ((1 + n / rest) * spread)))
        value += weight * (float(other.mean()) - float(scored.mean()))
        # A single thing does not differ from its own mean, but from that of everything.
        middle = float(other.mean()) if rest > 1 else float(np.concatenate([scored, other]).mean())
        other = weight * (other - middle) / rest
    error = said - weight * scored
    parts = np.concatenate([(error - error.mean()) / n, other])
    column = {name: at for at, name in enumerate(dict.fromkeys(names))}
    sums = np.bincount([column[name] for name in names], weights=parts)
    half = t_reach(rated - 1, confidence=confidence) * sqrt(float(sums @ sums) * rated / (rated - 1))
    return Interval(value, value - half, value + half)
