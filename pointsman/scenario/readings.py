"""What conditions need to know from outside the run: alarms, unhealthy targets, the backend's errors, prices.

Each source is a callable that reads once and raises `DependencyDown` when it cannot, or `Missing` with the reason why
there is none. A run's coordinator waits for them, and is taken for dead when it says nothing for 15 s: so those of AWS
begin nothing more when a look has lasted four seconds, and give up what they then wait for after some two more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from pointsman.errors import DependencyDown, GuardRefused, NotFound
from pointsman.model import Missing, Number
from pointsman.settings import AwsPlace

_ALARMS_A_CALL = 100
_LOOK_S = 4.0
_AT_ONCE = 10
"""Calls."""
_ERRORS_OVER = timedelta(minutes=2)
AlarmSource: TypeAlias = "Callable[[], Mapping[str, bool]] | Missing"
CountSource: TypeAlias = "Callable[[], int] | Missing"
ShareSource: TypeAlias = "Callable[[datetime | None], float | None] | Missing"


_NO_ALARMS = Missing("the scenario's observe.alarms names none")
_NO_GROUPS = Missing("the scenario's observe.target_groups names none")
_NO_BALANCER = Missing("the scenario's observe.load_balancer names none")
_NO_PRICE = Missing("what a dispatch costs is not known before the forecast of the run")


class Observe(BaseModel):
    """What of AWS is looked at while the scenario runs, for the conditions that speak of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alarms: tuple[str, ...] = Field(
        default=(),
        max_length=500,
        title="Alarms",
        description="Names of CloudWatch alarms for `alarms moved`.",
        examples=[["effects-5xx", "effects-queue-age"]],
    )
    target_groups: tuple[str, ...] = Field(
        default=(),
        max_length=50,
        title="Target groups",
        description="ARNs of load balancer target groups for `unhealthy targets`.",
        examples=[["arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/effects/0123456789abcdef"]],
    )
    load_balancer: str | None = Field(
        default=None,
        max_length=200,
        title="Load balancer",
        description="Its CloudWatch dimension for `backend_error_rate`: the end of its ARN, from app/ on.",
        examples=["app/effects/0123456789abcdef"],
    )


@dataclass(frozen=True, slots=True)
class Sources:
    """Where conditions read from."""

    alarms: AlarmSource = _NO_ALARMS
    """By name, whether an alarm is in ALARM."""
    unhealthy_targets: CountSource = _NO_GROUPS
    backend_errors: ShareSource = _NO_BALANCER
    """Share of requests that the backend answered with an error: in the last full minutes before a time, or lately
    (None). None when it had no requests."""
    begin_look: Callable[[], None] = lambda: None
    """To be called before all that is read for one look."""
    usd_per_dispatch: Number = _NO_PRICE


def aws_sources(observe: Observe, place: AwsPlace, *, usd_per_dispatch: Number | None = None) -> Sources:
    """Sources that ask the AWS of `place`, for all that the scenario names."""
    aws = _Aws(place)
    named: dict[str, Any] = {"begin_look": aws.begin_look} if observe != Observe() else {}
    if observe.alarms:
        named["alarms"] = lambda: _alarms(aws, observe.alarms)
    if observe.target_groups:
        named["unhealthy_targets"] = lambda: _unhealthy(aws, observe.target_groups)
    if (load_balancer := observe.load_balancer) is not None:
        named["backend_errors"] = lambda before: _error_share(aws, load_balancer, before)
    if usd_per_dispatch is not None:
        named["usd_per_dispatch"] = usd_per_dispatch
    return Sources(**named)


@dataclass(frozen=True, slots=True)
class Brake:
    """Why what is sent to production must end."""

    code: str
    message: str


def production_brake(place: AwsPlace, alarms: Sequence[str]) -> Callable[[], Brake | None]:
    """Reads the safety lever and these alarms of `place` once; raises `DependencyDown` or `NotFound` when it cannot."""
    aws = _Aws(place)

    def read() -> Brake | None:
        aws.begin_look()
        lever = aws.ask("fis", "get_safety_lever", id="default")["safetyLever"]["state"]["status"]
        if lever != "disengaged":
            return Brake("safety_lever_engaged", f"The FIS safety lever of the account is {lever}.")
        ringing = sorted(name for name, rings in _alarms(aws, alarms).items() if rings)
        return Brake("alarm_rings", f"In ALARM: {', '.join(ringing)}.") if ringing else None

    return read


