"""How fast and how small the dispatch engine is: `python perf/engine.py` prints a table, exits 1 for a missed bar.

Closed loop, journal and sketches on, against one nginx that answers a fixed text, a million dispatches in each of the
alternating rounds: dispatches per second beside Locust's FastHttpUser (bar: five times its median), and per second of
CPU beside hey (bar: 0.8 times), start and end of the process included; the process stays below 300 MB. Open loop: 5,000
dispatches a second for 60 seconds; the bars are a lateness of 2 ms at p99 and 10 ms at p99.9, and 99.9 % of the rate.
Takes about five minutes.

Needs nginx and hey on the PATH, and Locust: in this interpreter, or POINTSMAN_LOCUST names its executable.
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
import threading
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
MILLION = 1_000_000
LOCUST_S = 15
OPEN_PER_S, OPEN_S = 5_000, 60
LOCUST_BAR, HEY_BAR = 5.0, 0.8
P99_BAR_MS, P999_BAR_MS, ACHIEVED_BAR = 2.0, 10.0, 0.999
PEAK_BAR_MB = 300
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
    if shutil.which("hey") is None:
        missing.append("hey (e.g. apt-get install hey)")
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
    summary = carry_out(folder, url, MILLION, per_s=None, in_flight=IN_FLIGHT)
    if summary.counts["completed"] != MILLION:
        raise SystemExit(f"not every dispatch completed: {dict(summary.counts)}")
    rows = read_dispatches(folder)
    seconds = (rows["done_ns"].to_numpy().max() - rows["sent_ns"].to_numpy().min()) / 1e9
    return Rate(MILLION / seconds, (children_cpu_s() - before) / MILLION * 1e6)


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


def hey_round(url: str) -> Rate:
    before = children_cpu_s()
    load = ["-n", str(MILLION), "-c", str(IN_FLIGHT)]
    told = subprocess.run(["hey", *load, url], capture_output=True, text=True, timeout=120, check=True).stdout
    cpu_s = children_cpu_s() - before
    per_s = next(float(line.split(":")[1]) for line in told.splitlines() if "Requests/sec" in line)
    return Rate(per_s, cpu_s / MILLION * 1e6)


class Peak:
    """The most memory that the driver's process has held, in MB, looked at while it runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder).encode()
        self._over = threading.Event()
        self.mb = 0
        self._looking = threading.Thread(target=self._look)

    def __enter__(self) -> Peak:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()

    def _look(self) -> None:
        child: Path | None = None
        while not self._over.wait(0.05):
            try:
                child = child or self._find()
                if child is not None:
                    # From /proc: what getrusage says of a child begins with the size of its parent.
                    lines = (child / "status").read_text().splitlines()
                    kb = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
                    self.mb = max(self.mb, kb // 1024)
            except (OSError, StopIteration):
                child = None  # it is over

    def _find(self) -> Path | None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"pointsman.dispatch.child" in words and self._folder in words:
                    return entry
        return None


def verdict(good: bool) -> str:
    return "ok" if good else "MISSED"


def main() -> int:
    missing = missing_tools()
    if missing:
        print("Cannot measure; install: " + "; ".join(missing))
        return 1
    engine: list[Rate] = []
    locust: list[Rate] = []
    hey: list[Rate] = []
    peaks_mb: list[int] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "nginx").mkdir()
        with nginx(folder / "nginx") as url:
            for number in range(ROUNDS):
                locust.append(locust_round(folder / f"locust-{number}", url))
                hey.append(hey_round(url))
                with Peak(folder / f"closed-{number}") as peak:
                    engine.append(engine_round(folder / f"closed-{number}", url))
                peaks_mb.append(peak.mb)
            opened = carry_out(folder / "open", url, OPEN_PER_S * OPEN_S, per_s=OPEN_PER_S, in_flight=10_000)
    found = {"Locust FastHttpUser": locust, "hey": hey, "engine, journal on": engine}
    # The median of the ratios within a round: the speed of a shared machine changes from one round to the next.
    over_locust = statistics.median(own.per_s / other.per_s for own, other in zip(engine, locust, strict=True))
    over_hey = statistics.median(other.cpu_us / own.cpu_us for own, other in zip(engine, hey, strict=True))
    late = opened.lateness_ms
    achieved = opened.achieved_per_s / OPEN_PER_S
    bars = [
        (f"{over_locust:.2f} times Locust a second (bar: {LOCUST_BAR:g} or more)", over_locust >= LOCUST_BAR),
        (f"{over_hey:.2f} times hey a second of CPU (bar: {HEY_BAR:g} or more)", over_hey >= HEY_BAR),
        (f"peak {max(peaks_mb)} MB (bar: {PEAK_BAR_MB} or less)", 0 < max(peaks_mb) <= PEAK_BAR_MB),
    ]
    print(f"Closed loop, {MILLION:,} dispatches, {IN_FLIGHT} in flight, one nginx worker, {os.cpu_count()} cores")
    print(f"  {'':22}{'per second':>12}{'CPU us each':>14}   rounds")
    for name, rates in found.items():
        rounds = ", ".join(f"{rate.per_s:,.0f}" for rate in rates)
        per_s, cpu_us = (statistics.median(getattr(rate, of) for rate in rates) for of in ("per_s", "cpu_us"))
        print(f"  {name:22}{per_s:12,.0f}{cpu_us:14.1f}   {rounds}")
    print_bars(bars)
    everything = opened.counts["dropped"] == 0 and opened.counts["completed"] == OPEN_PER_S * OPEN_S
    bars_of_open = [
        (f"p99 {late.p99 or 0:.2f} ms (bar: {P99_BAR_MS:g} or less)", (late.p99 or 0) <= P99_BAR_MS),
        (f"p99.9 {late.p999 or 0:.2f} ms (bar: {P999_BAR_MS:g} or less)", (late.p999 or 0) <= P999_BAR_MS),
        (f"{achieved:.2%} of the rate (bar: {ACHIEVED_BAR:.1%} or more)", achieved >= ACHIEVED_BAR),
        ("nothing dropped, everything completed", everything),
    ]
    print(f"Open loop, {OPEN_PER_S:,}/s for {OPEN_S} s, lateness in ms")
    print(f"  {'p50':>8}{'p99':>8}{'p99.9':>8}{'max':>8}{'dropped':>9}{'completed':>11}{'achieved/s':>12}")
    figures = "".join(f"{value or 0:8.2f}" for value in (late.p50, late.p99, late.p999, late.max))
    counted = f"{opened.counts['dropped']:9,}{opened.counts['completed']:11,}{opened.achieved_per_s:12,.1f}"
    print(f"  {figures}{counted}")
    print_bars(bars_of_open)
    return 0 if all(good for _, good in (*bars, *bars_of_open)) else 1


def print_bars(bars: list[tuple[str, bool]]) -> None:
    for text, good in bars:
        print(f"  {text}: {verdict(good)}")


if __name__ == "__main__":
    sys.exit(main())
