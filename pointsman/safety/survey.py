"""What AWS says of a place of production, asked before anything is sent there. It is only looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pointsman.errors import PointsmanError
from pointsman.model import Missing
from pointsman.safety.production import GroupSeen, Place, Seen
from pointsman.settings import AwsPlace
from pointsman.settings.read_only import ReadOnlyAws

_ALARMS_A_CALL = 100
OpenAws = Callable[[AwsPlace], ReadOnlyAws]
T = TypeVar("T")


def survey(place: Place, alarms: Sequence[str], open_aws: OpenAws) -> Seen:
    """What AWS says of the place; of what it does not say, why."""
    opened = _asked(lambda: open_aws(AwsPlace(place.kind, place.region)))
    if isinstance(opened, Missing):
        return Seen(opened, opened, opened, opened, opened)
    aws = opened
    return Seen(
        account=_asked(lambda: str(aws.ask("sts", "get_caller_identity")["Account"])),
        cluster=_asked(lambda: _active_cluster(aws, place)),
        group=_asked(lambda: _group(aws, place)),
        lever=_asked(lambda: str(aws.ask("fis", "get_safety_lever", id="default")["safetyLever"]["state"]["status"])),
        alarms=_asked(lambda: _alarms(aws, alarms)),
    )


def _asked(ask: Callable[[], T]) -> T | Missing:
    from botocore.exceptions import BotoCoreError, ClientError  # slow to import, and most runs ask nothing of AWS

    try:
        return ask()
    except (BotoCoreError, ClientError, PointsmanError) as error:
        return Missing(f"{type(error).__name__}: {error}"[:300])


def _active_cluster(aws: ReadOnlyAws, place: Place) -> Any:
    if place.cluster is None:
        return Missing("none is registered")
    for one in aws.ask("ecs", "describe_clusters", clusters=[place.cluster])["clusters"]:
        return one["clusterArn"] if one["status"] == "ACTIVE" else Missing(f"it is {one['status']}")
    return Missing("there is none of this name")


def _group(aws: ReadOnlyAws, place: Place) -> Any:
    if place.group is None:
        return Missing("none is registered")
    named = {"AutoScalingGroupNames": [place.group]}
    for one in aws.ask("autoscaling", "describe_auto_scaling_groups", **named)["AutoScalingGroups"]:
        well = [
            member
            for member in one["Instances"]
            if member["LifecycleState"] == "InService" and member["HealthStatus"].lower() == "healthy"
        ]
        return GroupSeen(one["AutoScalingGroupARN"], one["DesiredCapacity"], len(well))
    return Missing("there is none of this name")


def _alarms(aws: ReadOnlyAws, names: Sequence[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = dict.fromkeys(names)
    for begin in range(0, len(names), _ALARMS_A_CALL):
        some = list(names[begin : begin + _ALARMS_A_CALL])
        both = ["MetricAlarm", "CompositeAlarm"]
        answer = aws.ask("cloudwatch", "describe_alarms", AlarmNames=some, AlarmTypes=both, MaxRecords=_ALARMS_A_CALL)
        for alarm in [*answer.get("MetricAlarms", ()), *answer.get("CompositeAlarms", ())]:
            found[alarm["AlarmName"]] = alarm["StateValue"]
    return found
