"""Intervals for display and binomial bounds, against values known from elsewhere."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from pointsman.statistics import cluster_weights, fewest_by_chance, most_by_chance, ratio_intervals, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 100, 0.7222, 0.8749)],
)
def test_wilsons_interval_is_the_published_one(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_no_trials_say_nothing_about_a_proportion() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_every_resample_draws_as_many_clusters_as_there_are() -> None:
    weights = cluster_weights(7, resamples=50, seed=3)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert np.array_equal(weights, cluster_weights(7, resamples=50, seed=3))
    assert (cluster_weights(7, resamples=50, seed=3, draws=6).sum(axis=1) == 6).all()


def test_a_ratio_interval_holds_the_ratio_of_sums_and_not_the_mean_of_ratios() -> None:
    cost = np.array([[1.0, 1.0, 1.0, 97.0] * 10])
    success = np.array([[1.0, 1.0, 1.0, 100.0] * 10])
    (low, high) = ratio_intervals(cost, success, seed=1)[0]
    assert low <= 100 / 103 <= high
    assert high < 0.99, "the mean of the ratios is 0.9925"


def test_a_ratio_that_does_not_vary_has_an_interval_of_one_point() -> None:
    success = np.arange(1.0, 9.0)[None, :]
    assert ratio_intervals(2 * success, success, seed=1)[0].tolist() == [2.0, 2.0]


def test_an_unknown_cost_has_no_interval_and_a_variant_without_success_an_infinite_one() -> None:
    cost = np.array([[np.nan, 1.0, 1.0], [1.0, 1.0, 1.0]])
    success = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    unknown, endless = ratio_intervals(cost, success, seed=1)
    assert np.isnan(unknown).any()
    assert np.isinf(endless).all()


@pytest.mark.parametrize(("trials", "rate"), [(20, 0.05), (50, 0.8), (10, 0.5)])
def test_binomial_bounds_are_those_of_summing_the_exact_probabilities(trials: int, rate: float) -> None:
    chance = [comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(trials + 1)]
    most, fewest = most_by_chance(trials, rate), fewest_by_chance(trials, rate)
    assert sum(chance[: most + 1]) >= 0.99 > sum(chance[:most])
    assert sum(chance[fewest:]) >= 0.99 > sum(chance[fewest + 1 :])


def test_the_bound_never_exceeds_the_number_of_trials() -> None:
    assert most_by_chance(3, 0.999999, confidence=1.0) == 3
