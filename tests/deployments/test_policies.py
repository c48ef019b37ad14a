"""Who may do what: IAM's decisions about the rendered policies, and that none is wider than AWS makes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from blocks.flow_runs import APPROVAL_TAG
from pointsman.safety import PRODUCTION, approval_id
from pointsman.scenario.faults.template import RUN_TAG
from tests.deployments.policies import decide, listed
from tests.deployments.rendering import ACCOUNT, CHECKOUT, REGION, Rendered, documents

Stacks = dict[str, Rendered]
AWS_ACTIONS = json.loads((files("cfnlint") / "data/AdditionalSpecs/Policies.json").read_text())
"""Every action of AWS with the kinds of resource that it takes, as cfn-lint ships it."""
ECS = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
CLUSTER = {"ecs:cluster": f"{ECS}:cluster/load-test-cluster"}
APPROVAL = {f"aws:RequestTag/{APPROVAL_TAG}": "ap_0123456789ab"}


def carried_by(stacks: Stacks, path: str, role: str) -> list[dict[str, Any]]:
    """Every policy of a role: its own, and the managed ones of ours that are attached to it."""
    managed = {
        f"arn:aws:iam::{ACCOUNT}:policy/{one['ManagedPolicyName']}": one["PolicyDocument"]
        for stack in stacks.values()
        for one in stack.of_type("AWS::IAM::ManagedPolicy").values()
    }
    properties = stacks[path].properties(role)
    attached = [managed[arn] for arn in properties.get("ManagedPolicyArns", [])]
    return [one["PolicyDocument"] for one in properties["Policies"]] + attached


def run_task(stacks: Stacks, worker: str, family: str, **tags: str) -> str:
    """What a worker is answered that wants to start a task of a family with these tags."""
    context = {**CLUSTER, **{f"aws:RequestTag/{key}": value for key, value in tags.items()}}
    role = carried_by(stacks, f"{worker}/Worker", "WorkerRole")
    return decide(role, "ecs:RunTask", f"{ECS}:task-definition/{family}:7", context)


def test_a_task_of_production_is_not_started_without_the_approval(stacks: Stacks) -> None:
    assert run_task(stacks, "Prod", "load-test-prod", Environment="prod") == "denied"
    assert run_task(stacks, "Prod", "load-test-prod", Environment="prod", Approval="") == "denied"
    assert run_task(stacks, "Prod", "load-test-prod", Environment="prod", Approval="yes") == "denied"
    assert run_task(stacks, "Prod", "load-test-prod", Environment="prod", Approval="ap_0123456789ab") == "allowed"


def test_the_approval_has_the_form_that_approvals_have(stacks: Stacks) -> None:
    given = approval_id(PRODUCTION, "run")
    assert run_task(stacks, "Prod", "load-test-prod", Environment="prod", Approval=given) == "allowed"


def test_production_has_no_other_door(stacks: Stacks) -> None:
    approved = {"Approval": "ap_0123456789ab"}
    assert run_task(stacks, "Dev", "load-test-prod", Environment="prod", **approved) == "not allowed"
    assert run_task(stacks, "Prod", "load-test-prod", Environment="dev", **approved) == "not allowed"
    assert run_task(stacks, "Prod", "load-test-prod", **approved) == "not allowed"
    assert run_task(stacks, "Dev", "load-test-dev", Environment="prod") == "denied"
    worker = carried_by(stacks, "Prod/Worker", "WorkerRole")
    elsewhere = {**APPROVAL, "aws:RequestTag/Environment": "prod", "ecs:cluster": f"{ECS}:cluster/other"}
    assert decide(worker, "ecs:RunTask", f"{ECS}:task-definition/load-test-prod:1", elsewhere) == "not allowed"
    tagging = {"aws:TagKeys": ["Approval"], "aws:RequestTag/Approval": "ap_0123456789ab"}
    assert decide(worker, "ecs:TagResource", f"{ECS}:task/load-test-cluster/1", tagging) == "denied"
    born = {**tagging, "ecs:CreateAction": "RunTask"}
    assert decide(worker, "ecs:TagResource", f"{ECS}:task/load-test-cluster/1", born) == "allowed"
    assert decide(worker, "ecs:StartTask", f"{ECS}:task-definition/load-test-prod:1", CLUSTER) == "denied"
    assert decide(worker, "ecs:CreateService", f"{ECS}:service/load-test-cluster/x", CLUSTER) == "not allowed"


def test_the_guard_binds_people_who_may_do_everything(stacks: Stacks) -> None:
    guard = stacks["Guard"].properties("Guard")["PolicyDocument"]
    admin = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    production = f"{ECS}:task-definition/load-test-prod:1"
    assert decide([admin, guard], "ecs:RunTask", production, {}) == "denied"
    assert decide([admin, guard], "ecs:RunTask", production, APPROVAL) == "allowed"
    assert decide([admin, guard], "ecs:RunTask", f"{ECS}:task-definition/load-test-dev:1", {}) == "allowed"
    service = {"ecs:task-definition": production}
    assert decide([admin, guard], "ecs:CreateService", f"{ECS}:service/any/any", service) == "denied"
    assert {one["Effect"] for one in guard["Statement"]} == {"Deny"}


def test_other_environments_need_no_approval_but_their_name(stacks: Stacks) -> None:
    assert run_task(stacks, "Dev", "load-test-dev", Environment="dev") == "allowed"
    assert run_task(stacks, "Uat", "load-test-uat", Environment="uat") == "allowed"
    assert run_task(stacks, "Dev", "load-test-dev") == "not allowed"
    assert run_task(stacks, "Dev", "load-test-uat", Environment="uat") == "not allowed"
    assert run_task(stacks, "Dev", "somebody-elses", Environment="dev") == "not allowed"


def test_a_worker_hands_over_only_its_own_environments_roles(stacks: Stacks) -> None:
    context = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    dev = carried_by(stacks, "Dev/Worker", "WorkerRole")
    answers = {
        role: decide(dev, "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{role}", context)
        for role in ("load-test-dev-task", "load-test-dev-execution", "load-test-prod-task", "load-test-dev-worker")
    }
    assert answers == {
        "load-test-dev-task": "allowed",
        "load-test-dev-execution": "allowed",
        "load-test-prod-task": "not allowed",
        "load-test-dev-worker": "not allowed",
    }
    registering = decide(dev, "ecs:RegisterTaskDefinition", f"{ECS}:task-definition/load-test-prod:1", {})
    assert registering == "not allowed"


def test_a_worker_may_do_what_the_prefect_worker_calls_and_no_more(stacks: Stacks) -> None:
    allowed = {
        action
        for document in carried_by(stacks, "Uat/Worker", "WorkerRole")
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
    }
    assert allowed == {
        "ecs:RunTask",
        "ecs:RegisterTaskDefinition",
        "ecs:TagResource",
        "ecs:StopTask",
        "ecs:DescribeTasks",
        "ecs:DescribeTaskDefinition",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "iam:PassRole",
        "logs:GetLogEvents",
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueUrl",
        "sqs:ReceiveMessage",
    }
    own = {"aws:ResourceTag/Environment": "uat"}
    worker = carried_by(stacks, "Uat/Worker", "WorkerRole")
    assert decide(worker, "ecs:StopTask", f"{ECS}:task/load-test-cluster/1", own) == "allowed"
    others = {"aws:ResourceTag/Environment": "prod"}
    assert decide(worker, "ecs:StopTask", f"{ECS}:task/load-test-cluster/1", others) == "not allowed"


@pytest.mark.parametrize(
    ("action", "resource", "answer"),
    [
        ("s3:PutObject", "{bucket}/dev/smoke/20260131T080000/run/results.json", "allowed"),
        ("s3:GetObject", "{bucket}/verdicts/v/verdict.json", "allowed"),
        ("s3:PutObject", "{bucket}/prod/smoke/20260131T080000/run/results.json", "not allowed"),
        ("s3:DeleteObject", "{bucket}/dev/smoke/20260131T080000/run/results.json", "not allowed"),
        ("secretsmanager:GetSecretValue", "{secret}:load-test/dev/target-url-AbCdEf", "allowed"),
        ("secretsmanager:GetSecretValue", "{secret}:load-test/prod/target-url-AbCdEf", "not allowed"),
        ("secretsmanager:GetSecretValue", "{secret}:pointsman/pointsman-database/url-AbCdEf", "not allowed"),
        ("secretsmanager:PutSecretValue", "{secret}:load-test/dev/target-url-AbCdEf", "not allowed"),
        ("ecs:RunTask", "{ecs}:task-definition/load-test-dev:1", "not allowed"),
        ("ecs:StopTask", "{ecs}:task/load-test-cluster/1", "not allowed"),
    ],
)
def test_a_task_keeps_to_its_own_environment(stacks: Stacks, action: str, resource: str, answer: str) -> None:
    bucket = stacks["Storage"].outputs["BucketArn"]
    secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret"
    role = carried_by(stacks, "Dev/Roles", "TaskRole")
    assert decide(role, action, resource.format(bucket=bucket, secret=secret, ecs=ECS), {}) == answer


def test_a_task_may_write_wherever_the_engine_keeps_results(stacks: Stacks) -> None:
    written = {"choose-route", "routing", "traces", "verdicts"}
    for prefix in written:
        found = [path for path in (CHECKOUT / "pointsman").rglob("*.py") if f'f"{prefix}/{{' in path.read_text()]
        assert found, f"nothing writes {prefix}/ any more: take it out of roles.yaml"
    bucket = stacks["Storage"].outputs["BucketArn"]
    role = carried_by(stacks, "Prod/Roles", "TaskRole")
    for prefix in (*written, "prod"):
        assert decide(role, "s3:PutObject", f"{bucket}/{prefix}/any/file", {}) == "allowed"


def test_a_load_test_makes_and_starts_only_experiments_of_its_own(stacks: Stacks) -> None:
    role = carried_by(stacks, "Dev/Roles", "TaskRole")
    fis = f"arn:aws:fis:{REGION}:{ACCOUNT}"
    mine, new = {f"aws:ResourceTag/{RUN_TAG}": "run"}, {f"aws:RequestTag/{RUN_TAG}": "run"}
    template = f"{fis}:experiment-template/EXT1"
    assert decide(role, "fis:CreateExperimentTemplate", template, new) == "allowed"
    assert decide(role, "fis:CreateExperimentTemplate", template, {}) == "not allowed"
    assert decide(role, "fis:StartExperiment", template, mine) == "allowed"
    assert decide(role, "fis:StartExperiment", template, {}) == "not allowed"
    assert (
        decide(role, "fis:CreateExperimentTemplate", f"{fis}:action/aws:rds:reboot-db-instances", {}) == "not allowed"
    )
    production = carried_by(stacks, "Prod/Roles", "TaskRole")
    assert decide(production, "fis:StartExperiment", template, mine) == "not allowed"


def test_the_first_experiment_of_an_account_may_make_the_role_of_fis_and_no_other(stacks: Stacks) -> None:
    role = carried_by(stacks, "Dev/Roles", "TaskRole")
    own = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role"
    fis, ecs = f"{own}/fis.amazonaws.com/AWSServiceRoleForFIS", f"{own}/ecs.amazonaws.com/AWSServiceRoleForECS"
    make, of_fis = "iam:CreateServiceLinkedRole", {"iam:AWSServiceName": "fis.amazonaws.com"}
    assert decide(role, make, fis, of_fis) == "allowed"
    assert decide(role, make, fis, {"iam:AWSServiceName": "ecs.amazonaws.com"}) == "not allowed"
    assert decide(role, make, ecs, of_fis) == "not allowed"


IAM_NAMES = {"elbv2": "elasticloadbalancing", "s3:ListBuckets": "s3:ListAllMyBuckets"}
"""Where IAM calls a service or an action otherwise than the API does."""


def asked_of_aws() -> set[str]:
    """Every action that the engine's code asks of AWS: watching, capturing a baseline, injecting faults."""
    engine = CHECKOUT / "pointsman"
    text = "\n".join(path.read_text() for room in ("acceptance", "scenario") for path in (engine / room).rglob("*.py"))
    calls = re.findall(r"""\b(?:ask|all|pages)\(\s*"(\w+)",\s*"(\w+)\"""", text)
    faults = (engine / "scenario" / "faults" / "aws.py").read_text()
    calls += re.findall(r"self\._(fis|autoscaling)\.([a-z]\w+)\(", faults)
    calls += [("fis", name) for name in re.findall(r'_pages\("(\w+)"', faults)]
    found = set()
    for service, operation in calls:
        model = botocore.session.get_session().get_service_model(service)
        (name,) = [one for one in model.operation_names if xform_name(one) == operation]
        action = f"{IAM_NAMES.get(service, service)}:{name}"
        found.add(IAM_NAMES.get(action, action))
    return found - {"sts:GetCallerIdentity"}  # nobody needs leave for that


