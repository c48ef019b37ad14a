"""A load test whose four shards are ECS tasks: it completes, loses a task, is cancelled; what stays true in each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Cancelling

from pointsman.actions import ActionLog
from pointsman.scenario import cancel_run, read_run, run_status
from pointsman.settings import load_settings
from tests.dispatch.loopback import listening
from tests.lab.running import eventually
from tests.prove.ecs_lab import OF_A_TEST, EcsLab
from tests.scenario.ledgers import dispatches_of
from tests.scenario.test_prove_shards import Jobs

pytestmark = [pytest.mark.prove, pytest.mark.xdist_group("ecs"), pytest.mark.timeout(900)]
SHARDS = 4
RATE = 10
STARTS_WITHIN_S = 120.0


@contextmanager
def serving(ecs: EcsLab, *, lasting_s: float) -> Iterator[Jobs]:
    jobs = Jobs(lasting_s=lasting_s)
    with listening(jobs.say) as server:
        ecs.target_is(server.url)
        yield jobs


def started(ecs: EcsLab, name: str, seconds: float) -> tuple[str, UUID]:
    stage = {"name": "all", "rate": RATE, "duration_s": seconds}
    scenario = {"name": "sharded", "stages": [stage], "shards": SHARDS, "drain_limit_s": 15.0}
    run_id = f"{name}-{time.time_ns()}"
    return run_id, ecs.start("run-scenario", scenario=scenario, variant=OF_A_TEST, run_id=run_id)


def arns(ecs: EcsLab, run_id: str) -> list[str]:
    launch: dict[str, Any] = run_status(ecs.ws, run_id)["runner"]["launch"] or {}
    return [arn for arn in launch.get("task_arns", []) if arn]


def sending(ecs: EcsLab, run_id: str, jobs: Jobs) -> Callable[[], bool]:
    return lambda: len(jobs.made) > 2 * RATE and len(arns(ecs, run_id)) >= SHARDS


def events(ecs: EcsLab, run_id: str) -> list[str]:
    return [event.event for event in ActionLog(ecs.ws).read(run_id=run_id)]


def balance(ecs: EcsLab, run_id: str, jobs: Jobs) -> dict[str, int]:
    """The run's books against those of the job service, which took every dispatch once."""
    counts: dict[str, int] = run_status(ecs.ws, run_id)["counts"]
    assert counts["planned"] == sum(counts[term] for term in ("still_planned", "dropped", "cancelled_unsent", "sent"))
    assert counts["sent"] == sum(counts[term] for term in ("completed", "failed", "cancelled_sent", "unknown"))
    assert set(jobs.made.values()) == {1}
    states = dict(dispatches_of(ecs.ws, run_id).select("dispatch_id", "state").iter_rows())
    assert {one for one, state in states.items() if state == "completed"} <= set(jobs.made)
    assert {states[one] for one in jobs.made} <= {"completed", "cancelled_sent", "unknown"}
    return counts


def stored(ecs: EcsLab, run_id: str) -> set[str]:
    """The names of the files of a run in S3, which lies at {environment}/{scenario}/{timestamp}/{task-id}."""
    folder = read_run(ecs.ws, run_id).results_path
    assert folder.split("/")[:2] == ["lab", "sharded"]
    assert len(folder.split("/")) == 4
    return {key.removeprefix(f"{folder}/") for key in ecs.kept(f"{folder}/")}


def test_four_shards_complete_as_four_tasks(ecs: EcsLab) -> None:
    with serving(ecs, lasting_s=0.3) as jobs:
        run_id, flow_run = started(ecs, "four", 20)
        run = ecs.ended(flow_run, 300)
    assert run.state_name == "Completed", f"{run.state}\n{ecs.logs()}"
    launched = arns(ecs, run_id)
    assert len(set(launched)) == SHARDS
    assert {ecs.arn(ecs.named(f"{run_id}-{shard}-1").id) for shard in range(SHARDS)} == set(launched)
    assert balance(ecs, run_id, jobs)["completed"] == RATE * 20
    assert "load_test_runner_ecs_launched" in events(ecs, run_id)
    assert {"results.json", "report.html"} <= stored(ecs, run_id)
    eventually(lambda: ecs.running() == [], 30)
    assert {ecs.task(arn)["containers"][0]["exitCode"] for arn in launched} == {0}


