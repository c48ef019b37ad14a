"""What moto's ECS lacks and the lab adds: tasks that move only when the agent says so, StopTask that asks instead of
stopping, calls that are throttled or find no capacity, what ECS refuses of a RunTask, the tasks that DescribeTasks
misses, and a ListTasks that by default lists those that are to run.

`fill_ecs_gaps` changes moto for the whole process, as `lab.aws.gaps` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecs import models
from moto.ecs.models import EC2ContainerServiceBackend, TaskDefinition
from moto.ecs.responses import EC2ContainerServiceResponse

from lab.aws.ecs.faults import ComingFaults, Operation
from lab.aws.ecs.task import LabTask
from pointsman.clock import Clock

_moto_requirements = EC2ContainerServiceBackend._calculate_task_resource_requirements


def fill_ecs_gaps(coming: ComingFaults, clock: Clock) -> None:
    """Let moto's RunTask, StopTask and RegisterTaskDefinition do what the lab's agent can take on."""
    run_task = EC2ContainerServiceResponse.run_task
    register = EC2ContainerServiceResponse.register_task_definition
    describe = EC2ContainerServiceResponse.describe_tasks
    listed = EC2ContainerServiceResponse.list_tasks

    def checked_run_task(response: EC2ContainerServiceResponse) -> ActionResult:
        _throttle(coming, "RunTask")
        backend = response.ecs_backend
        definition = backend.describe_task_definition(response._get_param("taskDefinition"))
        _check(definition, response._get_param("overrides") or {})
        if coming.take("no-capacity"):
            cluster = backend._get_cluster(response._get_param("cluster", "default"))
            arn = cluster.arn.replace(":cluster/", ":container-instance/")
            return ActionResult({"tasks": [], "failures": [{"arn": arn, "reason": "RESOURCE:MEMORY"}]})
        return run_task(response)

    def throttled_register(response: EC2ContainerServiceResponse) -> ActionResult:
        _throttle(coming, "RegisterTaskDefinition")
        return register(response)

    def stop_task(response: EC2ContainerServiceResponse) -> ActionResult:
        cluster = response.ecs_backend._get_cluster(response._get_param("cluster", "default"))
        task = _find(response.ecs_backend.tasks.get(cluster.name, {}), response._get_param("task"))
        reason = response._get_param("reason") or "Task stopped by user"
        task.ask_to_stop("UserInitiated", reason, clock.now())
        return ActionResult({"task": task})

    def describe_tasks(response: EC2ContainerServiceResponse) -> ActionResult:
        found: Any = describe(response).result
        ids = {task.id for task in found["tasks"]}
        missing = [one for one in response._get_param("tasks") if one.rpartition("/")[2] not in ids]
        return ActionResult({**found, "failures": [{"arn": one, "reason": "MISSING"} for one in missing]})

    def list_tasks(response: EC2ContainerServiceResponse) -> ActionResult:
        found: Any = listed(response).result
        if not response._get_param("desiredStatus"):
            tasks = response.ecs_backend.tasks.values()
            to_run = {arn for held in tasks for arn, task in list(held.items()) if task.desired_status == "RUNNING"}
            found = {"taskArns": [arn for arn in found["taskArns"] if arn in to_run]}
        return ActionResult(found)

    models.Task = LabTask  # type: ignore[misc]
    EC2ContainerServiceBackend._calculate_task_resource_requirements = staticmethod(  # type: ignore[method-assign]
        _requirements
    )
    EC2ContainerServiceResponse.run_task = checked_run_task  # type: ignore[method-assign]
    EC2ContainerServiceResponse.register_task_definition = throttled_register  # type: ignore[method-assign]
    EC2ContainerServiceResponse.describe_tasks = describe_tasks  # type: ignore[method-assign]
    EC2ContainerServiceResponse.list_tasks = list_tasks  # type: ignore[method-assign]
    EC2ContainerServiceResponse.stop_task = stop_task  # type: ignore[method-assign]


class _Refused(ServiceException):
    """With the code that ECS gives."""


def _throttle(coming: ComingFaults, operation: Operation) -> None:
    if coming.take(operation):
        raise _Refused("ThrottlingException", "Rate exceeded")


def _check(definition: TaskDefinition, overrides: Mapping[str, Any]) -> None:
    names = [one["name"] for one in definition.container_definitions]
    if len(names) != 1:
        raise _Refused("InvalidParameterException", "The lab runs tasks of one container.")
    for override in overrides.get("containerOverrides") or ():
        if override.get("name") not in names:
            raise _Refused(
                "InvalidParameterException",
                f"Override for container named {override.get('name')} is not a container in the TaskDefinition.",
            )


def _find(tasks: Mapping[str, Any], named: str) -> LabTask:
    for arn, task in tasks.items():
        if arn == named or arn.rpartition("/")[2] == named:
            found: LabTask = task
            return found
    raise _Refused("InvalidParameterException", "The referenced task was not found.")


def _requirements(definition: TaskDefinition) -> dict[str, Any]:
    """On Fargate the memory of the task is enough; moto wants that of each container."""
    named = [{"memoryReservation": 0, **container} for container in definition.container_definitions]
    return _moto_requirements(SimpleNamespace(container_definitions=named))
