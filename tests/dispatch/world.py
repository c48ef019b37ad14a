"""A world without waiting for the driver's tests: virtual time, a job service in memory, and edges that can fail.

Every touch of the disk and of the network is a numbered step; the world can end at any of them, as a kill would end it:
nothing happens after that, neither a write nor a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import selectors
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pointsman.dispatch import DriveInput, DrivePlan, Limits, TargetSpec, planned_dispatches, write_drive
from pointsman.dispatch.downloads import NotAllowed
from pointsman.dispatch.driver import Driver, Ending
from pointsman.dispatch.outputs import Elsewhere
from pointsman.dispatch.protocol import Request, Response
from pointsman.dispatch.transport import Fetched, NoAnswer

T = TypeVar("T")
WALL_NS = 1_800_000_000_000_000_000
VARIANT = "er:e:wf:w:env:lab:stage:demo:provider:p1:exp:x"
OTHER_VARIANT = "er:e:wf:w:env:lab:stage:demo:provider:p2:exp:x"
ROUTE = "er:e:env:lab:stage:demo"
OUTPUT = b"the picture"


class Crash(BaseException):
    """The process was killed here."""


class _NoSelector(selectors.SelectSelector):
    """Instead of waiting, time passes."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise AssertionError("nothing can happen any more: the driver hangs")
            self._world.now_s += timeout
        return found


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, world: World) -> None:
        super().__init__(_NoSelector(world))
        self._world = world

    def time(self) -> float:
        return self._world.now_s


def virtual_loop(world: World) -> asyncio.AbstractEventLoop:
    return _VirtualLoop(world)


@dataclass
class Job:
    submitted_s: float
    body: Mapping[str, Any]
    cancelled: bool = False


@dataclass
class Service:
    """A job API as the lab's preset expects it. Jobs are queued for `queue_s` and then run for `run_s`."""

    world: World
    queue_s: float = 0.2
    run_s: float = 0.3
    idempotent: bool = True
    jobs: dict[str, list[Job]] = field(default_factory=dict)
    submissions: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    answer_s: float = 0.002
    """How long an answer takes to come."""
    output_sha256: str = hashlib.sha256(OUTPUT).hexdigest()
    answer: Callable[[Request], Response | NoAnswer | None] = lambda request: None
    """Says something else than the service would, before it sees the request."""
    answer_after: Callable[[Request], Response | NoAnswer | None] = lambda request: None
    """Says something else than the service did, after it has done its work."""

    def handle(self, request: Request) -> Response | NoAnswer:
        other = self.answer(request)
        if other is None:
            other = self._respond(request)
            other = self.answer_after(request) or other
        return other

    def _respond(self, request: Request) -> Response:
        if request.path == "/v1/jobs":
            body = json.loads(request.body or b"")
            dispatch_id = body["dispatch_id"]
            self.submissions[dispatch_id] += 1
            if dispatch_id in self.jobs and self.idempotent:
                return _json(200, self.document(dispatch_id))
            self.jobs.setdefault(dispatch_id, []).append(Job(self.world.now_s, body))
            return _json(202, self.document(dispatch_id))
        if request.path == "/v1/jobs/status":
            self.asked += 1
            ids = json.loads(request.body or b"")["ids"]
            known = [self.document(one) for one in ids if one in self.jobs]
            return _json(200, {"jobs": known, "unknown": [one for one in ids if one not in self.jobs]})
        dispatch_id = request.path.split("/")[3].replace("%3A", ":")
        if dispatch_id not in self.jobs:
            return _json(404, {"title": "no such job"})
        if request.purpose == "poll":
            return _json(200, self.document(dispatch_id))
        if self.document(dispatch_id)["status"] in ("queued", "leased"):
            self.jobs[dispatch_id][0].cancelled = True
        return _json(200, self.document(dispatch_id))

    def document(self, dispatch_id: str) -> dict[str, Any]:
        job = self.jobs[dispatch_id][0]
        age = self.world.now_s - job.submitted_s
        done = age >= self.queue_s + self.run_s
        status = "completed" if done else "leased" if age >= self.queue_s else "queued"
        status = "cancelled" if job.cancelled else status
        attempt = {
            "number": 1,
            "provider": "p1",
            "outcome": "completed",
            "started_at": "2026-01-01T00:00:00Z",
            "ended_at": "2026-01-01T00:00:01Z",
            "wall_seconds": 0.25,
            "vcpus": 2,
            "memory_gb": 0.5,
        }
        return {
            "dispatch_id": dispatch_id,
            "job_id": f"job-{dispatch_id[-8:]}",
            "status": status,
            "reason": None,
            "variant": job.body.get("variant", VARIANT),
            "generation": 7 if "route_key" in job.body else None,
            "created_at": "2026-01-01T00:00:00+00:00",
            "ended_at": "2026-01-01T00:00:00.500000+00:00" if done else None,
            "queue_ms": self.queue_s * 1000,
            "run_ms": self.run_s * 1000,
            "attempts": [attempt] if status == "completed" else [],
            "output": {"sha256": self.output_sha256, "bytes": len(OUTPUT)} if status == "completed" else None,
        }


