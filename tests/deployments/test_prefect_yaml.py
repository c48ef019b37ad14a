"""prefect.yaml deploys every flow under `<flow>/local`, and what a form of the Prefect UI shows is complete."""

import importlib
from pathlib import Path

import pytest
import yaml
from prefect.utilities.callables import parameter_schema

from deployments.bootstrap import deploy_all

CHECKOUT = Path(__file__).resolve().parents[2]
CONTRACT = {  # flows of CONTRACTS, "Prefect names", that exist so far
    "choose-route",
    "run-scenario",
    "drive-shard",
    "find-capacity",
    "benchmark-matrix",
    "evaluate-quality",
    "money-hud",
    "apply-routing",
    "rollback-routing",
    "capture-baseline",
}
LOCAL = "{{ $POINTSMAN_PREFECT_PREFIX }}local"
DEPLOYMENTS = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())["deployments"]
FILES = sorted(path for path in (CHECKOUT / "flows").glob("*.py") if path.name != "__init__.py")


def flow_of(deployment):
    file, _, name = deployment["entrypoint"].partition(":")
    return getattr(importlib.import_module(Path(file).with_suffix("").as_posix().replace("/", ".")), name)


def form(deployment):
    """The schema of the one parameter `request`, with references followed."""
    schema = parameter_schema(flow_of(deployment)).model_dump()
    assert list(schema["properties"]) == ["request"]
    return schema["definitions"][schema["properties"]["request"]["$ref"].rpartition("/")[2]]


def named(entrypoint):
    return entrypoint["entrypoint"].rpartition(":")[2]


def test_every_flow_file_is_deployed_once_on_the_local_pool_under_its_contracted_name():
    assert {deployment["entrypoint"].partition(":")[0] for deployment in DEPLOYMENTS} == {
        path.relative_to(CHECKOUT).as_posix() for path in FILES
    }
    assert {f"{flow_of(one).name}/{one['name']}" for one in DEPLOYMENTS} == {f"{name}/{LOCAL}" for name in CONTRACT}
    assert len(DEPLOYMENTS) == len(CONTRACT)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=named)
def test_a_deployment_says_what_it_is_for_and_runs_in_the_local_pool(deployment):
    assert deployment["work_pool"] == {"name": LOCAL}
    assert deployment["description"].endswith(".")
    assert Path(deployment["entrypoint"].partition(":")[0]).stem.replace("_", "-") == flow_of(deployment).name


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=named)
def test_every_field_of_its_form_is_described(deployment):
    fields = form(deployment)["properties"]
    assert fields
    for name, field in fields.items():
        assert field.get("description"), f"{deployment['entrypoint']}: {name}"
    assert form(deployment)["additionalProperties"] is False


def test_a_form_that_changes_routing_only_says_what_would_change_unless_told_otherwise():
    for deployment in DEPLOYMENTS:
        fields = form(deployment)["properties"]
        if "dry_run" in fields:
            assert fields["dry_run"]["default"] is True
    assert "dry_run" in form(next(one for one in DEPLOYMENTS if "choose_route" in one["entrypoint"]))["properties"]


def test_choose_route_is_scheduled_daily_but_not_active_and_its_requests_are_valid():
    (deployment,) = [one for one in DEPLOYMENTS if one.get("schedules")]
    flow = flow_of(deployment)
    assert flow.name == "choose-route"
    (schedule,) = deployment["schedules"]
    assert (schedule["slug"], schedule["active"], schedule["cron"]) == ("daily", False, "0 4 * * *")
    for parameters in (schedule["parameters"], deployment["parameters"]):
        checked = flow.validate_parameters(parameters)
        assert checked["request"].dry_run is True
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


@pytest.mark.e2e
@pytest.mark.xdist_group("world")
def test_deployments_and_their_pool_carry_the_prefix(lab_world):
    from prefect.client.orchestration import get_client

    environment = {"POINTSMAN_CHECKOUT": str(CHECKOUT), "PREFECT_API_URL": lab_world.world.prefect_api_url}
    deploy_all(environment, prefix="media-")
    with get_client(sync_client=True) as client:
        found = {(one.name, one.work_pool_name, one.work_queue_name) for one in client.read_deployments()}
        pools = {pool.name for pool in client.read_work_pools()}
    assert ("media-local", "media-local", "default") in found
    assert "media-local" in pools
    assert not any("{{" in name for name in (*pools, *(one[0] for one in found)))