def test_a_task_that_is_killed_is_seen_and_replaced_and_the_books_balance(ecs: EcsLab) -> None:
    with serving(ecs, lasting_s=0.3) as jobs:
        run_id, flow_run = started(ecs, "killed", 90)
        eventually(sending(ecs, run_id, jobs), STARTS_WITHIN_S)
        first = ecs.named(f"{run_id}-1-1").id
        ecs.faults({"kind": "kill", "task": ecs.arn(first)})
        eventually(lambda: ecs.read(first).state_name == "Crashed", 30)
        run = ecs.ended(flow_run, 300)
    assert run.state_name == "Completed", f"{run.state}\n{ecs.logs()}"
    assert balance(ecs, run_id, jobs)["planned"] == RATE * 90
    assert "load_test_shard_lost" in events(ecs, run_id)
    assert [shard["processes"] for shard in run_status(ecs.ws, run_id)["runner"]["shards"]] == [1, 2, 1, 1]
    last = dispatches_of(ecs.ws, run_id).tail(SHARDS * 5)
    assert set(last["state"]) == {"completed"}, "the replacement joined where the schedule was"


def test_a_cancel_ends_every_job_and_every_task(ecs: EcsLab) -> None:
    with serving(ecs, lasting_s=1000) as jobs:
        run_id, _ = started(ecs, "cancelled", 120)
        eventually(sending(ecs, run_id, jobs), STARTS_WITHIN_S)
        asked_at = time.monotonic()
        cancel_run(ecs.ws, run_id, reason="enough", secret=load_settings().executor_secret, wait_s=60)
        eventually(lambda: ecs.running() == [], 60)
    assert max(jobs.made_at.values()) < asked_at + 2
    assert set(jobs.made) == jobs.cancelled
    assert balance(ecs, run_id, jobs)["cancelled_sent"] == len(jobs.made)
    assert run_status(ecs.ws, run_id)["status"] == "cancelled"
    assert "results.json" in stored(ecs, run_id)


def test_a_cancel_in_the_prefect_ui_ends_every_job_and_every_task(ecs: EcsLab) -> None:
    with serving(ecs, lasting_s=1000) as jobs:
        run_id, flow_run = started(ecs, "stopped", 120)
        eventually(sending(ecs, run_id, jobs), STARTS_WITHIN_S)
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(flow_run, Cancelling())
        asked_at = time.monotonic()
        assert ecs.ended(flow_run, 60).state_name == "Cancelled"
        eventually(lambda: ecs.running() == [], 60)
        eventually(lambda: read_run(ecs.ws, run_id).status == "cancelled", 60)
    assert max(jobs.made_at.values()) < asked_at + 10
    assert set(jobs.made) == jobs.cancelled
    balance(ecs, run_id, jobs)
    states = dict(dispatches_of(ecs.ws, run_id).select("dispatch_id", "state").iter_rows())
    assert {states[one] for one in jobs.made} == {"cancelled_sent"}
    assert "results.json" in stored(ecs, run_id)


def test_a_task_that_ecs_stops_drains_and_is_replaced(ecs: EcsLab) -> None:
    with serving(ecs, lasting_s=0.3) as jobs:
        run_id, flow_run = started(ecs, "taken", 90)
        eventually(sending(ecs, run_id, jobs), STARTS_WITHIN_S)
        taken = ecs.arn(ecs.named(f"{run_id}-2-1").id)
        ecs.faults({"kind": "spot", "task": taken, "notice_s": 60})
        eventually(lambda: bool(ecs.task(taken)["lastStatus"] == "STOPPED"), 60)
        assert ecs.task(taken)["containers"][0]["exitCode"] != 137, "it ended by itself within its notice"
        run = ecs.ended(flow_run, 300)
    assert run.state_name == "Completed", f"{run.state}\n{ecs.logs()}"
    counts = balance(ecs, run_id, jobs)
    assert (counts["planned"], counts["unknown"]) == (RATE * 90, 0)
