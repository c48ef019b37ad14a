"""The template of the pool `ecs` is that of the installed worker, and makes of a run the task that it should."""

from __future__ import annotations

import asyncio
import difflib
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
from prefect_aws.workers.ecs_worker import ECSJobConfiguration, ECSWorker

from blocks.flow_runs import APPROVAL_TAG
from deployments.ecs import derived_template, ecs_template
from deployments.ecs.job_template import FILE, as_text
from pointsman.safety import PRODUCTION, approval_id
from tests.deployments.policies import decide
from tests.deployments.rendering import ACCOUNT, REGION, Rendered
from tests.deployments.test_policies import carried_by

ROLES = {
    "execution_role_arn": "arn:aws:iam::123456789012:role/load-test-dev-execution",
    "task_role_arn": "arn:aws:iam::123456789012:role/load-test-dev-task",
}


def test_it_is_what_is_derived_from_the_worker_that_is_installed() -> None:
    kept, derived = FILE.read_text(), as_text(derived_template())
    changed = "".join(difflib.unified_diff(kept.splitlines(True), derived.splitlines(True), "kept", "installed"))
    assert not changed, f"prefect-aws is another; if it is to be so: python -m deployments.ecs.job_template\n{changed}"


def test_no_variable_is_without_use_and_none_is_used_that_is_not_there() -> None:
    template = ecs_template()
    used = {
        part.partition(" }}")[0] for part in as_text(template["job_configuration"]).split("{{ ")[1:]
    }  # every placeholder
    assert used == set(template["variables"]["properties"])


def _configured(**values: Any) -> ECSJobConfiguration:
    nobody: Any = object()  # the template names no block or variable that would be asked for
    return asyncio.run(ECSJobConfiguration.from_template_and_values(ecs_template(), values, client=nobody))


class _Prepared:
    """What the worker would send to AWS for one run."""

    def __init__(self, **values: Any) -> None:
        configuration = _configured(**values)
        flow = Flow(id=uuid4(), name="run-scenario")
        run = FlowRun(id=uuid4(), flow_id=flow.id, name="a-run", deployment_id=uuid4())
        configuration.prepare_for_flow_run(run, flow=flow)
        worker = ECSWorker(work_pool_name="ecs")
        worker._work_pool = WorkPool(name="ecs", type="ecs", base_job_template=ecs_template(), default_queue_id=uuid4())
        self.definition = worker._prepare_task_definition(configuration, region="eu-central-1", flow_run=run)
        configuration.network_configuration, configuration.vpc_id = {}, None
        configuration.task_run_request["networkConfiguration"] = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
        self.request = worker._prepare_task_run_request(configuration, self.definition, "arn:of-it", False)
        self.latest = configuration.match_latest_revision_in_family
        self.tags = {one["key"]: one["value"] for one in self.request["tags"]}


@pytest.fixture(scope="module")
def prepared() -> _Prepared:
    return _Prepared(image="registry/pointsman:1", environment="uat", team="media", **ROLES)


def test_all_flows_of_an_environment_share_one_task_definition(prepared: _Prepared) -> None:
    again = _Prepared(image="registry/pointsman:1", environment="uat", team="media", **ROLES)
    assert prepared.definition == again.definition
    assert prepared.definition["family"] == "load-test-uat"
    assert prepared.latest is True
    assert "tags" not in prepared.definition


def test_a_task_has_its_roles_its_memory_its_log_and_time_to_drain(prepared: _Prepared) -> None:
    definition = prepared.definition
    assert (definition["executionRoleArn"], definition["taskRoleArn"]) == tuple(ROLES.values())
    assert (definition["networkMode"], definition["requiresCompatibilities"]) == ("awsvpc", ["FARGATE"])
    (container,) = definition["containerDefinitions"]
    assert container["memoryReservation"] == 512
    assert container["stopTimeout"] == 120
    assert container["logConfiguration"] == {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": "/ecs/load-test",
            "awslogs-create-group": "false",
            "awslogs-region": "eu-central-1",
            "awslogs-stream-prefix": "uat",
        },
    }
    assert prepared.request["cluster"] == "load-test-cluster"
    (override,) = prepared.request["overrides"]["containerOverrides"]
    assert override["command"] == ["prefect", "flow-run", "execute"]


def test_the_cost_tags_are_on_every_task_whatever_labels_a_run_adds(prepared: _Prepared) -> None:
    cost = {"Environment": "uat", "Project": "pointsman", "Team": "media"}
    assert prepared.tags.items() >= cost.items()
    assert "prefect.io/flow-run-id" in prepared.tags
    labels = {"Approval": "ap_0123456789ab"}
    approved = _Prepared(image="i:1", environment="uat", team="media", labels=labels, **ROLES)
    assert approved.tags.items() >= {**cost, **labels}.items()


@pytest.mark.parametrize(
    ("labels", "answer"), [({}, "denied"), ({APPROVAL_TAG: approval_id(PRODUCTION, "run1")}, "allowed")]
)
def test_iam_lets_a_task_of_production_begin_only_with_the_approval_that_its_run_carries(
    stacks: dict[str, Rendered], labels: dict[str, str], answer: str
) -> None:
    """The call is the worker's own; what IAM says to it is decided by the templates' policies."""
    asked = _Prepared(image="i:1", environment="prod", team="media", labels=labels, **ROLES)
    ecs = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
    context = {f"aws:RequestTag/{key}": value for key, value in asked.tags.items()}
    context["ecs:cluster"] = f"{ecs}:cluster/{asked.request['cluster']}"
    worker = carried_by(stacks, "Prod/Worker", "WorkerRole")
    family = f"{ecs}:task-definition/{asked.definition['family']}:1"
    assert decide(worker, "ecs:RunTask", family, context) == answer


def test_it_fits_what_cloudformation_makes(prepared: _Prepared, stacks: dict[str, Rendered]) -> None:
    of_stack = stacks["Uat/Tasks"].properties("LoadTest")
    (container,), (ours,) = of_stack["ContainerDefinitions"], prepared.definition["containerDefinitions"]
    assert (of_stack["Family"], container["Name"], container["StopTimeout"]) == (
        prepared.definition["family"],
        ours["name"],
        ours["stopTimeout"],
    )
    assert container["LogConfiguration"]["Options"]["awslogs-stream-prefix"] == "uat"
    assert stacks["Cluster"].properties("Cluster")["ClusterName"] == prepared.request["cluster"]
    group = ours["logConfiguration"]["options"]["awslogs-group"]
    assert stacks["Cluster"].properties("LogGroup")["LogGroupName"] == group
    assert [one["Key"] for one in of_stack["Tags"]] == ["Environment", "Project", "Team"]


def test_the_task_definition_of_cloudformation_may_be_named_instead() -> None:
    configuration = _configured(task_definition_arn="load-test-uat")
    assert configuration.task_run_request["taskDefinition"] == "load-test-uat"
