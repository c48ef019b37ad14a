"""What the templates say, rendered: everything that moto cannot deploy or drops."""

from __future__ import annotations

import inspect
import json
import logging
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import prefect.settings
import pytest
from moto.events.models import EventPattern
from prefect import flow_engine
from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH, load_logging_config
from prefect.logging.formatters import PrefectFormatter
from prefect.states import Completed, Failed

from pointsman.safety import ProductionRules
from pointsman.settings import ENVIRONMENT_NAMES, load_settings
from tests.deployments.rendering import ACCOUNT, CHECKOUT, REGION, TEMPLATES, Rendered, load, names, render, trust

Stacks = dict[str, Rendered]
ENVIRONMENTS = ("Dev", "Uat", "Prod")
TASKS = "AWS::ECS::TaskDefinition"


def containers(stacks: Stacks) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path}/{logical}", container)
        for path, stack in stacks.items()
        for logical, task in stack.of_type(TASKS).items()
        for container in task["ContainerDefinitions"]
    ]


def variables(container: dict[str, Any]) -> dict[str, str]:
    plain = {one["Name"]: one["Value"] for one in container.get("Environment", [])}
    return plain | {one["Name"]: one["ValueFrom"] for one in container.get("Secrets", [])}


def test_cfn_lint_finds_nothing() -> None:
    files = [str(TEMPLATES / f"{name}.yaml") for name in names()]
    command = [Path(sys.executable).with_name("cfn-lint"), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def test_every_template_says_what_it_is_and_is_part_of_the_whole(stacks: Stacks) -> None:
    for name in names():
        assert load(name)["Description"].startswith("Pointsman")
    assert {stack.template for stack in stacks.values()} | {"cross-account"} == set(names())


def test_everything_carries_the_cost_allocation_tags(stacks: Stacks) -> None:
    for path, stack in stacks.items():
        if path != "main":  # stacks hand their tags to their resources
            assert set(stack.tags) == {"Environment", "Project", "Team"}, path
            assert (stack.tags["Project"], stack.tags["Team"]) == ("pointsman", "media")
    assert [stacks[f"{one}/Worker"].tags["Environment"] for one in ENVIRONMENTS] == ["dev", "uat", "prod"]
    wanted = {"Environment": "test", "Project": "pointsman", "Team": "media"}
    machines = stacks["TestMachines"]
    group = machines.properties("Group")["Tags"]
    assert wanted.items() <= {one["Key"]: one["Value"] for one in group if one["PropagateAtLaunch"]}.items()
    (volume,) = machines.properties("LaunchTemplate")["LaunchTemplateData"]["TagSpecifications"]
    assert {one["Key"]: one["Value"] for one in volume["Tags"]} == wanted
    assert wanted.items() <= stacks["Faults"].properties("StopMachines")["Tags"].items()
    services = [one for stack in stacks.values() for one in stack.of_type("AWS::ECS::Service").values()]
    assert {one["PropagateTags"] for one in services} == {"SERVICE"}
    for name in ENVIRONMENTS:
        tags = stacks[f"{name}/Tasks"].properties("LoadTest")["Tags"]
        assert {one["Key"]: one["Value"] for one in tags} == {**wanted, "Environment": name.lower()}


def test_a_team_brings_its_own_network() -> None:
    own = {"VpcId": "vpc-0a1b", "SubnetIds": "subnet-0a,subnet-0b", "SecurityGroupId": "sg-0c"}
    given = render("network", own)
    assert {name: given.outputs[name] for name in own} == own
    assert set(given.resources) == {"ServerSecurityGroup"}
    assert given.properties("ServerSecurityGroup")["VpcId"] == "vpc-0a1b"
    with pytest.raises(AssertionError, match="Name the private subnets"):
        render("network", {"VpcId": "vpc-0a1b"})
    with pytest.raises(AssertionError, match="Name the VPC of the security group"):
        render("network", {"SecurityGroupId": "sg-0c"})
    endpoints = render("network", {"PrivateEndpoints": "yes"}).of_type("AWS::EC2::VPCEndpoint").values()
    assert sorted(one["ServiceName"].removeprefix(f"com.amazonaws.{REGION}.") for one in endpoints) == [
        "ecr.api",
        "ecr.dkr",
        "logs",
        "s3",
        "secretsmanager",
    ]


def test_no_secret_is_a_parameter_or_an_output(stacks: Stacks) -> None:
    for path, stack in stacks.items():
        for name, value in {**stack.parameters, **stack.outputs}.items():
            assert "resolve:" not in str(value), f"{path}: {name}"
            if re.search("secret|password|token|auth|key", name, re.IGNORECASE):
                assert name.endswith("Arn"), f"{path}: {name} should name the secret, not hold it"
        for secret in stack.of_type("AWS::SecretsManager::Secret").values():
            generated = secret.get("GenerateSecretString")
            assert generated is None or generated["PasswordLength"] >= 40
            composed = secret.get("SecretString")
            assert composed is None or "{{resolve:secretsmanager:" in composed
            assert secret["Name"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_environment_keeps_its_secrets_under_the_contracts_names(stacks: Stacks, environment: str) -> None:
    found = {one["Name"] for one in stacks[f"{environment}/Secrets"].of_type("AWS::SecretsManager::Secret").values()}
    prefix = f"load-test/{environment.lower()}"
    assert found == {f"{prefix}/target-url", f"{prefix}/gemini-api-key", f"{prefix}/executor-secret"}


def test_plain_variables_hold_no_secret(stacks: Stacks) -> None:
    for path, container in containers(stacks):
        for one in container.get("Environment", []):
            assert not re.search("PASSWORD|TOKEN|SECRET|AUTH|KEY|REDIS|DATABASE.*URL", one["Name"]), path
            assert "resolve:" not in str(one["Value"])
        for one in container.get("Secrets", []):
            assert one["ValueFrom"].startswith(f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:")


def test_tasks_run_on_fargate_with_sizes_by_parameter(stacks: Stacks) -> None:
    for stack in stacks.values():
        for task in stack.of_type(TASKS).values():
            assert (task["RequiresCompatibilities"], task["NetworkMode"]) == (["FARGATE"], "awsvpc")
    sized = render("main", {"Team": "media", "ImageTag": "1", "TaskCpu": "4096", "TaskMemory": "16384"})
    task = dict(sized.walk())["Prod/Tasks"].properties("LoadTest")
    assert (task["Family"], task["Cpu"], task["Memory"]) == ("load-test-prod", "4096", "16384")
    assert task["ContainerDefinitions"][0]["StopTimeout"] == 120


def test_prefect_knows_every_setting_that_is_given_to_it(stacks: Stacks) -> None:
    from_packages = {  # of prefect-redis and prefect-aws, which add settings of their own
        "PREFECT_REDIS_MESSAGING_URL",
        "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL",
        "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME",
    }
    given = {name for _, one in containers(stacks) for name in variables(one) if name.startswith("PREFECT_")}
    assert [name for name in sorted(given - from_packages) if not hasattr(prefect.settings, name)] == []
    assert not hasattr(prefect.settings, "PREFECT_NO_SUCH_SETTING")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_pointsman_reads_every_setting_that_its_tasks_are_given(stacks: Stacks, environment: str) -> None:
    (container,) = stacks[f"{environment}/Tasks"].properties("LoadTest")["ContainerDefinitions"]
    given = variables(container)
    ours = {name for name in given if name.startswith(("POINTSMAN_", "STUDIO_"))}
    assert ours <= set(ENVIRONMENT_NAMES.values())
    runner = "STUDIO_LOAD_TEST_RUNNER_"
    assert {name for name in ENVIRONMENT_NAMES.values() if name.startswith(runner)} <= ours
    settings = load_settings(given, home=CHECKOUT / "nobodys")
    assert settings.environment == environment.lower()
    assert (settings.runner_mode, settings.runner_pool) == ("ecs", "ecs")
    assert settings.runner_cluster == stacks["Cluster"].outputs["ClusterName"]
    assert settings.runner_task_definition == stacks[f"{environment}/Tasks"].properties("LoadTest")["Family"]
    assert settings.runner_log_group == stacks["Cluster"].outputs["LogGroupName"]
    network = stacks["Network"].outputs
    assert settings.runner_subnets == network["SubnetIds"]
    assert settings.runner_security_groups == network["SecurityGroupId"]


def test_the_prefect_server_is_split_and_shares_redis_and_postgresql(stacks: Stacks) -> None:
    prefect = stacks["Prefect"]
    (api,) = prefect.properties("ApiTask")["ContainerDefinitions"]
    (services,) = prefect.properties("ServicesTask")["ContainerDefinitions"]
    (upgrade,) = prefect.properties("UpgradeTask")["ContainerDefinitions"]
    assert api["Command"][-1] == "--no-services"
    assert services["Command"] == ["prefect", "server", "services", "start"]
    assert upgrade["Command"] == ["prefect", "server", "database", "upgrade", "-y"]
    assert variables(api) == variables(services)
    assert variables(api)["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] == "false"
    redis = {
        "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
        "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
    }
    assert redis.items() <= variables(api).items()
    url = prefect.properties("RedisUrl")["Name"]
    for name in ("PREFECT_REDIS_MESSAGING_URL", "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL", "PREFECT_SERVER_DOCKET_URL"):
        assert url in variables(api)[name]
    version = re.search(r"^prefect==(\S+)", (TEMPLATES.parents[1] / "requirements.lock").read_text(), re.MULTILINE)
    assert version
    assert prefect.parameters["Image"].startswith(f"prefecthq/prefect:{version[1]}-")


def test_the_first_deployment_starts_nothing_that_needs_what_is_not_there_yet() -> None:
    first = dict(render("main", {"Team": "media", "ImageTag": "not-pushed-yet"}).walk())
    counts = {
        one["ServiceName"]: int(one["DesiredCount"])
        for stack in first.values()
        for one in stack.of_type("AWS::ECS::Service").values()
    }
    assert len(counts) == 5
    assert set(counts.values()) == {0}, "a service that cannot become steady takes the whole stack back"


def test_prefect_starts_when_its_database_is_ready_and_is_public_only_with_a_certificate() -> None:
    given = {"Team": "media", "ImageTag": "1"}
    started = dict(render("main", {**given, "PrefectStarted": "yes"}).walk())["Prefect"]
    counts = [started.properties(name)["DesiredCount"] for name in ("ApiService", "ServicesService")]
    assert counts == [2, 1]
    with pytest.raises(AssertionError, match="needs a certificate"):
        render("main", {**given, "PrefectScheme": "internet-facing"})
    tls = {"PrefectCertificateArn": "arn:aws:acm:x", "PrefectDomainName": "prefect.example.com"}
    public = dict(render("main", {**given, **tls, "PrefectScheme": "internet-facing"}).walk())
    listener = public["Prefect"].properties("Listener")
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    assert public["Prefect"].properties("LoadBalancer")["Subnets"] == public["Network"].outputs[
        "PublicSubnetIds"
    ].split(",")
    assert public["Prefect"].outputs["ApiUrl"] == "https://prefect.example.com/api"


def let_in(stacks: Stacks) -> dict[str, tuple[int, str]]:
    """Whom Prefect's load balancer lets in: the port and the source, by what the rule says."""
    prefect = stacks["Prefect"]
    group = "securitygroup-LoadBalancerSecurityGroup"
    rules = [
        *prefect.properties("LoadBalancerSecurityGroup")["SecurityGroupIngress"],
        *(one for one in prefect.of_type("AWS::EC2::SecurityGroupIngress").values() if one["GroupId"] == group),
    ]
    return {
        one["Description"]: (one["FromPort"], str(one.get("CidrIp") or one.get("SourceSecurityGroupId")))
        for one in rules
        if one["FromPort"] == one["ToPort"]
    }


def test_tasks_and_workers_reach_prefect_wherever_they_come_from() -> None:
    given = {"Team": "media", "ImageTag": "1", "PrefectClientCidr": "192.0.2.0/24"}
    inside = dict(render("main", given).walk())
    group = inside["Network"].outputs["SecurityGroupId"]
    assert let_in(inside) == {"Browsers": (80, "192.0.2.0/24"), "Workers and tasks": (80, group)}
    tls = {"PrefectCertificateArn": "arn:aws:acm:x", "PrefectDomainName": "prefect.example.com"}
    public = dict(render("main", {**given, **tls, "PrefectScheme": "internet-facing"}).walk())
    through_nat = "Workers and tasks, by the address of their NAT gateway"
    assert let_in(public)[through_nat] == (443, public["Network"].outputs["OutgoingCidr"])
    assert let_in(public)[through_nat] == (443, "eip-NatAddress/32")


def test_a_public_prefect_stands_in_a_network_that_a_team_has() -> None:
    tls = {"PrefectCertificateArn": "arn:aws:acm:x", "PrefectDomainName": "prefect.example.com"}
    own = {"VpcId": "vpc-0a1b", "SubnetIds": "subnet-0a,subnet-0b"}
    given = {"Team": "media", "ImageTag": "1", **tls, **own, "PrefectScheme": "internet-facing"}
    with pytest.raises(AssertionError, match="Name public subnets"):
        render("main", {**given, "OutgoingCidr": "198.51.100.7/32"})
    with pytest.raises(AssertionError, match="what the internet sees"):
        render("main", {**given, "PublicSubnetIds": "subnet-0c,subnet-0d"})
    both = {"OutgoingCidr": "198.51.100.7/32", "PublicSubnetIds": "subnet-0c,subnet-0d"}
    stacks = dict(render("main", {**given, **both}).walk())
    assert stacks["Prefect"].properties("LoadBalancer")["Subnets"] == ["subnet-0c", "subnet-0d"]
    assert (443, "198.51.100.7/32") in let_in(stacks).values()


def test_redis_speaks_tls_asks_for_its_token_and_forgets_nothing(stacks: Stacks) -> None:
    redis = stacks["Prefect"].properties("Redis")
    assert redis["TransitEncryptionEnabled"] is redis["AtRestEncryptionEnabled"] is True
    assert re.fullmatch(r"\{\{resolve:secretsmanager:.*redis-token.*:SecretString\}\}", redis["AuthToken"])
    assert stacks["Prefect"].properties("RedisParameters")["Properties"] == {"maxmemory-policy": "noeviction"}
    assert stacks["Prefect"].properties("RedisUrl")["SecretString"].startswith("rediss://:{{resolve:")


def test_workers_and_tasks_hold_no_database_setting_of_prefect(stacks: Stacks) -> None:
    for path, container in containers(stacks):
        if not path.startswith("Prefect/"):
            assert [one for one in variables(container) if one.startswith("PREFECT_") and "DATABASE" in one] == [], path
    (worker,) = stacks["Prod/Worker"].properties("WorkerTask")["ContainerDefinitions"]
    assert set(variables(worker)) == {
        "AWS_DEFAULT_REGION",
        "PREFECT_API_URL",
        "PREFECT_API_AUTH_STRING",
        "PREFECT_WORKER_ENABLE_CANCELLATION",
        "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME",
    }
    prefix = variables(stacks["Prod/Tasks"].properties("LoadTest")["ContainerDefinitions"][0])[
        "POINTSMAN_PREFECT_PREFIX"
    ]
    assert ("--pool", f"{prefix}ecs") in list(pairwise(worker["Command"]))


@pytest.mark.parametrize(("path", "bucket"), [("Storage", "Results"), ("Audit", "Records")])
def test_buckets_are_versioned_private_and_reached_by_tls_only(stacks: Stacks, path: str, bucket: str) -> None:
    properties = stacks[path].properties(bucket)
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert stacks[path].resources[bucket]["DeletionPolicy"] == "Retain"
    assert [rule["Status"] for rule in properties["LifecycleConfiguration"]["Rules"]].count("Enabled") >= 1
    statements = {
        one.get("Sid"): one for one in stacks[path].properties(f"{bucket}Policy")["PolicyDocument"]["Statement"]
    }
    plain = statements["OnlyTls"]
    assert (plain["Effect"], plain["Principal"], plain["Action"]) == ("Deny", "*", "s3:*")
    assert plain["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert [one.removeprefix(plain["Resource"][0]) for one in plain["Resource"]] == ["", "/*"]


def test_old_results_move_to_cheaper_storage_and_are_deleted(stacks: Stacks) -> None:
    rules = {one["Id"]: one for one in stacks["Storage"].properties("Results")["LifecycleConfiguration"]["Rules"]}
    assert rules["results"]["Transitions"] == [{"StorageClass": "STANDARD_IA", "TransitionInDays": 30}]
    assert rules["results"]["ExpirationInDays"] == 400
    assert rules["replaced-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert rules["replaced-versions"]["ExpiredObjectDeleteMarker"] is True
    assert rules["uploads-that-never-ended"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 3}


def test_images_are_scanned_and_old_ones_deleted(stacks: Stacks) -> None:
    repository = stacks["Registry"].properties("Repository")
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert [(rule["rulePriority"], rule["selection"]["tagStatus"]) for rule in rules] == [
        (1, "untagged"),
        (2, "tagged"),
        (3, "any"),
    ]
    assert rules[1]["selection"]["tagPrefixList"] == ["candidate-"]


def test_an_experiment_hits_only_machines_that_allow_it_and_an_alarm_stops_it(stacks: Stacks) -> None:
    faults = stacks["Faults"]
    template = faults.properties("StopMachines")
    alarm = faults.properties("GroupTooSmall")
    (stop,) = template["StopConditions"]
    assert stop == {
        "Source": "aws:cloudwatch:alarm",
        "Value": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{alarm['AlarmName']}",
    }
    (target,) = template["Targets"].values()
    assert target["ResourceTags"] == {"FaultsAllowed": "yes", "aws:autoscaling:groupName": "load-test-group"}
    assert template["ExperimentOptions"]["EmptyTargetResolutionMode"] == "fail"
    (action,) = template["Actions"].values()
    assert action["Parameters"] == {"startInstancesAfterDuration": "PT2M", "completeIfInstancesTerminated": "true"}
    assert alarm["Dimensions"] == [{"Name": "AutoScalingGroupName", "Value": "load-test-group"}]
    assert template["RoleArn"] == faults.outputs["ExperimentRoleArn"]


def test_only_tasks_of_production_are_allowed_any_of_it_and_only_what_is_named() -> None:
    named = {"ProductionClusters": "effects", "ProductionGroups": "effects-workers", "ProductionAlarms": "5xx,queue"}
    stacks = dict(render("main", {"Team": "media", "ImageTag": "0123abc", **named}).walk())
    allowed = {}
    for name in ENVIRONMENTS:
        (container,) = stacks[f"{name}/Tasks"].properties("LoadTest")["ContainerDefinitions"]
        given = load_settings(variables(container), home=CHECKOUT / "nobodys")
        allowed[name] = ProductionRules.of(given)
    assert allowed["Dev"] == allowed["Uat"] == ProductionRules.of(load_settings({}))
    production = allowed["Prod"]
    assert (production.accounts, production.regions) == ({ACCOUNT}, {REGION})
    assert (production.clusters, production.groups) == ({"effects"}, {"effects-workers"})
    assert production.alarms == ("5xx", "queue")


def test_tasks_keep_the_limit_of_the_month_that_the_budget_warns_of() -> None:
    stacks = dict(render("main", {"Team": "media", "ImageTag": "1", "MonthlyUsd": 750}).walk())
    assert stacks["Cost"].properties("Budget")["Budget"]["BudgetLimit"]["Amount"] == 750
    for name in ENVIRONMENTS:
        (container,) = stacks[f"{name}/Tasks"].properties("LoadTest")["ContainerDefinitions"]
        given = {key: str(value) for key, value in variables(container).items()}
        assert load_settings(given, home=CHECKOUT / "nobodys").max_month_usd == 750


def test_production_injects_no_faults(stacks: Stacks) -> None:
    attached = {name: stacks[f"{name}/Roles"].properties("TaskRole").get("ManagedPolicyArns") for name in ENVIRONMENTS}
    look, faults = stacks["Look"].outputs["PolicyArn"], stacks["Faults"].outputs["UseFaultsPolicyArn"]
    assert attached == {"Dev": [look, faults], "Uat": [look, faults], "Prod": [look]}


def alarms(stacks: Stacks) -> dict[str, dict[str, Any]]:
    return {one["AlarmName"]: one for one in stacks["Observability"].of_type("AWS::CloudWatch::Alarm").values()}


def test_failed_runs_unusual_duration_and_every_production_run_raise_an_alarm(stacks: Stacks) -> None:
    found = alarms(stacks)
    assert set(found) == {
        "load-test-failed-runs",
        "load-test-failed-tasks",
        "load-test-production-runs",
        "load-test-production-requests",
        "load-test-production-refusals",
        *(f"load-test-unusual-duration-{name.lower()}" for name in ENVIRONMENTS),
    }
    topic = stacks["Alerts"].outputs["TopicArn"]
    assert all(one["AlarmActions"] == [topic] and one["TreatMissingData"] == "notBreaching" for one in found.values())
    unusual = found["load-test-unusual-duration-prod"]
    assert {"Name": "TaskDefinitionFamily", "Value": "load-test-prod"} in unusual["Dimensions"]
    (subscription,) = stacks["Alerts"].of_type("AWS::SNS::Subscription").values()
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "team@example.com")
    (policy,) = stacks["Alerts"].of_type("AWS::SNS::TopicPolicy").values()
    publishers = {one["Sid"]: one["Principal"] for one in policy["PolicyDocument"]["Statement"]}
    assert publishers == {
        "AlarmsAndBudgets": {"Service": ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]},
        "Events": {"Service": "events.amazonaws.com"},
        "OnlyTls": "*",
    }


def rings(alarm: dict[str, Any], tasks: list[tuple[int, int]]) -> bool:
    """Whether an alarm on the number of samples rings, when each task gives one a minute from one minute to another."""
    minutes = alarm["Period"] // 60
    samples = Counter(minute // minutes for begin, end in tasks for minute in range(begin, end))
    breaching = [period for period, found in samples.items() if found >= alarm["Threshold"]]
    wanted = range(alarm["EvaluationPeriods"])
    return any(all(first + number in breaching for number in wanted) for first in breaching)


@pytest.mark.parametrize("hours", [1, 4, 24])
def test_tasks_that_do_not_end_are_unusual_and_short_ones_every_hour_are_not(hours: int) -> None:
    given = {"Team": "media", "ImageTag": "1", "UnusualHours": hours}
    found = alarms(dict(render("main", given).walk()))["load-test-unusual-duration-dev"]
    assert (found["Statistic"], found["ComparisonOperator"]) == ("SampleCount", "GreaterThanOrEqualToThreshold")
    assert found["Period"] * found["EvaluationPeriods"] == hours * 3600 <= 86_400, "the most that CloudWatch looks back"
    assert rings(found, [(7, 7 + hours * 60 + 10)])
    assert rings(found, [(7, 7 + hours * 30), (7 + hours * 30, 17 + hours * 60)])
    assert not rings(found, [(7, hours * 60 - 10)])
    four_shards = [(hour * 60, hour * 60 + 15) for hour in range(2 * hours) for _ in range(4)]
    assert not rings(found, four_shards)


def counts(pattern: str, line: str) -> bool:
    """Whether a metric filter of quoted terms counts a line: all of them are in it."""
    terms = re.findall(r'"([^"]+)"', pattern)
    assert terms
    return all(term in line for term in terms)


def test_failed_runs_are_counted_by_what_the_installed_prefect_writes(stacks: Stacks) -> None:
    assert 'msg=f"Finished in state {display_state}"' in inspect.getsource(flow_engine)
    formats = load_logging_config(DEFAULT_LOGGING_SETTINGS_PATH)["formatters"]["standard"]
    written = PrefectFormatter(**{name: value for name, value in formats.items() if name != "()"})

    def line(state: Any, logger: str = "prefect.flow_runs") -> str:
        record = logging.LogRecord(logger, logging.ERROR, "", 0, f"Finished in state {state}", None, None)
        record.flow_run_name, record.task_run_name = "evening", "drive-one-shard"
        return written.format(record)

    (pattern,) = [
        one["FilterPattern"]
        for one in stacks["Observability"].of_type("AWS::Logs::MetricFilter").values()
        if one["MetricTransformations"][0]["MetricName"] == "FailedRuns"
    ]
    assert counts(pattern, line(Failed(message="Flow run encountered an exception: RunFailed")))
    assert not counts(pattern, line(Completed()))
    assert not counts(pattern, line(Failed(message="tried again"), logger="prefect.task_runs"))


def task_event(family: str, status: str, **detail: Any) -> dict[str, Any]:
    """An "ECS Task State Change" as EventBridge delivers it, as far as rules look at it."""
    about = {
        "clusterArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/load-test-cluster",
        "group": f"family:{family}",
        "lastStatus": status,
        "desiredStatus": status,
        **detail,
    }
    return {"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": about}


def matches(rule: dict[str, Any], event: dict[str, Any]) -> bool:
    """Whether a rule's pattern takes the event. moto does not know `$or`, so each of its branches is asked."""
    pattern = json.loads(json.dumps(rule["EventPattern"]))
    branches = pattern["detail"].pop("$or", [{}])
    return any(
        EventPattern.load(json.dumps({**pattern, "detail": {**pattern["detail"], **branch}})).matches_event(event)
        for branch in branches
    )


def test_the_rules_take_the_events_that_they_are_for(stacks: Stacks) -> None:
    seen = stacks["Observability"]
    production, failures = seen.properties("ProductionRunStarts"), seen.properties("TaskFailures")
    assert matches(production, task_event("load-test-prod", "RUNNING"))
    assert not matches(production, task_event("load-test-dev", "RUNNING"))
    assert not matches(production, task_event("load-test-prod", "PENDING"))
    assert matches(failures, task_event("load-test-dev", "STOPPED", stopCode="TaskFailedToStart"))
    ended = {"stopCode": "EssentialContainerExited"}
    assert not matches(failures, task_event("load-test-dev", "STOPPED", **ended))
    for code in (0, 1, 137):  # EventBridge looks at each element of a list; moto only at one that is none
        assert matches(failures, task_event("load-test-dev", "STOPPED", **ended, containers={"exitCode": code})) == (
            code != 0
        )
    assert not matches(failures, task_event("prefect-server-api", "STOPPED", stopCode="TaskFailedToStart"))
    refused = seen.properties("RefusedProductionRuns")
    call = {"source": "aws.ecs", "detail-type": "AWS API Call via CloudTrail"}
    assert matches(refused, {**call, "detail": {"eventName": "RunTask", "errorCode": "AccessDenied"}})
    assert not matches(refused, {**call, "detail": {"eventName": "RunTask"}})
    worker = stacks["Uat/Worker"].properties("TaskStates")
    assert matches(worker, task_event("load-test-uat", "STOPPED"))
    assert not matches(worker, task_event("load-test-prod", "STOPPED"))
    dimension = alarms(stacks)["load-test-production-runs"]["Dimensions"]
    assert dimension == [{"Name": "RuleName", "Value": production["Name"]}]


def test_the_dashboard_shows_every_alarm(stacks: Stacks) -> None:
    body = json.loads(stacks["Observability"].properties("Dashboard")["DashboardBody"])
    shown = {arn.rpartition(":")[2] for one in body["widgets"] for arn in one["properties"].get("alarms", [])}
    assert shown == set(alarms(stacks))
    assert {one["type"] for one in body["widgets"]} == {"alarm", "metric", "log"}
    assert "${" not in json.dumps(body)


def test_queries_on_logs_are_saved(stacks: Stacks) -> None:
    queries = stacks["Observability"].of_type("AWS::Logs::QueryDefinition").values()
    assert {one["Name"] for one in queries} == {
        "load-test/errors",
        "load-test/runs-and-how-long-they-took",
        "load-test/how-runs-ended",
        "load-test/tasks-told-to-stop",
    }
    assert {name for one in queries for name in one["LogGroupNames"]} == {"/ecs/load-test"}


def test_the_budget_warns_before_and_when_it_is_spent(stacks: Stacks) -> None:
    budget = stacks["Cost"].properties("Budget")
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 2000, "Unit": "USD"}
    assert budget["Budget"]["CostFilters"] == {"TagKeyValue": ["user:Project$pointsman"]}
    alerts = budget["NotificationsWithSubscribers"]
    assert [(one["Notification"]["NotificationType"], one["Notification"]["Threshold"]) for one in alerts] == [
        ("ACTUAL", 50),
        ("ACTUAL", 80),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    ]
    assert all(one["Subscribers"][0]["Address"] == stacks["Alerts"].outputs["TopicArn"] for one in alerts)


def test_every_change_is_audited(stacks: Stacks) -> None:
    trail = stacks["Audit"].properties("Trail")
    assert trail["IsLogging"] is trail["IsMultiRegionTrail"] is trail["EnableLogFileValidation"] is True
    (selector,) = trail["EventSelectors"]
    assert selector["IncludeManagementEvents"] is True
    assert selector["DataResources"][0]["Values"] == [f"{stacks['Storage'].outputs['BucketArn']}/"]
    audited = {one["Action"] for one in stacks["Audit"].properties("RecordsPolicy")["PolicyDocument"]["Statement"]}
    assert audited == {"s3:GetBucketAcl", "s3:PutObject", "s3:*"}
    assert "Audit" not in dict(render("main", {"Team": "media", "ImageTag": "1", "Trail": "no"}).walk())


def test_github_vouches_only_for_this_repositorys_environments_and_main(stacks: Stacks) -> None:
    github = stacks["GitHub"]
    provider = github.properties("Provider")
    assert provider["ClientIdList"] == ["sts.amazonaws.com"]
    subjects = {}
    for name, role in github.of_type("AWS::IAM::Role").items():
        (statement,) = trust(role)["Statement"]
        assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
        conditions = statement["Condition"]["StringEquals"]
        assert conditions["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"
        subjects[name] = conditions["token.actions.githubusercontent.com:sub"]
    assert subjects == {
        "LoadTestRole": [f"repo:acme/effects:environment:{name.lower()}" for name in ENVIRONMENTS],
        "ImageRole": "repo:acme/effects:ref:refs/heads/main",
    }
    known = render("main", {"Team": "media", "ImageTag": "1", "GitHubRepository": "a/b", "GitHubProviderArn": "arn:p"})
    assert "Provider" not in dict(known.walk())["GitHub"].resources


def test_another_accounts_role_is_for_that_accounts_tasks_only() -> None:
    given = {"Team": "media", "LoadTestAccount": "999988887777", "Environment": "uat", "ExternalId": "agreed-upon"}
    theirs = render("cross-account", given)
    assert theirs.properties("LookRole")["ManagedPolicyArns"] == [theirs.nested["Look"].outputs["PolicyArn"]]
    assert theirs.properties("LookRole").get("Policies") is None
    (statement,) = trust(theirs.properties("LookRole"))["Statement"]
    assert statement["Principal"] == {"AWS": "arn:aws:iam::999988887777:root"}
    assert statement["Condition"] == {
        "StringEquals": {"sts:ExternalId": "agreed-upon"},
        "ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::999988887777:role/load-test-uat-task"},
    }


def test_tasks_become_the_role_of_their_own_environments_targets() -> None:
    roles = {
        f"{name}TargetRoleArn": f"arn:aws:iam::{number}11122223333:role/load-test-{name.lower()}-look"
        for number, name in enumerate(ENVIRONMENTS, 1)
        if name != "Uat"
    }
    given = {"Team": "media", "ImageTag": "1", **roles}
    with pytest.raises(AssertionError, match="ExternalId"):
        render("main", given)
    stacks = dict(render("main", {**given, "TargetExternalId": "agreed-upon"}).walk())
    production = {}
    for name in ENVIRONMENTS:
        role = roles.get(f"{name}TargetRoleArn")
        (container,) = stacks[f"{name}/Tasks"].properties("LoadTest")["ContainerDefinitions"]
        settings = load_settings(variables(container), home=CHECKOUT / "nobodys")
        assert settings.target_role_arn == role
        production[name] = settings.production_accounts
        policies = stacks[f"{name}/Roles"].of_type("AWS::IAM::Policy").values()
        allowed = [one for policy in policies for one in policy["PolicyDocument"]["Statement"]]
        assert [(one["Action"], one["Resource"]) for one in allowed] == ([("sts:AssumeRole", role)] if role else [])
    assert production == {"Dev": "", "Uat": "", "Prod": "311122223333"}, "production is where its targets are"
