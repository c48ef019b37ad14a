"""The Compose file: against a model of the Compose specification, and against what the server on AWS is given."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import prefect.settings
import yaml
from compose_pydantic import ComposeSpecification

from tests.deployments.rendering import Rendered
from tests.deployments.test_templates import variables

FILE = Path(__file__).resolve().parents[2] / "deployments" / "compose.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
SERVER = ("upgrade", "api", "services")


def test_it_is_what_the_compose_specification_describes() -> None:
    # The model does not know extensions at the top, which the specification allows under names beginning with x-.
    plain = {name: value for name, value in DOCUMENT.items() if not name.startswith("x-")}
    ComposeSpecification.model_validate(plain)


def test_images_name_no_host_and_a_version() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"([a-z]+/)?[a-z]+:\d+\.\d+\S*", service["image"])


def test_services_wait_for_what_they_need_and_each_of_it_can_come_about() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            other = SERVICES[needed]
            if how["condition"] == "service_healthy":
                assert other["healthcheck"]["test"][0] == "CMD", f"{name} waits for {needed}"
            else:
                assert (how["condition"], other["restart"]) == ("service_completed_successfully", "no")
    assert SERVICES["api"]["depends_on"]["upgrade"] == {"condition": "service_completed_successfully"}
    kept = {volume.partition(":")[0] for one in SERVICES.values() for volume in one.get("volumes", [])}
    assert kept == set(DOCUMENT["volumes"])


def test_the_server_is_the_same_as_on_aws(stacks: dict[str, Rendered]) -> None:
    aws = stacks["Prefect"]
    tasks = {"upgrade": "UpgradeTask", "api": "ApiTask", "services": "ServicesTask"}
    for name, logical in tasks.items():
        (container,) = aws.properties(logical)["ContainerDefinitions"]
        assert SERVICES[name]["command"] == container["Command"]
        assert SERVICES[name]["image"] == container["Image"]
    (api,) = aws.properties("ApiTask")["ContainerDefinitions"]
    here = SERVICES["api"]["environment"]
    assert set(here) == set(variables(api))
    same = {name: value for name, value in variables(api).items() if value.startswith("prefect_redis.")}
    assert len(same) == 5
    assert same.items() <= here.items()
    ours = [name for name in here if not name.startswith("PREFECT_REDIS_")]
    assert [name for name in ours if not hasattr(prefect.settings, name)] == []
    assert all(SERVICES[name]["environment"] == here for name in SERVER)


def test_passwords_come_from_outside_and_must_be_given() -> None:
    text = FILE.read_text()
    for name in ("PREFECT_DATABASE_PASSWORD", "PREFECT_REDIS_PASSWORD", "PREFECT_API_PASSWORD"):
        assert f"${{{name}:?}}" in text
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|AUTH|_URL$", name) and "UI_API" not in name:
                assert ":?}" in value, name
    ignored = (FILE.parents[1] / ".gitignore").read_text().splitlines()
    assert ".env" in ignored


def test_it_listens_on_this_machine_unless_told_otherwise() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["${PREFECT_LISTEN:-127.0.0.1}:4200:4200"]
