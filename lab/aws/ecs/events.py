"""The "ECS Task State Change" that EventBridge would send, on the queue that prefect-aws's observer reads."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import uuid4

from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs.models import SQSBackend, sqs_backends

from lab.aws.ecs.task import LabContainer, LabTask

EVENTS_QUEUE = "prefect-ecs-tasks-events"
"""The observer's default: PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME need not be set."""
_LONGEST_POLL_S = 1
_HIDDEN_AT_MOST_S = 15
"""A worker that is killed takes an event with it, and the observer hides each for five minutes: here another worker
reads it after these seconds."""
_moto_receive = SQSBackend.receive_message


def make_queue(region: str) -> None:
    SQSBackend.receive_message = _receive  # type: ignore[method-assign]
    sqs_backends[DEFAULT_ACCOUNT_ID][region].create_queue(EVENTS_QUEUE, {})


def _receive(backend: SQSBackend, queue_name: str, count: int, wait_s: int, visibility_s: int, *rest: Any) -> Any:
    if queue_name == EVENTS_QUEUE:
        wait_s, visibility_s = min(wait_s, _LONGEST_POLL_S), min(visibility_s, _HIDDEN_AT_MOST_S)
    return _moto_receive(backend, queue_name, count, wait_s, visibility_s, *rest)


def send_state_change(task: LabTask, at: datetime) -> None:
    """As the task is now. Where nobody has the queue, it is lost, as with EventBridge."""
    backend = sqs_backends[DEFAULT_ACCOUNT_ID][task.region_name]
    if EVENTS_QUEUE in backend.queues:
        backend.send_message(EVENTS_QUEUE, json.dumps(state_change(task, at)))


def state_change(task: LabTask, at: datetime) -> dict[str, Any]:
    """The event's body. Of overrides it says only which container they are for: they may hold what is secret."""
    detail = {
        "attachments": [{**one, "type": "eni"} for one in task.attachments],
        "availabilityZone": task.availability_zone,
        "capacityProviderName": task.capacity_provider_name,
        "clusterArn": task.cluster_arn,
        "connectivity": task.connectivity,
        "connectivityAt": _iso(task.connectivity_at),
        "containers": [_container(task.container)],
        "cpu": task.cpu,
        "createdAt": _iso(task.created_at),
        "desiredStatus": task.desired_status,
        "enableExecuteCommand": task.enable_execute_command,
        "executionStoppedAt": _iso(task.execution_stopped_at),
        "group": task.group,
        "lastStatus": task.last_status,
        "launchType": task.launch_type,
        "memory": task.memory,
        "overrides": {"containerOverrides": [{"name": task.container.name}]},
        "platformVersion": task.platform_version,
        "pullStartedAt": _iso(task.pull_started_at),
        "pullStoppedAt": _iso(task.pull_stopped_at),
        "startedAt": _iso(task.started_at),
        "startedBy": task.started_by,
        "stopCode": task.stop_code,
        "stoppedAt": _iso(task.stopped_at),
        "stoppedReason": task.stopped_reason,
        "stoppingAt": _iso(task.stopping_at),
        "taskArn": task.task_arn,
        "taskDefinitionArn": task.task_definition_arn,
        "updatedAt": _iso(at),
        "version": task.version,
    }
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": DEFAULT_ACCOUNT_ID,
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": task.region_name,
        "resources": [task.task_arn],
        "detail": {name: value for name, value in detail.items() if value is not None},
    }


def _container(one: LabContainer) -> dict[str, Any]:
    told = {
        "containerArn": one.container_arn,
        "cpu": one.cpu,
        "exitCode": one.exit_code,
        "image": one.image,
        "lastStatus": one.last_status,
        "memory": one.memory,
        "name": one.name,
        "networkInterfaces": one.network_interfaces,
        "reason": one.reason,
        "runtimeId": one.runtime_id,
        "taskArn": one.task_arn,
    }
    return {name: value for name, value in told.items() if value is not None}


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
