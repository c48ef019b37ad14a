"""However a run fails, its row says what happened, why, and what to do: `metrics_json.failure`."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from pointsman import scenario
from pointsman.errors import DependencyDown, GuardRefused, RunFailed
from pointsman.safety import Forecast, Identity, Limits, decide_approval, list_approvals
from pointsman.scenario import admit_run, execute_run, give_up_run, read_run, run_status
from pointsman.scenario.record import advance
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import PLANNED, FakeEngine, plan
from tests.scenario.fake_watcher import FakeWatcher

LIMITS = Limits(dispatches=100, in_flight=2000, run_usd=Decimal(500), month_usd=Decimal(600), approval_usd=Decimal(50))
ALICE, BOB = Identity("alice", "admin", "local"), Identity("bob", "operator", "token")
Failing = Callable[[Workspace, FakeEngine, FakeWatcher], None]


def execute(ws: Workspace) -> None:
    execute_run(ws, "run1", secret=None)


def admit(ws: Workspace, usd: str = "60", limits: Limits = LIMITS) -> None:
    one = Decimal(usd)
    forecast = Forecast(PLANNED, one, one, one, one / PLANNED, "a guess")
    admit_run(ws, "run1", dispatches=PLANNED, forecast=forecast, unbilled=False, limits=limits, requester=ALICE)


def decide(ws: Workspace, approve: bool) -> None:
    (asked,) = list_approvals(ws)
    decide_approval(ws, asked.id, BOB, "approved" if approve else "rejected", reason="", limits=LIMITS)


def too_many_dispatches(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    admit(ws, limits=replace(LIMITS, dispatches=1))


def too_many_in_flight(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    admit(ws, limits=replace(LIMITS, in_flight=1))


def over_run_budget(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    admit(ws, "501")


def over_month_budget(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    admit(ws, limits=replace(LIMITS, month_usd=Decimal(1)))


def approval_rejected(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    admit(ws)
    decide(ws, approve=False)
    admit(ws)


def approval_expired(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    admit(ws)
    ws.clock.sleep(timedelta(days=1).total_seconds())
    admit(ws)


def approval_over_limit(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    admit(ws)
    decide(ws, approve=True)
    admit(ws, "61")


def too_slow(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    watcher.stop_at = 2
    execute(ws)


def target_lost(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    engine.lose_target_in = {2}
    with pytest.raises(DependencyDown):
        execute(ws)
    give_up_run(ws, "run1")


def driver_died(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    engine.stillborn = True
    with pytest.raises(RunFailed):
        execute(ws)
    give_up_run(ws, "run1")


def given_up(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    give_up_run(ws, "run1")


def conservation_broken(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    engine.breaks = True
    execute(ws)


def a_lost_row(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    engine.drop_row = 3
    execute(ws)


FAILING: dict[Failing, str] = {
    **{
        one: one.__name__
        for one in (too_many_dispatches, too_many_in_flight, over_run_budget, over_month_budget, approval_rejected)
    },
    **{one: one.__name__ for one in (approval_expired, approval_over_limit, too_slow, target_lost, driver_died)},
    **{one: one.__name__ for one in (given_up, conservation_broken)},
    a_lost_row: "conservation_broken",
}


@pytest.mark.parametrize("fail", FAILING, ids=lambda one: one.__name__)
def test_the_row_says_what_and_why_and_what_to_do(
    ws: Workspace, engine: FakeEngine, watcher: FakeWatcher, fail: Failing
) -> None:
    plan(ws)
    with contextlib.suppress(GuardRefused):
        fail(ws, engine, watcher)
    record = read_run(ws, "run1")
    assert record.status == "failed"
    assert record.ended_at is not None
    failure = record.metrics_json["failure"]
    assert failure["code"] == FAILING[fail]
    assert failure["message"].strip()
    assert failure["instruction"].strip()
    assert run_status(ws, "run1")["failure"] == failure


def test_a_run_that_the_spending_watcher_stops_says_how_much(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    admit(ws, "40")
    cost = {**read_run(ws, "run1").metrics_json["cost"], "limit_usd": "20"}
    advance(ws, "run1", None, metrics={"cost": cost})
    execute(ws)
    record = read_run(ws, "run1")
    assert record.status == "failed"
    assert record.metrics_json["failure"]["code"] == "over_run_budget"
    assert "the run may spend 20 USD" in record.metrics_json["failure"]["message"]
    assert record.metrics_json["counts"]["cancelled_unsent"] > 0


def test_no_run_can_fail_without_saying_why(ws: Workspace) -> None:
    plan(ws)
    with pytest.raises(AssertionError):
        advance(ws, "run1", "failed", reason="just so")
    assert read_run(ws, "run1").status == "created"


def test_these_are_all_the_places_where_a_run_is_failed() -> None:
    places = set()
    for path in Path(scenario.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and any(
                isinstance(given, ast.Constant) and given.value == "failed" for given in node.args
            ):
                called = ast.unparse(node.func)
                if called in ("advance", "move", "_lay"):
                    places.add((path.name, called))
    assert places == {("admission.py", "_lay"), ("execution.py", "advance")}
