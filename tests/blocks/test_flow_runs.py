"""Runs of a deployed flow on a real Prefect server: started once, watched, ended, and a server that does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentCreate, WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed

from blocks import FlowRuns
from blocks.flow_runs import ecs_runs
from pointsman.errors import DependencyDown, InputRefused
from pointsman.settings import load_settings
from tests.few_inputs import free_ports
from tests.world import LabWorld

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]
REQUEST = {"run_id": "run1", "shard": 0, "turn": 1}


@dataclass
class Time:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def runs(time: Time) -> FlowRuns:
    return FlowRuns("watched", time=time)


@pytest.fixture
def client(lab_world: LabWorld) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture
def deployed(client: SyncPrefectClient) -> None:
    """A deployment that no worker looks at."""
    flow_id = client.request("POST", "/flows/", json={"name": "drive-shard"}).json()["id"]
    made = DeploymentCreate(name="watched", flow_id=UUID(flow_id), enforce_parameter_schema=False)
    client.request("POST", "/deployments/", json=made.model_dump(mode="json", exclude_unset=True)).raise_for_status()


@pytest.mark.usefixtures("deployed")
def test_a_run_is_started_once_and_watched_until_its_end(client: SyncPrefectClient, runs: FlowRuns, time: Time) -> None:
    first = runs.launch("drive-shard", REQUEST, key="run1-0-1")
    assert runs.launch("drive-shard", REQUEST, key="run1-0-1") == first
    second = runs.launch("drive-shard", REQUEST, key="run1-0-2")
    made = client.read_flow_run(UUID(second))
    assert (made.name, made.parameters) == ("run1-0-2", {"request": REQUEST})
    assert runs.ended(first) is None

    client.set_flow_run_state(UUID(first), Crashed(message="the machine went away"), force=True)
    assert runs.ended(first) is None, "it was asked a moment ago"
    time.now_s += 2
    assert runs.ended(first) is None, "its worker may say why"
    time.now_s += 6
    assert runs.ended(first) == "Crashed (the machine went away)"
    assert runs.ended(second) is None
    runs.cancel(second)
    time.now_s += 2
    assert str(runs.ended(second)).startswith("Cancelled")
    third = runs.launch("drive-shard", REQUEST, key="run1-0-crashed")
    at = datetime.now(UTC).isoformat()
    line = {"name": "worker", "level": 40, "message": "ECS task failed to start: no secret", "timestamp": at}
    client.request("POST", "/logs/", json=[{**line, "flow_run_id": third}]).raise_for_status()
    client.set_flow_run_state(UUID(third), Crashed(message="a container stopped"), force=True)
    time.now_s += 2
    assert runs.ended(third) == "Crashed (a container stopped): ECS task failed to start: no secret"
    third = runs.launch("drive-shard", REQUEST, key="run1-0-3")
    client.delete_flow_run(UUID(third))
    time.now_s += 2
    assert runs.ended(third) == "deleted"


@pytest.mark.usefixtures("deployed")
def test_where_a_worker_is_needed_a_pool_without_one_is_refused(client: SyncPrefectClient, time: Time) -> None:
    client.request("POST", "/work_pools/", json={"name": "watched", "type": "process"})
    with pytest.raises(DependencyDown, match="No worker of the work pool watched is online") as caught:
        FlowRuns("watched", needs_worker=True, time=time).launch("drive-shard", REQUEST, key="run1-0-9")
    assert (caught.value.code, caught.value.instruction) == ("no_worker", "prefect worker start --pool watched")


@pytest.mark.usefixtures("deployed")
def test_a_run_carries_its_labels_besides_those_of_its_pool_and_deployment(client: SyncPrefectClient) -> None:
    labels = {"type": "object", "default": {"Environment": "prod"}}
    template = {
        "job_configuration": {"labels": "{{ labels }}"},
        "variables": {"type": "object", "properties": {"labels": labels}},
    }
    client.create_work_pool(WorkPoolCreate(name="labelled", type="process", base_job_template=template))
    flow_id = client.request("POST", "/flows/", json={"name": "drive-shard"}).json()["id"]
    client.create_deployment(
        UUID(flow_id),
        name="labelled",
        work_pool_name="labelled",
        job_variables={"labels": {"Team": "media"}},
        enforce_parameter_schema=False,
    )
    run = FlowRuns("labelled", labels={"Approval": "ap_1"}).launch("drive-shard", REQUEST, key="labelled-0-1")
    carried = client.read_flow_run(UUID(run)).job_variables
    assert carried == {"labels": {"Environment": "prod", "Team": "media", "Approval": "ap_1"}}


def test_tasks_of_the_runner_run_in_the_place_that_the_settings_name(client: SyncPrefectClient, tmp_path: Path) -> None:
    client.create_work_pool(WorkPoolCreate(name="placed", type="process"))
    client.request("POST", "/work_pools/placed/workers/heartbeat", json={"name": "here"}).raise_for_status()
    flow_id = client.request("POST", "/flows/", json={"name": "drive-shard"}).json()["id"]
    client.create_deployment(UUID(flow_id), name="placed", work_pool_name="placed", enforce_parameter_schema=False)
    environ = {
        "STUDIO_LOAD_TEST_RUNNER_MODE": "ecs",
        "STUDIO_LOAD_TEST_RUNNER_POOL": "placed",
        "STUDIO_LOAD_TEST_RUNNER_CLUSTER": "other",
        "STUDIO_LOAD_TEST_RUNNER_SUBNETS": "subnet-1, subnet-2",
        "STUDIO_LOAD_TEST_RUNNER_SECURITY_GROUPS": "sg-1",
        "STUDIO_LOAD_TEST_RUNNER_TASK_DEFINITION": "load-test-dev",
        "STUDIO_LOAD_TEST_RUNNER_LOG_GROUP": "/ecs/other",
    }
    runs = ecs_runs(load_settings(environ, home=tmp_path), {"Approval": "ap_1"})
    run = runs.launch("drive-shard", REQUEST, key="placed-0-1")
    asked = client.read_flow_run(UUID(run)).job_variables
    assert asked == {
        "cluster": "other",
        "network_configuration": {"subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"]},
        "task_definition_arn": "load-test-dev",
        "log_group": "/ecs/other",
        "labels": {"Approval": "ap_1"},
    }


def test_security_groups_without_subnets_are_refused_before_a_task_is_asked_for(tmp_path: Path) -> None:
    environ = {"STUDIO_LOAD_TEST_RUNNER_MODE": "ecs", "STUDIO_LOAD_TEST_RUNNER_SECURITY_GROUPS": "sg-1"}
    with pytest.raises(InputRefused, match="nothing without STUDIO_LOAD_TEST_RUNNER_SUBNETS"):
        ecs_runs(load_settings(environ, home=tmp_path))


@pytest.mark.usefixtures("lab_world")
def test_a_flow_that_is_not_deployed_on_the_pool_says_so(time: Time) -> None:
    with pytest.raises(DependencyDown, match="drive-shard/nowhere is not deployed") as caught:
        FlowRuns("nowhere", time=time).launch("drive-shard", REQUEST, key="another")
    assert caught.value.code == "not_deployed"


@pytest.mark.usefixtures("deployed")
def test_a_server_that_does_not_answer_is_left_alone_for_a_while(runs: FlowRuns, time: Time) -> None:
    run = runs.launch("drive-shard", REQUEST, key="outage")
    (nobody,) = free_ports(1)
    settings: dict[Any, Any] = {PREFECT_API_URL: f"http://127.0.0.1:{nobody}/api"}
    with temporary_settings(settings), pytest.raises(DependencyDown) as caught:
        runs.ended(run)
    assert caught.value.code == "prefect_unreachable"
    for call in (lambda: runs.ended(run), lambda: runs.cancel(run), lambda: runs.launch("drive-shard", {}, key="x")):
        with pytest.raises(DependencyDown, match="a moment ago"):
            call()
    time.now_s += 10
    assert runs.ended(run) is None
