"""The sources of AWS against moto: alarms, the health of targets, the backend's errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws

from pointsman.errors import DependencyDown, NotFound
from pointsman.model import Missing
from pointsman.scenario.readings import Observe, Sources, aws_sources
from pointsman.settings import AwsClients, AwsPlace

BALANCER = "app/effects/0123456789abcdef"
STAGING = AwsPlace("staging")


def client(service: str) -> Any:
    make: Any = boto3.client
    return make(service)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield


def alarm(name: str, state: str) -> None:
    cloudwatch = client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        MetricName="m",
        Namespace="n",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        Statistic="Sum",
    )
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="a test")


def called(source: Any, *asked: Any) -> Any:
    assert not isinstance(source, Missing)
    return source(*asked)


def test_a_scenario_that_names_nothing_has_no_source_and_each_says_why() -> None:
    sources = aws_sources(Observe(), STAGING)
    assert sources == Sources()
    for source in (sources.alarms, sources.unhealthy_targets, sources.backend_errors, sources.usd_per_dispatch):
        assert isinstance(source, Missing)
        assert source.reason
    assert aws_sources(Observe(), STAGING, usd_per_dispatch=Decimal(2)).usd_per_dispatch == 2


@pytest.mark.usefixtures("aws")
def test_the_states_of_named_alarms_are_read_and_an_absent_one_is_named() -> None:
    alarm("scale-in", "ALARM")
    alarm("errors", "OK")
    alarm("unknown", "INSUFFICIENT_DATA")
    found = called(aws_sources(Observe(alarms=("scale-in", "errors", "unknown")), STAGING).alarms)
    assert found == {"scale-in": True, "errors": False, "unknown": False}
    with pytest.raises(NotFound, match="'gone'"):
        called(aws_sources(Observe(alarms=("errors", "gone")), STAGING).alarms)


@pytest.mark.usefixtures("aws")
def test_unhealthy_targets_are_counted_over_all_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    vpc = client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    elb = client("elbv2")
    group = elb.create_target_group(Name="effects", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip")
    arn = group["TargetGroups"][0]["TargetGroupArn"]
    elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": "10.0.0.4"}, {"Id": "10.0.0.5"}])
    read = aws_sources(Observe(target_groups=(arn,)), STAGING).unhealthy_targets
    assert called(read) == 0
    # moto calls every registered target healthy.
    told = ({"State": "unhealthy"}, {"State": "draining"}, {"State": "unused", "Reason": "Target.InvalidState"})
    answer = {"TargetHealthDescriptions": [{"TargetHealth": one} for one in told]}
    monkeypatch.setattr("pointsman.scenario.readings._Aws.ask", lambda *_, **__: answer)
    assert called(read) == 2


@pytest.mark.usefixtures("aws")
def test_the_backends_error_share_is_that_of_the_last_minutes() -> None:
    read = aws_sources(Observe(load_balancer=BALANCER), STAGING).backend_errors
    now = datetime.now(UTC)
    assert called(read, None) is None
    for metric, value in (("RequestCount", 50), ("HTTPCode_Target_5XX_Count", 2)):
        client("cloudwatch").put_metric_data(
            Namespace="AWS/ApplicationELB",
            MetricData=[
                {
                    "MetricName": metric,
                    "Dimensions": [{"Name": "LoadBalancer", "Value": BALANCER}],
                    "Timestamp": now,
                    "Value": value,
                }
            ],
        )
    assert called(read, None) == pytest.approx(0.04)
    assert called(read, now) is None, "what happened in the minute in which the run began was not before it"
    assert called(read, now + timedelta(minutes=1)) == pytest.approx(0.04)


@pytest.mark.usefixtures("aws")
def test_what_aws_does_not_answer_is_a_dependency_that_is_down() -> None:
    with pytest.raises(DependencyDown) as down:
        called(
            aws_sources(
                Observe(target_groups=("arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/no/0",)), STAGING
            ).unhealthy_targets
        )
    assert down.value.code == "aws_unreachable"


@pytest.mark.usefixtures("aws")
def test_clients_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    make = AwsClients.client
    made: list[str] = []

    def counted(self: AwsClients, service: str, *config: Any) -> Any:
        made.append(service)
        return make(self, service, *config)

    monkeypatch.setattr(AwsClients, "client", counted)
    sources = aws_sources(Observe(load_balancer=BALANCER), STAGING)
    for _ in range(3):
        sources.begin_look()
        called(sources.backend_errors, None)
    assert made == ["cloudwatch"]


def test_a_look_at_groups_that_do_not_answer_asks_no_more_of_them_after_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asked = [0.0], []

    def describe_target_health(**of: Any) -> Any:
        now[0] += 2.0
        asked.append(of)
        raise ReadTimeoutError(endpoint_url="http://127.0.0.1:9")

    slow = SimpleNamespace(describe_target_health=describe_target_health)
    monkeypatch.setattr("pointsman.scenario.readings.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("pointsman.scenario.readings._Aws._client", lambda *_: slow)
    sources = aws_sources(Observe(target_groups=tuple(f"arn:{number}" for number in range(50))), STAGING)
    for looks in (1, 2):
        sources.begin_look()
        with pytest.raises(DependencyDown, match=r"was not asked|did not answer"):
            called(sources.unhealthy_targets)
        assert 3 * looks <= len(asked) <= (3 + 10) * looks, "those that were asked at once, and no more"
