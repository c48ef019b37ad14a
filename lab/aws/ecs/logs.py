"""A container's output in CloudWatch Logs, in the stream that the awslogs driver names `prefix/container/task`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import IO

from moto.core import DEFAULT_ACCOUNT_ID
from moto.logs.models import LogsBackend, logs_backends

from lab.aws.ecs.environment import CannotStart
from lab.aws.ecs.task import LabTask
from pointsman.clock import Clock

_LONGEST_LINE = 16 * 1024
"""Bytes; the driver splits what is longer."""
_MOST_LINES = 10_000
"""Of one task: the lab keeps its logs in memory."""


class TaskLog:
    """Where the lines of one task go. Raises `CannotStart` when its log group does not exist and is not to be made."""

    def __init__(self, task: LabTask, clock: Clock) -> None:
        self._clock = clock
        self._stream: str | None = None
        told: Mapping[str, object] = task.container_definition.get("logConfiguration") or {}
        options = told.get("options") or {}
        assert isinstance(options, Mapping)
        if told.get("logDriver") != "awslogs":
            return
        region = options.get("awslogs-region") or task.region_name
        self._backend: LogsBackend = logs_backends[DEFAULT_ACCOUNT_ID][region]
        self._group: str = options["awslogs-group"]
        if self._group not in self._backend.groups:
            if options.get("awslogs-create-group") != "true":
                raise CannotStart(
                    "ResourceInitializationError: failed to validate logger args: The task cannot find the Amazon "
                    f"CloudWatch log group defined in the task definition: {self._group} in {region}."
                )
            self._backend.create_log_group(self._group, {})
        prefix = options.get("awslogs-stream-prefix")
        self._stream = f"{prefix}/{task.container.name}/{task.id}" if prefix else task.id
        self._backend.create_log_stream(self._group, self._stream)

    def follow(self, output: IO[bytes]) -> threading.Thread:
        """Keep what comes, line by line, until the last writer has closed."""
        thread = threading.Thread(target=self._keep, args=(output,), daemon=True)
        thread.start()
        return thread

    def _keep(self, output: IO[bytes]) -> None:
        kept = 0
        for line in iter(lambda: output.readline(_LONGEST_LINE), b""):
            kept += 1
            if self._stream is None or kept > _MOST_LINES:
                continue
            text = line.decode(errors="replace").rstrip("\r\n")
            if kept == _MOST_LINES:
                text = f"The lab keeps {_MOST_LINES} lines of a task; the rest is dropped."
            if text:
                event = {"timestamp": int(self._clock.now().timestamp() * 1000), "message": text}
                self._backend.put_log_events(self._group, self._stream, [event])
        output.close()