class _Aws:
    """Answers or gives up within seconds. Clients are kept: making one takes longer than a call."""

    def __init__(self, place: AwsPlace) -> None:
        self._place = place
        self._clients: dict[str, Any] = {}
        self._making = Lock()
        self._began = time.monotonic()

    def begin_look(self) -> None:
        """From now on a look takes as long as it may."""
        self._began = time.monotonic()

    def ask(self, service: str, operation: str, **asked: Any) -> Any:
        """Raises `DependencyDown` when AWS does not answer, or the look has taken too long already."""
        from botocore.exceptions import BotoCoreError, ClientError  # slow to import, and most runs ask nothing of AWS

        if time.monotonic() - self._began > _LOOK_S:
            raise _down(f"{service} was not asked to {operation}: what came before took more than {_LOOK_S:g} s")
        try:
            return getattr(self._client(service), operation)(**asked)
        except GuardRefused as error:
            raise _down(error.message, error.instruction) from error
        except (BotoCoreError, ClientError) as error:
            self._clients.pop(service, None)  # it may be elsewhere by the next call
            raise _down(f"{service} did not answer {operation}: {error}") from error

    def _client(self, service: str) -> Any:
        from botocore.config import Config

        quick = Config(connect_timeout=1, read_timeout=2, retries={"max_attempts": 0}, max_pool_connections=_AT_ONCE)
        with self._making:  # several threads may use a client, but not make one
            if service not in self._clients:
                self._clients[service] = self._place.open().client(service, quick)
            return self._clients[service]


def _down(message: str, instruction: str = "aws sts get-caller-identity") -> DependencyDown:
    return DependencyDown(message, instruction=instruction, code="aws_unreachable")


def _alarms(aws: _Aws, names: Sequence[str]) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for begin in range(0, len(names), _ALARMS_A_CALL):
        some = list(names[begin : begin + _ALARMS_A_CALL])
        both = ["MetricAlarm", "CompositeAlarm"]
        answer = aws.ask("cloudwatch", "describe_alarms", AlarmNames=some, AlarmTypes=both, MaxRecords=_ALARMS_A_CALL)
        for alarm in [*answer.get("MetricAlarms", ()), *answer.get("CompositeAlarms", ())]:
            found[alarm["AlarmName"]] = alarm["StateValue"] == "ALARM"
    if absent := sorted(set(names) - set(found)):
        raise NotFound("observe.alarms", absent[0], "the name of a CloudWatch alarm of this account and region")
    return found


def _unhealthy(aws: _Aws, target_groups: Sequence[str]) -> int:
    """Targets whose checks fail or whose machine is stopped; those that are new, drained or not in use are none."""

    def of_group(arn: str) -> int:
        answer = aws.ask("elbv2", "describe_target_health", TargetGroupArn=arn)
        healths = [target["TargetHealth"] for target in answer["TargetHealthDescriptions"]]
        return sum(
            health["State"] in ("unhealthy", "unhealthy.draining") or health.get("Reason") == "Target.InvalidState"
            for health in healths
        )

    with ThreadPoolExecutor(_AT_ONCE) as several:
        return sum(several.map(of_group, target_groups))


def _error_share(aws: _Aws, load_balancer: str, before: datetime | None) -> float | None:
    end = datetime.now(UTC) + timedelta(minutes=1) if before is None else before.replace(second=0, microsecond=0)
    begin = end - _ERRORS_OVER - timedelta(minutes=1 if before is None else 0)
    sums = []
    for metric in ("HTTPCode_Target_5XX_Count", "RequestCount"):
        answer = aws.ask(
            "cloudwatch",
            "get_metric_statistics",
            Namespace="AWS/ApplicationELB",
            MetricName=metric,
            Dimensions=[{"Name": "LoadBalancer", "Value": load_balancer}],
            StartTime=begin,
            EndTime=end,
            Period=60,
            Statistics=["Sum"],
        )
        sums.append(sum(point["Sum"] for point in answer["Datapoints"]))
    errors, requests = sums
    return errors / requests if requests else None
