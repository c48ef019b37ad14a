"""Weighted kappa: known answers, and an interval that covers the truth as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.statistics import weighted_kappa


def pairs_of(table: list[list[int]]) -> list[tuple[int, int]]:
    return [
        (row, column) for row, counts in enumerate(table) for column, count in enumerate(counts) for _ in range(count)
    ]


def test_an_example_worked_out_by_hand() -> None:
    # 3 categories, 100 pairs. Disagreement by squared distance: observed (8 + 6 + 5 + 3) * 1 + (2 + 1) * 4 = 34;
    # by chance, from the margins (40, 34, 26) and (41, 33, 26): sum of row * column * distance^2 / 100.
    table = [[30, 8, 2], [6, 22, 6], [5, 3, 18]]
    rows, columns = [40, 34, 26], [41, 33, 26]
    observed = sum(table[i][j] * (i - j) ** 2 for i in range(3) for j in range(3))
    chance = sum(rows[i] * columns[j] / 100 * (i - j) ** 2 for i in range(3) for j in range(3))
    found = weighted_kappa(pairs_of(table), categories=3)
    assert found is not None
    assert found.value == pytest.approx(1 - observed / chance)
    assert found.low < found.value < found.high


def test_two_categories_give_cohens_own_kappa() -> None:
    # Cohen's kappa of this table is 0.4: observed 0.70, by chance 0.50.
    found = weighted_kappa(pairs_of([[20, 5], [10, 15]]), categories=2)
    assert found is not None
    assert found.value == pytest.approx(0.4)


def test_full_agreement_is_one_and_chance_is_about_zero() -> None:
    full = weighted_kappa([(0, 0), (1, 1), (4, 4)], categories=5)
    assert full is not None
    assert (full.value, full.high) == (1.0, 1.0)
    generator = np.random.Generator(np.random.PCG64(5))
    drawn = [(int(one), int(other)) for one, other in generator.integers(0, 5, size=(5000, 2))]
    chance = weighted_kappa(drawn, categories=5)
    assert chance is not None
    assert chance.low < 0 < chance.high
    opposite = weighted_kappa([(0, 4), (4, 0)], categories=5)
    assert opposite is not None
    assert opposite.value == -1


def test_nothing_to_agree_on_is_not_a_number() -> None:
    assert weighted_kappa([], categories=5) is None
    assert weighted_kappa([(3, 3)] * 9, categories=5) is None


@pytest.mark.parametrize(
    ("pairs", "value"),
    [
        ([(0, 0), (4, 4)] * 6, 1.0),
        ([(level, 2) for level in (0, 1, 2, 3, 4, 4)] * 2, 0.0),
        ([(2, level) for level in (0, 1, 2, 3, 4, 4)] * 2, 0.0),
    ],
)
def test_twelve_labels_are_never_the_whole_truth(pairs: list[tuple[int, int]], value: float) -> None:
    """Where all agree, or one rater knows a single level, the large-sample error is nothing."""
    found = weighted_kappa(pairs, categories=5)
    assert found is not None
    assert found.value == pytest.approx(value)
    hidden = 1 - 0.025 ** (1 / 12)
    assert found.low == pytest.approx(value - hidden)
    assert found.high == pytest.approx(min(1.0, value + hidden))


def test_labels_that_hang_together_are_no_more_than_their_sources() -> None:
    table = pairs_of([[30, 8, 2], [6, 22, 6], [5, 3, 18]])
    apart = weighted_kappa(table, categories=3)
    together = weighted_kappa(table, categories=3, independent=10)
    assert apart is not None
    assert together is not None
    assert together.value == apart.value
    assert together.high - together.low > 3 * (apart.high - apart.low)
    assert weighted_kappa(table, categories=3, independent=1) is None
    assert weighted_kappa([(0, 1)], categories=3) is None


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = np.array([[30, 8, 2], [6, 22, 6], [5, 3, 18]]) / 100
    real = weighted_kappa(pairs_of([[30, 8, 2], [6, 22, 6], [5, 3, 18]]), categories=3)
    assert real is not None
    generator = np.random.Generator(np.random.PCG64(11))
    hits = 0
    for _ in range(400):
        counts = generator.multinomial(80, truth.ravel()).reshape(3, 3)
        found = weighted_kappa(pairs_of(counts.tolist()), categories=3)
        assert found is not None
        hits += found.low <= real.value <= found.high
    assert 0.90 <= hits / 400 <= 0.98
