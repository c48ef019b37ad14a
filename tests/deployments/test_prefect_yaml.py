"""prefect.yaml deploys every flow as `<flow>/local` and `<flow>/ecs`, and what a form of the UI shows is complete."""

import json
import re

import pytest
from prefect.utilities.callables import parameter_schema

from deployments.automations import HEARTBEAT_S
from tests.deployments.schemas import CHECKOUT, KEPT, RENEW, deployments, flow_of, schema_of

CONTRACT = {  # flows of CONTRACTS, "Prefect names", that exist so far, and those that others of them start
    "choose-route",
    "run-scenario",
    "drive-shard",
    "find-capacity",
    "benchmark-matrix",
    "evaluate-quality",
    "run-matrix-chunk",
    "judge-chunk",
    "money-hud",
    "apply-routing",
    "rollback-routing",
    "promote-routing",
    "watch-routing",
    "propose-routing",
    "capture-baseline",
}
PREFIX = "{{ $POINTSMAN_PREFECT_PREFIX }}"
POOLS = {"local": "{{ $POINTSMAN_POOL_LOCAL }}", "ecs": "{{ $POINTSMAN_POOL_ECS }}"}
DEPLOYMENTS = deployments()
FILES = sorted(path for path in (CHECKOUT / "flows").glob("*.py") if path.name != "__init__.py")


def form(deployment):
    """The schema of the one parameter `request`, with references followed."""
    schema = parameter_schema(flow_of(deployment)).model_dump()
    assert list(schema["properties"]) == ["request"]
    return schema["definitions"][schema["properties"]["request"]["$ref"].rpartition("/")[2]]


def pool_of(deployment):
    return deployment["name"].removeprefix(PREFIX)


def named(deployment):
    return f"{flow_of(deployment).name}/{pool_of(deployment)}"


def test_every_flow_file_is_deployed_once_on_each_pool_under_its_contracted_name():
    assert {deployment["entrypoint"].partition(":")[0] for deployment in DEPLOYMENTS} == {
        path.relative_to(CHECKOUT).as_posix() for path in FILES
    }
    assert sorted(map(named, DEPLOYMENTS)) == sorted(f"{name}/{pool}" for name in CONTRACT for pool in POOLS)
    assert all(deployment["name"].startswith(PREFIX) for deployment in DEPLOYMENTS)


def test_nothing_is_said_twice():
    text = (CHECKOUT / "prefect.yaml").read_text()
    said = [line for line in text.splitlines() if re.match(r" +(entrypoint|description):", line)]
    assert len(said) == len(set(said)) == 2 * len(CONTRACT)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=named)
def test_a_deployment_says_what_it_is_for_and_whose_it_is(deployment):
    pool = pool_of(deployment)
    assert deployment["work_pool"]["name"] == POOLS[pool]
    assert deployment["tags"] == ["pointsman", f"pointsman-pool:{PREFIX}{pool}"]
    assert deployment["description"].endswith(".")
    assert {"build", "push"}.isdisjoint(deployment)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=named)
def test_every_run_is_heard_of_and_a_task_that_is_stopped_tells_its_engine(deployment):
    env = deployment["work_pool"]["job_variables"]["env"]
    assert int(env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) == HEARTBEAT_S
    asked = {"local": None, "ecs": "relinquish"}
    assert env.get("PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR") == asked[pool_of(deployment)]
    assert not any("DATABASE" in name for name in env)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=named)
def test_parameters_of_a_deployment_and_of_its_schedules_are_valid(deployment):
    flow = flow_of(deployment)
    for one in (deployment, *deployment.get("schedules", ())):
        if one.get("parameters"):
            flow.validate_parameters(one["parameters"])


@pytest.mark.parametrize("deployment", DEPLOYMENTS[::2], ids=named)
def test_every_field_of_its_form_is_described(deployment):
    fields = form(deployment)["properties"]
    assert fields
    for name, field in fields.items():
        assert field.get("description"), f"{deployment['entrypoint']}: {name}"
    assert form(deployment)["additionalProperties"] is False


@pytest.mark.parametrize("deployment", DEPLOYMENTS[::2], ids=named)
def test_its_parameter_schema_is_the_one_that_is_kept(deployment):
    """What others send is checked against it: a change has to be seen."""
    flow = flow_of(deployment)
    kept = KEPT / f"{flow.name}.json"
    assert kept.is_file(), RENEW
    assert json.loads(schema_of(flow)) == json.loads(kept.read_text()), f"if it is to be so: {RENEW}"


def test_no_schema_is_kept_of_a_flow_that_is_gone():
    assert {path.stem for path in KEPT.iterdir()} == CONTRACT


def test_a_form_that_changes_routing_only_says_what_would_change_unless_told_otherwise():
    for deployment in DEPLOYMENTS:
        fields = form(deployment)["properties"]
        if "dry_run" in fields and "benchmark_matrix" not in deployment["entrypoint"]:  # it changes no routing
            assert fields["dry_run"]["default"] is True
    assert "dry_run" in form(next(one for one in DEPLOYMENTS if "choose_route" in one["entrypoint"]))["properties"]


def test_choose_route_is_scheduled_daily_but_not_active_and_only_looks():
    scheduled = [one for one in DEPLOYMENTS if one.get("schedules") and "choose_route" in one["entrypoint"]]
    assert list(map(named, scheduled)) == ["choose-route/local", "choose-route/ecs"]
    for deployment in scheduled:
        (schedule,) = deployment["schedules"]
        assert (schedule["slug"], schedule["active"], schedule["cron"]) == ("daily", False, "0 4 * * *")
        for parameters in (schedule["parameters"], deployment["parameters"]):
            assert flow_of(deployment).validate_parameters(parameters)["request"].dry_run is True
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_a_route_is_watched_every_quarter_of_an_hour_once_somebody_lets_it():
    others = [one for one in DEPLOYMENTS if one.get("schedules") and "choose_route" not in one["entrypoint"]]
    assert list(map(named, others)) == ["watch-routing/local", "watch-routing/ecs"]
    for deployment in others:
        (schedule,) = deployment["schedules"]
        assert (schedule["slug"], schedule["active"], schedule["cron"]) == ("quarter-hourly", False, "*/15 * * * *")
