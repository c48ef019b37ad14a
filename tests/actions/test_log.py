"""The action log keeps what happened, newest first, and takes nothing that must not be kept."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import InputRefused
from pointsman.ids import RouteKey
from pointsman.model import Missing
from pointsman.settings import Secret
from pointsman.storage import tables

ROUTE = RouteKey("postcard-1", "lab", "demo")


def test_a_recorded_event_is_read_back_with_its_severity_time_data_and_filled_instruction(ws):
    log = ActionLog(ws)
    entry_id = log.record(
        "benchmark_item_failed",
        run_id="run-1",
        context="bm_1",
        dispatch_id="d 1",
        cost=Decimal("0.0000001"),
        quality=Missing("no output"),
        route=ROUTE,
        at=datetime(2026, 1, 2, tzinfo=UTC),
        rows=({"n": 1.5}, None, True),
    )
    (entry,) = log.read()
    assert (entry.id, entry.event, entry.severity) == (entry_id, "benchmark_item_failed", "warn")
    assert (entry.run_id, entry.context, entry.at) == ("run-1", "bm_1", ws.clock.now())
    assert entry.instruction == "pointsman trace 'd 1'"
    assert entry.data == {
        "dispatch_id": "d 1",
        "cost": "0.0000001",
        "quality": "not measured (no output)",
        "route": str(ROUTE),
        "at": "2026-01-02T00:00:00+00:00",
        "rows": [{"n": 1.5}, None, True],
    }


def test_events_are_read_newest_first_and_by_severity_run_time_and_number(ws):
    log = ActionLog(ws)
    log.record("price_missing", run_id="a", sku="x")
    ws.clock.sleep(60)
    middle = ws.clock.now()
    log.record("data_check_failed", run_id="a")
    log.record("data_check_failed", run_id="b")
    ws.clock.sleep(60)
    log.record("routing_applied", route_key=ROUTE)

    def names(**filters):
        return [(entry.event, entry.run_id) for entry in log.read(**filters)]

    assert names() == [
        ("routing_applied", None),
        ("data_check_failed", "b"),
        ("data_check_failed", "a"),
        ("price_missing", "a"),
    ]
    assert names(limit=1) == [("routing_applied", None)]
    assert names(run_id="a") == [("data_check_failed", "a"), ("price_missing", "a")]
    assert names(severity="critical", run_id="b") == [("data_check_failed", "b")]
    assert names(since=middle) == names()[:3]


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("no_such_event", {}),
        ("benchmark_item_failed", {}),
        ("data_check_failed", {}),
        ("price_missing", {"sku": Secret("hunter2")}),
        ("price_missing", {"sku": {"deep": [Secret("hunter2")]}}),
        ("price_missing", {"sku": b"hunter2"}),
        ("price_missing", {"sku": float("nan")}),
    ],
)
def test_a_bad_event_is_refused_and_nothing_is_written(ws, event, data):
    with pytest.raises(InputRefused) as refusal:
        ActionLog(ws).record(event, **data)
    assert "hunter2" not in str(refusal.value)
    assert ActionLog(ws).read() == []


def test_an_event_recorded_in_a_transaction_goes_when_the_transaction_does(ws):
    log = ActionLog(ws)
    with ws.database.connect() as connection, connection.begin() as transaction:
        log.record_in(connection, "routing_applied", route_key=ROUTE)
        assert connection.execute(sa.select(sa.func.count()).select_from(tables.action_logs)).scalar() == 1
        transaction.rollback()
    assert log.read() == []


@pytest.mark.parametrize(
    ("filters", "named"),
    [
        ({"severity": "fatal"}, "severity"),
        ({"since": datetime(2026, 1, 1)}, "since"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_by_name(ws, filters, named):
    with pytest.raises(InputRefused, match=named):
        ActionLog(ws).read(**filters)
