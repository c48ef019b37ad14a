"""Production in moto and in the state of record, one safe run against it, and a record of all that is asked of AWS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import boto3
import sqlalchemy as sa
from botocore.client import BaseClient
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from lab.aws import gaps
from lab.aws.world import autoscaling, make_group
from pointsman.dispatch import TargetSpec
from pointsman.errors import DependencyDown
from pointsman.ids import VariantId
from pointsman.model import InputMember, InputSet, Variant
from pointsman.safety import PRODUCTION, Forecast, Identity, Limits, ProductionRules, approval_id, decide_approval
from pointsman.safety.approvals import request_approval
from pointsman.scenario import AskedRun, Scenario, Stage, admit_run, guard_production, plan_run, read_run
from pointsman.scenario.admission import require_admission
from pointsman.settings import AwsPlace, load_settings
from pointsman.settings.read_only import ReadOnlyAws
from pointsman.storage import tables
from pointsman.workspace import Workspace

ACCOUNT, REGION, CLUSTER, GROUP = "123456789012", "us-east-1", "effects", "effects-workers"
ALARMS = ("effects-5xx", "effects-queue-age")
MACHINES = [f"i-{number:017x}" for number in range(11, 15)]
ALICE, BOB = Identity("alice", "operator", "token"), Identity("bob", "operator", "token")
VARIANT = Variant(VariantId.parse("er:e1:wf:fast:env:prod:stage:live:provider:cpu:exp:base"), "effects", {})
TARGET = TargetSpec(name="effects", preset="lab", base_url="http://127.0.0.1:9")
STEADY = Stage(name="steady", rate=2, duration_s=10)
SCENARIO = Scenario(name="evening", stages=(STEADY,), max_in_flight=10)
DISPATCHES = 20
INPUTS = InputSet("golden", (InputMember("clip", "file:///clip.mp4", "0" * 64, 10, "c"),), "f" * 64)
_REAL_CALL = BaseClient._make_api_call
SAFE = AskedRun("run1", None, SCENARIO, 1, "prod", "prod", ALICE)


def costing(usd: str) -> Forecast:
    one = Decimal(usd)
    return Forecast(DISPATCHES, one, one, one, one / DISPATCHES, "a guess")


@contextmanager
def production_in_moto() -> Iterator[tuple[ReadOnlyAws, Any]]:
    """The place with all that a safe run needs, and clients of it: made once, as that takes longer than the tests."""
    gaps.fill_gaps()
    with mock_aws():
        session = boto3.Session(region_name=REGION)
        make_group(GROUP, MACHINES)
        for name in (CLUSTER, "of-yesterday"):
            session.client("ecs").create_cluster(clusterName=name)
        session.client("ecs").delete_cluster(cluster="of-yesterday")
        cloudwatch = session.client("cloudwatch")
        for name in ALARMS:
            cloudwatch.put_metric_alarm(
                AlarmName=name,
                MetricName="Errors",
                Namespace="Effects",
                Period=60,
                EvaluationPeriods=1,
                Threshold=1,
                Statistic="Sum",
                ComparisonOperator="GreaterThanThreshold",
            )
        yield ReadOnlyAws(AwsPlace("production", REGION)), cloudwatch


@dataclass
class World:
    """What a safe run is begun with; a test changes what it likes. `asked_of_aws` are the calls made for it."""

    ws: Workspace
    aws: ReadOnlyAws | None
    cloudwatch: Any
    asked: AskedRun = SAFE
    forecast: Forecast = field(default_factory=lambda: costing("10"))
    environ: dict[str, str] = field(
        default_factory=lambda: {
            "POINTSMAN_PRODUCTION_ACCOUNTS": f"{ACCOUNT}, 999999999999",
            "POINTSMAN_PRODUCTION_REGIONS": f"{REGION},eu-west-1",
            "POINTSMAN_PRODUCTION_CLUSTERS": f"{CLUSTER},gone,of-yesterday",
            "POINTSMAN_PRODUCTION_GROUPS": f"{GROUP},gone",
            "POINTSMAN_PRODUCTION_ALARMS": ",".join(ALARMS),
        }
    )
    denied: set[str] = field(default_factory=set)
    out_of_reach: bool = False
    asked_of_aws: list[str] = field(default_factory=list)

    @property
    def only_looked_at_aws(self) -> bool:
        return all(operation.startswith(("Describe", "Get", "List")) for operation in self.asked_of_aws)

    def register(self) -> None:
        where = {"account": ACCOUNT, "region": REGION, "ecs_cluster": CLUSTER, "asg_name": GROUP}
        row = {"id": "prod", "name": "Production", "kind": "production", "aliases": [], **where}
        with self.ws.database.begin() as connection:
            connection.execute(sa.insert(tables.execution_environments).values(**row))

    def approve(self, run_id: str | None = None, **changes: Any) -> None:
        """Alice asks for up to 20 USD at up to 2 per second, and Bob agrees."""
        run_id = run_id or self.asked.run_id
        with self.ws.database.begin() as connection:
            about = {"scope": PRODUCTION, "what": "a run", "limit_usd": Decimal(20), "limit_per_s": 2}
            asked: dict[str, Any] = {**about, "environment_id": "prod", **changes}
            request_approval(self.ws, connection, subject_id=run_id, requester=ALICE, **asked)
        self.decide(run_id, asked["scope"])

    def decide(self, run_id: str | None = None, scope: str = PRODUCTION) -> None:
        limits = Limits.of(load_settings({}))
        decide_approval(
            self.ws, approval_id(scope, run_id or self.asked.run_id), BOB, "approved", reason="", limits=limits
        )

    def environment(self, **values: Any) -> None:
        with self.ws.database.begin() as connection:
            connection.execute(sa.update(tables.execution_environments).values(**values))

    def approval(self, **values: Any) -> None:
        with self.ws.database.begin() as connection:
            connection.execute(sa.update(tables.approvals).values(**values))

    def ask(self, **changes: Any) -> None:
        self.asked = replace(self.asked, **changes)

    def rate(self, per_s: float) -> None:
        stage = STEADY.model_copy(update={"rate": per_s, "duration_s": DISPATCHES / per_s})
        self.ask(scenario=Scenario(name="evening", stages=(stage,), max_in_flight=10))

    def ring(self, state: str) -> None:
        self.cloudwatch.set_alarm_state(AlarmName=ALARMS[1], StateValue=state, StateReason="a test")

    def lever(self, status: str) -> None:
        gaps.LEVER.update(status=status, reason="a test")

    def another_run(self, status: str, *, admitted: bool = False) -> None:
        plan_run(self.ws, run_id="another", parent_run_id=None, **self._planned())
        values = {"status": status, "metrics_json": {"admitted": admitted}}
        with self.ws.database.begin() as connection:
            connection.execute(sa.update(tables.load_test_runs).values(**values))

    def another_matrix(self, status: str) -> None:
        row = {"id": "bm_another", "status": status, "input_set_id": "golden", "environment_id": "prod", "seed": 1}
        files = {"plan": {}, "plan_sha256": "0" * 64, "results_path": "none", "created_at": self.ws.clock.now()}
        with self.ws.database.begin() as connection:
            connection.execute(sa.insert(tables.benchmark_matrix_runs).values(**row, **files))

    def spend(self, usd: str) -> None:
        row = {"run_id": "spent", "month": f"{self.ws.clock.now():%Y-%m}", "at": self.ws.clock.now()}
        with self.ws.database.begin() as connection:
            connection.execute(sa.insert(tables.spending).values(**row, reserved_usd=Decimal(usd)))

    def begin(self) -> None:
        """All that a flow does before it drives: guard, plan, admission. Returns when the run may be driven."""
        settings = load_settings(self.environ, home=self.ws.results.root)  # nobody's own config.toml
        limits, rules = Limits.of(settings), ProductionRules.of(settings)
        with self._recorded():
            permit = guard_production(
                self.ws,
                self.asked,
                forecast=lambda _: self.forecast,
                rules=rules,
                limits=limits,
                open_aws=self._open,
            )
            plan_run(self.ws, run_id=self.asked.run_id, parent_run_id=self.asked.parent_run_id, **self._planned())
            admission = admit_run(
                self.ws,
                self.asked.run_id,
                dispatches=DISPATCHES,
                forecast=self.forecast,
                unbilled=False,
                limits=limits,
                requester=self.asked.requester,
                permit=permit,
            )
        if admission.state == "waiting":
            raise admission.waiting_error()
        require_admission(read_run(self.ws, self.asked.run_id))

    def _planned(self) -> dict[str, Any]:
        about = {"scenario": self.asked.scenario, "seed": 1, "environment_id": self.asked.environment_id}
        return {**about, "variant": VARIANT, "target": TARGET, "inputs": INPUTS}

    def _open(self, place: AwsPlace) -> ReadOnlyAws:
        assert place.kind != "local"
        if self.aws is None:
            raise DependencyDown("No credentials.")
        return self.aws

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        def record(client: Any, operation: str, parameters: Any) -> Any:
            self.asked_of_aws.append(operation)
            if operation in self.denied:
                raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not you"}}, operation)
            if self.out_of_reach:
                raise EndpointConnectionError(endpoint_url="https://aws")
            return _REAL_CALL(client, operation, parameters)

        BaseClient._make_api_call = record
        try:
            yield
        finally:
            BaseClient._make_api_call = _REAL_CALL

    def put_back(self) -> None:
        """moto is as it was before."""
        self.ring("OK")
        self.lever("disengaged")
        for machine in MACHINES:
            autoscaling().set_instance_health(machine, "Healthy")
