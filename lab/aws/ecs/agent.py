"""The ECS agent: it walks moto's tasks through their states, and runs the command of each as a local process."""

from __future__ import annotations

import logging
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ecs.models import ecs_backends

from lab.aws.ecs import marked
from lab.aws.ecs.container import Container
from lab.aws.ecs.environment import MARKER, CannotStart, TaskWorld, environment_of
from lab.aws.ecs.events import make_queue, send_state_change
from lab.aws.ecs.faults import AnyFault, BucketsOut, Coming, ComingFaults, Kill, Spot, Throttle
from lab.aws.ecs.gaps import fill_ecs_gaps
from lab.aws.ecs.logs import TaskLog
from lab.aws.ecs.task import LabTask, LastStatus
from lab.effects.catalogue import REGION
from pointsman.clock import Clock

log = logging.getLogger(__name__)
_STEP_S = 0.03
_GRACE_S = 30.0
"""Seconds between SIGTERM and SIGKILL where the definition has no stopTimeout."""


class EcsAgent:
    """Runs tasks between `start` and `close`. `metadata_url` begins the marker of every task."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._coming = ComingFaults()
        self._containers: dict[str, Container] = {}
        self._logs: dict[str, TaskLog] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self._done: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_stepping, name="ecs-agent")
        self._watcher: subprocess.Popen[bytes] | None = None
        self._root = Path(tempfile.mkdtemp(prefix="pointsman-lab-ecs-"))
        self._lab_url = ""
        self._s3_back_at = 0.0
        self.token = secrets.token_hex(8)
        fill_ecs_gaps(self._coming, clock)

    def start(self, lab_url: str) -> None:
        """From now on take tasks. The lab's AWS is at `lab_url`."""
        self._lab_url = lab_url
        make_queue(REGION)
        argv = [sys.executable, "-I", str(Path(marked.__file__)), f"{MARKER}={self._metadata_url}", str(self._root)]
        # In a session of its own: it is to live on when the lab's session is killed, for as long as that takes.
        self._watcher = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True, env={})
        self._thread.start()

    def close(self) -> None:
        """Kill what runs, and take no more."""
        self._ended.set()
        if self._watcher is not None:
            self._thread.join()
            assert self._watcher.stdin is not None
            self._watcher.stdin.close()
            self._watcher.wait()
        shutil.rmtree(self._root, ignore_errors=True)

    @property
    def s3_is_out(self) -> bool:
        return self._clock.monotonic() < self._s3_back_at

    @property
    def _metadata_url(self) -> str:
        return f"{self._lab_url}/v4/{self.token}/"

    def find(self, named: str) -> LabTask | None:
        """The task with this id or ARN."""
        return next((task for task in self._tasks() if named in (task.id, task.task_arn)), None)

    def strike(self, faults: list[AnyFault]) -> str | None:
        """Do at once what is asked of running tasks; the rest is to come, and nothing else any more.

        Returns what is wrong, and then nothing was done.
        """
        at_once = [one for one in faults if isinstance(one, Kill | Spot)]
        found = [(one, self.find(one.task)) for one in at_once]
        for one, task in found:
            if task is None or task.last_status != "RUNNING":
                return f"task: {one.task!r} is not running; {task.last_status if task else 'there is no such task'}"
        self._coming.replace([one for one in faults if isinstance(one, Coming | Throttle)])
        out_s = max((one.for_s for one in faults if isinstance(one, BucketsOut)), default=0.0)
        self._s3_back_at = self._clock.monotonic() + out_s
        for one, task in found:
            assert task is not None
            if isinstance(one, Spot):
                reason = "Your Spot Task was interrupted."
                task.ask_to_stop("SpotInterruption", reason, self._clock.now(), grace_s=one.notice_s)
            else:
                self._containers[task.task_arn].kill()
        return None

    def _tasks(self) -> list[Any]:
        """Every task that moto holds, of all regions."""
        regions = list(ecs_backends[DEFAULT_ACCOUNT_ID].values())
        return [task for region in regions for tasks in list(region.tasks.values()) for task in list(tasks.values())]

    def _keep_stepping(self) -> None:
        while not self._ended.wait(_STEP_S):
            self.step()
        for container in list(self._containers.values()):
            container.kill()
            container.remove()

    def step(self) -> None:
        """Move every task that is due by one state."""
        for task in self._tasks():
            if task.task_arn in self._done:
                continue
            try:
                self._move(task)
            except CannotStart as why:
                self._fail(task, str(why))
            except Exception as error:
                log.exception("the lab's ECS agent could not move a task")
                self._fail(task, f"The lab's ECS agent failed: {type(error).__name__}.")

    def _move(self, task: LabTask) -> None:
        stopping = task.desired_status == "STOPPED"
        if task.created_at is None:
            task.created_at = self._clock.now()
            send_state_change(task, task.created_at)
        elif task.last_status in ("PROVISIONING", "PENDING", "ACTIVATING") and stopping:
            self._to(task, "DEPROVISIONING")
        elif task.last_status == "PROVISIONING":
            self._to(task, "PENDING")
        elif task.last_status == "PENDING":
            self._pull(task)
            self._to(task, "ACTIVATING")
        elif task.last_status == "ACTIVATING":
            self._run(task)
            self._to(task, "RUNNING")
        elif task.last_status == "RUNNING":
            if self._containers[task.task_arn].exit_code is not None:
                task.ask_to_stop("EssentialContainerExited", "Essential container in task exited", self._clock.now())
                stopping = True
            if stopping:
                self._to(task, "DEACTIVATING")
        elif task.last_status == "DEACTIVATING":
            container = self._containers[task.task_arn]
            if container.exit_code is None:
                container.terminate()
            self._to(task, "STOPPING")
        elif task.last_status == "STOPPING":
            self._stop(task)
        else:
            self._forget(task)
            self._to(task, "STOPPED")

    def _pull(self, task: LabTask) -> None:
        """Have everything that the container needs before it can start."""
        if self._coming.take("cannot-pull"):
            raise CannotStart(
                "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref "
                f"{task.container.image}: not found"
            )
        world = self._world(task)
        uri = f"{self._metadata_url}{task.id}"
        self._environments[task.task_arn] = environment_of(task, world, lab_url=self._lab_url, metadata_uri=uri)
        self._logs[task.task_arn] = TaskLog(task, self._clock)
        task.pull_stopped_at = self._clock.now()

    def _run(self, task: LabTask) -> None:
        argv = [
            *task.container_definition.get("entryPoint", ()),
            *(task.override.get("command") or task.container_definition.get("command") or ()),
        ]
        if not argv:
            raise CannotStart("CannotStartContainerError: Error response from daemon: no command specified")
        if self._coming.take("exit-0"):
            log.warning("instead of %s the task %s runs nothing", shlex.join(argv)[:200], task.id)
            argv = [sys.executable, "-I", "-c", ""]
        world = self._world(task)
        world.make()
        environment = self._environments.pop(task.task_arn)
        self._containers[task.task_arn] = Container(argv, environment, world, self._logs.pop(task.task_arn))

    def _stop(self, task: LabTask) -> None:
        container = self._containers[task.task_arn]
        assert task.stopping_at is not None
        grace_s = float(task.container_definition.get("stopTimeout") or _GRACE_S)
        if task.grace_s is not None:
            grace_s = min(grace_s, task.grace_s)
        if container.exit_code is None and self._clock.now() < task.stopping_at + timedelta(seconds=grace_s):
            return
        container.kill()
        task.execution_stopped_at = self._clock.now()
        task.container.exit_code = container.exit_code
        task.container.last_status = "STOPPED"
        container.remove()
        self._to(task, "DEPROVISIONING")

    def _fail(self, task: LabTask, why: str) -> None:
        task.ask_to_stop("TaskFailedToStart", why, self._clock.now())
        task.container.reason = why
        self._to(task, "DEPROVISIONING")

    def _forget(self, task: LabTask) -> None:
        self._environments.pop(task.task_arn, None)
        self._logs.pop(task.task_arn, None)
        container = self._containers.pop(task.task_arn, None)
        if container is not None and container.exit_code is None:
            container.kill()  # the agent itself failed
        shutil.rmtree(self._world(task).root, ignore_errors=True)
        self._done.add(task.task_arn)

    def _to(self, task: LabTask, status: LastStatus) -> None:
        at = self._clock.now()
        task.move(status, at)
        send_state_change(task, at)

    def _world(self, task: LabTask) -> TaskWorld:
        return TaskWorld(self._root / task.id)
