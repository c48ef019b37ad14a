"""A real prefect-aws worker on the lab's ECS, from a scheduled flow run to its end."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from deployments.pools import plan_pool
from service.cli.lab_ecs import ecs_worker_argv, ecs_worker_environment
from service.cli.world import executor_secret
from tests.lab.aws.ecs import LabEcs, processes_with
from tests.lab.running import eventually
from tests.world import LabWorld

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]

POOL = "ecs-of-a-test"
ROLE = "arn:aws:iam::123456789012:role/execution"


@pytest.fixture
def ecs(lab_world: LabWorld, tmp_path: Path) -> Iterator[LabEcs]:
    secret = executor_secret(lab_world.home)
    running = LabEcs.start(lab_world.world.lab_url or "", tmp_path, STUDIO_EXECUTOR_SECRET=secret, TMPDIR=str(tmp_path))
    yield running
    assert running.end_with_a_task_running(signal.SIGTERM, tmp_path) == 0


@pytest.fixture
def worker(ecs: LabEcs, lab_world: LabWorld, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = ecs_worker_environment(lab_world.world.prefect_api_url or "", ecs.url, tmp_path / "worker")
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(ecs_worker_argv(POOL), env=env, cwd=tmp_path, stdout=log, stderr=log)
    yield process
    process.terminate()
    process.wait(20)


@pytest.fixture
def pool(lab_world: LabWorld, ecs: LabEcs) -> None:
    """Ours, and of CloudFormation what it names."""
    ecs.client("ecs").create_cluster(clusterName="load-test-cluster")
    ecs.client("logs").create_log_group(logGroupName="/ecs/load-test")
    made = {"image": "of-a-test:1", "execution_role_arn": ROLE, "environment": "dev", "team": "of-a-test"}
    with get_client(sync_client=True) as client:
        make = plan_pool(client, "ecs", POOL, made).make
        assert make is not None
        make()


def test_a_flow_run_completes_as_a_task_and_its_events_are_seen(
    lab_world: LabWorld, ecs: LabEcs, pool: None, worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    source = Flow.from_source(source=str(Path(__file__).parent), entrypoint="trivial_flow.py:trivial")
    deployment = source.deploy(  # type: ignore[union-attr]
        name="ecs", work_pool_name=POOL, image="of-a-test:1", build=False, push=False
    )
    with get_client(sync_client=True) as client:
        run_id = client.create_flow_run_from_deployment(deployment).id

        def read() -> FlowRun:
            return client.read_flow_run(run_id)

        try:
            eventually(lambda: bool((state := read().state) and state.is_final()), 90)
        except AssertionError:
            pytest.fail((tmp_path / "worker.log").read_text()[-3000:])
        run = read()
    assert run.state_name == "Completed", (tmp_path / "worker.log").read_text()[-3000:]
    _, _, arn = (run.infrastructure_pid or "").partition("::")
    eventually(lambda: _task(ecs, arn)["lastStatus"] == "STOPPED", 15)
    told = _task(ecs, arn)
    assert told["containers"][0]["exitCode"] == 0
    tags = {one["key"]: one["value"] for one in told["tags"]}
    assert tags.items() >= {"Environment": "dev", "Project": "pointsman", "Team": "of-a-test"}.items()
    assert tags["prefect.io/flow-run-id"] == str(run_id)
    assert told["group"] == "family:load-test-dev"
    eventually(lambda: "prefect.ecs.task.stopped" in _events(lab_world, arn), 30)
    assert set(_events(lab_world, arn)) >= {"prefect.ecs.task.provisioning", "prefect.ecs.task.running"}
    (stream,) = ecs.client("logs").describe_log_streams(logGroupName="/ecs/load-test")["logStreams"]
    assert stream["logStreamName"] == f"dev/prefect/{arn.rpartition('/')[2]}"
    assert not processes_with(str(run_id))


def _task(ecs: LabEcs, arn: str) -> dict[str, Any]:
    asked = {"cluster": "load-test-cluster", "tasks": [arn], "include": ["TAGS"]}
    (found,) = ecs.client("ecs").describe_tasks(**asked)["tasks"]
    return dict(found)


def _events(lab_world: LabWorld, arn: str) -> list[str]:
    """What the observer has told Prefect of a task."""
    resource = {"id": [f"prefect.ecs.task.{arn.rpartition('/')[2]}"]}
    body: dict[str, Any] = {"filter": {"resource": resource}, "limit": 50}
    answer = httpx.post(f"{lab_world.world.prefect_api_url}/events/filter", json=body).raise_for_status()
    return [event["event"] for event in answer.json()["events"]]
