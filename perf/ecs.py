"""What ECS costs a load test: how long from start to first dispatch, and how CPU time grows with the shards.

The ECS lab is started by its one command; a coordinator and 1, 2 and 4 shards then run as its tasks, every task with
processes of its own, all on this machine. Prefect's share of the time to the first dispatch is that from a flow run's
creation to its running: worker, RunTask, the task's interpreter and Prefect's own start in it. CPU time is that of all
processes of the tasks, as the operating system tells it to the process that waits for them.

Bars: every number of shards merges to the same totals, and N shards cost at most N times what one costs.
Usage: python perf/ecs.py
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

CHECKOUT = Path(__file__).resolve().parents[1]
CLUSTER = "load-test-cluster"
SHARDS = (1, 2, 4)
RATE, SECONDS = 20.0, 30.0
VARIANT = "er:postcard-1:wf:x264-veryfast-crf23:env:lab:stage:demo:provider:lab-cpu:exp:perf"
MOST_GROWTH = 1.0
"""What N shards cost, in N times what one costs."""
_ENDS_WITHIN_S = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Jobs:
    """Every job is done as soon as it is submitted."""

    first: float | None = None
    made: set[str] = field(default_factory=set)
    twice: int = 0

    def submitted(self, dispatch_id: str) -> None:
        self.first = self.first or time.time()
        self.twice += dispatch_id in self.made
        self.made.add(dispatch_id)


@dataclass(frozen=True)
class Measured:
    shards: int
    counts: dict[str, int]
    dispatches: frozenset[tuple[int, str]]
    """`seq` of each, and how it ended."""
    twice: int
    cpu_s: float
    first_dispatch_s: float
    coordinator_s: float
    """From its creation to its running."""
    slowest_shard_s: float
    """From the creation of the first to the running of the last."""

    @property
    def prefect_s(self) -> float:
        return self.coordinator_s + self.slowest_shard_s


def pointsman(home: Path, *words: str) -> Any:
    command = [sys.executable, "-c", "import sys; from service.cli import main; sys.exit(main())", *words, "--json"]
    env = {**os.environ, "POINTSMAN_HOME": str(home)}
    done = subprocess.run(command, cwd=CHECKOUT, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


@contextmanager
def ecs_lab() -> Iterator[Path]:
    """Its home. This process is pointed at it."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        home.chmod(0o755)  # the user that PostgreSQL runs as has to get through
        prefect, lab = (str(port) for port in _free_ports())
        try:
            told = pointsman(home, "up", "--ecs", "--prefect-port", prefect, "--lab-port", lab)
            os.environ.update(told["environment"], PREFECT_API_URL=f"{told['prefect_ui']}/api")
            yield Path(told["environment"]["POINTSMAN_HOME"])
        finally:
            pointsman(home, "down")


@contextmanager
def job_server(jobs: Jobs) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/v1/jobs":
                jobs.submitted(body["dispatch_id"])
                self._answer(202, _job(body["dispatch_id"]))
            else:
                self._answer(200, {"jobs": [_job(name) for name in body["ids"]], "unknown": []})

        def _answer(self, status: int, document: Any) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _job(dispatch_id: str) -> dict[str, str]:
    return {"dispatch_id": dispatch_id, "job_id": dispatch_id, "status": "completed"}


