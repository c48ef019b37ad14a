"""The base job template of an `ecs` work pool: what prefect-aws gives by default, and what our tasks have besides.

`job-template.json` is what `derived_template` makes of the worker that is installed. A test compares them, so that an
upgrade of prefect-aws shows as a difference; `python -m deployments.ecs.job_template` writes the file anew.

- A task definition is the same for all flows of an environment, so its family has one revision and not one for each
  flow: AWS throttles registrations. It carries no tags, because AWS does not show them where the worker compares.
- The cost tags are on every task, whatever labels a run adds (`labels`, such as the approval of a production run).
- Family, log group and log prefix are those of `deployments/cloudformation`. `task_definition_arn` names the task
  definition that CloudFormation made (`load-test-dev`); the worker then registers none.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("job-template.json")
COST_TAGS = {"Environment": "environment", "Project": "project", "Team": "team"}
"""Tags of every task, and the variables that they are taken from."""
_REPLACED = ("cloudwatch_logs_options", "cloudwatch_logs_prefix", "container_name", "family")
"""Variables of the default template that are fixed here."""
_TEXT = {"type": "string"}
_VARIABLES: dict[str, dict[str, Any]] = {
    "environment": {
        **_TEXT,
        "title": "Environment",
        "description": "The environment that is load-tested, as its resources are named: dev, uat or prod.",
        "default": "dev",
        "pattern": "^[a-z0-9][a-z0-9-]{0,30}$",
    },
    "project": {
        **_TEXT,
        "title": "Project",
        "description": "Cost allocation tag of every task.",
        "default": "pointsman",
    },
    "team": {**_TEXT, "title": "Team", "description": "Cost allocation tag of every task.", "default": "unknown"},
    "log_group": {
        **_TEXT,
        "title": "Log group",
        "description": "The CloudWatch log group of the tasks; it has to exist.",
        "default": "/ecs/load-test",
    },
    "memory_reservation": {
        "type": "integer",
        "title": "Memory Reservation",
        "description": "MiB that the container is sure to have.",
        "default": 512,
        "minimum": 256,
    },
}
_DEFAULTS: dict[str, Any] = {
    "cluster": "load-test-cluster",
    # The supervisor: it hands SIGTERM on to the engine, and asks for cancellation.
    "command": "prefect flow-run execute",
    "configure_cloudwatch_logs": True,
    "match_latest_revision_in_family": True,
}
_STOP_TIMEOUT_S = 120
"""The most that Fargate gives: a shard drains and stores in this time."""


def ecs_template() -> dict[str, Any]:
    """The template that is kept with the code."""
    template: dict[str, Any] = json.loads(FILE.read_text())
    return template


def derived_template() -> dict[str, Any]:
    """The template as the worker that is installed makes it."""
    from prefect_aws.workers import ECSWorker

    template = deepcopy(ECSWorker.get_default_base_job_template())
    properties = template["variables"]["properties"]
    for name in _REPLACED:
        del properties[name]
    for name, default in _DEFAULTS.items():
        properties[name]["default"] = default
    properties.update(_VARIABLES)

    job = template["job_configuration"]
    job["container_name"] = "prefect"
    job["cloudwatch_logs_prefix"] = "{{ environment }}"
    job["cloudwatch_logs_options"] = {"awslogs-group": "{{ log_group }}", "awslogs-create-group": "false"}
    job["task_definition"]["family"] = "load-test-{{ environment }}"
    job["task_definition"]["taskRoleArn"] = "{{ task_role_arn }}"
    (container,) = job["task_definition"]["containerDefinitions"]
    container.update(name="prefect", memoryReservation="{{ memory_reservation }}", stopTimeout=_STOP_TIMEOUT_S)
    request = job["task_run_request"]
    (override,) = request["overrides"]["containerOverrides"]
    override["name"] = "prefect"
    # The worker adds the labels of a run to these tags.
    request["tags"] = [{"key": key, "value": f"{{{{ {variable} }}}}"} for key, variable in COST_TAGS.items()]
    return template


def as_text(template: dict[str, Any]) -> str:
    """As the file holds it."""
    return json.dumps(template, indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(as_text(derived_template()))
