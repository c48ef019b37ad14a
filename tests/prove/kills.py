"""One interrupted choose-route: the command, where it is, whom to kill, and whether the books balance in the end."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from pointsman.ids import benchmark_id, derive
from service.cli.world import CHECKOUT, World
from tests.prove.small_demo import INPUTS

STEPS = ("prepare", "scenario", "benchmark", "evaluate", "decide", "route")
HELD = ("prepare", "decide")
"""Steps of a few milliseconds: the command waits in the middle of them until it is told to go on."""
REACHED_WITHIN_S = 240.0
_FEW_SECONDS = 15.0


def unfinished(home: Path) -> str | None:
    """The run that the next demo in this home will continue."""
    return next((path.read_text() for path in (home / "unfinished").glob("demo-*")), None)


@dataclass
class Journey:
    """The same command again and again, until its run has come to its end."""

    home: Path
    ports: tuple[int, int]
    process: subprocess.Popen[bytes] | None = None
    run_id: str | None = None
    invocations: int = 0
    accepted_before: int = 0
    earlier: set[Path] = field(default_factory=set)
    """The eras of drives that were begun before this invocation."""
    judged_earlier: int = 0

    def start(self, hold: str | None = None) -> None:
        for name in ("held", "go"):
            (self.home / name).unlink(missing_ok=True)
        self.earlier = set((self.home / "results").rglob("eras/*"))
        self.judged_earlier = self._judged() if self.run_id else 0
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.argv()],
                cwd=CHECKOUT,
                env=self.environment(hold),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.invocations += 1

    def argv(self) -> list[str]:
        prefect, lab = (str(port) for port in self.ports)
        return ["-m", "tests.prove.small_demo", "--prefect-port", prefect, "--lab-port", lab]

    def environment(self, hold: str | None = None) -> dict[str, str]:
        """Without what the test has pointed its own process at: the command must find everything by itself."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "STUDIO_"))}
        held = {"SMALL_DEMO_HOLD": hold} if hold else {}
        return {**kept, **held, "POINTSMAN_HOME": str(self.home), "PYTHONPATH": str(CHECKOUT)}

    @property
    def log(self) -> Path:
        return self.home / f"small-demo-{self.invocations}.log"

    def output(self) -> str:
        logs = sorted(self.home.glob("small-demo-*.log"), key=lambda path: path.stat().st_mtime)
        return logs[-1].read_text()

    def await_step(self, step: str) -> None:
        """Until the state of record says that the run is in the middle of `step`."""
        self._until(lambda: self._is_in(step), f"{step} was not reached", REACHED_WITHIN_S)

    def go_on(self) -> None:
        (self.home / "go").touch()

    def end(self, within_s: float = REACHED_WITHIN_S) -> int:
        """Wait for the command's end; its exit code."""
        assert self.process is not None
        code = self.process.wait(within_s)
        self.process = None
        assert "Traceback" not in self.output(), self.output()
        return code

    def finish(self) -> None:
        """The same command, to its end."""
        if self.process is None:
            self.start()
        assert self.end() == 0, self.output()
        assert unfinished(self.home) is None

    def _is_in(self, step: str) -> bool:
        if step in HELD:
            return (self.home / "held").exists()
        if self.run_id is None:
            self.run_id = unfinished(self.home)
            if self.run_id is None:
                return False
        if step == "evaluate":
            return self.judged_earlier < self._judged()
        return any(self._is_driving(folder) for folder in self._drives(step))

    def _is_driving(self, drive_dir: Path) -> bool:
        begun = set(drive_dir.glob("eras/*")) - self.earlier
        return bool(begun) and any(drive_dir.glob("claims/*")) and not (drive_dir / "summary.json").exists()

    def _drives(self, step: str) -> list[Path]:
        results = self.home / "results"
        if step == "scenario":
            paths = self.rows("select results_path from load_test_runs where parent_run_id = ?", self.run_id)
            return [results / path for (path,) in paths]
        if step == "benchmark":
            return [path.parent for path in (results / "lab" / "benchmarks" / self.benchmark_id).rglob("plan.json")]
        return [path.parent for path in (results / "routing" / derive("probe", self.run_id)).rglob("plan.json")]

    def _judged(self) -> int:
        wanted = "select count(*) from quality_evaluations where benchmark_id = ?"
        return int(str(self.rows(wanted, self.benchmark_id)[0][0]))

    @property
    def benchmark_id(self) -> str:
        assert self.run_id is not None
        return benchmark_id(self.run_id)

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(f"file:{self.home / 'pointsman.db'}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def victim(self, name: str) -> int:
        """The pid of one of the four."""
        assert self.process is not None
        if name == "flow":
            return self.process.pid
        if name == "child":
            found: list[int] = []

            def looked() -> bool:
                found[:] = [pid for pid, words in commands().items() if "pointsman.dispatch.child" in words]
                found[:] = [pid for pid in found if str(self.home) in commands().get(pid, "")]
                return bool(found)

            self._until(looked, "no child was found", _FEW_SECONDS)
            return found[0]
        return World.load(self.home).processes[name].pid

    def kill(self, name: str) -> None:
        pid = self.victim(name)
        os.kill(pid, signal.SIGKILL)
        self._until(lambda: pid not in commands(), f"{name} is still there", _FEW_SECONDS)

    def left_behind(self) -> list[str]:
        """Processes of this home that neither the world nor a living command accounts for."""
        known = {running.pid for running in World.load(self.home).processes.values()}
        known |= {self.process.pid} if self.process else set()
        parents = _parents()

        def accounted(pid: int) -> bool:
            while pid not in known and pid > 1:
                pid = parents.get(pid, 0)
            return pid in known

        ours = {pid: words for pid, words in commands().items() if _belongs(pid, words, self.home)}
        return [words for pid, words in ours.items() if not accounted(pid)]

    def nothing_left_behind(self) -> None:
        self._until(lambda: not self.left_behind(), f"left behind: {self.left_behind()}", _FEW_SECONDS)

    def _until(self, true: Callable[[], bool], otherwise: str, within_s: float) -> None:
        give_up = time.monotonic() + within_s
        while not true():
            ended = self.process is not None and self.process.poll() is not None and "reached" in otherwise
            assert not ended, f"{otherwise}; the command ended:\n{self.output()}"
            assert time.monotonic() < give_up, f"{otherwise}:\n{self.output()}"
            time.sleep(0.01)

    def balance(self) -> int:
        """Hold the lab's own books against what was planned and recorded; the number of dispatches of the run.

        Every dispatch was accepted once and nothing else was, and the lab made exactly the attempts that were recorded.
        """
        planned: set[str] = set()
        recorded: Counter[str] = Counter()
        for (dispatch_id,) in self.rows(
            "select dispatch_id from benchmark_matrix_run_items where benchmark_id = ?", self.benchmark_id
        ):
            planned.add(str(dispatch_id))
        assert len(planned) == 2 * INPUTS
        for subject, _number in self.rows(
            "select subject_id, number from attempts where run_id = ? and subject_kind = 'cell'", self.benchmark_id
        ):
            recorded[str(subject)] += 1
        for folder in [*self._drives("scenario"), *self._drives("route")]:
            planned |= set(pl.read_parquet(folder / "dispatches-*.parquet")["dispatch_id"])
            tries = pl.read_parquet(folder / "attempts-*.parquet").select("dispatch_id", "number").unique()
            recorded.update(tries["dispatch_id"])
        lab = sqlite3.connect(f"file:{lab_database(self.home)}?mode=ro", uri=True)
        try:
            accepted = [str(one) for (one,) in lab.execute("select dispatch_id from jobs order by seq")]
            made = Counter(str(one) for (one,) in lab.execute("select dispatch_id from attempts"))
        finally:
            lab.close()
        assert sorted(accepted[self.accepted_before :]) == sorted(planned)
        assert {one: made[one] for one in planned} == {one: recorded[one] for one in planned}
        return len(planned)


def lab_database(home: Path) -> Path:
    (found,) = (home / "lab").glob("*.db")
    return found


def accepted_so_far(home: Path) -> int:
    lab = sqlite3.connect(f"file:{lab_database(home)}?mode=ro", uri=True)
    try:
        return int(lab.execute("select count(*) from jobs").fetchone()[0])
    finally:
        lab.close()


def commands() -> dict[int, str]:
    """Living processes (zombies are dead) and their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _parents() -> dict[int, int]:
    found = {}
    for pid in commands():
        try:
            found[pid] = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _belongs(pid: int, words: str, home: Path) -> bool:
    try:
        environment = (Path("/proc") / str(pid) / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return pid != os.getpid() and (str(home) in words or f"POINTSMAN_HOME={home}\0".encode() in environment)
