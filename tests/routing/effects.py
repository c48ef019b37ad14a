"""A target in a thread that speaks the lab's HTTP API and runs a routed job on what the flagd file says: at once, or,
where `slow` says so, after a while in a queue.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.routing import Gateway, resolve

SECRET = "s3cret"
QUEUE_S = 1.0
QUEUED_UNTIL = "2026-01-01T00:00:01.000Z"
AT = "2026-01-01T00:00:00.000Z"


class Effects:
    """What was submitted, and the two ways in which it can fail: jobs that fail, and submissions that never end."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.jobs: dict[str, dict[str, object]] = {}
        self.outcome = "completed"
        self.fails: Callable[[Binding, VariantId], bool] = lambda _binding, _variant: False
        self.slow: Callable[[Binding, VariantId], bool] = lambda _binding, _variant: False
        self.url = ""
        self._lock = Lock()
        self._queued: dict[str, float] = {}

    def submit(self, asked: dict[str, object]) -> dict[str, object]:
        dispatch_id = str(asked["dispatch_id"])
        with self._lock:
            if dispatch_id not in self.jobs:
                binding = self.gateway.read(RouteKey.parse(str(asked["route_key"])))
                assert binding is not None
                chosen = resolve(binding, dispatch_id)
                outcome = "failed" if self.fails(binding, chosen) else self.outcome
                if self.slow(binding, chosen):
                    self._queued[dispatch_id] = time.monotonic() + QUEUE_S
                    outcome = "queued"
                self.jobs[dispatch_id] = self._job(dispatch_id, str(chosen), binding.generation, outcome)
            return self.jobs[dispatch_id]

    def look(self, dispatch_id: str) -> dict[str, object]:
        """The job as it is now: one that has queued for long enough is done."""
        if dispatch_id in self._queued and time.monotonic() >= self._queued[dispatch_id]:
            job = self.jobs[dispatch_id]
            job.update(self._job(dispatch_id, str(job["variant"]), int(str(job["generation"])), "completed"))
            # What the target says of its queue counts, not when it was asked.
            job.update(queue_ms=1000 * QUEUE_S, started_at=QUEUED_UNTIL, ended_at=QUEUED_UNTIL)
        return self.jobs[dispatch_id]

    def _job(self, dispatch_id: str, variant: str, generation: int, outcome: str) -> dict[str, object]:
        ended = outcome in ("completed", "failed")
        return {
            "dispatch_id": dispatch_id,
            "job_id": f"job-{dispatch_id}",
            "status": outcome,
            "reason": "encoder crashed" if outcome == "failed" else None,
            "variant": variant,
            "route_key": None,
            "generation": generation,
            "created_at": AT,
            "started_at": AT if ended else None,
            "ended_at": AT if ended else None,
            "queue_ms": 1.0 if ended else None,
            "run_ms": 2.0 if ended else None,
            "attempts": [],
            "output": None,
        }

    def answer(self, path: str, asked: dict[str, object]) -> tuple[int, dict[str, object]]:
        if path == "/v1/jobs":
            return 202, self.submit(asked)
        if path == "/v1/jobs/status":
            ids = [str(one) for one in asked["ids"]]  # type: ignore[attr-defined]
            known = [self.look(one) for one in ids if one in self.jobs]
            return 200, {"jobs": known, "unknown": [one for one in ids if one not in self.jobs]}
        if path.endswith("/cancel"):
            job = self.jobs[path.split("/")[-2]]
            job.update(status="cancelled", ended_at=AT)
            return 200, job
        return 404, {}


@contextmanager
def effects(gateway: Gateway) -> Iterator[Effects]:
    state = Effects(gateway)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("X-Studio-Executor-Secret") != SECRET:
                status, document = 401, {"code": "unauthorized"}
            else:
                status, document = state.answer(self.path, json.loads(body or b"{}"))
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
