"""Binomial bounds: how far a simulated rate may stray from the true one by chance alone."""

from __future__ import annotations

from math import exp, lgamma, log


def _log_probability(successes: int, trials: int, rate: float) -> float:
    ways = lgamma(trials + 1) - lgamma(successes + 1) - lgamma(trials - successes + 1)
    return ways + successes * log(rate) + (trials - successes) * log(1 - rate)


def most_by_chance(trials: int, rate: float, *, confidence: float = 0.99) -> int:
    """The fewest k with P(X <= k) >= confidence for X binomial(trials, rate), 0 < rate < 1."""
    total = 0.0
    for successes in range(trials):
        total += exp(_log_probability(successes, trials, rate))
        if total >= confidence:
            return successes
    return trials


def fewest_by_chance(trials: int, rate: float, *, confidence: float = 0.99) -> int:
    """The most k with P(X >= k) >= confidence for X binomial(trials, rate), 0 < rate < 1."""
    return trials - most_by_chance(trials, 1 - rate, confidence=confidence)