def test_a_task_may_ask_what_the_engine_asks_of_aws(stacks: Stacks) -> None:
    role = carried_by(stacks, "Dev/Roles", "TaskRole")
    allowed = {action for document in role for one in document["Statement"] for action in listed(one["Action"])}
    asked = asked_of_aws()
    assert len(asked) > 20
    assert asked - allowed == set()


def test_production_may_ask_what_its_guard_and_watcher_ask(stacks: Stacks) -> None:
    role = carried_by(stacks, "Prod/Roles", "TaskRole")
    lever = f"arn:aws:fis:{REGION}:{ACCOUNT}:safety-lever/default"
    assert decide(role, "fis:GetSafetyLever", lever, {}) == "allowed"
    assert decide(role, "fis:UpdateSafetyLeverState", lever, {}) == "not allowed"
    assert decide(role, "ecs:DescribeClusters", f"{ECS}:cluster/effects", {}) == "allowed"
    alarm = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:effects-5xx"
    assert decide(role, "cloudwatch:DescribeAlarms", alarm, {}) == "allowed"
    assert decide(role, "autoscaling:DescribeAutoScalingGroups", "*", {}) == "allowed"


def test_whoever_looks_changes_nothing(stacks: Stacks) -> None:
    document = stacks["Look"].properties("Look")["PolicyDocument"]
    actions = [action.partition(":")[2] for one in document["Statement"] for action in listed(one["Action"])]
    assert [one for one in actions if not one.startswith(("Describe", "List", "Get"))] == []


