"""A run over time, against counts made row by row."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pointsman.scenario.series import run_series
from tests.scenario.ledgers import ledger

SECOND = 10**9
DUE = np.arange(3_000) * SECOND // 25  # 25 a second for two minutes


def drawn(**columns: object) -> pl.DataFrame:
    return ledger(DUE, seed=5, **columns)


def test_rates_count_each_event_in_the_span_in_which_it_happened():
    rows = drawn()
    series = run_series(rows.lazy())
    span = series.rates["at_s"][1] - series.rates["at_s"][0]
    for name, when in (
        ("planned", rows["planned_ns"]),
        ("sent", rows["sent_ns"]),
        ("completed", rows.filter(pl.col("state") == "completed")["done_ns"]),
        ("failed", rows.filter(pl.col("state") == "failed")["done_ns"]),
        ("dropped", rows.filter(pl.col("state") == "dropped")["planned_ns"]),
    ):
        whole = [row for row in series.rates.iter_rows(named=True) if row["at_s"] + span / 2 < 119]
        for row in whole:
            low, high = (row["at_s"] - span / 2) * SECOND, (row["at_s"] + span / 2) * SECOND
            assert row[name] * span == pytest.approx(((when >= low) & (when < high)).sum()), (name, row["at_s"])
    assert series.rates.height <= 150


def test_a_schedule_that_ends_within_a_span_does_not_look_as_if_the_rate_fell():
    rates = run_series(ledger(np.arange(2_630) * SECOND // 25).lazy()).rates
    planned = rates["planned"].drop_nulls().to_list()
    while planned[-1] == 0:
        planned.pop()
    assert planned == pytest.approx([25] * len(planned), rel=0.05)


def test_latency_is_that_of_dispatches_planned_in_a_span_corrected_and_raw():
    rows = drawn()
    late = pl.when(pl.col("planned_ns").is_between(30 * SECOND, 45 * SECOND)).then(45 * SECOND - pl.col("planned_ns"))
    rows = rows.with_columns((pl.col("raw_total_ms") + late.fill_null(0) / 1e6).alias("total_ms"))
    series = run_series(rows.lazy())
    span = series.latency_span_s
    completed = rows.filter(pl.col("state") == "completed")
    assert series.latency["count"].sum() == completed.height
    for row in series.latency.iter_rows(named=True):
        low, high = (row["at_s"] - span / 2) * SECOND, (row["at_s"] + span / 2) * SECOND
        inside = completed.filter((pl.col("planned_ns") >= low) & (pl.col("planned_ns") < high))
        for prefix, column in (("", "total_ms"), ("raw_", "raw_total_ms")):
            values = inside[column].to_numpy()
            for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                assert row[prefix + name] == np.quantile(values, q, method="inverted_cdf")
    stalled = series.latency.filter(pl.col("at_s").is_between(31, 40))
    assert (stalled["p95"] > 2 * stalled["raw_p95"]).all()


def test_rows_may_come_in_any_order_as_those_of_several_shards_do():
    rows = drawn()
    one, other = run_series(rows.lazy()), run_series(rows.sample(fraction=1, shuffle=True, seed=2).lazy())
    assert_frame_equal(one.latency, other.latency)
    assert_frame_equal(one.rates, other.rates)
    assert one.distributions == other.distributions


def test_latency_of_what_completed_without_a_known_time_of_sending_is_corrected_only():
    rows = drawn().with_columns(pl.lit(None, pl.Float64).alias("raw_total_ms"))
    latency = run_series(rows.lazy()).latency
    assert latency["p50"].null_count() == 0
    assert latency["raw_p50"].null_count() == latency.height


def test_a_span_in_which_nothing_completed_is_null_and_not_zero():
    rows = drawn(state=np.where((DUE > 40 * SECOND) & (DUE < 80 * SECOND), "failed", "completed"))
    middle = run_series(rows.lazy()).latency.filter(pl.col("at_s").is_between(45, 75))
    assert middle.height > 5
    assert middle["p95"].null_count() == middle.height


def test_the_most_in_flight_within_a_span_is_found_also_when_it_was_short():
    rows = drawn()
    series = run_series(rows.lazy())
    sent, done = (np.sort(rows[name].drop_nulls().to_numpy()) for name in ("sent_ns", "done_ns"))
    at = np.arange(1_200) * SECOND // 10
    exact = np.searchsorted(sent, at, side="right") - np.searchsorted(done, at, side="right")
    assert series.in_flight["in_flight"].max() == pytest.approx(exact.max(), abs=3)
    assert series.in_flight["in_flight"][-1] <= 15
    assert 0 < series.in_flight["queued"].max() < series.in_flight["in_flight"].max()


def test_what_never_ended_stays_in_flight_and_a_target_that_tells_no_queue_has_none():
    rows = drawn(state=np.where(DUE < 10 * SECOND, "unknown", "completed")).with_columns(
        queue_ms=pl.lit(None, pl.Float64)
    )
    series = run_series(rows.lazy())
    assert series.in_flight["in_flight"][-1] >= 250
    assert "queued" not in series.in_flight.columns
    assert "queue_ms" not in series.distributions


def test_lateness_is_counted_in_growing_ranges_that_hold_every_sent_dispatch():
    rows = drawn(lateness_ns=np.where(np.arange(DUE.size) % 10 == 0, 7_000_000, 0))
    lateness = run_series(rows.lazy()).lateness
    assert lateness["count"].sum() == rows["sent_ns"].len() - rows["sent_ns"].null_count()
    by_range = {(round(low, 3), round(high, 3)): count for low, high, count in lateness.iter_rows()}
    sent_late = rows.filter((pl.col("state") != "dropped") & (pl.col("seq") % 10 == 0)).height
    assert by_range[(6.31, 10.0)] == sent_late
    assert set(by_range) == {(0.01, 0.016), (6.31, 10.0)}


def test_distributions_are_exact():
    rows = drawn()
    found = run_series(rows.lazy()).distributions
    values = rows.filter(pl.col("state") == "completed")["total_ms"].to_numpy()
    total = found["total_ms"]
    assert (total.count, total.smallest, total.largest) == (values.size, values.min(), values.max())
    assert total.mean == pytest.approx(values.mean())
    assert total.quantiles["p999"] == np.quantile(values, 0.999, method="inverted_cdf")
    assert found["lateness_ms"].count == rows["sent_ns"].drop_nulls().len()


def test_dispatches_whose_sending_time_died_with_a_process_are_counted_apart():
    rows = drawn(state=np.full(DUE.size, "completed"))
    rows = rows.with_columns(pl.when(pl.col("seq") < 7).then(None).otherwise(pl.col("sent_ns")).alias("sent_ns"))
    series = run_series(rows.lazy())
    assert series.unplaced == 7
    assert series.in_flight["in_flight"][-1] <= 15


def test_a_run_of_which_nothing_was_sent_has_empty_series():
    series = run_series(drawn(state=np.full(DUE.size, "dropped")).lazy())
    assert series.latency.is_empty()
    assert series.lateness.is_empty()
    assert series.distributions == {}
    assert series.rates["sent"].sum() == 0


@pytest.mark.parametrize("seconds", [1, 90, 4_000, 86_000])
def test_runs_of_any_length_are_drawn_with_a_bounded_number_of_points(seconds):
    series = run_series(ledger(np.linspace(0, seconds * SECOND, 400).astype(np.int64)).lazy())
    assert series.rates.height <= 160
    assert series.latency.height <= 60
    assert series.in_flight.height <= 160
