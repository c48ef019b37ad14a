"""The sources of AWS against moto: alarms, the health of targets, the backend's errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import boto3
import pytest
from moto import mock_aws

from pointsman.errors import DependencyDown, NotFound
from pointsman.model import Missing
from pointsman.scenario.readings import Observe, Sources, aws_sources
from pointsman.settings import AwsPlace

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


def called(source: Any) -> Any:
    assert not isinstance(source, Missing)
    return source()


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
    assert called(read) is None
    for metric, value in (("RequestCount", 50), ("HTTPCode_Target_5XX_Count", 2)):
        client("cloudwatch").put_metric_data(
            Namespace="AWS/ApplicationELB",
            MetricData=[
                {
                    "MetricName": metric,
                    "Dimensions": [{"Name": "LoadBalancer", "Value": BALANCER}],
                    "Timestamp": datetime.now(UTC),
                    "Value": value,
                }
            ],
        )
    assert called(read) == pytest.approx(0.04)


@pytest.mark.usefixtures("aws")
def test_what_aws_does_not_answer_is_a_dependency_that_is_down() -> None:
    with pytest.raises(DependencyDown) as down:
        called(
            aws_sources(
                Observe(target_groups=("arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/no/0",)), STAGING
            ).unhealthy_targets
        )
    assert down.value.code == "aws_unreachable"
