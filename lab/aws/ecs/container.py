"""The container of one task: a local process in a world of its own, and the end of everything that it started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence

from lab.aws.ecs.environment import MARKER, CannotStart, TaskWorld
from lab.aws.ecs.logs import TaskLog
from lab.aws.ecs.marked import kill_marked


class Container:
    """Runs `argv` from the start. Raises `CannotStart` when there is no such program."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], world: TaskWorld, log: TaskLog) -> None:
        self._marker = f"{MARKER}={env[MARKER]}"
        self._world = world
        try:
            self._process = subprocess.Popen(
                list(argv),
                env=dict(env),
                cwd=world.app,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise CannotStart(
                "CannotStartContainerError: Error response from daemon: failed to create shim task: OCI runtime create "
                f"failed: unable to start container process: exec: {argv[0]!r}: {error}"
            ) from error
        assert self._process.stdout is not None
        self._reader = log.follow(self._process.stdout)

    @property
    def exit_code(self) -> int | None:
        """As ECS tells it, None while it runs: 128 and its number after a signal."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def terminate(self) -> None:
        """SIGTERM to the container's first process, as a container runtime does; the others hear of it only from it."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to every process of the task, as happens when the first one is gone."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        kill_marked(self._marker)
        self._process.wait()

    def remove(self) -> None:
        """Keep the last lines, and forget what it wrote."""
        self._reader.join(timeout=2)
        shutil.rmtree(self._world.root, ignore_errors=True)
