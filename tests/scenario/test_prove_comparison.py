"""How often two runs of the same thing are called different, and how often a real change is seen: by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.scenario import comparison
from pointsman.scenario.comparison import compare_ledgers, describe
from pointsman.statistics import most_by_chance
from tests.scenario.drawn import drawn_ledger

pytestmark = pytest.mark.prove
PAIRS = 400
PLANNED = 3_000
MEMORIES = (1.0, 30.0, 100.0)
"""Dispatches within which the backend's state is forgotten: none, one in a hundred and one in thirty of the run."""


def calls(memory: float, seed: int, *, pairs: int = PAIRS, **second: float) -> list[set[str]]:
    """What is called a regression or an improvement, for each pair of runs."""
    found = []
    for pair in range(pairs):
        rng = np.random.default_rng([seed, pair])
        one = describe(drawn_ledger(rng, PLANNED, memory=memory).lazy())
        other = describe(drawn_ledger(rng, PLANNED, memory=memory, **second).lazy())
        compared = compare_ledgers(one, other)
        found.append({figure.name for figure in compared if figure.call in ("regression", "improvement")})
    return found


@pytest.mark.parametrize("memory", MEMORIES)
def test_two_runs_of_the_same_thing_are_called_different_in_less_than_one_of_twenty(
    memory: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with margins of nothing, which leave it to the intervals alone."""
    monkeypatch.setattr(comparison, "LATENCY_MARGIN", 0.0)
    monkeypatch.setattr(comparison, "SHARE_MARGIN", 0.0)
    wrong = sum(map(bool, calls(memory, seed=11)))
    assert wrong <= most_by_chance(PAIRS, 0.05), f"{wrong} of {PAIRS}"


@pytest.mark.parametrize("memory", MEMORIES)
def test_with_the_margins_false_alarms_are_rarer_still(memory: float) -> None:
    wrong = sum(map(bool, calls(memory, seed=12)))
    assert wrong <= most_by_chance(PAIRS, 0.03), f"{wrong} of {PAIRS}"


@pytest.mark.parametrize(("memory", "slower", "at_least"), [(1.0, 1.2, 0.9), (30.0, 1.5, 0.8), (100.0, 2.0, 0.8)])
def test_a_run_that_is_slower_by_so_much_is_called_a_regression_mostly(
    memory: float, slower: float, at_least: float
) -> None:
    seen = sum("p50" in one or "p95" in one for one in calls(memory, seed=13, pairs=100, slower=slower))
    assert seen >= 100 * at_least


def test_more_failures_are_called_a_regression_mostly() -> None:
    seen = sum("failure rate" in one for one in calls(30.0, seed=14, pairs=100, failing=0.06))
    assert seen >= 80
