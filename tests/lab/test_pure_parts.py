"""The seeded and hashed choices: interruptions and shares of a split route."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.effects.interruptions import interruption
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.routing import resolve
from tests.lab.running import variant

ROUTE = RouteKey("postcard-1", "lab", "demo")
OLD, NEW = VariantId.parse(variant()), VariantId.parse(variant("svtav1-p10-crf38"))


def test_about_fifteen_percent_of_first_attempts_are_interrupted_and_fewer_later() -> None:
    names = [f"d{number}" for number in range(4000)]
    shares = [sum(interruption(3, name, attempt) is not None for name in names) / 4000 for attempt in (1, 2, 3, 4)]
    assert 0.13 < shares[0] < 0.17
    assert 0.035 < shares[1] < 0.065
    assert shares[2:] == [0, 0]


@given(st.integers(), st.text(max_size=20), st.integers(1, 9))
def test_an_interruption_depends_on_nothing_but_seed_dispatch_and_attempt(seed: int, name: str, attempt: int) -> None:
    moment = interruption(seed, name, attempt)
    assert moment == interruption(seed, name, attempt)
    assert moment is None or 0 < moment < 1


@pytest.mark.parametrize("weight", [0, 1, 10, 50, 90, 100])
def test_a_split_route_sends_each_variant_its_share(weight: int) -> None:
    binding = Binding(ROUTE, 4, {OLD: 100 - weight, NEW: weight}, "canary")
    chosen = [resolve(binding, f"d{number}") for number in range(500)]
    assert abs(chosen.count(NEW) / 5 - weight) <= 7
    if weight in (0, 100):
        assert len(set(chosen)) == 1


def test_a_growing_share_takes_no_dispatch_back() -> None:
    at_ten, at_thirty = (Binding(ROUTE, 4, {OLD: 100 - weight, NEW: weight}, "canary") for weight in (10, 30))
    names = [f"d{number}" for number in range(1000)]
    moved = {name for name in names if resolve(at_ten, name) == NEW}
    assert moved < {name for name in names if resolve(at_thirty, name) == NEW}
