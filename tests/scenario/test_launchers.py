"""What holds wherever a run's shards are started: as children of their coordinator, or as runs of a flow elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from pointsman.actions import ActionEntry, ActionLog
from pointsman.scenario import (
    ElsewhereLauncher,
    RunOutcome,
    Scenario,
    Stage,
    cancel_run,
    execute_run,
    read_run,
    run_status,
    schedule,
)
from pointsman.scenario.shards import LOST_AFTER_S
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import plan
from tests.scenario.ledgers import dispatches_of
from tests.scenario.virtual_runs import VirtualRuns
from tests.scenario.virtual_shards import Machine, ScriptedClock

STEADY = Scenario(
    name="steady",
    stages=(Stage(name="all", rate=5, duration_s=20),),
    shards=3,
    drain_limit_s=30,
    target_patience_s=30,
)
Execute = Callable[[], RunOutcome]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(ScriptedClock())
    monkeypatch.setattr("pointsman.scenario.launching.DriveProcess", machine.start)
    return machine


@pytest.fixture
def virtual(ws: Workspace, machine: Machine) -> Workspace:
    ws = replace(ws, clock=machine.clock)
    plan(ws, scenario=STEADY)
    return ws


@pytest.fixture
def runs(virtual: Workspace, machine: Machine) -> VirtualRuns:
    return VirtualRuns(virtual, machine)


@pytest.fixture(params=["here", "elsewhere"])
def execute(request: pytest.FixtureRequest, virtual: Workspace) -> Execute:
    if request.param == "here":
        return lambda: execute_run(virtual, "run1", secret=None)
    launcher = ElsewhereLauncher(virtual, request.getfixturevalue("runs"))
    return lambda: execute_run(virtual, "run1", secret=None, launcher=launcher)


def events(ws: Workspace) -> list[ActionEntry]:
    """But for the rate that a run missed because a shard was away."""
    return [event for event in ActionLog(ws).read(run_id="run1") if event.event != "load_test_rate_missed"]


def conserved(ws: Workspace) -> dict[str, int]:
    counts: dict[str, int] = run_status(ws, "run1")["counts"]
    assert counts["planned"] == sum(counts[term] for term in ("still_planned", "dropped", "cancelled_unsent", "sent"))
    assert counts["sent"] == sum(counts[term] for term in ("completed", "failed", "cancelled_sent", "unknown"))
    return counts


def test_the_whole_schedule_is_sent_from_one_epoch(virtual: Workspace, machine: Machine, execute: Execute) -> None:
    assert execute().status == "completed"
    assert dispatches_of(virtual, "run1")["planned_ns"].to_list() == schedule(STEADY, 1).tolist()
    assert conserved(virtual)["completed"] == 100
    assert events(virtual) == []


@pytest.mark.parametrize("mishap", ["killed", pytest.param("hangs", marks=pytest.mark.prove)])
def test_a_lost_shard_is_noticed_and_replaced_where_the_schedule_is(
    virtual: Workspace, machine: Machine, execute: Execute, mishap: str
) -> None:
    lost_at: list[float] = []

    def lose() -> None:
        lost_at.append(machine.clock.monotonic())
        if mishap == "killed":
            machine.processes[1].kill()
        else:
            machine.processes[1].hangs = True

    machine.clock.at(5, lose)
    assert execute().status == "completed"
    (event,) = events(virtual)
    assert (event.event, event.severity, event.data["shard"]) == ("load_test_shard_lost", "critical", 1)
    noticed_s = (event.at - virtual.clock.now()).total_seconds() + virtual.clock.monotonic() - lost_at[0]
    assert noticed_s < (15 if mishap == "hangs" else 2)
    assert noticed_s >= (LOST_AFTER_S - 1 if mishap == "hangs" else 0)
    (gap,) = read_run(virtual, "run1").metrics_json["interruptions"]
    assert gap["shard"] == 1
    assert gap["resumed_s"] - gap["after_s"] == pytest.approx(noticed_s, abs=1.5)
    ledger = dispatches_of(virtual, "run1")
    assert ledger["planned_ns"].to_list() == schedule(STEADY, 1).tolist()
    dropped = ledger.filter(pl.col("state") == "dropped")
    assert set(dropped["reason"]) <= {"shard_lost"}
    assert set(dropped["seq"] % 3) <= {1}
    assert dropped.height >= (10 if mishap == "hangs" else 0)
    assert ledger.filter((pl.col("seq") > 95) & (pl.col("state") == "completed")).height == 4
    assert [shard["processes"] for shard in run_status(virtual, "run1")["runner"]["shards"]] == [1, 2, 1]
    assert [len(jobs) for jobs in machine.service.jobs.values()] == [1] * len(machine.service.jobs)
    conserved(virtual)


def test_a_cancel_ends_every_job_and_nothing_is_sent_after_it(
    virtual: Workspace, machine: Machine, execute: Execute
) -> None:
    machine.service.run_s = 1000.0
    cancelled_at: list[float] = []

    def cancel() -> None:
        cancelled_at.append(machine.clock.monotonic())
        cancel_run(virtual, "run1", reason="enough")

    machine.clock.at(6, cancel)
    assert execute().status == "cancelled"
    assert max(machine.submitted_at) < cancelled_at[0] + 2
    assert machine.live_jobs == 0
    assert read_run(virtual, "run1").metrics_json["runner"]["stop"]["reason"] == "enough"
    assert conserved(virtual)["cancelled_sent"] > 0


def test_where_a_shard_runs_is_known_or_null(virtual: Workspace, runs: VirtualRuns) -> None:
    launch = execute_run(virtual, "run1", secret=None, launcher=ElsewhereLauncher(virtual, runs))
    assert launch.status == "completed"
    runner = run_status(virtual, "run1")["runner"]
    ids = ["run1-0-1", "run1-1-1", "run1-2-1"]
    assert [shard["task_id"] for shard in runner["shards"]] == runner["launch"]["task_arns"] == ids
    plan(virtual, "here", scenario=STEADY)
    execute_run(virtual, "here", secret=None)
    runner = run_status(virtual, "here")["runner"]
    assert [shard["task_id"] for shard in runner["shards"]] == runner["launch"]["task_arns"] == [None] * 3
    assert runner["launch"]["task_arn"] is None


def test_when_prefect_does_not_answer_at_the_start_the_shards_run_here(
    virtual: Workspace, machine: Machine, runs: VirtualRuns
) -> None:
    runs.answers = False
    ended = execute_run(virtual, "run1", secret=None, launcher=ElsewhereLauncher(virtual, runs))
    assert ended.status == "completed"
    assert [event.event for event in events(virtual)] == ["prefect_unreachable_inline"] * 3
    assert conserved(virtual)["completed"] == 100
    assert run_status(virtual, "run1")["runner"]["launch"]["task_arns"] == [None] * 3


def test_when_prefect_goes_away_the_run_goes_on_without_it(
    virtual: Workspace, machine: Machine, runs: VirtualRuns
) -> None:
    machine.clock.at(3, lambda: setattr(runs, "answers", False))
    machine.clock.at(6, lambda: machine.processes[2].kill())
    assert execute_run(virtual, "run1", secret=None, launcher=ElsewhereLauncher(virtual, runs)).status == "completed"
    told = [(event.event, event.data["shard"]) for event in events(virtual)]
    assert sorted(told) == [("load_test_shard_lost", 2), ("prefect_unreachable_inline", 2)]
    runner = run_status(virtual, "run1")["runner"]
    assert runner["launch"]["task_arns"] == ["run1-0-1", "run1-1-1", None]
    conserved(virtual)
