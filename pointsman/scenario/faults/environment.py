"""Where a run's faults may act: the Auto Scaling group of its execution environment, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from pointsman.errors import GuardRefused, InputRefused
from pointsman.scenario.faults.aws import FaultAws
from pointsman.scenario.faults.injection import Injector
from pointsman.scenario.model import Scenario, Stage
from pointsman.scenario.record import RunRecord
from pointsman.storage import tables
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Allowed:
    """The one group that faults of a run may hit, and how AWS is reached there."""

    kind: str
    region: str | None
    group_name: str

    def open(self) -> FaultAws:
        return FaultAws.of_environment(kind=self.kind, region=self.region)


OpenAws = Callable[[Allowed], FaultAws]


def faulty_stages(scenario: Scenario) -> list[Stage]:
    """The stages with a fault that is enabled."""
    return [stage for stage in scenario.stages if stage.fault is not None and stage.fault.fault_enabled]


def allowed_in(ws: Workspace, environment_id: str) -> Allowed:
    """Raises `GuardRefused` for an environment of production, `InputRefused` for one without a group."""
    wanted = sa.select(tables.execution_environments).where(tables.execution_environments.c.id == environment_id)
    with ws.database.connect() as connection:
        row = connection.execute(wanted).first()
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
    return Allowed(row.kind, row.region, row.asg_name)


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
