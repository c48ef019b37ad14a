"""What a matrix costs beside its jobs: planning and storing per cell, and Prefect's share when rounds are tasks.

Limits: 10,000 cells cost at most 1.1x per cell of what 1,000 cost; Prefect takes at most 5 ms per cell at 10,000.
The jobs are answered at once by a little server on loopback, through the real driver. Run: python -m perf.matrix
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from pointsman.benchmark import (
    create_matrix,
    execution,
    finish_matrix,
    input_set,
    list_variants,
    register_environment,
    register_variants,
    rounds,
    run_round,
)
from pointsman.clock import SystemClock
from pointsman.dispatch import TargetSpec
from pointsman.ids import VariantId
from pointsman.model import Variant
from pointsman.settings import Secret
from pointsman.storage import LocalResults, open_database, tables
from pointsman.workspace import Workspace

GROWTH_LIMIT = 1.1
PREFECT_LIMIT_MS = 5.0
VARIANTS, ROUND_CELLS, SMALL, LARGE = 5, 50, 1000, 10_000
SERVER_PATIENCE_S = 90.0
BM = "bm_perf"
_TIME = "2026-01-01T00:00:00+00:00"


class _Handler(BaseHTTPRequestHandler):
    """The API of the lab's backend, with every job done as soon as it is submitted."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(200, self.path.split("/")[3].encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/jobs":
            self._answer(202, json.dumps(_job(body["dispatch_id"])).encode())
        else:
            self._answer(200, json.dumps({"jobs": [_job(name) for name in body["ids"]], "unknown": []}).encode())

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _job(dispatch_id: str) -> dict[str, Any]:
    content = dispatch_id.encode()
    attempt = {
        "number": 1,
        "provider": "lab-cpu",
        "outcome": "completed",
        "started_at": _TIME,
        "ended_at": _TIME,
        "wall_seconds": 0.5,
        "cpu_seconds": 0.4,
        "vcpus": 1,
        "memory_gb": 2,
        "output_bytes": len(content),
    }
    return {
        "dispatch_id": dispatch_id,
        "job_id": dispatch_id[-12:],
        "status": "completed",
        "reason": None,
        "variant": None,
        "generation": None,
        "created_at": _TIME,
        "started_at": _TIME,
        "ended_at": _TIME,
        "queue_ms": 1.0,
        "run_ms": 2.0,
        "attempts": [attempt],
        "output": {"path": "", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
    }


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


@contextmanager
def job_server() -> Iterator[str]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def prepared(folder: Path, cells: int) -> Workspace:
    """A workspace with variants and inputs for that many cells."""
    ws = Workspace(open_database(f"sqlite:///{folder / 'pointsman.db'}"), LocalResults(folder), SystemClock(), "perf")
    variants = [
        Variant(VariantId("effect-1", f"workflow-{n}", "lab", "demo", "lab-cpu", "base"), "lab", {"crf": n})
        for n in range(VARIANTS)
    ]
    register_environment(ws, "lab", name="Lab", kind="local")
    register_variants(ws, variants)
    members = [
        {"input_id": f"i{n}", "uri": f"file:///i{n}", "sha256": "0" * 64, "bytes": 1, "cluster": f"c{n % 8}"}
        for n in range(cells // VARIANTS)
    ]
    row = {"id": "inputs", "sha256": "0" * 64, "members": members, "created_at": ws.clock.now()}
    with ws.database.begin() as connection:
        connection.execute(sa.insert(tables.input_sets).values(**row))
    return ws


class Matrix:
    """A matrix that is run a round at a time, with how long that took."""

    def __init__(self, cells: int, base_url: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._ws = prepared(Path(self._folder.name), cells)
        self.driving_s = 0.0
        began = time.perf_counter()
        create_matrix(
            self._ws,
            benchmark_id=BM,
            parent_run_id=None,
            variants=[variant.id for variant in list_variants(self._ws)],
            inputs=input_set(self._ws, "inputs"),
            repeats=1,
            seed=1,
            round_cells=ROUND_CELLS,
            environment_id="lab",
            targets=[TargetSpec(name="lab", preset="lab", base_url=base_url)],
            in_flight_per_provider=16,
        )
        self._left = rounds(self._ws, BM)
        self.whole_s = time.perf_counter() - began

    def go_on(self) -> bool:
        """Run the next round, and collect after the last. Whether there are more."""
        real_drive = execution.drive

        def timed(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return real_drive(*args, **options)
            finally:
                self.driving_s += time.perf_counter() - began

        execution.drive = timed
        began = time.perf_counter()
        try:
            outcome = run_round(
                self._ws, BM, self._left.pop(0), secret=Secret("x"), cancelled=lambda: False, on_status=lambda now: None
            )
            if not self._left:
                finish_matrix(self._ws, BM)
        finally:
            execution.drive = real_drive
        self.whole_s += time.perf_counter() - began
        assert outcome.counts == {"completed": ROUND_CELLS}, outcome
        if not self._left:
            self._ws.database.dispose()
            self._folder.cleanup()
        return bool(self._left)


def seconds_of_both(base_url: str) -> list[tuple[float, float]]:
    """(everything, everything without the time inside `drive`) of as many small matrices as make a large one, and of
    that one. They take turns round by round, so that a machine that changes its speed changes it for both."""
    small = [Matrix(SMALL, base_url)]
    large = Matrix(LARGE, base_url)
    while large.go_on():
        if not small[-1].go_on():
            small.append(Matrix(SMALL, base_url))
    small[-1].go_on()
    sums = [(sum(one.whole_s for one in some), sum(one.driving_s for one in some)) for some in (small, [large])]
    return [(whole, whole - driving) for whole, driving in sums]


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """A real Prefect server on a free loopback port, ended with everything it started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        give_up = time.monotonic() + SERVER_PATIENCE_S
        while not _healthy(f"http://127.0.0.1:{port}/api/health"):
            if server.poll() is not None or time.monotonic() > give_up:
                raise SystemExit("The Prefect server did not come up.")
            time.sleep(0.25)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def prefect_ms_per_cell(runs: int = 3) -> float:
    """The middle of several runs: a flow whose rounds are tasks, less the same rounds as plain calls, per cell."""
    with tempfile.TemporaryDirectory() as home, prefect_server(Path(home)) as api_url:
        os.environ |= {"PREFECT_HOME": home, "PREFECT_API_URL": api_url, "PREFECT_LOGGING_LEVEL": "ERROR"}
        from prefect import flow, task

        from tasks.policies import DRIVE

        def a_round(number: int) -> None:
            time.sleep(0.01)  # stands for the round's child process, in which nothing of Prefect runs

        round_task = task(name="run-round", task_run_name="round-{number}", **DRIVE)(a_round)

        def every_round(run: Callable[[int], None]) -> None:
            for number in range(LARGE // ROUND_CELLS):
                run(number)

        @flow(name="perf-matrix")
        def with_tasks() -> None:
            every_round(round_task)

        with_tasks()  # the first run also imports and connects
        shares = []
        for _ in range(runs):
            began = time.perf_counter()
            with_tasks()
            middle = time.perf_counter()
            every_round(a_round)
            shares.append((middle - began) - (time.perf_counter() - middle))
    return median(shares) / LARGE * 1000


def main() -> int:
    with job_server() as base_url:
        warm_up = Matrix(SMALL, base_url)  # imports and caches
        while warm_up.go_on():
            pass
        small, large = seconds_of_both(base_url)
    whole_small, own_small = (seconds / LARGE * 1000 for seconds in small)
    whole_large, own_large = (seconds / LARGE * 1000 for seconds in large)
    prefect = prefect_ms_per_cell()
    table = Table(title=f"Cost of a matrix beside its jobs, rounds of {ROUND_CELLS} cells")
    for heading in ("what", f"{SMALL} cells", f"{LARGE} cells", "measured", "limit"):
        table.add_column(heading, justify="left" if heading == "what" else "right")

    def row(what: str, few: float, many: float) -> bool:
        ratio = many / few
        table.add_row(what, f"{few:.3f}", f"{many:.3f}", f"{ratio:.2f}x", f"{GROWTH_LIMIT}x")
        return ratio <= GROWTH_LIMIT

    kept = [
        row("planning and storing, ms per cell", own_small, own_large),
        row("the same with the driver, ms per cell", whole_small, whole_large),
    ]
    table.add_row("Prefect, ms per cell", "", "", f"{prefect:.3f}", f"{PREFECT_LIMIT_MS}")
    Console().print(table)
    return 0 if all(kept) and prefect <= PREFECT_LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
