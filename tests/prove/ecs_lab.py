"""The ECS lab as `pointsman up --ecs` starts it, in a process of its own, and what tests ask of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import httpx
from botocore.config import Config
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun

from blocks import told_of
from deployments.blocks import save_blocks
from pointsman.benchmark import register_variants
from pointsman.dispatch import TargetSpec
from pointsman.ids import VariantId
from pointsman.model import Variant
from pointsman.workspace import Workspace
from service.cli.ecs_resources import BUCKET
from service.cli.lab_ecs import ecs_home
from service.cli.world import CHECKOUT, World
from tests import few_inputs
from tests.lab.running import eventually
from tests.storage.conftest import let_everybody_through
from tests.world import LabWorld

INPUTS = "few"
OF_THE_LAB = few_inputs.variant("x264-veryfast-crf23")
OF_A_TEST = OF_THE_LAB.replace("exp:default", "exp:of-a-test")
"""A variant whose target is wherever `target_is` says."""
_STARTS_WITHIN_S = 240


@dataclass(frozen=True)
class EcsLab:
    """A running ECS lab. Its settings hold only inside `active`."""

    lab: LabWorld
    environment: Mapping[str, str]
    ws: Workspace
    """On a disk that no task sees."""

    @contextmanager
    def active(self) -> Iterator[None]:
        with _on(self.lab, self.environment):
            yield

    def client(self, service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=self.environment["AWS_DEFAULT_REGION"],
            aws_access_key_id="of-a-test",
            aws_secret_access_key="of-a-test",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def faults(self, *faults: dict[str, Any]) -> None:
        """These are to come, and none of before."""
        answer = httpx.post(f"{self.environment['AWS_ENDPOINT_URL']}/lab/ecs/faults", json=list(faults))
        assert answer.status_code == 204, answer.text

    def target_is(self, url: str) -> None:
        save_blocks({"target/of-a-test": ("pointsman-target", TargetSpec(name="lab", preset="lab", base_url=url))})
        register_variants(self.ws, [Variant(VariantId.parse(OF_A_TEST), "of-a-test")])

    def start(self, flow: str, **request: Any) -> UUID:
        """As from the Prefect UI, on the pool `ecs`: the flow run's id."""
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(f"{flow}/ecs")
            asked = {"input_set": INPUTS, **request}
            return client.create_flow_run_from_deployment(deployment.id, parameters={"request": asked}).id

    def ended(self, flow_run: UUID, within_s: float) -> FlowRun:
        def final() -> bool:
            state = self.read(flow_run).state
            return state is not None and state.is_final()

        try:
            eventually(final, within_s)
        except AssertionError:
            raise AssertionError(f"{self.read(flow_run).state}\n{self.logs()}") from None
        return self.read(flow_run)

    def read(self, flow_run: UUID) -> FlowRun:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(flow_run)

    def told(self, flow_run: UUID) -> str:
        """How it ended, and why."""
        began = time.monotonic()
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(flow_run).state
            assert state is not None
            while (told := told_of(client, flow_run, state, for_s=time.monotonic() - began)) is None:
                time.sleep(0.2)
        return told

    def named(self, name: str) -> FlowRun:
        """The flow run of this name."""
        with get_client(sync_client=True) as client:
            wanted = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
            (found,) = client.read_flow_runs(flow_run_filter=wanted)
        return found

    def arn(self, flow_run: UUID) -> str:
        """Of the task that runs it."""
        return (self.read(flow_run).infrastructure_pid or "").partition("::")[2]

    def task(self, arn: str) -> dict[str, Any]:
        (found,) = self.client("ecs").describe_tasks(cluster="load-test-cluster", tasks=[arn])["tasks"]
        return dict(found)

    def running(self) -> list[str]:
        """The ARNs of tasks that have not stopped."""
        ecs = self.client("ecs")
        arns = [arn for page in ("RUNNING", "STOPPED") for arn in _listed(ecs, page)]
        return [arn for arn in arns if self.task(arn)["lastStatus"] != "STOPPED"]

    def kept(self, prefix: str) -> list[str]:
        """The keys of the bucket that begin so."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def pointsman(self, *words: str) -> Any:
        return _pointsman({**os.environ}, *words)

    def logs(self) -> str:
        """The last words of its worker and of every task."""
        told = [(self.lab.home / "logs" / "ecs-worker.log").read_text()[-3000:]]
        logs = self.client("logs")
        for stream in logs.describe_log_streams(logGroupName="/ecs/load-test")["logStreams"][-6:]:
            name = stream["logStreamName"]
            events = logs.get_log_events(logGroupName="/ecs/load-test", logStreamName=name)["events"]
            told.append("\n".join([name, *(one["message"] for one in events[-15:])]))
        return "\n\n".join(told)


@contextmanager
def _on(lab: LabWorld, environment: Mapping[str, str]) -> Iterator[None]:
    with lab.active():
        os.environ.update(environment)
        yield


def _listed(ecs: Any, desired: str) -> list[str]:
    pages = ecs.get_paginator("list_tasks").paginate(cluster="load-test-cluster", desiredStatus=desired)
    return [arn for page in pages for arn in page["taskArns"]]


@contextmanager
def running_ecs_lab(home: Path) -> Iterator[EcsLab]:
    """Start it by its one command, and end it by `down`, which must leave nothing."""
    let_everybody_through(home)
    own = {name: value for name, value in os.environ.items() if not name.startswith(_OF_OTHERS)}
    env = {**own, "POINTSMAN_HOME": str(home)}
    ports = few_inputs.free_ports(2)
    try:
        told = _pointsman(env, "up", "--ecs", "--prefect-port", str(ports[0]), "--lab-port", str(ports[1]))
        lab = LabWorld(ecs_home(home), World.load(ecs_home(home)), VariantId.parse(OF_THE_LAB))
        with _on(lab, told["environment"]):
            ws = lab.workspace()
            few_inputs.register_few_inputs(ws, lab.home, INPUTS, 2)
        yield EcsLab(lab, told["environment"], ws)
        ws.database.dispose()
    finally:
        _pointsman(env, "down")
        assert World.load(ecs_home(home)).processes == {}


_OF_OTHERS = ("PREFECT_", "STUDIO_", "POINTSMAN_", "AWS_")


def _pointsman(env: Mapping[str, str], *words: str) -> Any:
    done = subprocess.run(
        [Path(sys.executable).with_name("pointsman"), *words, "--json"],
        cwd=CHECKOUT,
        env=dict(env),
        capture_output=True,
        text=True,
        check=False,
        timeout=_STARTS_WITHIN_S,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)
