"""The world on one machine: Prefect server, worker and lab, started, found again, and ended by exact identity.

`world.json` in the home folder remembers what was started, on which port, and whether `up` (stays) or `demo` (goes)
started it. Each process tells its pid *and* start time itself, before it becomes the program: a reused pid is never
taken for ours, and whoever starts one may be stopped at any moment without leaving a process that nobody knows.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointsman.errors import Conflict, DependencyDown, InputRefused
from pointsman.settings import ENVIRONMENT_NAMES, load_credential
from pointsman.storage import write_atomically

CHECKOUT = Path(__file__).resolve().parents[2]
PREFECT_PORT = 4200
LAB_PORT = 8650
_HEALTH = {"prefect": "/api/health", "lab": "/healthz", "aws": "/healthz"}
_READY_WITHIN_S = 90.0
_ANNOUNCED_WITHIN_S = 2.0
_ANNOUNCE = """
{ echo $$; cat /proc/$$/stat 2>/dev/null || ps -o stat=,lstart= -p $$; } > "$0.part" && mv "$0.part" "$0" && exec "$@"
"""
_CHILDREN: list[subprocess.Popen[bytes]] = []
"""What this process has started itself, to be reaped when it has ended."""


@dataclass(frozen=True)
class Running:
    """One process of the world."""

    name: str
    pid: int
    started: str
    port: int | None
    owner: str


@dataclass
class World:
    home: Path
    processes: dict[str, Running] = field(default_factory=dict)

    @classmethod
    def load(cls, home: Path) -> World:
        """What still runs of what was started; the dead are forgotten."""
        path = home / "world.json"
        found = json.loads(path.read_text()) if path.is_file() else {}
        world = cls(home)
        for name, entry in found.items():
            identity = _announced(world._identity_file(name))
            if identity is not None and _start_time(identity[0]) == identity[1]:
                world.processes[name] = Running(name, *identity, entry["port"], entry["owner"])
        return world

    def _save(self, starting: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        known = {name: {"port": running.port, "owner": running.owner} for name, running in self.processes.items()}
        write_atomically(self.home / "world.json", json.dumps({**known, **(starting or {})}, indent=1).encode())

    def _identity_file(self, name: str) -> Path:
        return self.home / "processes" / name

    @property
    def prefect_api_url(self) -> str | None:
        """The server of the world, or the one the environment names."""
        named = os.environ.get("PREFECT_API_URL")
        running = self.processes.get("prefect")
        return named or (f"http://127.0.0.1:{running.port}/api" if running else None)

    @property
    def lab_url(self) -> str | None:
        return self._url("lab")

    @property
    def aws_url(self) -> str | None:
        return self._url("aws")

    def _url(self, name: str) -> str | None:
        running = self.processes.get(name)
        return f"http://127.0.0.1:{running.port}" if running else None

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        port: int | None,
        owner: str,
        env: Mapping[str, str],
        alone: bool = False,
    ) -> None:
        """Start `argv` in its own session with its output in `logs/<name>.log`; it is remembered before it runs.

        `alone`, it has no variable of this process but those of `env`.
        """
        log, identity_file = self.home / "logs" / f"{name}.log", self._identity_file(name)
        for path in (log, identity_file):
            path.parent.mkdir(parents=True, exist_ok=True)
        identity_file.unlink(missing_ok=True)
        self._save({name: {"port": port, "owner": owner}})
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _ANNOUNCE, str(identity_file), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=CHECKOUT,
                env=dict(env) if alone else {**_without_token(), **env},
            )
        _CHILDREN.append(process)
        identity = _announced(identity_file)
        if identity is None:
            raise DependencyDown(
                f"{name} could not be started.",
                instruction=f"Read {log}; then run the same command again.",
                code=f"{name}_not_ready",
            )
        self.processes[name] = Running(name, *identity, port, owner)

    def await_ready(self, name: str) -> None:
        """Wait until `name` answers its health check. Raises `DependencyDown` when it dies or does not within 90 s."""
        import httpx

        running = self.processes[name]
        url = f"http://127.0.0.1:{running.port}{_HEALTH[name]}"
        until = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < until:
            try:
                if httpx.get(url, timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                if _start_time(running.pid) != running.started:
                    break
            time.sleep(0.1)
        raise DependencyDown(
            f"{name} did not become ready at {url}.",
            instruction=f"Read {self.home / 'logs' / (name + '.log')}; then run the same command again.",
            code=f"{name}_not_ready",
        )

    def stop(self, names: Sequence[str]) -> list[str]:
        """End these processes and their sessions: SIGTERM, ten seconds, SIGKILL. Returns those that were running."""
        ended = [self.processes[name] for name in names if name in self.processes]
        for running in ended:
            _signal(running, signal.SIGTERM)
        until = time.monotonic() + 10
        while any(_start_time(running.pid) == running.started for running in ended) and time.monotonic() < until:
            _reap()
            time.sleep(0.05)
        for running in ended:
            _signal(running, signal.SIGKILL)
            self.processes.pop(running.name, None)
        _reap()
        self._save()
        return [running.name for running in ended]


def _without_token() -> dict[str, str]:
    """What stays up serves everybody: it must not carry the token of who started it."""
    return {name: value for name, value in os.environ.items() if name != ENVIRONMENT_NAMES["token"]}


def _announced(identity_file: Path) -> tuple[int, str] | None:
    """Pid and start time as the process itself wrote them, which takes it some milliseconds."""
    until = time.monotonic() + _ANNOUNCED_WITHIN_S
    while not identity_file.is_file():
        if time.monotonic() > until:
            return None
        time.sleep(0.001)
    pid, shown = identity_file.read_text().split("\n", 1)
    return int(pid), _started(shown) or ""


def _start_time(pid: int) -> str | None:
    """When the process was started, as the system tells it; None when there is no such process (or only its zombie)."""
    if Path("/proc/self/stat").is_file():
        try:
            return _started(Path(f"/proc/{pid}/stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            return None
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    return _started(subprocess.run(command, capture_output=True, text=True, check=False).stdout)


def _started(shown: str) -> str | None:
    """The start time in a line of /proc/PID/stat (field 22, in ticks after boot) or in one of `ps -o stat=,lstart=`."""
    _, of_linux, after_name = shown.strip().rpartition(") ")
    state, _, rest = after_name.partition(" ")
    if not rest or state.startswith("Z"):
        return None
    return rest.split()[18] if of_linux else rest.strip()


def _signal(running: Running, number: signal.Signals) -> None:
    try:
        os.killpg(running.pid, number)
    except ProcessLookupError:
        return


def _reap() -> None:
    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]


def check_port(option: str, port: int) -> None:
    """Raise `InputRefused` when somebody listens on the loopback `port` already."""
    if not 1 <= port <= 65535:
        raise InputRefused(option, port, "1 to 65535")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputRefused(
                option, port, "a free port", instruction=f"Another program uses it; name another with {option} PORT."
            ) from error


def free_port() -> int:
    """A loopback port on which nobody listens now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_ports(world: World, *, prefect_port: int, lab_port: int) -> None:
    """Refuse ports that are taken, before anything is started; what runs already has its own."""
    if not world.prefect_api_url:
        check_port("--prefect-port", prefect_port)
    if "lab" not in world.processes:
        check_port("--lab-port", lab_port)
        if not world.prefect_api_url and lab_port == prefect_port:
            raise InputRefused("--lab-port", lab_port, "another port than --prefect-port")


