"""Runs whose jobs resemble their neighbours and whose times have a heavy tail, as those of a real backend do."""

from __future__ import annotations

import numpy as np
import polars as pl

from pointsman.statistics import Floats


def drawn_ledger(
    rng: np.random.Generator, planned: int, *, memory: float, slower: float = 1.0, failing: float = 0.02
) -> pl.DataFrame:
    """Dispatches in order: lognormal times, 3 % of them with a Pareto tail (shape 1.6), failures; all of them are
    scaled by a state of the backend that forgets itself within `memory` dispatches (first-order autoregression)."""
    state = np.exp(0.3 * _autoregression(rng, planned, float(np.exp(-1 / memory))))
    times = np.exp(6 + 0.4 * rng.normal(size=planned))
    tail = rng.random(planned) < 0.03
    times[tail] *= 2 * (1 + rng.pareto(1.6, int(tail.sum())))
    failed = rng.random(planned) < failing * state
    return pl.DataFrame(
        {
            "seq": np.arange(planned),
            "state": np.where(failed, "failed", "completed"),
            "total_ms": np.where(failed, np.nan, times * state * slower),
        }
    ).with_columns(pl.col("total_ms").fill_nan(None))


def _autoregression(rng: np.random.Generator, count: int, rho: float) -> Floats:
    """Values of variance 1 of which each is `rho` times the one before and something new."""
    new = rng.normal(size=count) * np.sqrt(1 - rho * rho)
    new[0] = rng.normal()
    found = np.empty(count)
    value = 0.0
    for index, step in enumerate(new.tolist()):
        value = step if index == 0 else rho * value + step
        found[index] = value
    return found
