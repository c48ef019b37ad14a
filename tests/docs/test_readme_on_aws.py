"""The commands for AWS that the pages name: each is one that AWS takes, about things that the templates make."""

from __future__ import annotations

import json
import re
import shlex

import botocore.session
import pytest

from deployments.ecs import ecs_template
from tests.deployments.rendering import load, render
from tests.docs.pages import CHECKOUT, TEXT

SHELL = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
AWS = [shlex.split(line) for line in SHELL if line.startswith("aws ")]
OF_THE_CLI = {  # two commands that the command line composes of several calls
    ("cloudformation", "package"): {"template-file", "s3-bucket", "output-template-file"},
    ("cloudformation", "deploy"): {"template-file", "stack-name", "capabilities", "parameter-overrides"},
}


def options(words: list[str]) -> dict[str, list[str]]:
    """`--name value value` as a mapping."""
    found: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            found[word.removeprefix("--")] = current = []
        else:
            current.append(word)
    return found


@pytest.mark.parametrize("words", AWS, ids=lambda words: " ".join(words[1:3]))
def test_aws_knows_the_command_and_its_options(words: list[str]) -> None:
    _, service, operation, *rest = words
    given = set(options(rest)) - {"query", "output"}
    if (service, operation) in OF_THE_CLI:
        assert given == OF_THE_CLI[service, operation]
        return
    model = botocore.session.get_session().get_service_model(service)
    name = "".join(part.title() for part in operation.split("-"))
    shape = model.operation_model(name).input_shape
    assert shape is not None
    members = {re.sub(r"(?<!^)([A-Z])", r"-\1", member).lower() for member in shape.members}
    assert given <= members
    required = {re.sub(r"(?<!^)([A-Z])", r"-\1", member).lower() for member in shape.required_members}
    assert required <= given | {"client-request-token"}


def test_what_they_name_is_what_the_templates_make() -> None:
    stacks = dict(render("main", {"Team": "media", "ImageTag": "0123abc"}).walk())
    parameters = load("main")["Parameters"]
    first, *later = [options(words[3:]) for words in AWS if words[2] == "deploy"]
    for deployed in (first, *later):
        assert deployed["template-file"] == first["template-file"]
        assert deployed["capabilities"] == ["CAPABILITY_NAMED_IAM"]
        for override in deployed["parameter-overrides"]:
            assert override.partition("=")[0] in parameters
    needed = {name for name, one in parameters.items() if "Default" not in one}
    assert {one.partition("=")[0] for one in first["parameter-overrides"]} >= needed
    (package,) = [options(words[3:]) for words in AWS if words[2] == "package"]
    assert (CHECKOUT / package["template-file"][0]).is_file()
    assert package["output-template-file"] == first["template-file"]
    (task,) = [options(words[3:]) for words in AWS if words[2] == "run-task"]
    assert task["cluster"] == [stacks["Cluster"].outputs["ClusterName"]]
    assert task["task-definition"] == [stacks["Prefect"].properties("UpgradeTask")["Family"]]
    (secret,) = [options(words[3:]) for words in AWS if words[1] == "secretsmanager"]
    assert secret["secret-id"] == [stacks["Dev/Secrets"].properties("TargetUrl")["Name"]]


def test_the_image_is_built_and_published_as_the_workflow_does_it() -> None:
    workflow = (CHECKOUT / ".github" / "workflows" / "image.yml").read_text()
    (build,) = [line for line in SHELL if line.startswith("docker ")]
    assert build.replace("POINTSMAN_COMMIT=COMMIT", '"POINTSMAN_COMMIT=$GITHUB_SHA"') in workflow
    (publish,) = [shlex.split(line) for line in SHELL if line.startswith("deployments/image/publish.sh")]
    assert f'{publish[0]} {publish[1]} "$REPOSITORY_URI" "$GITHUB_SHA"' in workflow


def test_the_pool_is_made_for_the_tasks_that_the_templates_make() -> None:
    stacks = dict(render("main", {"Team": "media", "ImageTag": "0123abc"}).walk())
    (words,) = [shlex.split(line) for line in SHELL if line.startswith("python ")]
    assert words[1:3] == ["-m", "deployments.bootstrap"]
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    assert set(variables) <= set(ecs_template()["variables"]["properties"])
    assert variables["task_definition_arn"] == stacks["Dev/Tasks"].outputs["Family"]
    assert f"load-test-{variables['environment']}" == stacks["Dev/Tasks"].outputs["Family"]
    assert json.loads(variables["network_configuration"])["assignPublicIp"] == "DISABLED"
    (worker,) = stacks["Dev/Worker"].properties("WorkerTask")["ContainerDefinitions"]
    assert "`dev-ecs`" in TEXT
    assert "dev-ecs" in worker["Command"]