def measure(home: Path, shards: int) -> Measured:
    from prefect.client.orchestration import get_client

    from deployments.blocks import save_blocks
    from pointsman.benchmark import register_variants
    from pointsman.dispatch import TargetSpec
    from pointsman.ids import VariantId
    from pointsman.model import Variant
    from pointsman.scenario import read_run, run_status, scan_ledger
    from pointsman.settings import load_settings
    from pointsman.workspace import Workspace
    from service.cli.lab_setup import INPUT_SET
    from service.cli.world import World

    ws = Workspace.open(load_settings(), actor="perf")
    register_variants(ws, [Variant(VariantId.parse(VARIANT), "perf")])
    aws = World.load(home).processes["aws"].pid
    jobs, run_id = Jobs(), f"perf-{shards}"
    stage = {"name": "all", "rate": RATE, "duration_s": SECONDS}
    scenario = {"name": "perf", "stages": [stage], "shards": shards, "drain_limit_s": 30.0}
    asked = {"scenario": scenario, "variant": VARIANT, "input_set": INPUT_SET, "run_id": run_id}
    before_s = _cpu_of_tasks(aws)
    with job_server(jobs) as url, get_client(sync_client=True) as client:
        save_blocks({"target/perf": ("pointsman-target", TargetSpec(name="lab", preset="lab", base_url=url))})
        deployment = client.read_deployment_by_name("run-scenario/ecs")
        began = time.time()
        made = client.create_flow_run_from_deployment(deployment.id, parameters={"request": asked}).id
        until = time.monotonic() + _ENDS_WITHIN_S
        while not ((state := client.read_flow_run(made).state) and state.is_final()):
            if time.monotonic() > until:
                sys.exit(f"{run_id} did not end within {_ENDS_WITHIN_S:.0f} s: pointsman doctor")
            time.sleep(0.5)
        if not state.is_completed():
            sys.exit(f"{run_id} ended {state}")
        coordinator = _started(client, made)
        named = {one.name: one.id for one in client.read_flow_runs(limit=200)}
        of_shards = [_started(client, named[f"{run_id}-{shard}-1"]) for shard in range(shards)]
    _await_no_task()
    assert jobs.first is not None
    return Measured(
        shards,
        run_status(ws, run_id)["counts"],
        frozenset(scan_ledger(ws, read_run(ws, run_id)).select("seq", "state").collect().iter_rows()),
        jobs.twice,
        _cpu_of_tasks(aws) - before_s,
        jobs.first - began,
        coordinator[1] - coordinator[0],
        max(running for _, running in of_shards) - min(created for created, _ in of_shards),
    )


def _started(client: Any, flow_run: UUID) -> tuple[float, float]:
    """When the flow run was created, and when it was running."""
    states = client.read_flow_run_states(flow_run)
    running = next(state.timestamp for state in states if state.name == "Running")
    return min(state.timestamp for state in states).timestamp(), running.timestamp()


def _cpu_of_tasks(pid: int) -> float:
    """Seconds of every process of a task that has ended, which the lab's AWS has waited for: fields 16 and 17."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICKS


def _await_no_task() -> None:
    """Until every task has stopped: its processes are waited for by then."""
    import boto3

    ecs = boto3.client("ecs")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        listed = [ecs.list_tasks(cluster=CLUSTER, desiredStatus=one)["taskArns"] for one in ("RUNNING", "STOPPED")]
        arns = [arn for found in listed for arn in found][-100:]
        if {one["lastStatus"] for one in ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"]} == {"STOPPED"}:
            return
        time.sleep(0.2)
    sys.exit("A task did not stop: pointsman doctor")


def _free_ports() -> list[int]:
    held = [socket.socket() for _ in range(2)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def main() -> int:
    with ecs_lab() as home:
        found = [measure(home, shards) for shards in SHARDS]
    one, most = found[0], found[-1]
    table = Table(title=f"From start to first dispatch with {most.shards} shards on ECS, {os.cpu_count()} cores")
    for column in ("what", "seconds", "share"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, seconds in (
        ("in all", most.first_dispatch_s),
        ("Prefect: coordinator created to running", most.coordinator_s),
        ("Prefect: first shard created to last running", most.slowest_shard_s),
        ("Prefect", most.prefect_s),
        ("ours", most.first_dispatch_s - most.prefect_s),
    ):
        table.add_row(what, f"{seconds:.1f}", f"{seconds / most.first_dispatch_s:.0%}")
    Console().print(table)
    planned = round(RATE * SECONDS)
    table = Table(title=f"{planned} dispatches at {RATE:.0f}/s, by how many shards")
    for column in ("shards", "completed", "same totals", "sent twice", "CPU s", "of N times one", "bar", "held"):
        table.add_column(column, justify="right")
    held = []
    for each in found:
        same = each.counts == one.counts and each.dispatches == one.dispatches and len(each.dispatches) == planned
        growth = each.cpu_s / (each.shards * one.cpu_s)
        held.append(same and each.twice == 0 and growth <= MOST_GROWTH)
        table.add_row(
            str(each.shards),
            str(each.counts["completed"]),
            "yes" if same else "NO",
            str(each.twice),
            f"{each.cpu_s:.1f}",
            f"{growth:.0%}",
            f"{MOST_GROWTH:.0%}",
            "yes" if held[-1] else "NO",
        )
    Console().print(table)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
