"""A task as ECS tells of it: its state, how it ended, and when what happened.

The path is PROVISIONING, PENDING, ACTIVATING, RUNNING, DEACTIVATING, STOPPING, DEPROVISIONING, STOPPED; a task that
never started goes from where it was to DEPROVISIONING. moto shows the attributes by the names of botocore's shapes.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

from moto.ecs.models import Task

LastStatus = Literal[
    "PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"
]
StopCode = Literal["TaskFailedToStart", "EssentialContainerExited", "UserInitiated", "SpotInterruption"]


@dataclass
class LabContainer:
    """The task's one container. `exit_code` stays None when it never started."""

    container_arn: str
    task_arn: str
    name: str
    image: str | None
    cpu: str
    memory: str | None
    last_status: str = "PENDING"
    exit_code: int | None = None
    reason: str | None = None
    runtime_id: str | None = None
    health_status: str = "UNKNOWN"
    network_interfaces: list[dict[str, str]] = field(default_factory=list)


class LabTask(Task):
    """A task that moves only when the agent says so."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        definition = kwargs.get("task_definition") or args[1]
        self.definition = definition
        self._lock = threading.Lock()
        self._last_status: LastStatus = "PROVISIONING"
        self.version = 1
        self.created_at: datetime | None = None
        self.pull_started_at: datetime | None = None
        self.pull_stopped_at: datetime | None = None
        self.started_at: datetime | None = None
        self.stopping_at: datetime | None = None
        self.execution_stopped_at: datetime | None = None
        self.stopped_at: datetime | None = None
        self.stop_code: StopCode | None = None
        self.stopped_reason: str | None = None
        self.grace_s: float | None = None
        self.connectivity: str | None = None
        self.connectivity_at: datetime | None = None
        self.health_status = "UNKNOWN"
        self.availability_zone = f"{self.region_name}a"
        self.enable_execute_command = False
        self.started_by = self.started_by or None
        fargate = self.launch_type == "FARGATE" or (self.capacity_provider_name or "").startswith("FARGATE")
        self.launch_type = self.launch_type or ("FARGATE" if fargate else "EC2")
        if fargate:
            self.platform_version = self.platform_version or "1.4.0"
            self.platform_family = "Linux"
        self.cpu = self.overrides.get("cpu") or definition.cpu
        self.memory = self.overrides.get("memory") or definition.memory
        told = definition.container_definitions[0]
        # One more token of the cluster's name is what container ARNs have.
        arn = self.task_arn.replace(":task/", ":container/") + f"/{uuid4()}"
        details = [detail for attached in self.attachments for detail in attached["details"]]
        address = next((one["value"] for one in details if one["name"] == "privateIPv4Address"), None)
        memory = self.override.get("memory") or told.get("memory") or told.get("memoryReservation")
        self.container = LabContainer(
            container_arn=arn,
            task_arn=self.task_arn,
            name=told["name"],
            image=told.get("image"),
            cpu=str(self.override.get("cpu") or told.get("cpu") or 0),
            memory=None if memory is None else str(memory),
            network_interfaces=[
                {"attachmentId": one["id"], "privateIpv4Address": address} for one in self.attachments if address
            ],
        )
        self.containers = [self.container]

    @property
    def last_status(self) -> str:
        return self._last_status

    @property
    def container_definition(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.definition.container_definitions[0]
        return found

    @property
    def override(self) -> Mapping[str, Any]:
        """What RunTask says of the container."""
        named = self.overrides.get("containerOverrides") or [{}]
        found: Mapping[str, Any] = named[0]
        return found

    def move(self, status: LastStatus, at: datetime) -> None:
        """To the next state, with the times that ECS notes with it."""
        self._last_status = status
        self.version += 1
        if status == "PENDING":
            self.connectivity, self.connectivity_at = "CONNECTED", at
            self.pull_started_at = at
        elif status == "RUNNING":
            self.started_at = at
            self.container.last_status = "RUNNING"
            self.container.runtime_id = self.id.replace("-", "") + "-1"
        elif status == "STOPPED":
            self.stopped_at = at
            self.container.last_status = "STOPPED"
            for attached in self.attachments:
                attached["status"] = "DELETED"

    def ask_to_stop(self, code: StopCode, reason: str, at: datetime, *, grace_s: float | None = None) -> bool:
        """From now on it is to stop, for the first reason that is given; whether this was the first.

        `grace_s` limits how long it may take after SIGTERM, below what its definition says.
        """
        with self._lock:
            if self.desired_status == "STOPPED":
                return False
            self.desired_status = "STOPPED"
            self.stop_code, self.stopped_reason, self.stopping_at = code, reason, at
            self.grace_s = grace_s
            return True
