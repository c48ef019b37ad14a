"""Where a run's faults may act: the Auto Scaling group of its execution environment, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pointsman.errors import GuardRefused, InputRefused
from pointsman.scenario.faults.aws import FaultAws
from pointsman.scenario.faults.injection import Injector
from pointsman.scenario.model import Scenario, Stage
from pointsman.scenario.record import RunRecord
from pointsman.settings import AwsPlace
from pointsman.storage import tables
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Allowed:
    """The one group that faults of a run may hit, and how AWS is reached there."""

    place: AwsPlace
    group_name: str

    def open(self) -> FaultAws:
        return FaultAws.at(self.place)


OpenAws = Callable[[Allowed], FaultAws]


def faulty_stages(scenario: Scenario) -> list[Stage]:
    """The stages with a fault that is enabled."""
    return [stage for stage in scenario.stages if stage.fault is not None and stage.fault.fault_enabled]


def asks_aws(scenario: Scenario) -> bool:
    """Whether a run of the scenario calls AWS: for its faults, or for what it observes."""
    observed = scenario.observe
    return bool(faulty_stages(scenario) or observed.alarms or observed.target_groups or observed.load_balancer)


def aws_place(ws: Workspace, environment_id: str) -> AwsPlace:
    """Where calls about the environment go; to the usual AWS where it is not registered."""
    row = _row(ws, environment_id)
    return AwsPlace(None) if row is None else AwsPlace(row.kind, row.region)


def allowed_in(ws: Workspace, environment_id: str) -> Allowed:
    """Raises `GuardRefused` for an environment of production, `InputRefused` for one without a group."""
    row = _row(ws, environment_id)
    if row is not None and row.kind == "production":
        raise GuardRefused(
            f"The environment {environment_id} is production; faults are injected in local, test_asg and staging.",
            instruction="Run the scenario against a variant of another environment, or with fault_enabled: false.",
            code="fault_in_production",
        )
    if row is None or not row.asg_name:
        raise InputRefused(
            f"environment {environment_id}, asg_name",
            None,
            "the name of the Auto Scaling group that faults may hit",
            instruction="Register the environment with its group, or run the scenario with fault_enabled: false.",
        )
    return Allowed(AwsPlace(row.kind, row.region), row.asg_name)


def _row(ws: Workspace, environment_id: str) -> sa.Row[Any] | None:
    wanted = sa.select(tables.execution_environments).where(tables.execution_environments.c.id == environment_id)
    with ws.database.connect() as connection:
        return connection.execute(wanted).first()


def injector(aws: FaultAws, allowed: Allowed, record: RunRecord, stage: Stage, *, salt: str = "") -> Injector:
    assert stage.fault is not None
    return Injector(
        aws,
        stage.fault,
        run_id=record.id,
        stage=stage.name,
        group_name=allowed.group_name,
        seed=record.seed,
        salt=salt,
    )
