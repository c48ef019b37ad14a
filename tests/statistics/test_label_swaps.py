"""Label swaps against brute force, and what they must not do: invent evidence or forget the other challengers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointsman.statistics import (
    LabelSwaps,
    clusters_needed,
    critical_value,
    most_by_chance,
    step_down_p_values,
    weakest_conditions,
)

amounts = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))


def families(challengers: int, conditions: int = 2, clusters: int = 6) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, (conditions, challengers, clusters), elements=amounts)


def student(z: np.ndarray) -> float:
    length = np.sqrt((z**2).sum())
    return float(z.sum() / length) if length > 0 else 0.0


def by_hand(contributions: np.ndarray) -> np.ndarray:
    """Step-down max-T over each challenger's weakest condition, one swap, challenger and condition at a time."""
    conditions, challengers, clusters = contributions.shape
    ways = list(itertools.product((1.0, -1.0), repeat=clusters))
    observed = np.array([[student(row) for row in condition] for condition in contributions])
    weakest = observed.argmin(axis=0)
    strength = observed.min(axis=0)
    p = np.zeros((conditions, challengers))
    for c in range(challengers):
        rivals = [d for d in range(challengers) if strength[d] <= strength[c] + 1e-9]
        for k in range(conditions):
            hits = 0
            for way in ways:
                swapped = [student(contributions[weakest[d], d] * way) for d in rivals]
                hits += max([*swapped, student(contributions[k, c] * way)]) >= observed[k, c] - 1e-9
            p[k, c] = hits / len(ways)
    for c in range(challengers):
        better = [d for d in range(challengers) if strength[d] > strength[c]]
        p[weakest[c], c] = max([p[weakest[c], c], *(p[weakest[d], d] for d in better)])
    return p


@settings(max_examples=25, deadline=None)
@given(families(challengers=3, clusters=5))
def test_p_values_are_those_of_counting_every_swap_by_hand(contributions: np.ndarray) -> None:
    swaps = LabelSwaps.draw(5, swaps=32, seed=1)
    assert step_down_p_values(contributions, swaps) == pytest.approx(by_hand(contributions))


def test_all_swaps_are_taken_once_when_they_are_few() -> None:
    swaps = LabelSwaps.draw(6, swaps=64, seed=1)
    assert swaps.exact
    assert len({tuple(row) for row in swaps.signs.tolist()}) == 64
    assert swaps.smallest_p == 1 / 64


def test_swaps_are_drawn_from_the_seed_when_they_are_many() -> None:
    first, again, other = (LabelSwaps.draw(7, swaps=100, seed=seed) for seed in (1, 1, 2))
    assert not first.exact
    assert set(np.unique(first.signs)) == {-1.0, 1.0}
    assert np.array_equal(first.signs, again.signs)
    assert not np.array_equal(first.signs, other.signs)
    assert first.smallest_p == 1 / 101


def test_random_swaps_come_close_to_the_exact_answer() -> None:
    z = np.random.Generator(np.random.PCG64(5)).normal(0.5, 1.0, size=(1, 4, 12))
    exact = step_down_p_values(z, LabelSwaps.draw(12, swaps=4096, seed=1))
    random = step_down_p_values(z, LabelSwaps.draw(12, swaps=4000, seed=1))
    assert random == pytest.approx(exact, abs=0.03)


def test_equal_contributions_of_all_clusters_give_the_smallest_p_and_none_give_one() -> None:
    swaps = LabelSwaps.draw(8, swaps=256, seed=1)
    constant, nothing, against = np.full(8, 0.02), np.zeros(8), np.full(8, -3.0)
    for row, expected in ((constant, 1 / 256), (nothing, 1.0), (against, 1.0)):
        assert step_down_p_values(row[None, None, :], swaps).item() == expected


def test_the_bits_of_rounding_do_not_break_a_tie() -> None:
    row = np.array([0.1, 0.2, 0.3, -0.3, 0.1, 0.1 + 0.2 - 0.2])
    swaps = LabelSwaps.draw(6, swaps=64, seed=1)
    assert step_down_p_values(row[None, None, :], swaps) == pytest.approx(by_hand(row[None, None, :]))


