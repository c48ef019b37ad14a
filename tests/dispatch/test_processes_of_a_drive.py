"""Drives in real processes: carried out, cancelled, killed, orphaned, and continued."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pointsman.dispatch import (
    DriveInput,
    DrivePlan,
    DriveStatus,
    Limits,
    TargetSpec,
    check_target,
    drive,
    planned_dispatches,
    read_dispatches,
    read_status,
    write_drive,
)
from pointsman.dispatch.reading import is_running
from pointsman.errors import Conflict, DependencyDown, InputRefused, RunFailed
from pointsman.ids import VariantId
from pointsman.model import InputMember, Variant
from pointsman.settings import Secret
from tests.dispatch.loopback import Asked, Say, http, listening
from tests.dispatch.world import VARIANT

SECRET = Secret("s3cret")


def write(
    folder: Path, url: str, count: int, *, preset: str = "fixed", per_s: float | None = None, **limits: object
) -> Path:
    due = None if per_s is None else [round(at * 1e9 / per_s) for at in range(count)]
    plan = DrivePlan(
        run_id="real",
        target=TargetSpec(name="t", preset=preset, base_url=url),
        variants={VARIANT: {}},
        inputs={"i": DriveInput(uri="/clip", sha256="0" * 64, bytes=1, cluster="c")},
        dispatches=planned_dispatches(route=[VARIANT] * count, input_id="i", due_ns=due),
        limits=Limits(**{"max_in_flight": 500, "poll_interval_s": 0.05, "drain_limit_s": 5.0, **limits}),
    )
    write_drive(folder / "drive", plan)
    return folder / "drive"


def processes_of(drive_dir: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"pointsman.dispatch.child" in words and str(drive_dir).encode() in words:
                found.append(int(entry.name))
    return found


def jobs(asked: Asked) -> Say:
    """A job API whose jobs run for ever."""
    if asked.path.endswith("/status"):
        ids = json.loads(asked.body)["ids"]
        documents = [{"dispatch_id": one, "status": "leased"} for one in ids]
        return http(200, json.dumps({"jobs": documents, "unknown": []}).encode())
    one = json.loads(asked.body)["dispatch_id"] if asked.body else asked.path.split("/")[3]
    status = "cancelled" if asked.path.endswith("/cancel") else "queued"
    return http(202, json.dumps({"dispatch_id": one, "status": status}).encode())


def test_a_drive_is_carried_out_once_and_leaves_no_process(tmp_path: Path) -> None:
    seen: list[DriveStatus] = []
    with listening(lambda _: http(200, b"ok")) as server:
        drive_dir = write(tmp_path, server.url, 300, per_s=200.0)
        summary = drive(drive_dir, secret=SECRET, on_status=seen.append)
        assert drive(drive_dir, secret=SECRET) == summary
    assert summary.counts["completed"] == 300
    assert len(server.asked) == 300
    assert processes_of(drive_dir) == []
    assert seen[-1].counts["planned"] == 300
    assert not any("x-studio-executor-secret" in asked.headers for asked in server.asked)  # its preset asks for none
    assert SECRET.reveal().encode() not in b"".join(
        path.read_bytes() for path in drive_dir.rglob("*") if path.is_file()
    )
    assert read_dispatches(drive_dir)["state"].to_list() == ["completed"] * 300


def test_cancelling_ends_the_jobs_at_the_target_and_closes_the_drive(tmp_path: Path) -> None:
    with listening(jobs) as server:
        drive_dir = write(tmp_path, server.url, 20, preset="lab", max_in_flight=3)
        summary = drive(drive_dir, secret=SECRET, cancelled=lambda: len(server.asked) > 5)
    assert summary.outcome == "cancelled"
    assert (summary.counts["cancelled_sent"], summary.counts["cancelled_unsent"]) == (3, 17)
    assert sum(asked.path.endswith("/cancel") for asked in server.asked) == 3
    assert {asked.headers["x-studio-executor-secret"] for asked in server.asked} == {"s3cret"}
    assert processes_of(drive_dir) == []


def test_a_killed_child_says_so_and_the_same_call_continues(tmp_path: Path) -> None:
    with listening(lambda _: Say(http(200, b"ok").raw, after_s=0.02)) as server:
        drive_dir = write(tmp_path, server.url, 100, per_s=50.0)

        def kill(status: DriveStatus) -> None:
            if status.counts["sent"] > 20:
                for pid in processes_of(drive_dir):
                    os.kill(pid, signal.SIGKILL)

        with pytest.raises(RunFailed) as failed:
            drive(drive_dir, secret=None, on_status=kill)
        assert failed.value.code == "driver_died"
        assert read_status(drive_dir).phase == "interrupted"
        summary = drive(drive_dir, secret=None)
    # The fixed preset promises no idempotency: what was claimed and not written down is unknown, not sent again.
    assert summary.counts["completed"] + summary.counts["unknown"] == 100
    assert len(server.asked) <= 100
    assert len(summary.interruptions) == 1


def test_an_orphaned_child_stops_by_itself_and_leaves_a_drive_that_continues(tmp_path: Path) -> None:
    with listening(jobs) as server:
        drive_dir = write(tmp_path, server.url, 5, preset="lab", max_in_flight=2)
        code = (
            "import sys; from pathlib import Path; from pointsman.dispatch import drive;"
            "from pointsman.settings import Secret; drive(Path(sys.argv[1]), secret=Secret('s3cret'))"
        )
        parent = subprocess.Popen([sys.executable, "-c", code, str(drive_dir)], stderr=subprocess.DEVNULL)
        wait_until(lambda: len(server.asked) >= 4)
        assert is_running(drive_dir)
        parent.kill()
        parent.wait()
        wait_until(lambda: not is_running(drive_dir), seconds=2.0)
        assert not any(asked.path.endswith("/cancel") for asked in server.asked)
        assert read_status(drive_dir).phase == "interrupted"
        submitted = [asked for asked in server.asked if asked.path == "/v1/jobs"]
        summary = drive(drive_dir, secret=SECRET, cancelled=lambda: True)
        assert (summary.counts["cancelled_sent"], summary.counts["cancelled_unsent"]) == (2, 3)
        assert sum(asked.path.endswith("/cancel") for asked in server.asked) == 2  # heard even when asked for at once
        assert [asked for asked in server.asked if asked.path == "/v1/jobs"] == submitted


def wait_until(true: object, seconds: float = 60.0) -> None:
    give_up = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.02)


def test_a_target_that_nobody_reaches_is_lost_with_an_instruction(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    drive_dir = write(tmp_path, f"http://127.0.0.1:{port}", 5, target_patience_s=0.3)
    with pytest.raises(DependencyDown) as lost:
        drive(drive_dir, secret=None)
    assert lost.value.code == "target_lost"
    assert "0.3 s" in lost.value.message
    with listening(lambda _: http(200), port) as server:
        assert drive(drive_dir, secret=None).counts["completed"] == 5
        assert len(server.asked) == 5


def test_a_target_that_needs_the_secret_is_not_asked_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STUDIO_EXECUTOR_SECRET", raising=False)
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))  # another test's world may be the one of this process
    drive_dir = write(tmp_path, "http://127.0.0.1:9", 1, preset="lab")
    with pytest.raises(InputRefused, match="STUDIO_EXECUTOR_SECRET"):
        drive(drive_dir, secret=None)


def test_a_target_is_checked_with_one_job_of_which_every_mapping_is_shown(tmp_path: Path) -> None:
    def complete(asked: Asked) -> Say:
        if asked.path.endswith("/output"):
            return http(200, b"picture")
        one = asked.path.split("/")[3] if asked.path.count("/") > 3 else None
        dispatch_id = one or json.loads(asked.body).get("dispatch_id") or json.loads(asked.body)["ids"][0]
        job = {"dispatch_id": dispatch_id, "status": "completed", "queue_ms": 3, "output": {"bytes": 7}}
        return http(200, json.dumps(job if asked.path == "/v1/jobs" else {"jobs": [job]}).encode())

    variant = Variant(VariantId.parse(VARIANT), "t", {})
    member = InputMember("i", "/clip", "0" * 64, 1, "c")
    with listening(complete) as server:
        target = TargetSpec(name="t", preset="lab", base_url=server.url)
        checked = check_target(tmp_path / "check", target, variant, member, secret=SECRET)
    found = checked.found
    assert (found["state"], found["queue_ms"], found["output_bytes"]) == ("completed", 3.0, 7)
    assert found["run_ms"] is None
    assert (found["attempts"], found["usage"]) == (1, None)


def test_a_second_process_on_one_drive_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pointsman.clock import ManualClock
    from pointsman.dispatch import settle

    with listening(jobs) as server:
        drive_dir = write(tmp_path, server.url, 3, preset="lab", max_in_flight=1)
        stop = threading.Event()
        running = threading.Thread(target=drive, args=(drive_dir,), kwargs={"secret": SECRET, "cancelled": stop.is_set})
        running.start()
        try:
            wait_until(lambda: len(server.asked) >= 2)
            assert read_status(drive_dir).phase in ("reconciling", "sending")
            with pytest.raises(Conflict, match="Another process"):
                settle(drive_dir, clock=ManualClock())
        finally:
            stop.set()
            running.join()
