"""Which rate to try next, and when the limit is known: a search for the highest rate that a variant sustains.

Pure. The rate doubles until one is not sustained. What was completed per second then is close to the limit, because
a saturated target works as fast as it can: the next rates are a little below and a little above that, then the
geometric middle of what is left, until the interval is as narrow as asked. Then each of its ends is judged a second
time by a run of its own, and where the two differ a third time. If one verdict is wrong with probability a, an end that
was confirmed is wrong with probability of at most 3 a^2 (two of at most three).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_BELOW, _ABOVE = 0.97, 1.05
"""Of what a saturated target completes: where the two ends are looked for."""
_SATURATED = 0.97
"""A target that completes less than this share of what it is sent is saturated."""
_GROWTH = 2.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Rates in arrivals per second. `precision`: how far apart the ends of the interval may be, as a share."""

    start: float
    lowest: float
    highest: float
    precision: float
    most_steps: int


@dataclass(frozen=True, slots=True)
class Judged:
    """One run at a constant rate: whether it was sustained, and what was completed per second."""

    per_s: float
    sustained: bool
    completed_per_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit lies between: `low` was sustained, `high` was not. None = there is no such rate within the bounds."""

    low: float | None
    high: float | None
    why: str


def next_rate(bounds: Bounds, steps: Sequence[Judged]) -> float | Limit:
    """The rate of the next run, or what the search came to."""
    low, high = _ends(steps)
    if low is not None and high is None and low >= bounds.highest:
        return Limit(low, None, f"{low:g} per second, the highest rate of the search, is sustained")
    if low is None and high is not None and high <= bounds.lowest:
        return Limit(None, high, f"{high:g} per second, the lowest rate of the search, is not sustained")
    if len(steps) >= bounds.most_steps:
        return Limit(low, high, f"{len(steps)} steps were allowed")
    if low is None or high is None:
        return _rounded(_outwards(bounds, steps, low, high))
    if high <= low * (1 + bounds.precision) * (1 + 1e-9):
        unsure = _unconfirmed(steps, low, high)
        return unsure if unsure is not None else Limit(low, high, f"as narrow as asked after {len(steps)} steps")
    return _rounded(_inwards(bounds, steps, low, high))


def _ends(steps: Sequence[Judged]) -> tuple[float | None, float | None]:
    """The lowest rate that the majority of its runs did not sustain, and the highest sustained one below it."""
    refused = [rate for rate in {step.per_s for step in steps} if _balance(steps, rate) < 0]
    high = min(refused, default=None)
    held = [step.per_s for step in steps if _balance(steps, step.per_s) > 0]
    return max((rate for rate in held if high is None or rate < high), default=None), high


def _balance(steps: Sequence[Judged], rate: float) -> int:
    """Runs that sustained the rate less those that did not; undecided is as the last run said."""
    votes = [1 if step.sustained else -1 for step in steps if step.per_s == rate]
    return sum(votes) or votes[-1]


def _unconfirmed(steps: Sequence[Judged], low: float, high: float) -> float | None:
    """An end that no two runs agree on."""
    for rate in (high, low):
        votes = [step.sustained for step in steps if step.per_s == rate]
        if max(votes.count(True), votes.count(False)) < 2:
            return rate
    return None


def _outwards(bounds: Bounds, steps: Sequence[Judged], low: float | None, high: float | None) -> float:
    if low is not None:
        return min(low * _GROWTH, bounds.highest)
    if high is None:
        return bounds.start
    completed = _saturated_at(steps, high)
    aim = high / _GROWTH if completed is None else min(completed * _BELOW, high / (1 + bounds.precision))
    return max(aim, bounds.lowest)


def _inwards(bounds: Bounds, steps: Sequence[Judged], low: float, high: float) -> float:
    margin = 1 + bounds.precision / 4
    completed = _saturated_at(steps, high)
    aims = [] if completed is None else [completed * _BELOW, completed * _ABOVE]
    return next((aim for aim in aims if low * margin < aim < high / margin), math.sqrt(low * high))


def _saturated_at(steps: Sequence[Judged], rate: float) -> float | None:
    """What was completed per second when the target was sent more than it could take, as close to `rate` as known."""
    found = [step for step in steps if not step.sustained and 0 < step.completed_per_s < _SATURATED * step.per_s]
    return min(found, key=lambda step: (abs(step.per_s - rate), step.per_s)).completed_per_s if found else None


def _rounded(rate: float) -> float:
    """As scenarios keep rates."""
    return max(round(rate, 6), 1e-6)
