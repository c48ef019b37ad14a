"""The search for the highest sustained rate on simulated targets: few steps, the right interval, and odd verdicts."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.scenario.capacity_search import Bounds, Judged, Limit, next_rate

BOUNDS = Bounds(start=1, lowest=0.01, highest=1000, precision=0.1, most_steps=20)
Run = Callable[[float], Judged]


def saturating(limit: float, noise: Callable[[], float] = lambda: 1.0) -> Run:
    """A target that completes what it is sent up to a limit that is a little different in every run."""

    def run(rate: float) -> Judged:
        at = limit * noise()
        return Judged(rate, rate <= at, min(rate, at), "")

    return run


def search(run: Run, bounds: Bounds = BOUNDS) -> tuple[Limit, list[Judged]]:
    steps: list[Judged] = []
    while not isinstance(found := next_rate(bounds, steps), Limit):
        assert len(steps) < bounds.most_steps
        steps.append(run(found))
    return found, steps


@settings(max_examples=200, deadline=None)
@given(st.floats(0.02, 900))
def test_the_interval_holds_the_limit_and_is_as_narrow_as_asked(limit: float) -> None:
    found, steps = search(saturating(limit))
    assert found.low is not None
    assert found.high is not None
    assert found.low <= limit * (1 + 1e-6)
    assert found.high >= limit * (1 - 1e-6)
    assert found.high <= found.low * 1.1 + 1e-5
    assert len(steps) <= 18
    for end in (found.low, found.high):
        assert sum(step.per_s == end for step in steps) == 2


@pytest.mark.parametrize(("limit", "most"), [(0.5, 6), (1, 7), (5, 8), (37, 11), (300, 14)])
def test_few_steps_are_enough(limit: float, most: int) -> None:
    assert len(search(saturating(limit))[1]) <= most


def test_a_target_that_breaks_its_slo_before_it_saturates_is_found_by_halving() -> None:
    found, steps = search(lambda rate: Judged(rate, rate <= 7.3, rate, "slow"))
    assert found.low is not None
    assert found.low <= 7.3 <= (found.high or 0) <= found.low * 1.11
    assert len(steps) <= 12


def test_a_verdict_that_was_wrong_by_chance_is_put_right() -> None:
    # The first verdict on a rate that is sustained is wrong.
    wrong = [True]

    def run(rate: float) -> Judged:
        fine = rate <= 5
        if fine and rate > 4.5 and wrong:
            wrong.pop()
            return Judged(rate, False, rate, "a hiccup")
        return Judged(rate, fine, min(rate, 5), "")

    found, _ = search(run)
    assert found.low is not None
    assert found.low <= 5 <= (found.high or 0)


def test_noisy_verdicts_end_within_a_tenth_of_the_limit() -> None:
    for seed in range(60):
        noise = random.Random(seed)
        found, steps = search(saturating(20, lambda: noise.gauss(1, 0.02)))  # noqa: B023 - used within the turn
        assert found.low is not None
        assert 18 <= found.low <= 22
        assert len(steps) <= 20


def test_a_limit_outside_the_bounds_is_said() -> None:
    found, _ = search(saturating(10_000), Bounds(1, 0.01, 50, 0.1, 20))
    assert (found.low, found.high) == (50, None)
    assert "highest rate" in found.why
    found, _ = search(saturating(0.001), Bounds(1, 0.25, 50, 0.1, 20))
    assert (found.low, found.high) == (None, 0.25)
    assert "lowest rate" in found.why


def test_a_search_that_may_take_no_more_steps_says_what_it_knows() -> None:
    found, steps = search(saturating(5), Bounds(1, 0.01, 1000, 0.01, 5))
    assert len(steps) == 5
    assert (found.low, found.high) == (4.85, 8)
    assert found.why == "5 steps were allowed"
