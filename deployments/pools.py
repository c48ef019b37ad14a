"""The work pools `local` (processes) and `ecs` (tasks), and the limit on load tests."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY
from prefect.workers.process import ProcessWorker

from deployments.changes import MARK, Change
from deployments.ecs import ecs_template
from pointsman.errors import InputRefused

Pool = Literal["local", "ecs"]
TYPES: Mapping[Pool, str] = {"local": "process", "ecs": "ecs"}
_NAMED = {
    PREFECT_API_AUTH_STRING: "prefect_api_auth_string_secret_arn",
    PREFECT_API_KEY: "prefect_api_key_secret_arn",
}
"""What a server asks of workers and tasks, and the variable that names the secret with it. Without that a worker writes
its own into the request of every task, where whoever may describe tasks or read the audit reads it."""


def plan_pool(client: SyncPrefectClient, pool: Pool, name: str, variables: Mapping[str, Any]) -> Change:
    """A pool of our own, with these defaults of its job variables. Raises `InputRefused` for those it cannot have."""
    template = _ecs(variables) if pool == "ecs" else ProcessWorker.get_default_base_job_template()
    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        wanted = WorkPoolCreate(name=name, type=TYPES[pool], description=MARK, base_job_template=template)
        return Change("work pool", name, "create", make=lambda: client.create_work_pool(wanted))
    if MARK not in (found.description or ""):
        return Change("work pool", name, "refuse", "somebody else made it")
    if found.type != TYPES[pool]:
        return Change("work pool", name, "refuse", f"it is of type {found.type} and has to be {TYPES[pool]}")
    if found.base_job_template == template:
        return Change("work pool", name, "keep")
    update = WorkPoolUpdate(base_job_template=template)
    return Change(
        "work pool",
        name,
        "update",
        "its job template differs",
        lambda: client.update_work_pool(name, update),
    )


def plan_pool_of_a_team(client: SyncPrefectClient, pool: Pool, name: str) -> Change:
    """A pool that a team runs already: it is deployed to and never written."""
    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        return Change("work pool", name, "refuse", "there is no such pool")
    if found.type != TYPES[pool]:
        return Change("work pool", name, "refuse", f"it is of type {found.type}; {pool} needs {TYPES[pool]}")
    return Change("work pool", name, "leave", "it is the team's")


def plan_load_test_limit(client: SyncPrefectClient, name: str) -> Change:
    """How many load tests of shared environments go on at once: one, until somebody says otherwise."""
    try:
        found = client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        wanted = GlobalConcurrencyLimitCreate(name=name, limit=1)
        return Change("limit", name, "create", make=lambda: client.create_global_concurrency_limit(wanted))
    if found.limit == 1 and found.active:
        return Change("limit", name, "keep")
    return Change("limit", name, "leave", f"somebody set it to {found.limit if found.active else 'no limit'}")


def _ecs(variables: Mapping[str, Any]) -> dict[str, Any]:
    template = deepcopy(ecs_template())
    properties = template["variables"]["properties"]
    for name, value in variables.items():
        if name not in properties:
            raise InputRefused("--variable", name, ", ".join(sorted(properties)))
        properties[name]["default"] = value
    for asked, name in _NAMED.items():
        if asked.value() and not variables.get(name):
            raise InputRefused(
                f"--variable {name}",
                None,
                f"the ARN of the secret that holds {asked.name}, which this server asks for",
                instruction=f"Name it (--variable {name}=arn:...), so that its value is written into no task.",
            )
    if not variables.get("task_definition_arn"):
        for name in ("image", "execution_role_arn"):
            if not variables.get(name):
                raise InputRefused(
                    f"--variable {name}",
                    None,
                    "what its tasks run and who starts them",
                    instruction="Name both (--variable image=... --variable execution_role_arn=...), or the task "
                    "definition of CloudFormation: --variable task_definition_arn=load-test-dev",
                )
    return template
