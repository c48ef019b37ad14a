"""Prediction-powered means: right on the average, covering, narrower with a good judge, not misled by a bad one."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

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


def test_a_reference_worked_out_with_fractions() -> None:
    """The formulas of PPI++ for a mean, sum by sum; the variance times n / (n - 1) as few labels ask for."""
    people, judge = [60, 72, 48, 90, 55], [70, 80, 60, 85, 71]
    elsewhere = [75, 55, 65, 95, 80, 70, 62, 88]

    def mean(values: Sequence[Any]) -> Fraction:
        return Fraction(sum(values)) / len(values)

    def squares(values: Sequence[Any], others: Sequence[Any]) -> Any:
        return sum((one - mean(values)) * (two - mean(others)) for one, two in zip(values, others, strict=True))

    n, rest = len(people), len(elsewhere)
    everything = judge + elsewhere
    weight = squares(people, judge) / (n - 1) / ((1 + Fraction(n, rest)) * squares(everything, everything) / 12)
    assert 0 < weight < 1
    errors = [one - weight * score for one, score in zip(people, judge, strict=True)]
    variance = weight**2 * squares(elsewhere, elsewhere) / rest**2 + squares(errors, errors) / n**2
    found = corrected_mean(people, judge, elsewhere)
    assert found is not None
    assert found.value == pytest.approx(float(mean(people) + weight * (mean(elsewhere) - mean(judge))))
    assert found.high - found.value == pytest.approx(2.7764 * float(variance * n / (n - 1)) ** 0.5, rel=1e-4)
    apart = [str(at) for at in range(n + rest)]
    assert corrected_mean(people, judge, elsewhere, sources=apart) == found


def test_inputs_of_one_source_count_as_one() -> None:
    """8 sources of 12 inputs each, of which people rated 4; taken one by one, the interval is far too short."""
    generator = np.random.Generator(np.random.PCG64(23))
    hits = {True: 0, False: 0}
    for _ in range(200):
        common = np.repeat(generator.normal(60, 12, 8), 12)
        people = common + generator.normal(0, 4, 96)
        judge = 0.3 * people + generator.normal(40, 8, 96)
        names = [str(at // 12) for at in range(96)]
        rated = generator.permutation(96)[:32].tolist()
        rest = [at for at in range(96) if at not in rated]
        for grouped in hits:
            sources = [names[at] for at in (*rated, *rest)] if grouped else None
            found = corrected_mean(people[rated], judge[rated], judge[rest], sources=sources)
            assert found is not None
            hits[grouped] += found.low <= 60 <= found.high
    assert hits[True] >= 0.90 * 200
    assert hits[False] < 0.75 * 200
    assert corrected_mean([50, 60], [60, 70], [60], sources=["a", "a", "b"]) is None


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
