"""Shards as runs of the deployed flow `drive-shard`, by a real Prefect server and worker: lost ones, and a cancel."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import pytest

from blocks import FlowRuns
from deployments.bootstrap import Installation, bootstrap, local_pool
from pointsman.actions import ActionLog
from pointsman.dispatch import TargetSpec
from pointsman.scenario import (
    ElsewhereLauncher,
    RunOutcome,
    Scenario,
    ShardLauncher,
    Stage,
    cancel_run,
    execute_run,
    read_run,
    run_status,
)
from pointsman.settings import Secret
from pointsman.workspace import Workspace
from service.cli.up import world_environment
from tests.dispatch.loopback import listening
from tests.scenario.fake_engine import plan
from tests.scenario.ledgers import dispatches_of
from tests.scenario.test_prove_shards import Jobs, until
from tests.world import LabWorld

pytestmark = [pytest.mark.prove, pytest.mark.xdist_group("world"), pytest.mark.timeout(600)]
PREFIX = "sharded-"
SECRET = Secret("s3cret")
STARTS_WITHIN_S = 90.0
Launch = Callable[[Workspace], ShardLauncher | None]


@pytest.fixture(scope="module")
def _worker(_running_world: LabWorld) -> Iterator[None]:
    world = _running_world.world
    with _running_world.active():
        environment = world_environment(world) | {"STUDIO_EXECUTOR_SECRET": SECRET.reveal()}
        bootstrap(Installation(PREFIX), environment)
        pool = ("--pool", local_pool(PREFIX), "--type", "process")
        argv = [sys.executable, "-m", "prefect", "worker", "start", *pool]
        world.start("worker", argv, port=None, owner="tests", env={**environment, "PREFECT_WORKER_QUERY_SECONDS": "1"})
    yield
    world.stop(["worker"])


@pytest.fixture(params=["here", "elsewhere"])
def launch(request: pytest.FixtureRequest, lab_world: LabWorld) -> Launch:
    if request.param == "here":
        return lambda ws: None
    request.getfixturevalue("_worker")
    return lambda ws: ElsewhereLauncher(ws, FlowRuns(local_pool(PREFIX)))


@contextmanager
def executing(ws: Workspace, run_id: str, launch: Launch) -> Iterator[list[RunOutcome]]:
    ended: list[RunOutcome] = []
    settings = copy_context()  # Prefect's are the context's own, and a thread begins without

    def carry_out() -> None:
        ended.append(execute_run(ws, run_id, secret=SECRET, launcher=launch(ws)))

    thread = threading.Thread(target=lambda: settings.run(carry_out))
    thread.start()
    try:
        yield ended
    finally:
        thread.join(300)
        assert not thread.is_alive()


def load(seconds: float) -> Scenario:
    return Scenario(name="real", stages=(Stage(name="all", rate=10, duration_s=seconds),), shards=2, drain_limit_s=15)


def shards(ws: Workspace, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run_status(ws, run_id)["runner"]["shards"]
    return found


def events(ws: Workspace, run_id: str) -> list[str]:
    return [event.event for event in ActionLog(ws).read(run_id=run_id)]


def balance(ws: Workspace, run_id: str, jobs: Jobs) -> dict[str, int]:
    """The run's books against those of the job service."""
    counts: dict[str, int] = run_status(ws, run_id)["counts"]
    assert counts["planned"] == sum(counts[term] for term in ("still_planned", "dropped", "cancelled_unsent", "sent"))
    assert counts["sent"] == sum(counts[term] for term in ("completed", "failed", "cancelled_sent", "unknown"))
    assert set(jobs.made.values()) == {1}
    states = dict(dispatches_of(ws, run_id).select("dispatch_id", "state").iter_rows())
    assert {one for one, state in states.items() if state == "completed"} <= set(jobs.made)
    assert {states[one] for one in jobs.made} <= {"completed", "cancelled_sent", "unknown"}
    return counts


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hangs"])
def test_a_lost_shard_is_noticed_and_replaced(lab_world: LabWorld, launch: Launch, by: signal.Signals) -> None:
    ws, jobs = lab_world.workspace(), Jobs(lasting_s=0.5)
    run_id = f"lost-{by.name}-{time.time_ns()}"
    with listening(jobs.say) as server:
        plan(ws, run_id, scenario=load(60), target=TargetSpec(name="lab", preset="lab", base_url=server.url))
        with executing(ws, run_id, launch) as ended:
            until(lambda: len(jobs.made) > 20, STARTS_WITHIN_S)
            os.kill(int(shards(ws, run_id)[1]["process_id"]), by)
            lost_at = time.monotonic()
            until(lambda: events(ws, run_id) != [], 30)
            assert time.monotonic() - lost_at < 15
    assert ended[0].status == "completed"
    assert [event for event in events(ws, run_id) if event != "load_test_rate_missed"] == ["load_test_shard_lost"]
    assert [shard["processes"] for shard in shards(ws, run_id)] == [1, 2]
    elsewhere = launch(ws) is not None
    assert [shard["task_id"] is not None for shard in shards(ws, run_id)] == [elsewhere, elsewhere]
    assert balance(ws, run_id, jobs)["planned"] == 600
    last = dispatches_of(ws, run_id).tail(20)
    assert set(last["state"]) == {"completed"}, "the replacement joined where the schedule was"


def test_a_cancel_ends_every_job(lab_world: LabWorld, launch: Launch) -> None:
    ws, jobs = lab_world.workspace(), Jobs(lasting_s=1000)
    run_id = f"cancelled-{time.time_ns()}"
    with listening(jobs.say) as server:
        plan(ws, run_id, scenario=load(60), target=TargetSpec(name="lab", preset="lab", base_url=server.url))
        with executing(ws, run_id, launch) as ended:
            until(lambda: len(jobs.made) > 20, STARTS_WITHIN_S)
            asked_at = time.monotonic()
            cancel_run(ws, run_id, reason="enough", secret=SECRET, wait_s=40)
    assert ended[0].status == "cancelled"
    assert max(jobs.made_at.values()) < asked_at + 2
    assert set(jobs.made) == jobs.cancelled
    assert balance(ws, run_id, jobs)["cancelled_sent"] == len(jobs.made)
    assert read_run(ws, run_id).metrics_json["runner"]["stop"]["reason"] == "enough"
