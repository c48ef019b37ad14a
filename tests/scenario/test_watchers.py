"""What watches a run: called about once a second, kept in its row, able to end it, and always ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pointsman.actions import ActionLog
from pointsman.dispatch import order_cancel
from pointsman.dispatch.orders import cancel_ordered
from pointsman.errors import DependencyDown
from pointsman.scenario import RunOutcome, cancel_run, execute_run, give_up_run, read_run, run_drives
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import PLANNED, FakeEngine, plan
from tests.scenario.fake_watcher import STOP, FakeWatcher

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
FAILURE = {"code": "too_slow", "message": "It was too slow.", "instruction": "pointsman doctor"}


def execute(ws: Workspace) -> RunOutcome:
    return execute_run(ws, "run1", secret=None, cancelled=lambda: False)


def test_a_watcher_sees_every_second_once_and_its_state_is_kept(
    ws: Workspace, engine: FakeEngine, watcher: FakeWatcher
) -> None:
    plan(ws)
    assert execute(ws).status == "completed"
    assert watcher.begun == [(EPOCH, {})]
    assert [second.second for second in watcher.seconds] == [0, 1, 2, 3, 4]
    assert sum(second.counts["sent"] for second in watcher.seconds) == PLANNED
    assert watcher.looked == sorted(watcher.looked)
    assert max(later - sooner for sooner, later in zip(watcher.looked, watcher.looked[1:], strict=False)) <= 1.5
    metrics = read_run(ws, "run1").metrics_json
    assert metrics["watchers"] == {"fake": {"count": 5}}
    assert metrics["epoch"] == EPOCH.isoformat()
    assert watcher.ended == 1


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_a_clock_that_is_set_while_the_run_goes_on_moves_no_window(
    ws: Workspace, engine: FakeEngine, watcher: FakeWatcher, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    plan(ws)
    right = ws.clock.now

    def now() -> datetime:
        set_by = step_s if watcher.looked and watcher.looked[-1] >= 2.0 else 0.0
        return right() + timedelta(seconds=set_by)

    monkeypatch.setattr(ws.clock, "now", now)
    assert execute(ws).status == "completed"
    assert watcher.looked == sorted(watcher.looked)
    assert watcher.looked[-1] < 10.0


def test_a_stop_fails_the_run_with_its_reason_and_ends_the_jobs(
    ws: Workspace, engine: FakeEngine, watcher: FakeWatcher
) -> None:
    plan(ws)
    watcher.stop_at = 2
    ended = execute(ws)
    assert (ended.status, ended.failure) == ("failed", FAILURE)
    assert watcher.ended == 1
    counts = read_run(ws, "run1").metrics_json["counts"]
    assert counts["cancelled_unsent"] == PLANNED - counts["completed"] > 0
    (event,) = ActionLog(ws).read(run_id="run1")
    assert event.event == STOP.event
    assert event.data["rate"] == 0.5
    assert event.data["message"] == STOP.message
    assert execute(ws) == ended


def test_what_is_wrong_in_the_last_second_fails_a_run_that_had_sent_all(
    ws: Workspace, engine: FakeEngine, watcher: FakeWatcher
) -> None:
    plan(ws)
    watcher.stop_at = 5
    assert execute(ws).failure == FAILURE
    assert read_run(ws, "run1").metrics_json["counts"]["completed"] == PLANNED


def test_another_coordinator_goes_on_with_what_the_watchers_knew(
    ws: Workspace, engine: FakeEngine, watcher: FakeWatcher
) -> None:
    plan(ws)
    engine.lose_target_in = {3}
    with pytest.raises(DependencyDown):
        execute(ws)
    assert watcher.ended == 0
    known = read_run(ws, "run1").metrics_json["watchers"]["fake"]
    assert known["count"] > 0
    assert execute(ws).status == "completed"
    assert watcher.begun == [(EPOCH, {}), (EPOCH, known)]
    assert sorted(second.second for second in watcher.seconds) == [0, 1, 2, 3, 4]
    assert watcher.ended == 1


def test_a_stop_outlives_the_coordinator_that_heard_it(
    ws: Workspace, engine: FakeEngine, watcher: FakeWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(ws)
    watcher.stop_at = 1

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pointsman.scenario.execution.settle", killed)
        with pytest.raises(KeyboardInterrupt):
            execute(ws)
    assert not read_run(ws, "run1").ended
    watcher.stop_at = None
    assert execute(ws).failure == FAILURE
    assert len(ActionLog(ws).read(run_id="run1")) == 1
    assert watcher.ended == 1


@pytest.mark.parametrize("how", ["cancelled", "given up", "broken books"])
def test_watchers_are_ended_however_the_run_ends(
    ws: Workspace, engine: FakeEngine, watcher: FakeWatcher, how: str
) -> None:
    plan(ws)
    if how == "cancelled":
        engine.at_second = lambda second: cancel_run(ws, "run1", reason="enough") if second == 2 else None
        assert execute(ws).status == "cancelled"
    elif how == "given up":
        engine.lose_target_in = {3}
        with pytest.raises(DependencyDown):
            execute(ws)
        assert give_up_run(ws, "run1").status == "failed"
    else:
        engine.drop_row = 5
        assert execute(ws).status == "failed"
    assert watcher.ended == 1


@pytest.mark.parametrize("how", ["cancelled", "stopped", "asked by the process", "completed"])
def test_what_does_harm_is_ended_before_the_shards_are_told_to_drain(
    ws: Workspace, engine: FakeEngine, watcher: FakeWatcher, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    plan(ws)
    drives = run_drives(ws, read_run(ws, "run1"))
    order: list[str] = []

    def halted() -> None:
        assert not any(cancel_ordered(drive_dir) for drive_dir in drives)
        order.append("halted")

    def ordered(drive_dir: Path) -> None:
        order.append("drain")
        order_cancel(drive_dir)

    watcher.at_halt = halted
    monkeypatch.setattr("pointsman.scenario.execution.halt_faults", lambda *_: halted())
    for module in ("execution", "shards"):
        monkeypatch.setattr(f"pointsman.scenario.{module}.order_cancel", ordered)
    asked = []
    if how == "cancelled":
        engine.at_second = lambda second: cancel_run(ws, "run1", reason="enough") if second == 2 else None
        watcher.at_halt = lambda: order.append("halted again")
    elif how == "stopped":
        watcher.stop_at = 2
    elif how == "asked by the process":
        engine.at_second = lambda second: asked.append(second) if second == 2 else None
    ended = execute_run(ws, "run1", secret=None, cancelled=lambda: bool(asked))
    assert ended.status == {"stopped": "failed", "completed": "completed"}.get(how, "cancelled")
    assert order[:2] == ([] if how == "completed" else ["halted", "drain"])


def test_a_run_that_never_began_has_nothing_to_end(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    plan(ws)
    assert cancel_run(ws, "run1", reason="wrong seed").status == "cancelled"
    assert (watcher.begun, watcher.ended) == ([], 0)


def test_a_run_has_not_ended_before_its_watchers_have(ws: Workspace, engine: FakeEngine, watcher: FakeWatcher) -> None:
    plan(ws)
    watcher.cannot_end = 1
    with pytest.raises(DependencyDown, match="cloud"):
        execute(ws)
    assert read_run(ws, "run1").status == "draining"
    assert execute(ws).status == "completed"
    assert watcher.ended == 1


def test_what_a_watcher_tells_in_the_end_is_laid_over_the_figures(
    ws: Workspace, engine: FakeEngine, watcher: FakeWatcher
) -> None:
    plan(ws)
    watcher.ends = {"slo": {"met": False}, "stages": {"hold": {"fault": {"method": "fis"}}}, "failure": FAILURE}
    ended = execute(ws)
    assert (ended.status, ended.failure) == ("failed", FAILURE)
    metrics = read_run(ws, "run1").metrics_json
    assert metrics["slo"] == {"met": False}
    assert [stage.get("fault") for stage in metrics["stages"]] == [None, {"method": "fis"}]
    assert metrics["stages"][1]["planned"] == 12
