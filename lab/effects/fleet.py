"""The worker processes: each slot keeps one alive, hands it the next job of its provider, and records what it says.

A slot never decides that an attempt is lost: that is what leases are for. A worker that dies (or is taken away by its
spot provider) leaves its attempt running until the lease expires.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.effects.catalogue import WORKFLOWS, Provider, instance_id
from lab.effects.encode import encode_argv
from lab.effects.interruptions import interruption
from lab.effects.records import Job
from lab.effects.store import Store

log = logging.getLogger(__name__)
_CHECKOUT = Path(__file__).resolve().parents[2]
_RESPAWN_S = 0.2
_SWEEP_S = 0.1


@dataclass(frozen=True, slots=True)
class Terms:
    """How a fleet treats its workers. Times in seconds."""

    seed: int
    beat_s: float
    deadline_s: float = 600.0


class Fleet:
    """All slots of all providers, and the sweep that ends expired leases."""

    def __init__(
        self, store: Store, folder: Path, providers: Sequence[Provider], terms: Terms, environment: Mapping[str, str]
    ) -> None:
        self._store = store
        self._attempts = folder / "attempts"
        self._outputs = folder / "outputs"
        for directory in (self._attempts, self._outputs):
            directory.mkdir(parents=True, exist_ok=True)
        for left_over in self._attempts.iterdir():
            left_over.unlink()
        self._slots = [
            _Slot(self, provider, number, store, terms, environment)
            for provider in providers
            for number in range(provider.workers)
        ]

    async def run(self) -> None:
        """Keep every worker alive and sweep leases until cancelled; then every worker is dead."""
        async with asyncio.TaskGroup() as group:
            for slot in self._slots:
                group.create_task(slot.run())
            group.create_task(self._sweep())

    def wake(self, provider: str) -> None:
        """A job of this provider waits: the first idle worker takes it."""
        for slot in self._slots:
            if slot.provider.name == provider and slot.take_next():
                return

    def stop(self, dispatch_id: str, number: int) -> None:
        """Ask the worker of this attempt, if it is alive, to kill its encode."""
        for slot in self._slots:
            if slot.holds(dispatch_id, number):
                slot.send({"stop": _key(dispatch_id, number)})

    def instances(self) -> list[dict[str, object]]:
        """The instances that own workers, and whether these may work."""
        return [
            {"instance_id": slot.instance_id, "provider": slot.provider.name, "running": slot.running}
            for slot in self._slots
        ]

    def stop_instance(self, instance_id: str, *, freeze: bool, at_most_s: float) -> bool:
        """Take away the workers of an instance until they are started again; whether the instance has any."""
        found = [slot for slot in self._slots if slot.instance_id == instance_id]
        for slot in found:
            slot.take_away(freeze=freeze, at_most_s=at_most_s)
        return bool(found)

    def start_instance(self, instance_id: str) -> bool:
        """Give the workers of an instance back; whether it has any."""
        found = [slot for slot in self._slots if slot.instance_id == instance_id]
        for slot in found:
            slot.give_back()
        return bool(found)

    def unfinished(self, job: Job, number: int) -> Path:
        return self._attempts / f"{job.job_id}.{number}.mp4"

    def output(self, job: Job) -> Path:
        return self._outputs / f"{job.job_id}.mp4"

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asleep = loop.time()
            await asyncio.sleep(_SWEEP_S)
            if loop.time() - asleep > 5 * _SWEEP_S:
                continue  # This process was held up: heartbeats that arrived meanwhile are read first.
            for lost in self._store.expire_leases():
                log.warning("attempt %d of %s lost on %s", lost.number, lost.dispatch_id, lost.provider)
                for slot in self._slots:
                    if slot.holds(lost.dispatch_id, lost.number):
                        slot.kill()  # Alive but silent: what it would still say is stale.
                self.wake(lost.provider)


class _Slot:
    """Room for one worker of a provider."""

    def __init__(
        self, fleet: Fleet, provider: Provider, number: int, store: Store, terms: Terms, environment: Mapping[str, str]
    ) -> None:
        self.provider = provider
        self._fleet = fleet
        self._name = f"{provider.name}/{number}"
        self._store = store
        self._terms = terms
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._job: tuple[Job, int] | None = None
        self.instance_id = instance_id(provider.name, number)
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._back: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        return self._allowed.is_set()

    async def run(self) -> None:
        while True:
            await self._allowed.wait()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "lab.effects.worker", str(self._terms.beat_s)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=_CHECKOUT,
                env=self._environment,
                start_new_session=True,
            )
            try:
                self.take_next()
                await self._listen(self._process)
            finally:
                self.kill()
                await self._process.wait()
                self._process = None
                self._bury()
            log.warning("worker %s died and is replaced", self._name)
            await asyncio.sleep(_RESPAWN_S)

    def take_next(self) -> bool:
        """Lease the next job of the provider and start it, if there is a worker without one; whether one started."""
        if self._process is None or self._job is not None or not self.running:
            return False
        self._job = self._store.lease_next(self.provider)
        if self._job is None:
            return False
        job, number = self._job
        workflow = WORKFLOWS[job.workflow].with_params(json.loads(job.params))
        self.send(
            {
                "run": _key(job.dispatch_id, number),
                "argv": encode_argv(workflow, Path(job.source), self._fleet.unfinished(job, number)),
                "output": str(self._fleet.unfinished(job, number)),
                "deadline_s": self._terms.deadline_s,
            }
        )
        moment = interruption(self._terms.seed, job.dispatch_id, number) if self.provider.interrupted else None
        if moment is not None:
            asyncio.get_running_loop().call_later(moment, self._interrupt, job.dispatch_id, number)
        return True

    def holds(self, dispatch_id: str, number: int) -> bool:
        return self._job is not None and (self._job[0].dispatch_id, self._job[1]) == (dispatch_id, number)

    def send(self, message: Mapping[str, Any]) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    def kill(self) -> None:
        """SIGKILL the worker's whole process group, its ffmpeg included."""
        self._signal(signal.SIGKILL)

    def take_away(self, *, freeze: bool, at_most_s: float) -> None:
        """Kill the worker and put none in its place, or freeze it, until it is given back or the time is over."""
        self._allowed.clear()
        self._signal(signal.SIGSTOP if freeze else signal.SIGKILL)
        if self._back is not None:
            self._back.cancel()
        self._back = asyncio.get_running_loop().call_later(at_most_s, self.give_back)

    def give_back(self) -> None:
        if self._back is not None:
            self._back.cancel()
            self._back = None
        if not self.running:
            self._allowed.set()
            self._signal(signal.SIGCONT)
            self.take_next()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _interrupt(self, dispatch_id: str, number: int) -> None:
        if self.holds(dispatch_id, number):
            log.warning("spot provider takes worker %s away", self._name)
            self.kill()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            if not line.endswith(b"\n"):
                return  # The worker died in the middle of a word.
            message = json.loads(line)
            if self._job is None:
                continue
            job, number = self._job
            if message.get("done") == _key(job.dispatch_id, number):
                self._job = None
                self._finish(job, number, message)
                self.take_next()
            else:
                self._store.renew(job.dispatch_id, number)

    def _finish(self, job: Job, number: int, done: Mapping[str, Any]) -> None:
        completed = done["outcome"] == "completed"
        if completed and self._store.running_attempt(job.dispatch_id) == number:
            # The file comes first: a crash in between costs an attempt, never an output.
            self._fleet.unfinished(job, number).rename(self._fleet.output(job))
        self._store.finish(
            job.dispatch_id,
            number,
            completed=completed,
            reason=done["reason"],
            wall_seconds=done["wall_seconds"],
            cpu_seconds=done["cpu_seconds"],
            output_sha256=done["sha256"],
            output_bytes=done["bytes"],
        )

    def _bury(self) -> None:
        if self._job is not None:
            job, number = self._job
            self._job = None
            self._store.seen_dying(job.dispatch_id, number)
            self._fleet.unfinished(job, number).unlink(missing_ok=True)


def _key(dispatch_id: str, number: int) -> str:
    return f"{dispatch_id}#{number}"
