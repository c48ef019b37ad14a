"""What a running load test has spent so far, and the watcher that ends it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from pointsman.actions import event_type
from pointsman.dispatch.seconds import Second
from pointsman.model import Missing
from pointsman.scenario import SpendingWatcher, SpendMeter, read_run
from pointsman.scenario.record import RunRecord, advance
from pointsman.statistics import Sketch
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import plan

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = Sketch()


def second(at: int, in_flight: int = 0, stage: int = 0, **counts: int) -> Second:
    return Second(at, stage, counts, in_flight, 0, NOTHING, NOTHING, NOTHING, NOTHING)


def run(ws: Workspace, unit: str | None = "0.10", limit: str = "1.00", **cost: Any) -> RunRecord:
    plan(ws)
    forecast: dict[str, Any] = {"unit_usd": unit}
    if unit is None:
        forecast["missing"] = {"unit_usd": "nobody measured it"}
    return advance(ws, "run1", None, metrics={"cost": {"forecast": forecast, "limit_usd": limit, **cost}})


def test_what_was_refused_cost_nothing_and_everything_else_that_ended_did() -> None:
    spend = SpendMeter(Decimal("0.10")).so_far(
        {"sent": 30, "completed": 10, "failed": 6, "refused": 2, "unknown": 1, "cancelled_sent": 1, "dropped": 99}, 8
    )
    assert (spend.ended, spend.failed, spend.in_flight) == (Decimal("1.60"), Decimal("0.60"), Decimal("0.80"))


def test_an_unknown_unit_makes_every_sum_unknown(ws: Workspace) -> None:
    meter = SpendMeter.of(run(ws, unit=None))
    assert meter.unit_usd == Missing("nobody measured it")
    assert meter.so_far({"completed": 5}, 1).ended == Missing("nobody measured it")
    watcher = SpendingWatcher(read_run(ws, "run1"))
    watcher.begin(EPOCH, {})
    assert watcher.look(1.0, [second(0, completed=10**9)]) is None
    assert watcher.end()["cost"]["missing"] == {"estimated_usd": "nobody measured it"}


def test_a_run_that_was_never_admitted_has_no_limit_to_hold(ws: Workspace) -> None:
    plan(ws)
    watcher = SpendingWatcher(read_run(ws, "run1"))
    watcher.begin(EPOCH, {})
    assert watcher.look(1.0, [second(0, completed=10**9)]) is None


def test_it_stops_the_run_when_what_is_on_its_way_would_pass_the_limit(ws: Workspace) -> None:
    watcher = SpendingWatcher(run(ws))
    watcher.begin(EPOCH, {})
    assert watcher.look(1.0, [second(0, 3, sent=6, completed=3), second(0, 3, stage=1, failed=2)]) is None
    assert watcher.look(2.0, []) is None
    assert watcher.look(3.0, [second(1, 7, sent=5), second(2, 5, completed=0)]) is None, "0.50 ended and 0.50 in flight"
    stop = watcher.look(4.0, [second(3, 6, sent=1)])
    assert stop is not None
    assert (stop.event, stop.code) == ("budget_exceeded", "over_run_budget")
    assert "about 1.10 USD; the run may spend 1.00 USD" in stop.message
    event_type(stop.event).instruct({"run_id": "run1", **stop.data})


def test_a_coordinator_that_takes_over_knows_what_was_spent(ws: Workspace) -> None:
    record = run(ws)
    first = SpendingWatcher(record)
    first.begin(EPOCH, {})
    first.look(1.0, [second(0, 4, sent=9, completed=5)])
    kept = json.loads(json.dumps(first.state()))
    again = SpendingWatcher(record)
    again.begin(EPOCH, kept)
    assert again.state() == first.state()
    assert again.look(2.0, [second(1, 6, sent=2)]) is not None
    assert again.end() == again.end() == {"cost": {"estimated_usd": "0.50"}}


@pytest.mark.parametrize("limit", ["0", "0.09"])
def test_a_limit_below_one_dispatch_stops_at_the_first(ws: Workspace, limit: str) -> None:
    watcher = SpendingWatcher(run(ws, limit=limit))
    watcher.begin(EPOCH, {})
    assert watcher.look(1.0, [second(0, 1, sent=1)]) is not None
