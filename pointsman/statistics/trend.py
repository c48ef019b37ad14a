"""Whether a series grows: the Mann-Kendall test in its exact form, and how fast by the Theil-Sen slope.

Mann (1945), "Nonparametric tests against trend", Econometrica 13; Sen (1968), JASA 63. Neither asks how the values are
distributed; both ask that they are exchangeable when there is no trend, so give them means over spans, not readings.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import factorial
from statistics import median


def growth_p_value(values: Sequence[float]) -> float:
    """The chance of as many rising pairs, or more, in a series without trend. A tied pair counts as falling."""
    rising = sum(later > sooner for sooner, later in combinations(values, 2))
    ways = [1]
    for length in range(2, len(values) + 1):
        # By how many pairs each number of rising ones is reached when one more value is put at each of its places.
        longer = [0] * (len(ways) + length - 1)
        for pairs, count in enumerate(ways):
            for place in range(length):
                longer[pairs + place] += count
        ways = longer
    return sum(ways[rising:]) / factorial(len(values))


def slope(values: Sequence[float]) -> float:
    """The median growth from one value to the next over all pairs; 0 for fewer than two values."""
    pairs = combinations(enumerate(values), 2)
    return float(median([(later - sooner) / (at - before) for (before, sooner), (at, later) in pairs] or [0.0]))
