"""Prediction-powered means: right on the average, covering, narrower with a good judge, not misled by a bad one."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.statistics import corrected_mean
from pointsman.statistics.label_swaps import Floats


def world(generator: np.random.Generator, size: int, *, noise: float, bias: float) -> tuple[Floats, Floats]:
    """What people and what the judge say of the same things."""
    people = generator.normal(60, 15, size)
    return people, people + bias + generator.normal(0, noise, size)


def simulated(
    noise: float, bias: float, *, labelled: int = 20, size: int = 200, rounds: int = 400
) -> tuple[float, ...]:
    """Coverage of the true mean (60), mean width, and mean error."""
    generator = np.random.Generator(np.random.PCG64(17))
    covered, widths, errors = 0, [], []
    for _ in range(rounds):
        people, judge = world(generator, size, noise=noise, bias=bias)
        found = corrected_mean(people[:labelled].tolist(), judge[:labelled].tolist(), judge[labelled:].tolist())
        assert found is not None
        covered += found.low <= 60 <= found.high
        widths.append(found.high - found.low)
        errors.append(found.value - 60)
    return covered / rounds, float(np.mean(widths)), float(np.mean(errors))


def test_a_biased_judge_is_put_right() -> None:
    coverage, _, error = simulated(noise=4, bias=12)
    assert 0.91 <= coverage <= 0.99
    assert abs(error) < 0.5


def test_a_good_judge_makes_the_interval_narrower_than_people_alone_do() -> None:
    _, good, _ = simulated(noise=2, bias=5, rounds=100)
    _, useless, _ = simulated(noise=10**6, bias=0, rounds=100)
    assert good < 0.5 * useless


def test_a_judge_that_says_nothing_does_no_harm() -> None:
    coverage, width, _ = simulated(noise=200, bias=0)
    alone = 2 * 2.093 * 15 / np.sqrt(20)
    assert 0.90 <= coverage <= 0.99
    assert width < 1.1 * alone


def test_where_people_rated_everything_it_is_their_mean() -> None:
    found = corrected_mean([10, 20, 30], [90, 90, 90], [])
    assert found is not None
    assert found.value == 20
    assert found.high - found.value == pytest.approx(4.3027 * 10 / 3**0.5, rel=1e-3)


def test_a_judge_that_is_right_everywhere_gives_its_own_mean() -> None:
    found = corrected_mean([10, 20, 30, 40], [10, 20, 30, 40], [50.0] * 10_000)
    assert found is not None
    assert found.value == pytest.approx(50, abs=15)
    assert found.value > 25


def test_one_label_is_none() -> None:
    assert corrected_mean([50], [60], [60, 60]) is None
    constant = corrected_mean([50, 60], [70, 70], [70])
    assert constant is not None
    assert constant.value == 55
