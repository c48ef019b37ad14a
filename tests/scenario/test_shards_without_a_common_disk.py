"""Shards as tasks that share a database and a bucket: nothing is sent twice or lost, whatever becomes of a task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from pointsman.actions import ActionLog
from pointsman.dispatch import read_header, read_summary
from pointsman.errors import DependencyDown
from pointsman.scenario import (
    ElsewhereLauncher,
    Scenario,
    Stage,
    cancel_run,
    execute_run,
    read_run,
    run_drives,
    run_status,
    schedule,
)
from pointsman.settings import load_settings, require_shared
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import INPUTS, plan
from tests.scenario.ledgers import dispatches_of
from tests.scenario.virtual_shards import Killed, Machine, ScriptedClock
from tests.scenario.virtual_tasks import VirtualTasks, at_machine
from tests.storage import buckets
from tests.storage.buckets import World

STEADY = Scenario(
    name="steady",
    stages=(Stage(name="all", rate=5, duration_s=20),),
    shards=3,
    drain_limit_s=30,
    target_patience_s=30,
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(ScriptedClock())
    for room in ("driving", "launching"):
        monkeypatch.setattr(f"pointsman.scenario.{room}.DriveProcess", machine.start)
    return machine


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[World]:
    with buckets.world(tmp_path) as found:
        yield found


@pytest.fixture
def here(ws: Workspace, machine: Machine, bucket: World, tmp_path: Path) -> Workspace:
    """Where the run is coordinated."""
    found = at_machine(ws, tmp_path / "here", bucket, machine.clock)
    members = tuple(replace(member, copy_here="/where/it/was/planned") for member in INPUTS.members)
    plan(found, scenario=STEADY, inputs=replace(INPUTS, members=members))
    return found


@pytest.fixture
def tasks(here: Workspace, machine: Machine, bucket: World, tmp_path: Path) -> Iterator[VirtualTasks]:
    found = VirtualTasks(here, machine, bucket, tmp_path / "tasks")
    yield found
    found.end()


@pytest.fixture
def elsewhere(here: Workspace, bucket: World, machine: Machine, tmp_path: Path) -> Workspace:
    """A machine that has never heard of the run."""
    return at_machine(here, tmp_path / "elsewhere", bucket, machine.clock)


def conserved(ws: Workspace) -> dict[str, int]:
    counts: dict[str, int] = run_status(ws, "run1")["counts"]
    sent = ("awaiting_ack", "submitted", "queued", "leased", "completed", "failed", "cancelled_sent", "unknown")
    assert counts["planned"] == sum(counts[term] for term in ("still_planned", "dropped", "cancelled_unsent", "sent"))
    assert counts["sent"] == sum(counts[term] for term in sent)
    return counts


def on_ecs(ws: Workspace, tasks: VirtualTasks) -> ElsewhereLauncher:
    return ElsewhereLauncher(ws, tasks, mode="ecs")


def events(ws: Workspace) -> list[str]:
    """But for the launches, of which there are as many as tasks."""
    found = [event.event for event in ActionLog(ws).read(run_id="run1")]
    return [event for event in found if event != "load_test_runner_ecs_launched"]


def accepted_once(machine: Machine) -> bool:
    return all(len(jobs) == 1 for jobs in machine.service.jobs.values())


@pytest.mark.prove
def test_the_whole_schedule_is_sent_and_the_ledger_is_the_coordinators(
    here: Workspace, elsewhere: Workspace, machine: Machine, tasks: VirtualTasks
) -> None:
    assert execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks)).status == "completed"
    assert conserved(here)["completed"] == 100
    for ws in (here, elsewhere):
        ws.results.pull(read_run(ws, "run1").results_path)
        ledger = dispatches_of(ws, "run1")
        assert ledger["planned_ns"].to_list() == schedule(STEADY, 1).tolist()
        assert ledger["lateness_ns"].max() < 1_000_000  # type: ignore[operator]
    assert events(here) == []
    assert accepted_once(machine)
    runner = run_status(elsewhere, "run1")["runner"]
    arns = [f"arn:aws:ecs:task/run1-{shard}-1" for shard in range(3)]
    assert (runner["mode"], runner["launch"]["task_arns"]) == ("ecs", arns)
    launched = ActionLog(here).read(run_id="run1")
    assert sorted(event.data["task_arn"] for event in launched) == arns


def test_a_task_that_is_gone_with_its_disk_is_replaced_and_sends_nothing_twice(
    here: Workspace, machine: Machine, tasks: VirtualTasks
) -> None:
    machine.clock.at(12, lambda: tasks.kill("run1-1-1"))
    assert execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks)).status == "completed"
    assert [shard["processes"] for shard in run_status(here, "run1")["runner"]["shards"]] == [1, 2, 1]
    assert accepted_once(machine)
    counts = conserved(here)
    assert counts["completed"] + counts["dropped"] == 100, "what was in doubt was learnt"
    ledger = dispatches_of(here, "run1")
    assert ledger["planned_ns"].to_list() == schedule(STEADY, 1).tolist()
    assert set(ledger.filter(pl.col("state") == "dropped")["seq"] % 3) <= {1}
    went_on = read_header(tasks.tasks["run1-1-2"].folder / read_run(here, "run1").results_path / "shards" / "1")
    assert {one.copy_here for one in went_on.inputs.values()} == {f"/clips/{n}.mp4" for n in range(3)}


@pytest.mark.prove
def test_a_task_that_nobody_hears_any_more_stops_sending_and_its_successor_repeats_nothing(
    here: Workspace, machine: Machine, tasks: VirtualTasks
) -> None:
    lost_at: list[float] = []

    def cut_off() -> None:
        tasks.tasks["run1-1-1"].alone = True
        lost_at.append(machine.clock.monotonic())

    machine.clock.at(10, cut_off)
    assert execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks)).status == "completed"
    assert accepted_once(machine)
    assert conserved(here)["completed"] < 100
    zombie = tasks.tasks["run1-1-1"].process
    assert zombie is not None
    assert zombie.status is not None
    claimed_ahead_s = 2 + 0.5  # how long before its first dispatch a claim is made, and what it covers
    sent_by_s = lost_at[0] - min(machine.submitted_at) + claimed_ahead_s
    assert zombie.status.counts["sent"] <= 5 / 3 * sent_by_s + 1, "it had no claim to send the rest"
    assert set(events(here)) == {"load_test_shard_lost", "load_test_rate_missed"}


@pytest.mark.prove
@pytest.mark.parametrize("where", ["where it is coordinated", "elsewhere"])
def test_a_cancel_reaches_every_task(
    here: Workspace, elsewhere: Workspace, machine: Machine, tasks: VirtualTasks, where: str
) -> None:
    machine.service.run_s = 1000
    cancelled_at: list[float] = []

    def cancel() -> None:
        cancelled_at.append(machine.clock.monotonic())
        cancel_run(elsewhere if where == "elsewhere" else here, "run1", reason="enough")

    machine.clock.at(12, cancel)
    assert execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks)).status == "cancelled"
    assert machine.submitted_at
    assert max(machine.submitted_at) < cancelled_at[0] + 2
    assert machine.live_jobs == 0
    assert conserved(here)["cancelled_sent"] > 0
    assert {task.how for task in tasks.tasks.values()} == {"Completed"}
    assert events(here) == ["load_test_run_cancelled"]


@pytest.mark.prove
@pytest.mark.parametrize("driven", ["by tasks", "by its coordinator"])
def test_how_the_run_stands_is_known_on_a_machine_that_has_nothing_of_it(
    here: Workspace, elsewhere: Workspace, machine: Machine, tasks: VirtualTasks, driven: str
) -> None:
    seen: list[dict[str, int]] = []
    for at_s in (4, 10, 16):
        machine.clock.at(at_s, lambda: seen.append(conserved(elsewhere)))
    execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks) if driven == "by tasks" else None)
    sent = [counts["sent"] for counts in seen]
    assert sent == sorted(sent)
    assert 0 < sent[1] < sent[2] < 100
    assert conserved(elsewhere) == conserved(here)


@pytest.mark.prove
def test_another_coordinator_goes_on_where_the_first_one_died(
    here: Workspace, elsewhere: Workspace, machine: Machine, tasks: VirtualTasks
) -> None:
    machine.clock.at(10, machine.kill_coordinator)
    with pytest.raises(Killed):
        execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks))
    machine.clock.sleep(20)
    assert all(task.how for task in tasks.tasks.values())
    ended = execute_run(elsewhere, "run1", secret=None, launcher=on_ecs(elsewhere, tasks))
    assert ended.status == "completed"
    assert conserved(elsewhere)["completed"] == 100
    assert accepted_once(machine)


@pytest.mark.prove
def test_a_bucket_that_is_away_ends_the_attempt_by_name_and_the_run_can_go_on(
    here: Workspace, machine: Machine, tasks: VirtualTasks, bucket: World
) -> None:
    def go_out() -> None:
        bucket.client.trouble = lambda call, number: (_ for _ in ()).throw(buckets.out())

    machine.clock.at(8, go_out)
    with pytest.raises(DependencyDown, match="does not answer") as caught:
        execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks))
    assert caught.value.code == "results_unreachable"
    assert not any(read_summary(drive_dir) for drive_dir in run_drives(here, read_run(here, "run1")))
    bucket.come_back()
    machine.clock.sleep(20)
    assert execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks)).status == "completed"
    assert conserved(here)["completed"] > 60
    assert accepted_once(machine)


@pytest.mark.prove
def test_a_bucket_that_is_away_for_a_minute_is_waited_for_and_the_schedule_goes_on(
    here: Workspace, machine: Machine, tasks: VirtualTasks, bucket: World
) -> None:
    def go_out() -> None:
        bucket.client.trouble = lambda call, number: (_ for _ in ()).throw(buckets.out())

    machine.clock.at(8, go_out)
    machine.clock.at(68, bucket.come_back)
    with pytest.raises(DependencyDown, match="does not answer"):
        execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks))
    assert read_run(here, "run1").metrics_json["interrupted"]["code"] == "results_unreachable"
    assert execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks)).status == "completed"
    assert conserved(here)["completed"] == 100
    assert accepted_once(machine)


@pytest.mark.prove
def test_a_bucket_that_stays_away_ends_the_run_by_name_and_says_how_it_goes_on(
    here: Workspace, tasks: VirtualTasks, bucket: World
) -> None:
    bucket.go_out()
    with pytest.raises(DependencyDown, match="does not answer") as caught:
        execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks))
    assert caught.value.code == "results_unreachable"
    assert "`pointsman doctor`" in caught.value.instruction
    assert "run the same again" in caught.value.instruction
    bucket.come_back()
    assert execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks)).status == "completed"


NO_CAPACITY = DependencyDown("No worker is online.", instruction="prefect worker start --pool ecs", code="no_worker")


def test_where_ecs_cannot_be_used_the_run_ends_before_anything_is_sent(
    here: Workspace, machine: Machine, tasks: VirtualTasks
) -> None:
    tasks.refuses = NO_CAPACITY
    with pytest.raises(DependencyDown, match="No worker"):
        execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks))
    assert machine.submitted_at == []


@pytest.mark.prove
@pytest.mark.parametrize("why", ["nothing is launched", "every task crashes", "the settings do not fit"])
def test_a_run_that_may_fall_back_is_driven_here_and_says_why(
    here: Workspace, machine: Machine, tasks: VirtualTasks, why: str
) -> None:
    launcher = on_ecs(here, tasks)
    if why == "nothing is launched":
        tasks.refuses = NO_CAPACITY
    elif why == "every task crashes":
        tasks.crash_with = "Crashed (CannotPullContainerError)"
    else:
        settings = load_settings({}, results_uri="results")
        launcher = ElsewhereLauncher(here, tasks, mode="ecs", require=lambda: require_shared(settings))
    assert execute_run(here, "run1", secret=None, launcher=launcher, fall_back=True).status == "completed"
    assert conserved(here)["completed"] == 100
    (event,) = [one for one in ActionLog(here).read(run_id="run1") if one.event == "load_test_runner_ecs_fallback"]
    said = {
        "nothing is launched": "No worker",
        "every task crashes": "CannotPullContainerError",
        "the settings do not fit": "POINTSMAN_DATABASE_URL",
    }
    assert said[why] in event.data["why"]
    runner = run_status(here, "run1")["runner"]
    assert (runner["mode"], runner["launch"]["task_arns"]) == ("inline", [None] * 3)


@pytest.mark.prove
def test_a_shard_that_is_lost_while_prefect_is_away_is_replaced_when_it_is_back(
    here: Workspace, machine: Machine, tasks: VirtualTasks
) -> None:
    away = DependencyDown("Nobody answers.", instruction="pointsman doctor", code="prefect_unreachable")
    machine.clock.at(9, lambda: setattr(tasks, "refuses", away))
    machine.clock.at(10, lambda: tasks.kill("run1-1-1"))
    machine.clock.at(16, lambda: setattr(tasks, "refuses", None))
    assert execute_run(here, "run1", secret=None, launcher=on_ecs(here, tasks)).status == "completed"
    assert [shard["processes"] for shard in run_status(here, "run1")["runner"]["shards"]] == [1, 2, 1]
    assert accepted_once(machine)
    conserved(here)