def _json(status: int, document: Any) -> Response:
    return Response(status, {}, json.dumps(document).encode())


@dataclass
class World:
    """Time, steps, and when it ends."""

    now_s: float = 1000.0
    steps: int = 0
    ends_at: int | None = None
    dead: bool = False

    def step(self) -> None:
        self.steps += 1
        if self.dead or self.steps == self.ends_at:
            self.dead = True
            raise Crash

    def monotonic_ns(self) -> int:
        return round(self.now_s * 1e9)

    def wall_ns(self) -> int:
        return WALL_NS + round(self.now_s * 1e9)


class Disk:
    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self, work: Callable[[], T]) -> T:
        self._world.step()
        done = work()
        self._world.step()
        return done


class SlowDisk:
    """Does one piece of work after the other, each in its time, whoever still waits for it: like a thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._one = asyncio.Lock()

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.shield(asyncio.get_running_loop().create_task(self._later(work)))

    async def _later(self, work: Callable[[], T]) -> T:
        async with self._one:
            await asyncio.sleep(self._seconds)
            return work()


class Transport:
    """Takes 2 ms each way."""

    def __init__(self, world: World, service: Service) -> None:
        self._world = world
        self._service = service
        self._answering: set[asyncio.Task[None]] = set()

    def begin(self, request: Request, heard: Callable[[Response | NoAnswer], None]) -> None:
        self._world.step()
        task = asyncio.get_running_loop().create_task(self._answer(request, heard))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, request: Request, heard: Callable[[Response | NoAnswer], None]) -> None:
        with contextlib.suppress(Crash):  # after which the driver is not there either
            heard(await self._exchange(request))

    async def send(self, request: Request) -> Response | NoAnswer:
        self._world.step()
        return await self._exchange(request)

    async def _exchange(self, request: Request) -> Response | NoAnswer:
        await asyncio.sleep(0.002)
        answer = self._service.handle(request)
        self._world.step()
        await asyncio.sleep(self._service.answer_s)
        return answer

    async def fetch(self, path: str, into: Path) -> Fetched | Response | NoAnswer:
        self._world.step()
        await asyncio.sleep(0.002)
        other = self._service.answer(Request("GET", path, ()))
        if other is not None:
            return other
        into.write_bytes(OUTPUT)
        self._world.step()
        return Fetched(hashlib.sha256(OUTPUT).hexdigest(), len(OUTPUT))


class Nowhere:
    """There is no other host."""

    async def fetch(self, url: str, into: Path) -> Fetched | Response | NoAnswer:
        raise NotAllowed(f"nothing may be fetched from {url}")


def preset(folder: Path, **capabilities: bool | int) -> str:
    """The lab's preset with other capabilities."""
    import pointsman.dispatch.targets.preset as module

    text = (Path(module.__file__).parent / "presets" / "lab.toml").read_text()
    for name, value in capabilities.items():
        shown = str(value).lower()
        text = "\n".join(f"{name} = {shown}" if line.startswith(f"{name} =") else line for line in text.splitlines())
    path = folder / "preset.toml"
    path.write_text(text)
    return str(path)


def write(
    folder: Path,
    count: int,
    *,
    per_s: float | None = None,
    target_preset: str = "lab",
    routes: list[str] | None = None,
    **limits: Any,
) -> Path:
    """Write a drive of `count` dispatches: closed loop, or open loop at `per_s`."""
    drive_dir = folder / "drive"
    due = None if per_s is None else [round(at * 1e9 / per_s) for at in range(count)]
    route = [(routes or [VARIANT])[at % len(routes or [VARIANT])] for at in range(count)]
    plan = DrivePlan(
        run_id="run",
        target=TargetSpec(name="t", preset=target_preset, base_url="http://127.0.0.1:9"),
        variants={VARIANT: {"crf": 23}, OTHER_VARIANT: {}},
        inputs={"i": DriveInput(uri="/clip", sha256="0" * 64, bytes=1, cluster="c")},
        dispatches=planned_dispatches(route=route, input_id="i", due_ns=due),
        limits=Limits(**{"max_in_flight": 3, "poll_interval_s": 0.3, "drain_limit_s": 5.0, **limits}),
    )
    write_drive(drive_dir, plan)
    return drive_dir


def carry_on(
    drive_dir: Path,
    world: World,
    service: Service,
    *,
    script: Callable[[Driver], None] | None = None,
    disk: Callable[[], Disk | SlowDisk] | None = None,
    downloads: Elsewhere | None = None,
) -> Ending:
    """One era of the drive. `script` may arrange for things to happen while it runs. Raises `Crash`."""
    from pointsman.dispatch.plan import read_header

    async def run() -> Ending:
        driver = Driver(
            drive_dir,
            target=read_header(drive_dir).target.build(),
            transport=Transport(world, service),
            downloads=downloads or Nowhere(),
            disk=disk() if disk is not None else Disk(world),
            ticks=world,
        )
        if script is not None:
            script(driver)
        return await driver.run()

    with asyncio.Runner(loop_factory=lambda: _VirtualLoop(world)) as runner:
        return runner.run(run())
