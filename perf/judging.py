"""How fast 1,000 outputs are judged by a Gemini on loopback that takes 200 ms for an answer, eight at once.

Limit: 1.2x of the ideal 1,000 x 0.2 s / 8 = 25 s. Everything a judgement takes is in it: hashing and decoding each
output, the request with both clips, the ledger, the stored transcript. Every output is another file. The service is a
process of its own. Run: python -m perf.judging
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from flows.evaluate_quality import EvaluateQualityRequest
from pointsman.clock import SystemClock
from pointsman.ids import dispatch_id
from pointsman.quality import complete, judge_chunk, load_rubric, open_evaluation_set, pending_chunks
from pointsman.quality.ffmpeg import ffmpeg_path
from pointsman.quality.gemini import GeminiJudge
from pointsman.settings import Secret
from pointsman.storage import LocalResults, open_database, tables
from pointsman.workspace import Workspace

OUTPUTS, AT_ONCE, ANSWER_S = 1000, 8, 0.2
CHUNK = EvaluateQualityRequest.model_fields["chunk_size"].default
LIMIT = 1.2
KEY = "key-of-the-stand-in"
BM = "bm_perf"
_SERVER = """
import json, re, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else the body waits until the head is acknowledged, 40 ms later, and an answer takes 240 ms.
    disable_nagle_algorithm = True
    def do_POST(self):
        began = time.monotonic()
        body = self.rfile.read(int(self.headers["content-length"]))
        label = re.search(rb"Judge the output labelled ([0-9a-f]{8})", body)[1].decode()
        names = ("fidelity", "artefacts", "temporal_consistency")
        criteria = {name: {"reason": "as seen", "level": 4} for name in names}
        text = json.dumps({"label": label, "words_for_the_judge": "", "criteria": criteria})
        document = {
            "candidates": [
                {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}
            ],
            "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 60, "totalTokenCount": 1060},
            "modelVersion": "loopback",
        }
        content = json.dumps(document).encode()
        time.sleep(max(0.0, float(sys.argv[1]) - (time.monotonic() - began)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *args):
        pass

server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def loopback_gemini() -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(ANSWER_S)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def make_outputs(ws: Workspace, folder: Path) -> None:
    """A matrix of two variants on 500 inputs; every output is a clip of one second that no other file equals."""
    clip = folder / "clip.mp4"
    shown = ("-f", "lavfi", "-i", "testsrc2=s=192x108:r=30:d=1", "-pix_fmt", "yuv420p")
    subprocess.run([ffmpeg_path(), "-v", "error", *shown, "-c:v", "libx264", "-crf", "30", str(clip)], check=True)
    content = clip.read_bytes()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    members: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    artifacts: list[dict[str, Any]] = []

    def store(relative: str, number: int) -> dict[str, Any]:
        # A box of its own at the end, which players skip: another file with the same picture.
        other = content + (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        path = ws.results.path(relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(other)
        return {"uri": path.as_uri(), "sha256": hashlib.sha256(other).hexdigest(), "bytes": len(other)}

    for number in range(OUTPUTS // 2):
        file = store(f"inputs/{number}", 10**6 + number)
        members.append({"input_id": f"input-{number}", "cluster": f"input-{number}", **file})
    for seq in range(OUTPUTS):
        cell, named = dispatch_id(BM, seq), f"input-{seq // 2}"
        variant = f"er:card:wf:w{seq % 2}:env:lab:stage:demo:provider:lab-cpu:exp:base"
        items.append(
            {
                "dispatch_id": cell,
                "benchmark_id": BM,
                "seq": seq,
                "round": 0,
                "variant_id": variant,
                "input_id": named,
                "cluster": named,
                "repeat": 0,
                "status": "completed",
            }
        )
        artifacts.append(
            {
                "id": cell,
                "run_id": BM,
                "subject_id": cell,
                "created_at": now,
                "artifact_type": "benchmark_variant_dispatches",
                **store(f"{BM}/outputs/{cell}", seq),
            }
        )
    matrix = {
        "id": BM,
        "parent_run_id": "run",
        "status": "collected",
        "input_set_id": "set",
        "environment_id": "lab",
        "seed": 1,
        "plan": {},
        "plan_sha256": "0" * 64,
        "results_path": BM,
        "created_at": now,
    }
    with ws.database.begin() as connection:
        inputs = {"id": "set", "sha256": "0" * 64, "members": members, "created_at": now}
        connection.execute(sa.insert(tables.input_sets).values(inputs))
        connection.execute(sa.insert(tables.benchmark_matrix_runs).values(matrix))
        connection.execute(sa.insert(tables.benchmark_matrix_run_items), items)
        connection.execute(sa.insert(tables.run_artifacts), artifacts)


def judge_all(ws: Workspace, url: str) -> tuple[float, float]:
    """Seconds of time and of this process's own CPU; chunk by chunk, as the flow does it."""
    started, cpu = time.perf_counter(), time.process_time()
    judge = GeminiJudge(
        api_key=Secret(KEY),
        model="gemini-2.5-flash",
        rubric=load_rubric("video-effect"),
        base_url=url,
        clock=SystemClock(),
        workers=AT_ONCE,
    )
    set_id = open_evaluation_set(ws, BM, judge.identity)
    for chunk in pending_chunks(ws, set_id, CHUNK).values():
        judge_chunk(ws, set_id, judge, chunk)
    complete(ws, set_id)
    return time.perf_counter() - started, time.process_time() - cpu


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, loopback_gemini() as url:
        database = open_database(f"sqlite:///{folder}/pointsman.db")
        ws = Workspace(database, LocalResults(Path(folder) / "results"), SystemClock(), "perf")
        make_outputs(ws, Path(folder))
        seconds, cpu = judge_all(ws, url)
        with database.connect() as connection:
            calls = connection.execute(sa.select(sa.func.count()).select_from(tables.attempts)).scalar()
        database.dispose()
    ideal = OUTPUTS * ANSWER_S / AT_ONCE
    held = seconds <= LIMIT * ideal
    table = Table(title=f"Judging {OUTPUTS:,} outputs, {AT_ONCE} at once, {1000 * ANSWER_S:.0f} ms an answer")
    for column in ("calls", "seconds", "ideal", "ratio", "limit", "CPU ms an output"):
        table.add_column(column, justify="right")
    table.add_row(
        *(str(calls), f"{seconds:.1f}", f"{ideal:.1f}", f"{seconds / ideal:.3f}", f"{LIMIT:g}"),
        f"{1000 * cpu / OUTPUTS:.1f}",
    )
    Console().print(table)
    print(f"Ratio {seconds / ideal:.3f}, limit {LIMIT:g}: {'held' if held else 'missed'}.")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
