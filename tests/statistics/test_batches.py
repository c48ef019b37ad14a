"""Intervals of paired batches: what they assume, and what they make of neighbours that resemble each other."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.statistics import paired_interval


def test_the_interval_of_independent_differences_is_students():
    differences = np.array([1.0, -2.0, 3.0, -1.0, 2.0, -3.0, 4.0, 0.0])
    found = paired_interval(differences, confidence=0.95)
    half = 2.364624 * differences.std(ddof=1) / np.sqrt(8)  # the quantile of seven degrees of freedom
    assert found.value == 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_neighbours_that_resemble_each_other_make_it_wider():
    mixed = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    runs = np.sort(mixed)
    apart, alike = (paired_interval(one, confidence=0.95) for one in (mixed, runs))
    assert apart.value == alike.value == 0
    assert alike.high == pytest.approx(2 * apart.high)  # as three independent ones are to twelve


def test_differences_that_never_vary_leave_no_doubt():
    assert paired_interval(np.full(12, 0.25), confidence=0.99) == paired_interval(np.full(4, 0.25), confidence=0.5)


def test_a_higher_confidence_is_a_wider_interval():
    values = np.random.default_rng(3).normal(size=12)
    widths = [
        (found := paired_interval(values, confidence=confidence)).high - found.low for confidence in (0.8, 0.95, 0.99)
    ]
    assert widths == sorted(widths)
