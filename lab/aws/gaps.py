"""What moto lacks and the lab adds: experiments that move only when the agent says so, the safety lever, and health
checks of a load balancer's targets that fail while their machine is away.

`fill_gaps` changes moto for the whole process, hence the lab's AWS is a process of its own.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, ClassVar

from moto.ec2.models import EC2Backend
from moto.elbv2.models import FakeHealthStatus, FakeTargetGroup
from moto.fis import models, urls
from moto.fis.exceptions import FISException
from moto.fis.responses import FISResponse

ENDED = ("completed", "stopped", "failed", "cancelled")
LEVER = {"id": "default", "status": "disengaged", "reason": "the lab was started"}
"""Of the one account and region that the lab has."""
SILENT: set[str] = set()
"""Ids of instances that run and do not answer."""
_moto_health_for = FakeTargetGroup.health_for


class LabExperiment(models.Experiment):
    """An experiment whose state, actions and targets are what the agent last said."""

    TERMINAL_STATUSES: ClassVar[list[str]] = list(ENDED)

    @property
    def status(self) -> str:
        return self._status or "pending"

    @status.setter
    def status(self, value: str) -> None:
        self._status = value

    def move(self, status: str, reason: str, *, at: datetime, actions: str | None = None) -> None:
        """To another state; `actions` is that of the actions, by default the same."""
        self._status = status
        self.STATUS_REASONS = {**models.Experiment.STATUS_REASONS, status: reason}  # type: ignore[misc]
        now = at.timestamp()
        if status == "running":
            self.start_time = now
        if status in ENDED:
            self.end_time = now
        for action in self.actions.values():
            action["state"] = {"status": actions or status, "reason": reason}
            if status == "running":
                action["startTime"] = now
            if status in ENDED and "startTime" in action:
                action["endTime"] = now

    def _sync_state(self) -> str:
        return self.status


class _ValidationException(FISException):
    code = 400

    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message)


def fill_gaps() -> None:
    """Let moto start the lab's experiments, answer for the safety lever, and check the health of machines."""
    FakeTargetGroup.health_for = _health_for  # type: ignore[method-assign]
    models.Experiment = LabExperiment  # type: ignore[misc]
    urls.url_paths["{0}/safetyLevers/(?P<id>[^/]+)$"] = FISResponse.dispatch
    urls.url_paths["{0}/safetyLevers/(?P<id>[^/]+)/state$"] = FISResponse.dispatch
    FISResponse.get_safety_lever = _get_safety_lever
    FISResponse.update_safety_lever_state = _update_safety_lever_state
    FISResponse.stop_experiment = _stop_experiment


def _health_for(group: FakeTargetGroup, target: dict[str, Any], ec2_backend: EC2Backend) -> FakeHealthStatus:
    registered = group.targets.get(target["Id"])
    instance = ec2_backend.get_instance_by_id(target["Id"])
    if registered is None or instance is None:
        return _moto_health_for(group, target, ec2_backend)
    if instance.state != "running":
        told = ("unused", "Target.InvalidState", "Target is in the stopped or terminated state")
    elif target["Id"] in SILENT:
        told = ("unhealthy", "Target.Timeout", "Request timed out")
    else:
        return _moto_health_for(group, target, ec2_backend)
    return FakeHealthStatus(target["Id"], registered["Port"], group.health_check_port, *told)


def _get_safety_lever(response: FISResponse) -> str:
    backend = response.fis_backend
    arn = f"arn:aws:fis:{backend.region_name}:{backend.account_id}:safety-lever/{LEVER['id']}"
    state = {"status": LEVER["status"], "reason": LEVER["reason"]}
    return json.dumps({"safetyLever": {"id": LEVER["id"], "arn": arn, "state": state}})


def _update_safety_lever_state(response: FISResponse) -> str:
    asked: dict[str, Any] = response._get_param("state")
    LEVER.update(status=asked["status"], reason=asked["reason"])
    return _get_safety_lever(response)


def _stop_experiment(response: FISResponse) -> str:
    """As FIS does, and moto does not: an experiment that has ended cannot be stopped."""
    backend = response.fis_backend
    experiment_id = response._get_param("id")
    found = backend.experiments.get(experiment_id)
    if found is not None and found.status in ENDED:
        raise _ValidationException(f"Experiment {experiment_id} has ended.")
    return json.dumps({"experiment": backend.stop_experiment(id=experiment_id)})