@contextmanager
def sole_owner(home: Path) -> Iterator[None]:
    """Hold the home folder's lock. Raises `Conflict` when another `demo`, `up` or `down` holds it."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "world.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise Conflict(
                f"Another `pointsman {lock.read().strip() or 'command'}` is at work in {home}.",
                instruction="Wait until it has ended, or use another home: POINTSMAN_HOME=OTHER pointsman demo.",
                code="already_running",
            ) from error
        lock.truncate(0)
        lock.write(f"{sys.argv[1] if len(sys.argv) > 1 else ''} (pid {os.getpid()})")
        lock.flush()
        yield


def prefect_environment(home: Path) -> dict[str, str]:
    """What keeps a Prefect process of ours quiet, offline and inside the home folder."""
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def executor_secret(home: Path) -> str:
    """The secret between driver and lab: from where it is looked for, else made once and kept in a file of mode 600."""
    known = load_credential(ENVIRONMENT_NAMES["executor_secret"], {**os.environ, "POINTSMAN_HOME": str(home)})
    if known:
        return known.reveal()
    path = home / "secrets" / "executor"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = secrets.token_urlsafe(32)
    write_atomically(path, made.encode())  # the file is for its owner alone, as every file written so
    return made


def start_prefect(world: World, *, port: int, owner: str, database_url: str | None = None) -> None:
    """Where it is not up, with its state in the database; by default in a SQLite file of its own."""
    if world.prefect_api_url:
        return
    world.start(
        "prefect",
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        port=port,
        owner=owner,
        env={
            **prefect_environment(world.home),
            "PREFECT_API_URL": "",
            "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",  # else its pages ask port 4200
            "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
            **({"PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url} if database_url else {}),
        },
    )


def start_lab(
    world: World, *, port: int, owner: str, flagd_file: Path, inputs_roots: Sequence[Path], seed: int
) -> None:
    if "lab" in world.processes:
        return
    argv = [sys.executable, "-m", "lab.effects", "--port", str(port), "--home", str(world.home / "lab")]
    argv += ["--flagd-file", str(flagd_file), "--seed", str(seed)]
    for root in inputs_roots:
        root.mkdir(parents=True, exist_ok=True)
        argv += ["--inputs-root", str(root)]
    world.start("lab", argv, port=port, owner=owner, env={"STUDIO_EXECUTOR_SECRET": executor_secret(world.home)})
