"""One running backend: its home folder, its socket, its fleet and its HTTP server, from start to stop."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import uvicorn

from lab.effects.api import Api
from lab.effects.catalogue import Provider
from lab.effects.fleet import Fleet, Terms
from lab.effects.inputs import InputGate
from lab.effects.routes import Router
from lab.effects.store import Store
from pointsman.clock import SystemClock
from pointsman.errors import DependencyDown, InputRefused
from pointsman.settings import ENVIRONMENT_NAMES, Secret

LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Setup:
    """What one backend is started with. Times in seconds."""

    host: str
    port: int
    home: Path
    flagd_file: Path
    input_roots: Sequence[Path]
    providers: Sequence[Provider]
    secret: Secret
    seed: int
    lease_s: float
    allow_faults: bool


def serve(setup: Setup) -> None:
    """Serve until SIGTERM or SIGINT, then kill the workers and return; what is stored stays for the next start.

    Raises `InputRefused` for a host that is not loopback and for a missing folder, `DependencyDown` when the port or
    the home folder is in use.
    """
    if setup.host not in LOOPBACK:
        raise InputRefused("--host", setup.host, " or ".join(LOOPBACK))
    for root in setup.input_roots:
        if not root.is_dir():
            raise InputRefused("--inputs-root", str(root), "an existing folder")
    with _listening(setup) as listener, _home_to_itself(setup.home):
        asyncio.run(_run(setup, listener))


async def _run(setup: Setup, listener: socket.socket) -> None:
    store = Store(setup.home / "effects.db", SystemClock(), setup.lease_s)
    # The workers need no secret, so they get none.
    environment = {name: value for name, value in os.environ.items() if name != ENVIRONMENT_NAMES["executor_secret"]}
    terms = Terms(seed=setup.seed, beat_s=setup.lease_s / 8)
    fleet = Fleet(store, setup.home, setup.providers, terms, environment)
    api = Api(
        store,
        fleet,
        InputGate(setup.input_roots, fetched=setup.home / "inputs"),
        Router(setup.flagd_file),
        setup.providers,
    )
    server = _Server(
        uvicorn.Config(
            api.application(setup.secret, allow_faults=setup.allow_faults),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    working = asyncio.create_task(fleet.run())
    working.add_done_callback(lambda _: server.stop())
    announcing = asyncio.create_task(_announce(server, listener))
    try:
        await server.serve(sockets=[listener])
    finally:
        announcing.cancel()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        store.close()


class _Server(uvicorn.Server):
    """uvicorn raises the signals that it took again at the end; a backend that was asked to stop ends well instead."""

    def stop(self) -> None:
        self.should_exit = True

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()


async def _announce(server: _Server, listener: socket.socket) -> None:
    while not server.started:
        await asyncio.sleep(0.01)
    print(f"ready http://127.0.0.1:{listener.getsockname()[1]}", flush=True)


@contextmanager
def _listening(setup: Setup) -> Iterator[socket.socket]:
    # The protocol is named because asyncio turns Nagle's algorithm off only then; it would hold answers for 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", setup.port))
            listener.listen(2048)
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise DependencyDown(
                f"Port {setup.port} {why}.", instruction="Give another --port, or stop what listens there."
            ) from error
        yield listener


@contextmanager
def _home_to_itself(home: Path) -> Iterator[IO[str]]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "effects.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DependencyDown(
                f"Another effects backend works in {home}.", instruction="Stop it, or give another --home."
            ) from error
        yield lock
