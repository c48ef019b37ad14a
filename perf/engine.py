"""How fast the dispatch engine is: `python perf/engine.py` prints a table and exits 1 when a bar is missed.

Closed loop: dispatches per second with the journal on, beside Locust's FastHttpUser on the same cores, both against one
nginx that answers a fixed text, in alternating rounds; the bar is three times Locust's median. Open loop: 2,000
dispatches per second for 30 seconds; the bar is a lateness of 2 ms at p99 and nothing dropped. Takes about 90 seconds.

Needs nginx on the PATH, and Locust: in this interpreter, or POINTSMAN_LOCUST names its executable.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from pointsman.dispatch import (
    DriveInput,
    DrivePlan,
    DriveSummary,
    Limits,
    TargetSpec,
    drive,
    planned_dispatches,
    read_dispatches,
    write_drive,
)

ROUNDS = 3
IN_FLIGHT = 64
CLOSED_DISPATCHES = 60_000
LOCUST_S = 5
OPEN_PER_S, OPEN_S = 2_000, 30
RATIO_BAR, LATENESS_BAR_MS = 3.0, 2.0
VARIANT = "er:perf:wf:fixed:env:perf:stage:bench:provider:nginx:exp:none"
LOCUSTFILE = """
from locust import FastHttpUser, constant, task
class Reader(FastHttpUser):
    wait_time = constant(0)
    @task
    def read(self):
        self.client.get("/")
"""


@dataclass(frozen=True)
class Rate:
    per_s: float
    cpu_us: float
    """CPU time of the client per request, kernel included."""


def missing_tools() -> list[str]:
    missing = []
    if shutil.which("nginx") is None:
        missing.append("nginx (e.g. apt-get install nginx-light)")
    if locust_command() is None:
        missing.append("locust (pip install '.[bench]', or set POINTSMAN_LOCUST to its executable)")
    return missing


def locust_command() -> list[str] | None:
    named = os.environ.get("POINTSMAN_LOCUST")
    if named:
        return [named]
    return [sys.executable, "-m", "locust"] if importlib.util.find_spec("locust") else None


@contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """A fixed answer on a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;"
        "events { worker_connections 4096; }"
        "http { access_log off; keepalive_requests 1000000000; client_body_temp_path body; proxy_temp_path proxy;"
        "fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;"
        f'server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }} }}'
    )
    server = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(config), "-e", f"{folder}/error.log"])
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise SystemExit(f"nginx does not listen: {(folder / 'error.log').read_text()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def carry_out(folder: Path, url: str, count: int, *, per_s: int | None, in_flight: int) -> DriveSummary:
    due = None if per_s is None else (np.arange(count) * (1e9 / per_s)).astype(np.int64)
    plan = DrivePlan(
        run_id=folder.name,
        target=TargetSpec(name="nginx", preset="fixed", base_url=url),
        variants={VARIANT: {}},
        inputs={"none": DriveInput(uri="none", sha256="0" * 64, bytes=0, cluster="none")},
        dispatches=planned_dispatches(route=[VARIANT] * count, input_id="none", due_ns=due),
        limits=Limits(max_in_flight=in_flight, drain_limit_s=10),
    )
    write_drive(folder, plan)
    return drive(folder, secret=None)


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def engine_round(folder: Path, url: str) -> Rate:
    before = children_cpu_s()
    summary = carry_out(folder, url, CLOSED_DISPATCHES, per_s=None, in_flight=IN_FLIGHT)
    if summary.counts["completed"] != CLOSED_DISPATCHES:
        raise SystemExit(f"not every dispatch completed: {dict(summary.counts)}")
    rows = read_dispatches(folder)
    seconds = (rows["done_ns"].to_numpy().max() - rows["sent_ns"].to_numpy().min()) / 1e9
    return Rate(CLOSED_DISPATCHES / seconds, (children_cpu_s() - before) / CLOSED_DISPATCHES * 1e6)


def locust_round(folder: Path, url: str) -> Rate:
    folder.mkdir()
    (folder / "locustfile.py").write_text(LOCUSTFILE)
    before = children_cpu_s()
    command = [*(locust_command() or []), "-f", "locustfile.py", "--headless", "--only-summary", "--csv", "found"]
    load = ["-H", url, "-u", str(IN_FLIGHT), "-r", str(IN_FLIGHT), "-t", f"{LOCUST_S}s"]
    subprocess.run([*command, *load], cwd=folder, capture_output=True, timeout=60, check=False)
    cpu_s = children_cpu_s() - before
    with (folder / "found_stats.csv").open() as file:
        total = next(row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
    return Rate(float(total["Requests/s"]), cpu_s / max(1, int(total["Request Count"])) * 1e6)


def verdict(good: bool) -> str:
    return "ok" if good else "MISSED"


def main() -> int:
    missing = missing_tools()
    if missing:
        print("Cannot measure; install: " + "; ".join(missing))
        return 1
    engine: list[Rate] = []
    locust: list[Rate] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "nginx").mkdir()
        with nginx(folder / "nginx") as url:
            for number in range(ROUNDS):
                locust.append(locust_round(folder / f"locust-{number}", url))
                engine.append(engine_round(folder / f"closed-{number}", url))
            opened = carry_out(folder / "open", url, OPEN_PER_S * OPEN_S, per_s=OPEN_PER_S, in_flight=10_000)
    rates = {
        name: (statistics.median(rate.per_s for rate in found), statistics.median(rate.cpu_us for rate in found))
        for name, found in (("Locust FastHttpUser", locust), ("engine, journal on", engine))
    }
    ratio = rates["engine, journal on"][0] / rates["Locust FastHttpUser"][0]
    late = opened.lateness_ms
    good_ratio = ratio >= RATIO_BAR
    good_lateness = late.p99 is not None and late.p99 <= LATENESS_BAR_MS
    good_drops = opened.counts["dropped"] == 0 and opened.counts["completed"] == OPEN_PER_S * OPEN_S
    print(f"Closed loop, {IN_FLIGHT} in flight, median of {ROUNDS} rounds, {os.cpu_count()} cores, one nginx worker")
    print(f"  {'':22}{'per second':>12}{'CPU us each':>14}   rounds")
    for (name, (per_s, cpu_us)), found in zip(rates.items(), (locust, engine), strict=True):
        print(f"  {name:22}{per_s:12,.0f}{cpu_us:14.0f}   {', '.join(f'{rate.per_s:,.0f}' for rate in found)}")
    print(f"  ratio {ratio:.2f} (bar: {RATIO_BAR:g} or more): {verdict(good_ratio)}")
    print(f"Open loop, {OPEN_PER_S:,}/s for {OPEN_S} s, lateness in ms")
    print(f"  {'p50':>8}{'p99':>8}{'p99.9':>8}{'max':>8}{'dropped':>9}{'completed':>11}{'achieved/s':>12}")
    figures = "".join(f"{value or 0:8.2f}" for value in (late.p50, late.p99, late.p999, late.max))
    counted = f"{opened.counts['dropped']:9,}{opened.counts['completed']:11,}{opened.achieved_per_s:12,.1f}"
    print(f"  {figures}{counted}")
    print(f"  p99 {late.p99 or 0:.2f} ms (bar: {LATENESS_BAR_MS:g} or less): {verdict(good_lateness)}")
    print(f"  nothing dropped, everything completed: {verdict(good_drops)}")
    return 0 if good_ratio and good_lateness and good_drops else 1


if __name__ == "__main__":
    sys.exit(main())
