"""The templates deployed into moto, each with what the others hand it, and read back.

moto makes the resources but drops many of their properties, and lacks some kinds: those are asserted as rendered, in
test_templates.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.deployments.rendering import REGION, TEMPLATES, Rendered

NOT_IN_MOTO = {"observability", "audit"}
"""Their supported parts refer to parts that moto lacks: alarms and bucket policies."""


class Deployed:
    """moto's account with every template in it. `outputs` are the stacks' outputs, by path."""

    def __init__(self) -> None:
        self.outputs: dict[str, dict[str, str]] = {}
        self._cloudformation = self.client("cloudformation")

    def client(self, service: str) -> Any:
        make: Any = boto3.client  # stubs of these services are not installed
        return make(service, region_name=REGION)

    def deploy(self, path: str, stack: Rendered, known: dict[str, str]) -> None:
        parameters = {name: str(value) for name, value in stack.parameters.items()}
        for rendered, real in known.items():
            parameters = {name: value.replace(rendered, real) for name, value in parameters.items()}
        name = path.replace("/", "-")
        self._cloudformation.create_stack(
            StackName=name,
            TemplateBody=(TEMPLATES / f"{stack.template}.yaml").read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Tags=[{"Key": key, "Value": value} for key, value in stack.tags.items()],
        )
        described = self._cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        assert described["StackStatus"] == "CREATE_COMPLETE"
        self.outputs[path] = {one["OutputKey"]: one["OutputValue"] for one in described.get("Outputs", [])}


@pytest.fixture(scope="module")
def aws(stacks: dict[str, Rendered]) -> Iterator[Deployed]:
    with pytest.MonkeyPatch.context() as patch, mock_aws(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tried to parse|.* does not match an error shape")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        deployed, known = Deployed(), dict[str, str]()
        for path, stack in stacks.items():
            if stack.nested or stack.template in NOT_IN_MOTO:
                continue
            deployed.deploy(path, stack, known)
            known |= {stack.outputs[name]: value for name, value in deployed.outputs[path].items() if value}
        yield deployed


def test_the_network_is_two_private_and_two_public_subnets_in_two_zones(aws: Deployed) -> None:
    network = aws.outputs["Network"]
    ec2 = aws.client("ec2")
    private, public = network["SubnetIds"].split(","), network["PublicSubnetIds"].split(",")
    subnets = ec2.describe_subnets(SubnetIds=[*private, *public])["Subnets"]
    assert {one["VpcId"] for one in subnets} == {network["VpcId"]}
    for some in (private, public):
        assert len({one["AvailabilityZone"] for one in subnets if one["SubnetId"] in some}) == 2
    tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [network["VpcId"]]}])["RouteTables"]
    routes = [
        route for table in tables for route in table["Routes"] if route.get("DestinationCidrBlock") == "0.0.0.0/0"
    ]
    assert sorted("NatGatewayId" in route for route in routes) == [False, True]
    (endpoint,) = ec2.describe_vpc_endpoints()["VpcEndpoints"]
    assert (endpoint["VpcEndpointType"], endpoint["ServiceName"]) == ("Gateway", f"com.amazonaws.{REGION}.s3")


def test_nobody_connects_to_a_task(aws: Deployed) -> None:
    network = aws.outputs["Network"]
    (group,) = aws.client("ec2").describe_security_groups(GroupIds=[network["SecurityGroupId"]])["SecurityGroups"]
    assert group["IpPermissions"] == []
    assert group["VpcId"] == network["VpcId"]


def test_the_cluster_and_its_log_group_are_called_as_the_contract_says(aws: Deployed) -> None:
    (cluster,) = aws.client("ecs").describe_clusters(clusters=["load-test-cluster"])["clusters"]
    assert cluster["status"] == "ACTIVE"
    assert aws.outputs["Cluster"]["ClusterArn"] == cluster["clusterArn"]
    groups = aws.client("logs").describe_log_groups(logGroupNamePrefix="/ecs/")["logGroups"]
    assert {one["logGroupName"]: one["retentionInDays"] for one in groups} == {
        "/ecs/load-test": 30,
        "/ecs/prefect-server": 30,
    }


@pytest.mark.parametrize("environment", ["dev", "uat", "prod"])
def test_each_environment_has_its_task_definition_with_its_own_roles(aws: Deployed, environment: str) -> None:
    ecs = aws.client("ecs")
    found = ecs.describe_task_definition(taskDefinition=f"load-test-{environment}")["taskDefinition"]
    roles = aws.outputs[f"{environment.title()}/Roles"]
    (container,) = found["containerDefinitions"]
    assert container["image"] == f"{aws.outputs['Registry']['RepositoryUri']}:0123abc"
    assert container["logConfiguration"]["options"]["awslogs-group"] == "/ecs/load-test"
    assert {one["name"] for one in container["secrets"]} == {
        "POINTSMAN_DATABASE_URL",
        "STUDIO_EXECUTOR_SECRET",
        "PREFECT_API_AUTH_STRING",
    }
    variables = {one["name"]: one["value"] for one in container["environment"]}
    assert variables["POINTSMAN_RESULTS_URI"] == aws.outputs["Storage"]["ResultsUri"]
    assert variables["STUDIO_LOAD_TEST_RUNNER_SUBNETS"] == aws.outputs["Network"]["SubnetIds"]
    role = aws.client("iam").get_role(RoleName=f"load-test-{environment}-task")["Role"]
    assert role["Arn"] == roles["TaskRoleArn"]


def test_a_worker_serves_each_environment_and_hears_of_its_tasks(aws: Deployed) -> None:
    services = aws.client("ecs").describe_services(
        cluster="load-test-cluster", services=["prefect-worker-dev", "prefect-worker-uat", "prefect-worker-prod"]
    )["services"]
    assert {one["serviceName"]: one["desiredCount"] for one in services} == {
        "prefect-worker-dev": 1,
        "prefect-worker-uat": 0,
        "prefect-worker-prod": 0,
    }
    sqs, events = aws.client("sqs"), aws.client("events")
    for environment in ("dev", "uat", "prod"):
        queue = sqs.get_queue_url(QueueName=f"prefect-ecs-tasks-events-{environment}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        (target,) = events.list_targets_by_rule(Rule=f"load-test-{environment}-task-states")["Targets"]
        assert target["Arn"] == arn


def test_results_are_encrypted_in_a_bucket_of_the_account(aws: Deployed) -> None:
    s3, bucket = aws.client("s3"), aws.outputs["Storage"]["BucketName"]
    assert bucket == f"load-test-results-123456789012-{REGION}"
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_tags_of_images_never_move(aws: Deployed) -> None:
    (found,) = aws.client("ecr").describe_repositories()["repositories"]
    assert found["imageTagMutability"] == "IMMUTABLE"
    assert aws.outputs["Registry"]["RepositoryUri"] == found["repositoryUri"]


def test_the_test_group_starts_its_machines_from_its_launch_template(aws: Deployed) -> None:
    group_name = aws.outputs["TestMachines"]["GroupName"]
    (group,) = aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group_name])[
        "AutoScalingGroups"
    ]
    assert (group["MinSize"], group["DesiredCapacity"], group["MaxSize"]) == (1, 3, 3)
    assert {one["Key"]: one["Value"] for one in group["Tags"]}["FaultsAllowed"] == "yes"
    ec2 = aws.client("ec2")
    (version,) = ec2.describe_launch_template_versions(
        LaunchTemplateId=group["LaunchTemplate"]["LaunchTemplateId"], Versions=["$Latest"]
    )["LaunchTemplateVersions"]
    assert version["LaunchTemplateData"]["MetadataOptions"]["HttpTokens"] == "required"
    assert group["VPCZoneIdentifier"] == aws.outputs["Network"]["SubnetIds"]


def test_roles_are_assumed_by_whom_they_are_for(aws: Deployed) -> None:
    roles = {one["RoleName"]: one for one in aws.client("iam").list_roles()["Roles"]}
    for environment in ("dev", "uat", "prod"):
        for kind in ("task", "execution", "worker"):
            (statement,) = roles[f"load-test-{environment}-{kind}"]["AssumeRolePolicyDocument"]["Statement"]
            assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    (statement,) = roles["load-test-github"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    kept = aws.client("iam").list_role_policies(RoleName="load-test-dev-task")["PolicyNames"]
    assert sorted(kept) == ["results", "secrets"]


def test_alerts_have_one_topic(aws: Deployed) -> None:
    (topic,) = aws.client("sns").list_topics()["Topics"]
    assert topic["TopicArn"] == aws.outputs["Alerts"]["TopicArn"]


def test_prefect_waits_for_its_database_behind_a_load_balancer_inside_the_vpc(aws: Deployed) -> None:
    services = aws.client("ecs").describe_services(
        cluster="load-test-cluster", services=["prefect-server-api", "prefect-server-services"]
    )["services"]
    assert [one["desiredCount"] for one in services] == [0, 0]
    (balancer,) = aws.client("elbv2").describe_load_balancers()["LoadBalancers"]
    assert balancer["Scheme"] == "internal"
    assert {zone["SubnetId"] for zone in balancer["AvailabilityZones"]} == set(
        aws.outputs["Network"]["SubnetIds"].split(",")
    )
    databases = aws.client("rds").describe_db_instances()["DBInstances"]
    assert {
        one["DBName"]: (one["Engine"], one["StorageEncrypted"], one["PubliclyAccessible"]) for one in databases
    } == {
        "pointsman": ("postgres", True, False),
        "prefect": ("postgres", True, False),
    }
