"""One shard driven by a process of its own: only while somebody coordinates the run, and until another takes over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from pointsman.dispatch import DriveSummary, order_start, read_summary
from pointsman.dispatch.orders import Start
from pointsman.errors import Conflict, DependencyDown, InputRefused, NotFound, PointsmanError, RunFailed
from pointsman.scenario import ElsewhereLauncher, Scenario, Stage, drive_shard, execute_run, read_run, run_drives
from pointsman.scenario.cancelling import request_stop
from pointsman.scenario.elsewhere import ShardElsewhere
from pointsman.scenario.holding import DEAD_AFTER_S, Hold, hold_run
from pointsman.scenario.launching import ShardOrder
from pointsman.scenario.record import read_shards
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.dispatch.world import WALL_NS
from tests.scenario.fake_engine import plan
from tests.scenario.virtual_runs import VirtualRuns
from tests.scenario.virtual_shards import Machine, ScriptedClock

TWO = Scenario(name="two", stages=(Stage(name="all", rate=4, duration_s=20),), shards=2, drain_limit_s=10)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(ScriptedClock())
    for room in ("driving", "launching"):
        monkeypatch.setattr(f"pointsman.scenario.{room}.DriveProcess", machine.start)
    return machine


@pytest.fixture
def virtual(ws: Workspace, machine: Machine) -> Workspace:
    ws = replace(ws, clock=machine.clock)
    plan(ws, scenario=TWO)
    for drive_dir in run_drives(ws, read_run(ws, "run1")):
        order_start(drive_dir, Start(epoch_wall_ns=WALL_NS + 1_000_000_000))
    return ws


@contextmanager
def coordinated(ws: Workspace, machine: Machine, *, until_s: float = 60) -> Iterator[None]:
    """Somebody coordinates the run and gives a sign of life every second."""
    with hold_run(ws, "run1", wait_s=0) as hold:
        _beat(hold, machine, until_s)
        yield


def _beat(hold: Hold, machine: Machine, until_s: float) -> None:
    hold.beat(submitted=0)
    if machine.clock.monotonic() < until_s:
        machine.clock.at(1, lambda: _beat(hold, machine, until_s))


def drive(ws: Workspace, *, shard: int = 1, turn: int = 1) -> DriveSummary:
    return drive_shard(ws, "run1", shard, turn=turn, secret=None)


def told(ws: Workspace, shard: int = 1) -> tuple[object, ...] | None:
    failure = read_shards(ws, "run1")[shard]["failure"]
    return (failure["turn"], failure["kind"], failure["code"]) if failure else None


def test_it_drives_its_own_shard_to_the_end_from_the_shared_epoch(virtual: Workspace, machine: Machine) -> None:
    with coordinated(virtual, machine):
        summary = drive(virtual)
        assert (summary.outcome, summary.counts["completed"]) == ("completed", 40)
        assert round(summary.epoch.timestamp() * 1e9) == WALL_NS + 1_000_000_000
        assert drive(virtual) == summary, "a closed drive is answered at once"
    assert len(machine.processes) == 1
    assert told(virtual) is None
    assert read_shards(virtual, "run1")[1]["process_id"] == "0"
    assert read_shards(virtual, "run1")[0]["process_id"] is None


def test_without_a_coordinator_nothing_is_sent(virtual: Workspace, machine: Machine) -> None:
    with pytest.raises(Conflict) as caught:
        drive(virtual)
    assert caught.value.code == "not_coordinated"
    assert machine.processes == []
    assert told(virtual) == (1, "Conflict", "not_coordinated")


def test_when_its_coordinator_dies_it_leaves_the_drive_to_be_continued(virtual: Workspace, machine: Machine) -> None:
    with coordinated(virtual, machine, until_s=5):
        with pytest.raises(Conflict) as caught:
            drive(virtual)
        assert caught.value.code == "not_coordinated"
    assert 5 < machine.clock.monotonic() < 5 + DEAD_AFTER_S + 3
    assert machine.living() == []
    assert read_summary(run_drives(virtual, read_run(virtual, "run1"))[1]) is None
    machine.clock.due.clear()
    with coordinated(virtual, machine):
        assert drive(virtual, turn=2).outcome == "completed"
    assert told(virtual) is None


@pytest.mark.parametrize("by", ["a later process", "another coordinator"])
def test_it_makes_room_for_whoever_takes_over(virtual: Workspace, machine: Machine, by: str) -> None:
    def take_over() -> None:
        shards, runs = tables.load_test_shards, tables.load_test_runs
        metrics = read_run(virtual, "run1").metrics_json
        with virtual.database.begin() as connection:
            if by == "a later process":
                connection.execute(sa.update(shards).where(shards.c.shard == 1).values(processes=2))
            else:
                machine.clock.due.clear()
                metrics["runner"]["coordinator"]["token"] = "another"
                connection.execute(sa.update(runs).values(metrics_json=metrics))

    with coordinated(virtual, machine):
        machine.clock.at(4, take_over)
        machine.clock.at(3, lambda: setattr(machine.processes[0], "hangs", True))
        with pytest.raises(Conflict) as caught:
            drive(virtual)
    assert caught.value.code == "shard_replaced"
    assert machine.clock.monotonic() < 6
    assert machine.living() == []
    assert told(virtual) == (None if by == "a later process" else (1, "Conflict", "shard_replaced"))


def test_a_cancel_of_the_run_ends_it(virtual: Workspace, machine: Machine) -> None:
    machine.service.run_s = 1000
    with coordinated(virtual, machine):
        machine.clock.at(5, lambda: request_stop(virtual, "run1", reason="enough"))
        assert drive(virtual).outcome == "cancelled"
    assert machine.submitted_at
    assert max(machine.submitted_at) < 5 + 2
    assert machine.live_jobs == 0


def test_one_that_is_not_through_when_it_must_be_says_so(
    virtual: Workspace, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.scenario.virtual_shards.VirtualProcess.overdue", True)
    with coordinated(virtual, machine), pytest.raises(RunFailed):
        drive(virtual)
    assert told(virtual) == (1, "RunFailed", "driver_stuck")


def test_a_shard_that_is_none_is_refused(virtual: Workspace) -> None:
    with pytest.raises(InputRefused, match="shard: 2 is not allowed"):
        drive(virtual, shard=2)
    with pytest.raises(NotFound):
        drive_shard(virtual, "another", 0, turn=1, secret=None)


ERRORS: list[PointsmanError] = [
    DependencyDown("The target is gone.", instruction="pointsman doctor", code="target_lost"),
    Conflict("Another process drives it.", instruction="wait", code="drive_locked"),
    RunFailed("It died.", instruction="again", code="driver_died"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_why_it_gave_up_reaches_its_coordinator_as_it_was(
    virtual: Workspace, machine: Machine, monkeypatch: pytest.MonkeyPatch, error: PointsmanError
) -> None:
    runs = VirtualRuns(virtual, machine)
    drive_dir = run_drives(virtual, read_run(virtual, "run1"))[1]
    process = ElsewhereLauncher(virtual, runs).launch(ShardOrder("run1", 1, 1, drive_dir))
    assert isinstance(process, ShardElsewhere)

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("pointsman.scenario.driving.DriveProcess", fails)
    with hold_run(virtual, "run1", wait_s=0), pytest.raises(type(error)):
        drive(virtual)
    assert not process.ended
    virtual.clock.sleep(1.1)
    process.look()
    assert process.ended
    with pytest.raises(type(error)) as caught:
        process.result()
    assert caught.value.as_failure() == error.as_failure()


def test_a_run_that_ended_without_a_word_is_a_driver_that_died(virtual: Workspace, machine: Machine) -> None:
    runs = VirtualRuns(virtual, machine)
    drive_dir = run_drives(virtual, read_run(virtual, "run1"))[1]
    process = ElsewhereLauncher(virtual, runs).launch(ShardOrder("run1", 1, 1, drive_dir))
    runs.runs["run1-1-1"].kill()
    virtual.clock.sleep(1.1)
    process.look()
    with pytest.raises(RunFailed, match="run1-1-1 that drove shard 1 ended: Crashed") as caught:
        process.result()
    assert caught.value.code == "driver_died"


NO_CAPACITY = "Crashed (Failed to submit flow run to infrastructure: Failed to run ECS task: RESOURCE:MEMORY)"


def test_a_task_that_does_not_start_is_tried_three_times_and_then_ends_the_run_by_its_name(
    virtual: Workspace, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VirtualRuns, "ended", lambda runs, run: NO_CAPACITY)
    runs = VirtualRuns(virtual, machine)
    launched: list[str] = []
    monkeypatch.setattr(VirtualRuns, "launch", lambda runs, flow, request, *, key: launched.append(key) or key)
    monkeypatch.setattr(VirtualRuns, "cancel", lambda runs, run: None)
    with pytest.raises(RunFailed, match="RESOURCE:MEMORY") as caught:
        execute_run(virtual, "run1", secret=None, launcher=ElsewhereLauncher(virtual, runs))
    assert caught.value.code == "ecs_no_capacity"
    assert sorted(launched)[:3] == ["run1-0-1", "run1-0-2", "run1-0-3"]
    assert "use fewer shards" in caught.value.instruction


def test_a_target_that_is_lost_elsewhere_ends_the_attempt_and_leaves_nothing_behind(
    virtual: Workspace, machine: Machine
) -> None:
    runs = VirtualRuns(virtual, machine)

    def tell() -> None:
        failure = {"turn": 1, "kind": "DependencyDown", **ERRORS[0].as_failure()}
        shards = tables.load_test_shards
        with virtual.database.begin() as connection:
            connection.execute(sa.update(shards).where(shards.c.shard == 0).values(failure=failure))

    machine.clock.at(6, tell)
    launcher = ElsewhereLauncher(virtual, runs)
    with pytest.raises(DependencyDown, match="target is gone"):
        execute_run(virtual, "run1", secret=None, launcher=launcher)
    assert [process.ended for process in machine.processes] == [False, True], "the first has said that it ended"
    machine.processes[0].kill()
    assert execute_run(virtual, "run1", secret=None, launcher=launcher).status == "completed"
    assert [shard["processes"] for shard in read_shards(virtual, "run1")] == [2, 2]
