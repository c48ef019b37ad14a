"""moto in this process with the lab's group, template and agent, on a clock that only moves when somebody sleeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
import sqlalchemy as sa
from moto import mock_aws

from lab.aws import gaps
from lab.aws.agent import Agent
from lab.aws.machines import MotoMachines
from lab.aws.world import TEMPLATE, autoscaling, fis, make_group, make_template
from pointsman.clock import ManualClock
from pointsman.scenario import Scenario, Stage
from pointsman.scenario.faults import Fault
from pointsman.scenario.faults.aws import FaultAws
from pointsman.scenario.faults.injection import Injector
from pointsman.storage import tables
from pointsman.workspace import Workspace

INSTANCES = [f"i-{number:017x}" for number in range(1, 7)]
GROUP = "workers"
STAGE = Stage(
    name="steady",
    rate=4,
    duration_s=60,
    fault=Fault(template=TEMPLATE, offset_s=20, duration_s=10, instances=2),
)
SCENARIO = Scenario(name="faulty", stages=(Stage(name="warm", rate=1, duration_s=10), STAGE))


@dataclass
class FakeWorkers:
    """Which instances' workers are taken away, and everything that happened to them."""

    away: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)

    def stop(self, instance_id: str, *, kind: str, at_most_s: float) -> None:
        self.away[instance_id] = kind
        self.told.append((kind, instance_id))

    def start(self, instance_id: str) -> None:
        self.away.pop(instance_id, None)
        self.told.append(("start", instance_id))


class SteppingClock(ManualClock):
    """Whenever time passes, the agent takes a step."""

    step: Callable[[], None] = staticmethod(lambda: None)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.step()


@dataclass
class Aws:
    clock: SteppingClock
    agent: Agent
    workers: FakeWorkers
    faults: FaultAws
    client: Any

    def injector(self, fault: Fault | None = None, *, run_id: str = "run1", salt: str = "") -> Injector:
        fault = fault or STAGE.fault
        assert fault is not None
        return Injector(self.faults, fault, run_id=run_id, stage="steady", group_name=GROUP, seed=1, salt=salt)

    def let_begin(self) -> None:
        """Until the experiment that was started runs: it is taken up, then pending, then initiating."""
        for _ in range(3):
            self.clock.sleep(0.2)

    def experiments(self) -> list[Any]:
        """Those that act, the previews left out."""
        return [one for one in fis().experiments.values() if one.experiment_options["actionsMode"] == "run-all"]

    def templates(self) -> list[str]:
        """What there is beside the operator's own."""
        return [one for one in fis().experiment_templates if one != TEMPLATE]

    def lever(self, status: str) -> None:
        self.client.update_safety_lever_state(id="default", state={"status": status, "reason": "a drill of ours"})

    def leave_group(self, instance_id: str, *, health: str = "Unhealthy") -> None:
        autoscaling().set_instance_health(instance_id, health)


@cache
def _client(service: str) -> Any:
    """Made once: reading the service's model takes longer than most tests."""
    return boto3.client(
        service, region_name="us-east-1", aws_access_key_id="of-a-test", aws_secret_access_key="of-a-test"
    )


@contextmanager
def moto_world() -> Iterator[None]:
    """moto with the lab's group; making one takes a while, so tests share it and leave it as it was."""
    gaps.fill_gaps()
    with mock_aws():
        make_group(GROUP, INSTANCES)
        yield


@contextmanager
def aws_world() -> Iterator[Aws]:
    """Within `moto_world`: nothing has happened yet."""
    gaps.LEVER.update(status="disengaged", reason="the test began")
    groups = dict(autoscaling().autoscaling_groups)
    fis().reset()
    make_template(TEMPLATE)
    clock, workers = SteppingClock(start=datetime.now(UTC)), FakeWorkers()
    agent = Agent(fis().experiments, workers, MotoMachines(), clock)
    clock.step = agent.step
    client = _client("fis")
    try:
        yield Aws(clock, agent, workers, FaultAws(_client("autoscaling"), client), client)
    finally:
        autoscaling().autoscaling_groups.update(groups)
        for instance_id in INSTANCES:
            MotoMachines().show(instance_id, "running")


def register_environment(ws: Workspace, **changes: Any) -> None:
    """The environment `lab`, whose group is the one above."""
    row = {"id": "lab", "name": "Lab", "kind": "test_asg", "aliases": [], "region": "us-east-1", "asg_name": GROUP}
    with ws.database.begin() as connection:
        connection.execute(sa.insert(tables.execution_environments).values(**{**row, **changes}))
