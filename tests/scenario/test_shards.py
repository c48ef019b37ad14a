"""Several processes drive one run: together from one epoch, replaced when one is lost, continued after all were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pointsman.actions import ActionLog
from pointsman.dispatch import read_dispatches, read_summary
from pointsman.errors import RunFailed
from pointsman.scenario import (
    RunOutcome,
    Scenario,
    Stage,
    cancel_run,
    execute_run,
    read_run,
    run_drives,
    run_status,
    schedule,
)
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import plan
from tests.scenario.ledgers import dispatches_of
from tests.scenario.virtual_shards import Killed, Machine, ScriptedClock

STEADY = Scenario(
    name="steady",
    stages=(Stage(name="all", rate=10, duration_s=20),),
    shards=3,
    drain_limit_s=30,
    target_patience_s=30,
)
SECOND = 1_000_000_000


@pytest.fixture
def machine(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(ScriptedClock())
    monkeypatch.setattr("pointsman.scenario.launching.DriveProcess", machine.start)
    return machine


@pytest.fixture
def virtual(ws: Workspace, machine: Machine) -> Workspace:
    return replace(ws, clock=machine.clock)


def steady(**changes: Any) -> Scenario:
    """`STEADY` with changes; validated anew, because copies keep what was computed from the original."""
    return Scenario(**{**STEADY.model_dump(), **changes})


def execute(ws: Workspace) -> RunOutcome:
    return execute_run(ws, "run1", secret=None)


def drives(ws: Workspace) -> list[Path]:
    return run_drives(ws, read_run(ws, "run1"))


def rows(ws: Workspace) -> pl.DataFrame:
    return dispatches_of(ws, "run1")


@pytest.mark.parametrize("shards", [2, pytest.param(5, marks=pytest.mark.prove)])
def test_shards_send_together_what_one_process_would_have_sent(
    virtual: Workspace, machine: Machine, shards: int
) -> None:
    plan(virtual, scenario=steady(shards=shards))
    plan(virtual, run_id="alone", scenario=steady(shards=1))
    assert execute(virtual).status == "completed"
    assert execute_run(virtual, "alone", secret=None).status == "completed"
    together, alone = rows(virtual), dispatches_of(virtual, "alone")
    same = ["seq", "input_id", "repeat", "stage", "planned_ns", "state"]
    assert together.select(same).equals(alone.select(same))
    assert [one.removeprefix("studio_load_test_run1_").split("_")[0] for one in together["dispatch_id"].head(3)] == [
        *("0", "1", "2")
    ]
    assert together["lateness_ns"].max() < 0.02 * SECOND  # type: ignore[operator]
    assert {read_summary(drive_dir).epoch for drive_dir in drives(virtual)} == {  # type: ignore[union-attr]
        read_summary(drives(virtual)[0]).epoch  # type: ignore[union-attr]
    }
    for shard, drive_dir in enumerate(drives(virtual)):
        assert set(read_dispatches(drive_dir)["seq"] % shards) == {shard}


def test_more_shards_than_arrivals_are_not_started(virtual: Workspace, machine: Machine) -> None:
    two = Scenario(name="two", stages=(Stage(name="all", rate=1, duration_s=2),), shards=8)
    plan(virtual, scenario=two)
    assert execute(virtual).status == "completed"
    assert len(machine.processes) == 2


def test_after_the_loss_of_all_the_schedule_goes_on_for_all_as_if_the_gap_had_not_been(
    virtual: Workspace, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(virtual, scenario=STEADY)
    survive(machine, monkeypatch)
    machine.clock.at(6, machine.kill_coordinator)
    with pytest.raises(Killed):
        execute(virtual)
    for process in machine.living():
        process.kill()
    machine.coordinator_killed = False
    machine.clock.sleep(100)
    assert execute(virtual).status == "completed"
    ledger = rows(virtual)
    assert ledger.filter(pl.col("state") == "dropped").is_empty()
    shift = (ledger["planned_ns"] - pl.Series(schedule(STEADY, 1))).unique().sort()
    assert shift[0] == 0
    assert shift.len() == 2, "all shards were moved by the same time"
    assert 99 * SECOND < shift[1] < 105 * SECOND
    assert {gap["shard"] for gap in read_run(virtual, "run1").metrics_json["interruptions"]} == {0, 1, 2}


def survive(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a killed coordinator leave the run's row as a kill does."""
    from pointsman.scenario import holding

    release: Callable[..., None] = holding._release

    def unless_killed(*args: object) -> None:
        if not machine.coordinator_killed:
            release(*args)

    monkeypatch.setattr(holding, "_release", unless_killed)


