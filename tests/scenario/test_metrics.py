"""The figures of a run, against dispatches whose times are known."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pointsman.scenario import Scenario, Stage, plan_arrivals
from pointsman.scenario.metrics import run_figures, stage_figures, with_missing

SECOND = 10**9
SCENARIO = Scenario(
    name="two",
    stages=(Stage(name="slow", rate=2, duration_s=2), Stage(name="fast", rate=4, duration_s=1)),
)


def ledger(*rows: dict[str, Any]) -> pl.DataFrame:
    """Dispatches that completed on time in 100 ms, each changed as told."""
    usual = {
        "stage": 0,
        "state": "completed",
        "planned_ns": 0,
        "sent_ns": 0,
        "lateness_ns": 0,
        "queue_ms": 20.0,
        "run_ms": 70.0,
        "total_ms": 100.0,
    }
    floats = dict.fromkeys(("queue_ms", "run_ms", "total_ms"), pl.Float64)
    whole = dict.fromkeys(("stage", "planned_ns", "sent_ns", "lateness_ns"), pl.Int64)
    return pl.DataFrame([{**usual, **row} for row in rows], schema={**whole, **floats, "state": pl.String})


def unsent(stage: int, state: str) -> dict[str, Any]:
    return dict.fromkeys(("sent_ns", "lateness_ns", "queue_ms", "run_ms", "total_ms")) | {
        "stage": stage,
        "state": state,
    }


def figures(dispatches: pl.DataFrame) -> list[dict[str, Any]]:
    return stage_figures(SCENARIO, plan_arrivals(SCENARIO, 0)[1], dispatches)


def test_each_stage_counts_its_own_dispatches_and_takes_planned_from_the_schedule() -> None:
    slow, fast = figures(
        ledger(
            {"total_ms": 100.0},
            {"sent_ns": SECOND, "total_ms": 200.0},
            {"sent_ns": SECOND, "state": "failed", "total_ms": 9_000.0},
            unsent(0, "dropped"),
            {"stage": 1, "sent_ns": 2 * SECOND},
            {"stage": 1, "sent_ns": 2 * SECOND, "state": "unknown", "total_ms": None},
            unsent(1, "cancelled_unsent"),
        )
    )
    assert slow == {
        "name": "slow",
        "planned": 4,
        "sent": 3,
        "completed": 2,
        "failed": 1,
        "dropped": 1,
        "achieved_rate": 1.5,
        "p50_ms": 100.0,
        "p95_ms": 200.0,
        "p99_ms": 200.0,
    }
    assert (fast["planned"], fast["sent"], fast["completed"], fast["dropped"]) == (4, 2, 1, 0)


def test_a_stage_whose_sending_lags_achieved_less_than_its_rate() -> None:
    rows = [{"sent_ns": index * SECOND} for index in range(4)]
    assert figures(ledger(*rows))[0]["achieved_rate"] == pytest.approx(4 / 3)


def test_a_figure_of_nothing_is_null_with_a_reason_and_not_zero() -> None:
    fast = figures(ledger({"state": "failed"}))[1]
    assert fast["p95_ms"] is None
    assert fast["missing"]["p95_ms"] == "no dispatch of this stage completed with a known time"
    whole = run_figures(SCENARIO, ledger(unsent(0, "dropped")))
    assert whole["p95"]["total_ms"] is None
    assert whole["lateness_ms"]["max"] is None
    assert whole["lateness_ms"]["missing"]["max"] == "no dispatch was sent"
    assert whole["cost"]["usd"] is None
    assert "priced when" in whole["cost"]["missing"]["usd"]


def test_lateness_covers_every_sent_dispatch_whatever_became_of_it() -> None:
    rows = ledger({"lateness_ns": 1_000_000}, {"lateness_ns": 5_000_000, "state": "failed"}, unsent(0, "dropped"))
    late = run_figures(SCENARIO, rows)["lateness_ms"]
    assert late == {"p50": 1.0, "p99": 5.0, "max": 5.0}


def test_warm_up_makes_no_percentile_of_the_run_and_its_stage_has_its_own() -> None:
    warm = SCENARIO.model_copy(
        update={"stages": (SCENARIO.stages[0].model_copy(update={"warm_up": True}), SCENARIO.stages[1])}
    )
    rows = ledger({"total_ms": 9_000.0, "lateness_ns": 8_000_000}, {"stage": 1, "total_ms": 50.0})
    whole = run_figures(warm, rows)
    assert whole["p95"]["total_ms"] == 50.0
    assert whole["lateness_ms"]["max"] == 8.0  # our own sending is judged from the first dispatch on
    assert stage_figures(warm, plan_arrivals(warm, 0)[1], rows)[0]["p95_ms"] == 9_000.0


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(1, 101)]
    stage = figures(ledger(*({"total_ms": value} for value in values)))[0]
    assert (stage["p50_ms"], stage["p95_ms"], stage["p99_ms"]) == (50.0, 95.0, 99.0)


def test_reasons_stand_beside_nulls_only() -> None:
    assert with_missing({"a": 1}, "why") == {"a": 1}
    assert with_missing({"a": None, "b": 2}, {"a": "why"}) == {"a": None, "b": 2, "missing": {"a": "why"}}