def test_experiments_touch_only_machines_that_allow_it(stacks: Stacks) -> None:
    (policy,) = carried_by(stacks, "Faults", "ExperimentRole")
    machine = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"
    assert decide([policy], "ec2:StopInstances", machine, {"aws:ResourceTag/FaultsAllowed": "yes"}) == "allowed"
    assert decide([policy], "ec2:StopInstances", machine, {}) == "not allowed"
    assert decide([policy], "ssm:SendCommand", machine, {}) == "not allowed"


def test_github_starts_no_task_and_reads_one_secret(stacks: Stacks) -> None:
    role = carried_by(stacks, "GitHub", "LoadTestRole")
    assert decide(role, "ecs:RunTask", f"{ECS}:task-definition/load-test-dev:1", CLUSTER) == "not allowed"
    assert decide(role, "secretsmanager:GetSecretValue", stacks["Prefect"].outputs["AuthStringArn"], {}) == "allowed"
    database = stacks["StateDatabase"].outputs["UrlArn"]
    assert decide(role, "secretsmanager:GetSecretValue", database, {}) == "not allowed"
    image = carried_by(stacks, "GitHub", "ImageRole")
    assert decide(image, "ecr:PutImage", stacks["Registry"].outputs["RepositoryArn"], {}) == "allowed"
    assert decide(image, "ecr:PutImage", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/other", {}) == "not allowed"


def statements(stacks: Stacks) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, stack in stacks.items():
        for name, document in documents(stack):
            for number, statement in enumerate(document["Statement"]):
                yield f"{path}/{name}/{statement.get('Sid', number)}", statement


def test_every_resource_is_named_where_aws_takes_one(stacks: Stacks) -> None:
    seen = 0
    for where, statement in statements(stacks):
        for action in listed(statement["Action"]):
            service, _, name = action.partition(":")
            known = AWS_ACTIONS[service]["Actions"]
            assert name.lower() in known, f"{where}: AWS has no action {action}"
            everything = "*" in listed(statement["Resource"])
            assert everything != bool(known[name.lower()].get("Resources")), f"{where}: {action}"
            seen += everything
    assert seen > 10


def test_what_a_task_hands_over_goes_to_the_service_that_it_is_for(stacks: Stacks) -> None:
    passing = [one for _, one in statements(stacks) if "iam:PassRole" in listed(one["Action"])]
    assert len(passing) == 4
    assert all(one["Condition"]["StringEquals"]["iam:PassedToService"] for one in passing)
