"""Intervals for display: a cluster bootstrap for ratios and Wilson's for proportions. No verdict rests on them."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from pointsman.statistics.label_swaps import Floats


def wilson_interval(successes: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of a proportion. Source: Wilson (1927). (0, 1) when there were no trials."""
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def cluster_weights(clusters: int, *, resamples: int, seed: int, draws: int | None = None) -> Floats:
    """How often each cluster is drawn in each bootstrap resample: `[resample, cluster]`, rows sum to `draws`.

    `draws` is `clusters` unless told; one fewer makes the variance of a resampled mean unbiased.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    size = clusters if draws is None else draws
    return generator.multinomial(size, np.full(clusters, 1 / clusters), size=resamples).astype(np.float64)


def ratio_intervals(
    numerators: Floats, denominators: Floats, *, seed: int, resamples: int = 1_000, confidence: float = 0.95
) -> Floats:
    """Percentile interval of sum(numerator) / sum(denominator) over resampled clusters.

    Both are `[row, cluster]`; returns `[row, 2]`. A resample without denominator counts as infinite; not a number where
    a numerator is not a number. Too short with few clusters, hence for display only.
    """
    weights = cluster_weights(numerators.shape[1], resamples=resamples, seed=seed)
    above, below = numerators @ weights.T, denominators @ weights.T
    ratios = np.divide(above, below, out=np.where(np.isnan(above), np.nan, np.inf), where=below > 0)
    ratios.sort(axis=1)
    tail = (1 - confidence) / 2
    low = ratios[:, int(np.floor(tail * (resamples - 1)))]
    high = ratios[:, int(np.ceil((1 - tail) * (resamples - 1)))]
    return np.stack([low, high], axis=1)