@settings(max_examples=30, deadline=None)
@given(families(challengers=4), st.permutations(range(4)), st.sampled_from([0.125, 4.0]))
def test_neither_the_order_of_challengers_nor_the_unit_of_measurement_matters(
    contributions: np.ndarray, order: list[int], unit: float
) -> None:
    swaps = LabelSwaps.draw(6, swaps=64, seed=1)
    p = step_down_p_values(contributions, swaps)
    assert step_down_p_values(unit * contributions[:, order], swaps) == pytest.approx(p[:, order])
    assert ((p >= swaps.smallest_p) & (p <= 1)).all()


@settings(max_examples=30, deadline=None)
@given(families(challengers=4), families(challengers=2))
def test_more_challengers_never_make_the_best_one_more_significant(few: np.ndarray, more: np.ndarray) -> None:
    swaps = LabelSwaps.draw(6, swaps=64, seed=1)
    alone, together = step_down_p_values(few, swaps), step_down_p_values(np.concatenate([few, more], axis=1), swaps)
    best = int(weakest_conditions(few).sum(axis=-1).argmax())
    assert (together[:, best] >= alone[:, best] - 1e-12).all()


def test_families_computed_together_are_those_computed_one_by_one() -> None:
    z = np.random.Generator(np.random.PCG64(3)).normal(0.4, 1, size=(700, 3, 4, 9))
    swaps = LabelSwaps.draw(9, swaps=1_000, seed=1)
    together = step_down_p_values(z, swaps)
    assert together.shape == (700, 3, 4)
    for at in (0, 350, 699):
        assert np.array_equal(together[at], step_down_p_values(z[at], swaps))


def test_twelve_equal_challengers_give_no_more_false_findings_than_one() -> None:
    generator = np.random.Generator(np.random.PCG64(11))
    amounts = generator.normal(size=(600, 13, 8))
    z = (amounts[:, :1] - amounts[:, 1:])[:, None]
    swaps = LabelSwaps.draw(8, swaps=256, seed=1)
    together = (step_down_p_values(z, swaps) <= 0.05).any(axis=(1, 2)).sum()
    single = np.stack([step_down_p_values(z[:, :, [c]], swaps)[:, 0, 0] for c in range(12)])
    assert together <= most_by_chance(600, 0.05)
    assert (single <= 0.05).any(axis=0).mean() > 0.2, "this data would fool a test of each challenger by itself"


def test_challengers_that_fail_at_different_conditions_share_one_error_rate() -> None:
    generator = np.random.Generator(np.random.PCG64(12))
    simulations, clusters = 2_000, 10
    z = np.full((simulations, 2, 2, clusters), 50.0) + generator.normal(size=(simulations, 2, 2, clusters))
    truly_nothing = generator.standard_t(4, size=(simulations, clusters))
    z[:, 0, 0] = truly_nothing  # the first challenger fails at the first condition,
    z[:, 1, 1] = -truly_nothing  # the second at the second, and never both by the same chance
    p = step_down_p_values(z, LabelSwaps.draw(clusters, swaps=1_024, seed=1))
    false = (p <= 0.05).all(axis=1).any(axis=1).sum()
    assert false <= most_by_chance(simulations, 0.05)
    assert false > 0.03 * simulations


@settings(max_examples=30, deadline=None)
@given(families(challengers=3, conditions=1), st.sampled_from([0.05, 0.2]), st.booleans())
def test_the_critical_value_is_where_the_best_challenger_becomes_significant(
    contributions: np.ndarray, alpha: float, exact: bool
) -> None:
    swaps = LabelSwaps.draw(6, swaps=64 if exact else 60, seed=1)
    critical = critical_value(contributions[0], swaps, alpha)
    observed = np.array([student(row) for row in contributions[0]])
    best = int(observed.argmax())
    significant = step_down_p_values(contributions, swaps)[0, best] <= alpha
    assert significant == (observed[best] >= critical)


def test_no_statistic_is_significant_when_there_are_too_few_swaps() -> None:
    z = np.ones((1, 3))
    assert critical_value(z, LabelSwaps.draw(3, swaps=8, seed=1), 0.05) == float("inf")
    assert critical_value(z, LabelSwaps.draw(3, swaps=5, seed=1), 0.05) == float("inf")


@pytest.mark.parametrize(("alpha", "clusters"), [(0.5, 1), (0.25, 2), (0.05, 5), (0.01, 7)])
def test_clusters_needed_is_where_the_smallest_p_reaches_alpha(alpha: float, clusters: int) -> None:
    assert clusters_needed(alpha) == clusters
