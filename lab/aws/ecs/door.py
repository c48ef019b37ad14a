"""What the lab's ECS serves beside moto, over HTTP: faults on demand, and what a task may ask about itself.

`POST /lab/ecs/faults`              a JSON list of faults (see `faults.py`); 204, or 422 with what is wrong
`GET  /v4/TOKEN/TASK`               the container, as ECS's metadata endpoint tells of it
`GET  /v4/TOKEN/TASK/task`          the task, likewise
`GET  /v4/TOKEN/TASK/credentials`   the credentials of its role, in which every AWS SDK believes
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from lab.aws.ecs.agent import EcsAgent
from lab.aws.ecs.faults import FAULTS
from lab.aws.ecs.task import LabTask

FAULTS_PATH = "/lab/ecs/faults"
_OF_THE_LAB = "of-the-lab"
_OF_S3 = "/s3/aws4_request"
"""In the signature of every call of S3."""
_S3_IS_OUT = b"<Error><Code>ServiceUnavailable</Code><Message>Please reduce your request rate.</Message></Error>"


class EcsDoor:
    """WSGI around the rest of the lab's AWS."""

    def __init__(self, inner: Any, agent: EcsAgent) -> None:
        self._inner = inner
        self._agent = agent

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        if path == FAULTS_PATH and environ["REQUEST_METHOD"] == "POST":
            wrong = self._strike(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
            if wrong:
                return _answer(start_response, "422 Unprocessable Content", {"error": wrong})
            return _answer(start_response, "204 No Content", None)
        if path.startswith(f"/v4/{self._agent.token}/"):
            task_id, _, part = path.split("/", 3)[3].partition("/")
            task = self._agent.find(task_id)
            if task is not None and part in _PARTS:
                return _answer(start_response, "200 OK", _PARTS[part](task))
            return _answer(start_response, "404 Not Found", {"error": path})
        if self._agent.s3_is_out and _OF_S3 in environ.get("HTTP_AUTHORIZATION", ""):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return _send(start_response, "503 Service Unavailable", "application/xml", _S3_IS_OUT)
        return self._inner(environ, start_response)  # type: ignore[no-any-return]

    def _strike(self, body: bytes) -> str | None:
        try:
            faults = FAULTS.validate_json(body)
        except ValidationError as error:
            return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return self._agent.strike(faults)


def _answer(start_response: Callable[..., Any], status: str, document: Any) -> list[bytes]:
    body = b"" if document is None else json.dumps(document).encode()
    return _send(start_response, status, "application/json", body)


def _send(start_response: Callable[..., Any], status: str, kind: str, body: bytes) -> list[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def _container(task: LabTask) -> dict[str, Any]:
    one = task.container
    return {
        "DockerId": one.runtime_id,
        "Name": one.name,
        "Image": one.image,
        "Labels": {
            "com.amazonaws.ecs.cluster": task.cluster_arn,
            "com.amazonaws.ecs.container-name": one.name,
            "com.amazonaws.ecs.task-arn": task.task_arn,
            "com.amazonaws.ecs.task-definition-family": task.definition.family,
            "com.amazonaws.ecs.task-definition-version": str(task.definition.revision),
        },
        "DesiredStatus": task.desired_status,
        "KnownStatus": one.last_status,
        "ContainerARN": one.container_arn,
        "Type": "NORMAL",
    }


def _task(task: LabTask) -> dict[str, Any]:
    return {
        "Cluster": task.cluster_arn,
        "TaskARN": task.task_arn,
        "Family": task.definition.family,
        "Revision": str(task.definition.revision),
        "DesiredStatus": task.desired_status,
        "KnownStatus": task.last_status,
        "AvailabilityZone": task.availability_zone,
        "LaunchType": task.launch_type,
        "Containers": [_container(task)],
    }


def _credentials(task: LabTask) -> dict[str, Any]:
    return {
        "RoleArn": task.overrides.get("taskRoleArn") or getattr(task.definition, "task_role_arn", None),
        "AccessKeyId": _OF_THE_LAB,
        "SecretAccessKey": _OF_THE_LAB,
        "Token": _OF_THE_LAB,
        "Expiration": "2099-01-01T00:00:00Z",
    }


_PARTS: dict[str, Callable[[LabTask], dict[str, Any]]] = {"": _container, "task": _task, "credentials": _credentials}
