"""Intervals for what differs between two series that were taken in time order, whose neighbours resemble each other.

Each series is cut into the same few batches, in order, and described by a figure per batch. Batches are paired by their
place, so that what a schedule does to both (a ramp, a peak) cancels, and the differences of the pairs get a Student
interval: the method of non-overlapping batch means (Conway 1963; Schmeiser 1982 recommends 10 to 30 batches), for
quantiles known as sectioning (Asmussen and Glynn 2007, III.5). Where neighbouring differences still resemble each
other, there are fewer independent ones: K (1 - r) / (1 + r) for a first autocorrelation of r (Bayley and Hammersley
1946), with r corrected by 1/K for its bias, and never below 0; the interval is wider by that. What varies more slowly
than over a twentieth of the run looks like a difference of the runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointsman.statistics.label_swaps import Floats
from pointsman.statistics.student import t_reach

BATCHES = 12
_FEWEST_INDEPENDENT = 3.0


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and between which values it lies with the confidence asked for."""

    value: float
    low: float
    high: float


def paired_interval(differences: Floats, *, confidence: float) -> Interval:
    """The mean of differences of paired batches, in their order of time; at least four of them."""
    count = differences.size
    mean = float(differences.mean())
    around = differences - mean
    squares = float(around @ around)
    if squares == 0.0:
        return Interval(mean, mean, mean)
    alike = min(0.9, max(0.0, float(around[1:] @ around[:-1]) / squares + 1 / count))
    independent = max(_FEWEST_INDEPENDENT, count * (1 - alike) / (1 + alike))
    error = np.sqrt(squares / (count - 1) / independent)
    half = float(t_reach(count - 1, confidence=confidence) * error)
    return Interval(mean, mean - half, mean + half)
