"""The quantile sketch: accuracy, merging, and its written form."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import InputRefused
from pointsman.statistics import Sketch

durations = st.floats(min_value=0, max_value=1e7, allow_nan=False)


@given(st.lists(durations, min_size=1, max_size=200), st.floats(min_value=0, max_value=1))
def test_a_quantile_is_within_one_percent_of_the_value_of_that_rank(values: list[float], q: float) -> None:
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    found = Sketch(values).quantile(q)
    assert found is not None
    assert abs(found - exact) <= 0.01 * exact * (1 + 1e-9) + 1e-6


@given(st.lists(durations, max_size=60), st.lists(durations, max_size=60))
def test_merging_two_sketches_equals_one_sketch_of_all_values(left: list[float], right: list[float]) -> None:
    merged = Sketch(left)
    merged.merge(Sketch(right))
    assert merged == Sketch(left + right)


@given(st.lists(durations, max_size=60))
def test_a_written_sketch_reads_back_without_loss(values: list[float]) -> None:
    sketch = Sketch(values)
    assert Sketch.from_json(json.loads(json.dumps(sketch.to_json()))) == sketch


@given(*[st.lists(durations, max_size=40)] * 3)
def test_the_order_and_the_grouping_of_merges_do_not_matter(a: list[float], b: list[float], c: list[float]) -> None:
    left = merged(merged(Sketch(a), Sketch(b)), Sketch(c))
    right = merged(Sketch(a), merged(Sketch(b), Sketch(c)))
    assert left == right == merged(merged(Sketch(c), Sketch(a)), Sketch(b))


def merged(into: Sketch, other: Sketch) -> Sketch:
    into.merge(other)
    return into


def test_skewed_shards_merge_to_the_percentiles_of_the_pooled_values_where_averages_are_far_off() -> None:
    random = np.random.default_rng(3)
    shards = [random.lognormal(mean, sigma, 20_000) for mean, sigma in ((3, 0.3), (3, 0.3), (3, 0.3), (6, 1.0))]
    pooled = np.concatenate(shards)
    sketches = [Sketch(shard) for shard in shards]
    total = Sketch()
    for sketch in sketches:
        total.merge(sketch)
    for q in (0.5, 0.75, 0.9, 0.95, 0.99, 0.999):
        exact = float(np.quantile(pooled, q, method="inverted_cdf"))
        assert total.quantile(q) == pytest.approx(exact, rel=0.01)
    averaged = sum(sketch.quantile(0.95) or 0 for sketch in sketches) / len(sketches)
    assert abs(averaged / (total.quantile(0.95) or 1) - 1) > 0.3


def test_a_sketch_of_everything_that_can_be_is_far_smaller_than_a_megabyte() -> None:
    widest = Sketch(10.0 ** np.linspace(-9, 300, 1_000_000))
    assert len(json.dumps(widest.to_json())) < 100_000


def test_averaging_percentiles_of_shards_misses_what_merging_finds() -> None:
    slow, fast = Sketch([1000.0] * 100), Sketch([10.0] * 300)
    averaged = (slow.quantile(0.95) or 0) * 0.25 + (fast.quantile(0.95) or 0) * 0.75
    fast.merge(slow)
    assert fast.quantile(0.95) == pytest.approx(1000, rel=0.01)
    assert averaged < 300


def test_an_empty_sketch_knows_no_quantile() -> None:
    assert Sketch().quantile(0.5) is None


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_a_value_that_is_no_duration_is_refused(value: float) -> None:
    with pytest.raises(InputRefused, match="sketch value"):
        Sketch().add([1.0, value])


def test_a_quantile_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(InputRefused, match="quantile"):
        Sketch([1.0]).quantile(95)


@pytest.mark.parametrize(
    "document",
    [{}, {"count": 2}, {"count": 2, "zeros": 0, "smallest": 1, "largest": 1, "buckets": [[1, 1]]}],
    ids=["empty", "truncated", "a lost bucket"],
)
def test_a_document_that_no_sketch_wrote_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(InputRefused, match="sketch"):
        Sketch.from_json(document)
