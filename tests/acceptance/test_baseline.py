"""A baseline against moto: every part read, whatever its size; what cannot be read is said; nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from moto import mock_aws

from pointsman.acceptance import Baseline, baseline_report, capture_baseline, read_baseline
from pointsman.acceptance.inventory import PARTS
from pointsman.benchmark import register_environment
from pointsman.errors import DependencyDown, GuardRefused, InputRefused, NotFound
from pointsman.model import Missing
from pointsman.reporting import to_markdown
from pointsman.settings import AwsPlace
from pointsman.settings.read_only import ReadOnlyAws
from pointsman.storage import local_path
from pointsman.workspace import Workspace

SERVICES = 12  # more than one call describes
ALARMS = 103  # more than one page holds
REAL_CALL = BaseClient._make_api_call  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def staging() -> Iterator[dict[str, Any]]:
    """An account of moto with something of everything in it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }.items():
            patch.setenv(name, value)
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        with mock_aws():
            yield build_staging()


def client(service: str) -> Any:
    make: Any = boto3.client
    return make(service)


def build_staging() -> dict[str, Any]:
    ec2, ecs = client("ec2"), client("ecs")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="effects", Description="effects", VpcId=vpc)["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    ecs.create_cluster(clusterName="staging")
    ecs.create_cluster(clusterName="other")
    container = {"name": "web", "image": "web:1", "memory": 128}
    ecs.register_task_definition(family="web", containerDefinitions=[container])
    network = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group]}}
    for number in range(SERVICES):
        ecs.create_service(
            cluster="staging",
            serviceName=f"web-{number:02}",
            taskDefinition="web",
            desiredCount=2,
            networkConfiguration=network,
        )
    autoscaling = client("autoscaling")
    autoscaling.create_launch_configuration(
        LaunchConfigurationName="plain", ImageId="ami-12c6146b", InstanceType="t3.micro"
    )
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="workers",
        LaunchConfigurationName="plain",
        MinSize=1,
        MaxSize=3,
        DesiredCapacity=2,
        VPCZoneIdentifier=subnet,
    )
    client("rds").create_db_instance(
        DBInstanceIdentifier="jobs", DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=20
    )
    client("elasticache").create_cache_cluster(
        CacheClusterId="queue", Engine="redis", CacheNodeType="cache.t3.micro", NumCacheNodes=1
    )
    client("s3").create_bucket(Bucket="outputs", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    stop = {"actionId": "aws:ec2:stop-instances", "targets": {"Instances": "some"}}
    some = {"resourceType": "aws:ec2:instance", "resourceTags": {"role": "worker"}, "selectionMode": "COUNT(1)"}
    client("fis").create_experiment_template(
        clientToken="once",
        description="Stop a worker",
        stopConditions=[{"source": "none"}],
        targets={"some": some},
        actions={"stop": stop},
        roleArn="arn:aws:iam::123456789012:role/fis",
    )
    cloudwatch = client("cloudwatch")
    for number in range(ALARMS):
        cloudwatch.put_metric_alarm(
            AlarmName=f"alarm-{number:03}",
            MetricName="CPUUtilization",
            Namespace="AWS/EC2",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="LessThanThreshold",
            Statistic="Average",
        )
    cloudwatch.set_alarm_state(AlarmName="alarm-007", StateValue="ALARM", StateReason="scaling in")
    return {"subnet": subnet, "group": group}


def capture(ws: Workspace, run_id: str = "b1", **changes: Any) -> Baseline:
    return capture_baseline(
        ws, **{"run_id": run_id, "environment_id": "staging", "region": None, "cluster": None, **changes}
    )


def items(found: Baseline, part: str) -> dict[str, dict[str, Any]]:
    read = found.parts[part]
    assert not isinstance(read, Missing)
    return {item["name"]: item for item in read}


def test_every_part_is_read_and_kept_as_json(ws: Workspace, staging: dict[str, Any]) -> None:
    found = capture(ws)
    assert found.account == "123456789012"
    assert list(found.parts) == list(PARTS)
    assert set(items(found, "ecs clusters")) == {"staging", "other"}
    services = items(found, "ecs services")
    assert len(services) == SERVICES
    web = services["web-11"]
    assert (web["cluster"], web["desired"], web["task_definition"]) == ("staging", 2, "web:1")
    assert (web["subnets"], web["security_groups"]) == ([staging["subnet"]], [staging["group"]])
    assert items(found, "subnets")[staging["subnet"]]["cidr"] == "10.9.1.0/24"
    assert items(found, "security groups")[staging["group"]]["ingress"] == [
        {"protocol": "tcp", "from_port": 443, "to_port": 443, "with": ["10.0.0.0/8"]}
    ]
    workers = items(found, "auto scaling groups")["workers"]
    assert (workers["min"], workers["desired"], workers["max"], len(workers["instances"])) == (1, 2, 3, 2)
    assert items(found, "database instances")["jobs"]["engine"].startswith("postgres")
    assert items(found, "redis clusters")["queue"]["nodes"] == 1
    assert set(items(found, "buckets")) == {"outputs"}
    (template,) = items(found, "fault templates").values()
    assert template["actions"] == {"stop": "aws:ec2:stop-instances"}
    alarms = items(found, "alarms")
    assert len(alarms) == ALARMS
    assert alarms["alarm-007"]["state"] == "ALARM"
    assert found.parts["database clusters"] == ()
    document = json.loads(local_path(found.uri).read_bytes())
    assert found.uri.endswith("results/staging/baselines/20260101T000000/b1/baseline.json")
    assert document["parts"]["buckets"]["items"][0]["name"] == "outputs"
    assert read_baseline(ws, "b1") == found


@pytest.mark.usefixtures("staging")
def test_nothing_but_describe_list_and_get_is_called(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    called: set[str] = set()

    def record(self: Any, operation: str, parameters: Any) -> Any:
        called.add(f"{self.meta.service_model.service_name}:{operation}")
        return REAL_CALL(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", record)
    found = capture(ws)
    assert called == set(found.calls)
    assert len(called) >= len(PARTS)
    assert {one for one in called if not one.partition(":")[2].startswith(("Describe", "List", "Get"))} == set()


@pytest.mark.usefixtures("staging")
def test_a_call_that_could_change_something_never_leaves(ws: Workspace) -> None:
    with pytest.raises(GuardRefused, match="ecs:CreateCluster could change something"):
        ReadOnlyAws(AwsPlace("staging")).ask("ecs", "create_cluster", clusterName="mine")
    assert not any("mine" in arn for arn in client("ecs").list_clusters()["clusterArns"])


@pytest.mark.usefixtures("staging")
def test_the_same_run_again_answers_with_what_it_found_then(ws: Workspace) -> None:
    first = capture(ws)
    client("s3").create_bucket(Bucket="later", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    try:
        ws.clock.sleep(60)
        assert capture(ws) == first
        assert set(items(capture(ws, "b2"), "buckets")) == {"later", "outputs"}
    finally:
        client("s3").delete_bucket(Bucket="later")


@pytest.mark.usefixtures("staging")
def test_a_cluster_can_be_named_and_one_that_is_not_there_is_said(ws: Workspace) -> None:
    assert set(items(capture(ws, cluster="staging"), "ecs clusters")) == {"staging"}
    absent = capture(ws, "b2", cluster="nowhere")
    assert items(absent, "ecs clusters").popitem()[1]["status"] == "MISSING"
    assert isinstance(absent.parts["ecs services"], Missing)
    assert "ClusterNotFound" in absent.parts["ecs services"].reason


@pytest.mark.usefixtures("staging")
def test_what_cannot_be_read_is_not_measured_and_the_reason_is_kept(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:

    def partly(self: Any, operation: str, parameters: Any) -> Any:
        service = self.meta.service_model.service_name
        if service == "rds":
            denied = {"Code": "AccessDenied", "Message": "not authorized to perform: rds:DescribeDBInstances"}
            raise ClientError({"Error": denied}, operation)
        if service in ("fis", "sts"):
            raise EndpointConnectionError(endpoint_url="https://fis.eu-west-1.amazonaws.com")
        return REAL_CALL(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", partly)
    found = capture(ws)
    assert found.parts["database instances"] == Missing(
        "DescribeDBInstances: AccessDenied: not authorized to perform: rds:DescribeDBInstances"
    )
    assert isinstance(found.parts["fault templates"], Missing)
    assert "EndpointConnectionError" in found.parts["fault templates"].reason
    assert isinstance(found.account, Missing)
    assert len(items(found, "ecs services")) == SERVICES
    shown = to_markdown(baseline_report(found))
    assert "9 of 12 parts of staging were read, none changed" in shown
    assert "Not measured: database instances, database clusters, fault templates" in shown
    assert "not measured (DescribeDBInstances: AccessDenied" in shown


@pytest.mark.usefixtures("staging")
def test_when_nothing_can_be_read_there_is_no_baseline(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(self: Any, operation: str, parameters: Any) -> Any:
        raise NoCredentialsError

    monkeypatch.setattr(BaseClient, "_make_api_call", nobody)
    with pytest.raises(DependencyDown, match="Unable to locate credentials") as down:
        capture(ws)
    assert down.value.instruction
    with pytest.raises(NotFound, match="capture-baseline"):
        read_baseline(ws, "b1")


@pytest.mark.usefixtures("staging")
def test_a_registered_environment_may_be_captured_and_shown(ws: Workspace) -> None:
    register_environment(ws, "staging", name="Staging", kind="staging")
    shown = to_markdown(baseline_report(capture(ws)))
    assert "12 of 12 parts of staging were read" in shown
    assert "| alarms | 103 |" in shown
    assert "web-11" in shown


@pytest.mark.parametrize("field", ["run_id", "environment_id"])
def test_what_would_leave_the_results_store_is_refused(ws: Workspace, field: str) -> None:
    with pytest.raises(InputRefused):
        capture(ws, **{field: "../elsewhere"})
