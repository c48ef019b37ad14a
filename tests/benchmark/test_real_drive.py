"""One round through the real driver, its child process and HTTP, against a small job server on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.benchmark import create_matrix, finish_matrix, rounds, run_round, run_round_elsewhere
from pointsman.benchmark.chunks import begin_turn
from pointsman.clock import SystemClock
from pointsman.dispatch import DriveStatus, TargetSpec, targets
from pointsman.ids import VariantId
from pointsman.model import InputSet
from pointsman.settings import Secret
from pointsman.storage import local_path, tables
from pointsman.workspace import Workspace
from tests.benchmark.machines import Machines

_TIME = "2026-01-01T00:00:00+00:00"


def _job(body: dict[str, Any]) -> dict[str, Any]:
    """A finished job after one lost attempt; jobs of vp9 failed, their only attempt is billed all the same."""
    provider = VariantId.parse(body["variant"]).provider
    failed = ":wf:vp9:" in body["variant"]
    content = body["dispatch_id"].encode()

    def attempt(number: int, outcome: str) -> dict[str, Any]:
        measured = {"wall_seconds": 0.5, "cpu_seconds": 0.4, "vcpus": 2, "memory_gb": 4, "output_bytes": None}
        times = {"started_at": _TIME, "ended_at": _TIME}
        return {"number": number, "provider": provider, "outcome": outcome, **times, **measured}

    return {
        "dispatch_id": body["dispatch_id"],
        "job_id": "job-" + body["dispatch_id"][-12:],
        "status": "failed" if failed else "completed",
        "reason": "the encoder ended with code 1" if failed else None,
        "variant": body["variant"],
        "route_key": None,
        "generation": None,
        "created_at": _TIME,
        "started_at": _TIME,
        "ended_at": _TIME,
        "queue_ms": 1.0,
        "run_ms": 2.0,
        "attempts": [attempt(1, "failed")] if failed else [attempt(1, "lost"), attempt(2, "completed")],
        "output": None
        if failed
        else {"path": "/x", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
    }


class _Jobs(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.submissions: Counter[str] = Counter()
        self.secrets: set[str | None] = set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Jobs

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(200, self.path.split("/")[3].encode())

    def do_POST(self) -> None:
        self.server.secrets.add(self.headers["X-Studio-Executor-Secret"])
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/jobs":
            self.server.submissions[body["dispatch_id"]] += 1
            job = self.server.jobs.setdefault(body["dispatch_id"], _job(body))
            self._answer(202, json.dumps({**job, "status": "queued", "attempts": [], "output": None}).encode())
        else:
            found = [self.server.jobs[name] for name in body["ids"] if name in self.server.jobs]
            unknown = [name for name in body["ids"] if name not in self.server.jobs]
            self._answer(200, json.dumps({"jobs": found, "unknown": unknown}).encode())

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def jobs() -> Iterator[_Jobs]:
    with _Jobs() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_matrix_of_one_round_through_the_real_driver(
    ws: Workspace, registered: list[VariantId], inputs: InputSet, jobs: _Jobs
) -> None:
    ws = Workspace(ws.database, ws.results, SystemClock(), ws.actor)
    create_matrix(
        ws,
        benchmark_id="bm_real",
        parent_run_id=None,
        variants=registered,
        inputs=inputs,
        repeats=1,
        seed=1,
        round_cells=12,
        environment_id="lab",
        targets=[TargetSpec(name="lab", preset="lab", base_url=f"http://127.0.0.1:{jobs.server_port}")],
        in_flight_per_provider=3,
    )
    statuses: list[DriveStatus] = []
    assert rounds(ws, "bm_real") == [0]
    outcome = run_round(ws, "bm_real", 0, secret=Secret("word"), cancelled=lambda: False, on_status=statuses.append)
    assert outcome.counts == {"completed": 8, "failed": 4}
    assert finish_matrix(ws, "bm_real").status == "collected"
    assert jobs.secrets == {"word"}
    assert len(jobs.submissions) == 12
    assert set(jobs.submissions.values()) == {1}
    with ws.database.begin() as connection:
        items = connection.execute(sa.select(tables.benchmark_matrix_run_items)).all()
        attempts = connection.execute(sa.select(tables.attempts)).all()
        usage = connection.execute(sa.select(tables.usage)).all()
        artifacts = connection.execute(sa.select(tables.run_artifacts)).all()
    assert {item.dispatch_id for item in items} == set(jobs.submissions)
    assert {item.reason for item in items if item.status == "failed"} == {"failed: the encoder ended with code 1"}
    assert Counter(attempt.outcome for attempt in attempts) == {"lost": 8, "completed": 8, "failed": 4}
    assert len(usage) == 2 * len(attempts)
    assert {row.quantity for row in usage} == {Decimal("1"), Decimal("2")}
    assert {row.sku for row in usage if row.subject_id.startswith(items[0].dispatch_id)} <= {
        f"{VariantId.parse(items[0].variant_id).provider}:{unit}" for unit in ("vcpu-second", "gb-second")
    }
    assert len(artifacts) == 8
    for artifact in artifacts:
        assert local_path(artifact.uri).read_bytes() == artifact.subject_id.encode()


def test_a_successor_of_a_task_that_is_gone_with_its_disk_sends_nothing_again_to_a_target_that_would_do_it_twice(
    ws: Workspace, registered: list[VariantId], inputs: InputSet, jobs: _Jobs, tmp_path: Path
) -> None:
    known = (Path(targets.__file__).parent / "presets" / "lab.toml").read_text()
    own = tmp_path / "once.toml"
    own.write_text(known.replace("idempotent_submit = true", "idempotent_submit = false"))
    machines = Machines(tmp_path / "machines")
    one, two = (Workspace(ws.database, machines.machine(name), SystemClock(), name) for name in ("one", "two"))
    create_matrix(
        one,
        benchmark_id="bm_real",
        parent_run_id=None,
        variants=registered,
        inputs=inputs,
        repeats=1,
        seed=1,
        round_cells=12,
        environment_id="lab",
        targets=[TargetSpec(name="lab", preset=str(own), base_url=f"http://127.0.0.1:{jobs.server_port}")],
        in_flight_per_provider=1,
        drain_limit_s=20,
    )

    def run(ws: Workspace, cancelled: Callable[[], bool]) -> None:
        turn = begin_turn(ws, "bm_real", "bm_real-rounds-0-0")
        run_round_elsewhere(
            ws,
            "bm_real",
            0,
            turn=turn,
            at_once=1,
            secret=Secret("word"),
            cancelled=cancelled,
            on_status=lambda status: None,
        )

    def gone() -> bool:
        machines.bucket.is_out = True
        if len(jobs.submissions) >= 2:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        run(one, gone)
    sent = set(jobs.submissions)
    machines.bucket.is_out = False
    run(two, lambda: False)
    assert set(jobs.submissions) == sent
    assert set(jobs.submissions.values()) == {1}
    with ws.database.begin() as connection:
        items = connection.execute(sa.select(tables.benchmark_matrix_run_items)).all()
    by_id = {item.dispatch_id: item for item in items}
    assert len(by_id) == 12
    assert {by_id[one].status for one in sent} <= {"completed", "failed"}
    for item in items:
        if item.dispatch_id not in sent:
            assert (item.status, item.reason.split(":")[0]) == ("failed", "unknown")