def test_a_shard_that_never_starts_ends_the_attempt(
    virtual: Workspace, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(virtual, scenario=STEADY)

    def stillborn(drive_dir: Path, **other: Any) -> object:
        process = machine.start(drive_dir, **other)
        if drive_dir.name == "2":
            process.kill()
        return process

    monkeypatch.setattr("pointsman.scenario.launching.DriveProcess", stillborn)
    with pytest.raises(RunFailed, match="died"):
        execute(virtual)
    assert len(machine.processes) == 5
    assert machine.living() == []
    assert machine.service.jobs == {}


def test_a_process_that_takes_over_and_says_nothing_is_noticed_as_soon_as_any(
    virtual: Workspace, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(virtual, scenario=steady(stages=(Stage(name="all", rate=2, duration_s=60),)))

    def hanging(drive_dir: Path, **other: Any) -> object:
        process = machine.start(drive_dir, **other)
        process.hangs = len(machine.processes) == 4
        return process

    monkeypatch.setattr("pointsman.scenario.launching.DriveProcess", hanging)
    machine.clock.at(5, lambda: machine.processes[1].kill())
    assert execute(virtual).status == "completed"
    killed, hung = sorted(
        (event for event in ActionLog(virtual).read(run_id="run1") if event.event == "load_test_shard_lost"),
        key=lambda event: event.at,
    )
    assert (hung.at - killed.at).total_seconds() < 15
    assert "said nothing" in hung.data["why"]


def test_one_status_call_reads_as_much_after_a_long_run_as_after_a_short_one(
    virtual: Workspace, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[str, int] = {}

    def cost(run_id: str) -> None:
        counted = 0
        real_open, real_bytes = Path.open, Path.read_bytes

        def opened(self: Path, *args: object, **more: object) -> object:
            nonlocal counted
            counted += 1
            assert self.name in {"seconds.jsonl", "lock", "figures.json", "status.json", "plan.json"}, self.name
            return real_open(self, *args, **more)  # type: ignore[call-overload]

        def whole(self: Path) -> bytes:
            nonlocal counted
            content = real_bytes(self)
            counted += len(content)
            return content

        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", opened)
            patch.setattr(Path, "read_bytes", whole)
            run_status(virtual, run_id)
        read[run_id] = counted

    long = steady(stages=(Stage(name="all", rate=3, duration_s=100),))
    for run_id, seconds in (("short", 10), ("long", 70)):
        plan(virtual, run_id=run_id, scenario=long)
        machine.clock.at(seconds, partial(cost, run_id))
        machine.clock.at(seconds + 1, partial(cancel_run, virtual, run_id, reason="seen enough"))
        ended = execute_run(virtual, run_id, secret=None)
        assert ended.status == "cancelled", str(ended.failure)
    assert read["long"] < read["short"] * 1.5


def test_the_status_is_live_per_stage_and_keeps_its_keys(virtual: Workspace, machine: Machine) -> None:
    stages = (Stage(name="first", rate=10, duration_s=4), Stage(name="second", rate=5, duration_s=4))
    plan(virtual, scenario=steady(stages=stages))
    found = []
    for at in (0.0, 3.0, 6.0):
        machine.clock.at(at, lambda: found.append(run_status(virtual, "run1")))
    execute(virtual)
    found.append(run_status(virtual, "run1"))
    last = found[-1]
    for status in found:
        assert set(status) == set(last)
        assert set(status["counts"]) == set(last["counts"])
        assert set(status["runner"]) >= {"mode", "launch", "stop", "shards"}
        for stage in status["stages"]:
            assert set(stage) - {"missing"} == set(last["stages"][0]) - {"missing"}
    assert [stage["completed"] for stage in last["stages"]] == [40, 20]
    during = found[2]["stages"]
    assert during[0]["completed"] == 40
    assert 0 < during[1]["sent"] < 20
    assert during[0]["p95_ms"] == pytest.approx(last["stages"][0]["p95_ms"], rel=0.02)
    assert during[1]["achieved_rate"] == pytest.approx(5, rel=0.5)
