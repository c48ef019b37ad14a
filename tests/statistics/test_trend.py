"""Growth of a series against enumeration of all its orders."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest

from pointsman.statistics.trend import growth_p_value, slope


@pytest.mark.parametrize("length", [1, 2, 3, 5, 6])
def test_the_p_value_is_the_share_of_all_orders_with_as_many_rising_pairs(length: int) -> None:
    def rising(order: tuple[int, ...]) -> int:
        return sum(later > sooner for sooner, later in combinations(order, 2))

    orders = list(permutations(range(length)))
    for order in orders[:: max(1, len(orders) // 40)]:
        share = sum(rising(other) >= rising(order) for other in orders) / len(orders)
        assert growth_p_value(order) == pytest.approx(share)


def test_a_series_that_only_grows_is_unlikely_and_one_that_stays_is_not() -> None:
    assert growth_p_value(list(range(8))) == pytest.approx(1 / 40320)
    assert growth_p_value([3.0] * 8) == 1
    assert growth_p_value(list(range(8))[::-1]) == 1


def test_the_slope_is_the_median_of_all_pairs_and_one_outlier_does_not_move_it() -> None:
    assert slope([0, 2, 4, 6, 8]) == 2
    assert slope([0, 2, 4, 600, 8]) == pytest.approx(2, abs=0.7)
    assert slope([5]) == 0
