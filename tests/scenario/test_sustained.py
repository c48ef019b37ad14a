"""Whether a rate was sustained, on ledgers that are simulated job by job with a known number of workers."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest

from pointsman.errors import InputRefused
from pointsman.scenario.conditions import parse_condition
from pointsman.scenario.sustained import check_slos, in_flight_levels, judge_rate, judged_columns

SLOS = [parse_condition("p95 total_ms < 60000"), parse_condition("failure_rate <= 1%")]


def ledger(per_s: float, *, seconds: float = 40, workers: int = 2, job_s: float = 0.4, seed: int = 1) -> pl.DataFrame:
    """First come, first served by `workers`; jobs take `job_s` a third more or less. The limit: workers / job_s."""
    draw = random.Random(seed)
    free = [0.0] * workers
    rows: list[dict[str, Any]] = []
    for number in range(int(per_s * seconds)):
        due = number / per_s
        worker = min(range(workers), key=free.__getitem__)
        free[worker] = done = max(due, free[worker]) + job_s * draw.uniform(0.67, 1.33)
        times = {"planned_ns": due, "sent_ns": due, "done_ns": done}
        rows.append(
            {name: int(at * 1e9) for name, at in times.items()}
            | {"state": "completed", "total_ms": (done - due) * 1e3, "queue_ms": 0.0, "run_ms": 0.0, "lateness_ns": 0}
        )
    return pl.DataFrame(rows)


def judged(rows: pl.DataFrame, per_s: float, slos: Any = SLOS) -> Any:
    read = rows.select(judged_columns(slos))  # nothing else is loaded of a run
    return judge_rate(read, per_s=per_s, counted=(10, 40), slos=slos)


@pytest.mark.parametrize(("per_s", "sustained"), [(1, True), (4, True), (4.6, True), (5.5, False), (7, False)])
def test_a_target_that_queues_without_an_error_is_over_its_capacity(per_s: float, sustained: bool) -> None:
    # Two workers at 0.4 s a job take 5 per second; nothing fails, and the SLO on latency is never broken.
    found = judged(ledger(per_s), per_s)
    assert found.sustained is sustained, found.why
    if not sustained:
        assert "what is in flight grew" in found.why
        assert found.completed_per_s == pytest.approx(5, rel=0.06)


def test_verdicts_on_queues_are_rarely_wrong_near_the_limit() -> None:
    below = sum(judged(ledger(4.5, seed=seed), 4.5).sustained for seed in range(40))
    above = sum(judged(ledger(5.5, seed=seed), 5.5).sustained for seed in range(40))
    assert below >= 38
    assert above <= 1


def test_an_slo_that_is_broken_is_named_with_its_figure() -> None:
    found = judged(ledger(4), 4, [parse_condition("p95 total_ms < 200")])
    assert not found.sustained
    assert found.why.endswith("ms, but the SLO is p95 total_ms < 200")


@pytest.mark.parametrize(("state", "why"), [("dropped", "found no room"), ("unknown", "had not ended")])
def test_what_was_dropped_or_never_ended_is_not_sustained(state: str, why: str) -> None:
    rows = ledger(2).with_columns(
        pl.when(pl.col("planned_ns") == 20_000_000_000).then(pl.lit(state)).otherwise("state").alias("state")
    )
    found = judged(rows, 2)
    assert not found.sustained
    assert why in found.why
    assert found.why.startswith("1 of 60 dispatches")


def test_failures_count_against_their_own_slo() -> None:
    rows = ledger(4).with_columns(
        pl.when(pl.col("planned_ns") % 5_000_000_000 == 0).then(pl.lit("failed")).otherwise("state").alias("state")
    )
    assert "5 %, but the SLO is failure_rate <= 1%" in judged(rows, 4).why
    assert judged(rows, 4, SLOS[:1]).sustained
    nothing = rows.with_columns(pl.lit("failed").alias("state"))
    assert "nothing ended by which p95" in judged(nothing, 4, SLOS[:1]).why


def test_levels_are_means_of_what_is_in_flight() -> None:
    rows = pl.DataFrame({"sent_ns": [0, 4_000, None], "done_ns": [8_000, None, None]})
    assert in_flight_levels(rows, 0, 8_000) == [1] * 4 + [2] * 4


def test_slos_on_the_senders_own_lateness_and_queues_can_be_judged() -> None:
    assert judged(ledger(2), 2, [parse_condition("p99 lateness_ms < 5"), parse_condition("p95 queue_ms < 5")]).sustained


@pytest.mark.parametrize("text", ["achieved_rate > 95%", "p95 total_ms < 5 over 30s", "alarms moved < 1"])
def test_an_slo_that_a_ledger_cannot_answer_is_refused(text: str) -> None:
    with pytest.raises(InputRefused, match="percentiles and failure_rate"):
        check_slos([parse_condition(text)])
