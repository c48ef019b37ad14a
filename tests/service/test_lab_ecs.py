"""The world of `pointsman up --ecs`: where it lies, what it needs in AWS, what its parts are, and who ends them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from pointsman.errors import Conflict, DependencyDown
from pointsman.settings import load_settings, require_shared
from service.cli import lab_ecs
from service.cli.ecs_resources import BUCKET, FAMILY, POOL_VARIABLES, REGION, make_ecs_resources
from service.cli.world import World
from tests.deployments.rendering import Rendered, render

PARTS = ("database", "prefect", "lab", "aws", "worker", "ecs-worker")
URL = "postgresql+psycopg://pointsman:hidden-word@127.0.0.1:1/postgres"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-a-test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield lambda service: boto3.client(service, region_name=REGION)  # type: ignore[call-overload]


def made(client: Callable[[str], Any], **changes: str) -> dict[str, Any]:
    """The container of the task definition."""
    asked = {
        "database_url": URL,
        "executor_secret": "of-the-executor",
        "prefix": "mine-",
        "prefect_api_url": "http://p",
    }
    make_ecs_resources(client, **{**asked, **changes})
    definition = client("ecs").describe_task_definition(taskDefinition=FAMILY)["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    return dict(container)


def with_(home: Path, *names: str) -> World:
    world = World(home)
    for name in names:
        world.processes[name] = SimpleNamespace(port=9, owner="up")  # type: ignore[assignment]
    return world


def test_a_task_gets_what_the_template_of_cloudformation_gives_one(client: Callable[[str], Any]) -> None:
    container = made(client)
    stack: Rendered = dict(render("main", {"Team": "media", "ImageTag": "0123abc"}).walk())["Dev/Tasks"]
    (real,) = next(iter(stack.resources.values()))["Properties"]["ContainerDefinitions"]
    of_the_runner = {"CLUSTER", "POOL", "SUBNETS", "SECURITY_GROUPS", "TASK_DEFINITION", "LOG_GROUP"}
    names = {one["Name"] for one in real["Environment"]}
    names -= {"POINTSMAN_MAX_MONTH_USD"}  # the lab's is the default
    names -= {"POINTSMAN_TARGET_ROLE_ARN", "POINTSMAN_TARGET_EXTERNAL_ID"}  # it has one account
    names -= {f"STUDIO_LOAD_TEST_RUNNER_{name}" for name in of_the_runner}
    names = {name for name in names if not name.startswith("POINTSMAN_PRODUCTION_")}  # the lab is none
    assert {one["name"] for one in container["environment"]} == names
    secrets = {one["Name"] for one in real["Secrets"]} - {"PREFECT_API_AUTH_STRING"}
    assert {one["name"] for one in container["secrets"]} == secrets
    assert (container["command"], container["stopTimeout"]) == (real["Command"], real["StopTimeout"])
    assert client("s3").list_buckets()["Buckets"][0]["Name"] == BUCKET
    assert client("ecs").describe_clusters(clusters=["load-test-cluster"])["clusters"]
    assert client("logs").describe_log_groups()["logGroups"][0]["logGroupName"] == "/ecs/load-test"
    assert POOL_VARIABLES["task_definition_arn"] == FAMILY


def test_secrets_are_kept_by_secrets_manager_alone_and_renewed(client: Callable[[str], Any]) -> None:
    made(client)
    container = made(client, database_url=URL + "2")
    assert "hidden-word" not in json.dumps(container)
    arns = {one["name"]: one["valueFrom"] for one in container["secrets"]}
    told = {name: client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"] for name, arn in arns.items()}
    assert told == {"POINTSMAN_DATABASE_URL": URL + "2", "STUDIO_EXECUTOR_SECRET": "of-the-executor"}


def test_it_lies_in_a_folder_of_the_home_and_says_so_to_every_command(home: Path) -> None:
    assert lab_ecs.ecs_home(home) == home / "ecs"
    lab_ecs._configure(home / "ecs", {"database_url": URL, "results_uri": f"s3://{BUCKET}", "prefect_prefix": ""})
    assert lab_ecs.ecs_home(home) == home / "ecs"
    assert lab_ecs.ecs_home(home / "ecs") == home / "ecs"
    settings = load_settings(home=home / "ecs")
    require_shared(settings)
    assert (settings.database_url, settings.results_uri) == (URL, "s3://load-test-results")
    assert (home / "ecs" / "config.toml").stat().st_mode & 0o077 == 0


def test_a_part_that_has_ended_is_named_with_what_to_do(home: Path, pointsman: Any, monkeypatch: Any) -> None:
    world = with_(home / "ecs", "database", "prefect", "lab", "worker")
    assert lab_ecs.missing_parts(world) == ["aws", "ecs-worker"]
    with pytest.raises(Conflict, match="aws, ecs-worker") as refused:
        lab_ecs.start_shared_lab(world, prefect_port=1, lab_port=2, prefix="")
    assert "pointsman down" in refused.value.instruction
    monkeypatch.setattr(
        World, "load", lambda home: with_(home, *world.processes) if home.name == "ecs" else World(home)
    )
    (row,) = [one for one in pointsman("doctor", "--json").document if one["part"] == "ECS lab"]
    assert row["state"] == "broken"
    assert row["detail"].startswith("aws, ecs-worker ended")


def test_of_servers_that_the_environment_names_it_has_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", URL)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert lab_ecs.missing_parts(with_(home, "lab", "aws", "worker")) == ["ecs-worker"]
    with pytest.raises(DependencyDown, match="cannot be opened") as refused:
        lab_ecs.start_shared_lab(World(home), prefect_port=1, lab_port=2, prefix="")
    assert "hidden-word" not in str(refused.value)


def test_where_all_is_up_nothing_is_started_and_this_process_works_with_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = with_(home, *PARTS)
    environment: dict[str, str] = {"PATH": ""}
    monkeypatch.setattr(os, "environ", environment)
    lab_ecs.start_shared_lab(world, prefect_port=1, lab_port=2, prefix="")
    lab_ecs.start_ecs_worker(world, "ecs")
    assert environment.items() >= lab_ecs.ecs_environment(world).items()
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:9/api"
    assert not (home / "ecs-worker").exists()


def test_an_extra_that_is_not_installed_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_ecs, "find_spec", lambda module: None if module == "prefect_aws" else object())
    with pytest.raises(DependencyDown, match="`aws` is not installed"):
        lab_ecs.start_shared_lab(World(home), prefect_port=1, lab_port=2, prefix="")
    assert not home.exists()


def test_the_worker_has_a_home_of_its_own_and_no_setting_of_prefect_that_a_task_should_not_have(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", "/of/the/host")
    env = lab_ecs.ecs_worker_environment("http://prefect", "http://aws", home)
    assert {name for name in env if name.startswith("PREFECT_")} == {
        *("PREFECT_API_URL", "PREFECT_WORKER_QUERY_SECONDS", "PREFECT_WORKER_ENABLE_CANCELLATION"),
        "PREFECT_SERVER_ANALYTICS_ENABLED",
    }
    assert env["HOME"] == str(home)


def test_down_ends_both_worlds(home: Path, pointsman: Any) -> None:
    worlds = [World(home), World(home / "ecs")]
    for world in worlds:
        world.start("lab", ["sleep", "60"], port=1, owner="up", env={})
    assert pointsman("down", "--json").document == {"stopped": ["lab", "lab of the ECS lab"]}
    assert pointsman("down", "--json").document == {"stopped": []}


def test_the_queue_of_task_events_is_looked_for_and_where_it_is_missing_doctor_says_how_to_make_it(
    home: Path, pointsman: Any, client: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ECS task events" not in {row["part"] for row in pointsman("doctor", "--json").document}
    monkeypatch.setenv("STUDIO_LOAD_TEST_RUNNER_MODE", "ecs")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    answer = pointsman("doctor", "--json")
    (row,) = [one for one in answer.document if one["part"] == "ECS task events"]
    assert (answer.code, row["state"]) == (DependencyDown.exit_code, "broken")
    (name,) = re.findall(r"aws sqs create-queue --queue-name ([\w-]+)", row["detail"])
    url = client("sqs").create_queue(QueueName=name)["QueueUrl"]

    def looked() -> tuple[str, str]:
        (row,) = [one for one in pointsman("doctor", "--json").document if one["part"] == "ECS task events"]
        return row["state"], row["detail"]

    assert looked() == ("works", url)
    client("sqs").send_message(QueueUrl=url, MessageBody="{}")
    assert looked() == ("works", f"{url}; 1 events wait: where they become more, start the ECS worker again")
