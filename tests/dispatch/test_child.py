"""The driver's process from inside: how it ends, and what it tells its parent."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman.dispatch import read_summary
from pointsman.dispatch.child import EXIT_CODES, REFUSED, main
from pointsman.dispatch.parent import drive
from pointsman.errors import DataCheckFailed, DependencyDown, RunFailed
from pointsman.processes import ChildResult
from tests.dispatch.loopback import http, listening
from tests.dispatch.test_processes_of_a_drive import write


@pytest.fixture
def stdin() -> Iterator[int]:
    """A pipe as standard input, as a supervised child has it; gives the end that the parent holds."""
    ours, theirs = os.pipe()
    before = os.dup(0)
    interval = sys.getswitchinterval()
    os.dup2(ours, 0)
    os.close(ours)
    yield theirs
    os.dup2(before, 0)
    os.close(before)
    with contextlib.suppress(OSError):  # a test may have closed it
        os.close(theirs)
    sys.setswitchinterval(interval)
    gc.enable()
    gc.unfreeze()


def test_it_closes_a_drive_that_is_through_and_leaves_a_closed_one_alone(tmp_path: Path, stdin: int) -> None:
    with listening(lambda _: http(200)) as server:
        drive_dir = write(tmp_path, server.url, 40, per_s=100.0, max_in_flight=40)
        assert main(drive_dir) == 0
        assert main(drive_dir) == 0
        assert len(server.asked) == 40
    summary = read_summary(drive_dir)
    assert summary is not None
    assert summary.lateness_ms.count == 40
    assert json.loads((drive_dir / "status.json").read_text())["counts"]["planned"] == 40


def test_the_end_of_its_input_stops_it_within_a_second(tmp_path: Path, stdin: int) -> None:
    with listening(lambda _: http(200)) as server:
        drive_dir = write(tmp_path, server.url, 1000, per_s=50.0)
        closed_at: list[float] = []

        def leave() -> None:
            closed_at.append(time.monotonic())
            os.close(stdin)

        threading.Timer(0.5, leave).start()
        assert main(drive_dir) == EXIT_CODES["interrupted"]
        assert time.monotonic() - closed_at[0] < 1.0
    assert read_summary(drive_dir) is None


def test_a_term_signal_cancels(tmp_path: Path, stdin: int) -> None:
    with listening(lambda _: http(200)) as server:
        drive_dir = write(tmp_path, server.url, 1000, per_s=50.0)
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert main(drive_dir) == EXIT_CODES["cancelled"]
    summary = read_summary(drive_dir)
    assert summary is not None
    assert summary.outcome == "cancelled"
    assert summary.counts["completed"] + summary.counts["cancelled_unsent"] == 1000


def test_what_it_refuses_is_the_last_line_it_says(
    tmp_path: Path, stdin: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tmp_path) == REFUSED
    told = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (told["kind"], told["code"]) == ("NotFound", "not_found")


def test_a_folder_that_cannot_be_written_is_said_in_words(
    tmp_path: Path, stdin: int, capsys: pytest.CaptureFixture[str]
) -> None:
    drive_dir = write(tmp_path, "http://127.0.0.1:9", 3)
    (drive_dir / "journal").write_text("a file where a folder should be")
    assert main(drive_dir) == REFUSED
    told = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (told["kind"], told["code"]) == ("DependencyDown", "drive_folder")


@pytest.mark.parametrize(
    ("result", "kind", "code"),
    [
        (ChildResult(75, "", "exited"), DependencyDown, "target_lost"),
        (ChildResult(76, "", "exited"), RunFailed, "driver_interrupted"),
        (ChildResult(-9, "", "deadline"), RunFailed, "driver_stuck"),
        (ChildResult(1, "Traceback", "exited"), RunFailed, "driver_died"),
        (ChildResult(REFUSED, "cut off", "exited"), RunFailed, "driver_died"),
        (
            ChildResult(
                REFUSED,
                '{"kind": "DataCheckFailed", "code": "conservation_broken", "message": "m", "instruction": "i"}',
                "exited",
            ),
            DataCheckFailed,
            "conservation_broken",
        ),
    ],
)
def test_every_way_to_end_becomes_an_error_with_an_instruction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: ChildResult, kind: type[Exception], code: str
) -> None:
    monkeypatch.setattr("pointsman.dispatch.parent.supervise", lambda *_, **__: result)
    with pytest.raises(kind) as failed:
        drive(write(tmp_path, "http://127.0.0.1:9", 1), secret=None)
    assert failed.value.code == code  # type: ignore[attr-defined]
    assert failed.value.instruction  # type: ignore[attr-defined]


def test_a_cancelled_child_that_had_to_be_killed_leaves_a_closed_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.dispatch.parent.supervise", lambda *_, **__: ChildResult(-9, "", "cancelled"))
    summary = drive(write(tmp_path, "http://127.0.0.1:9", 4, per_s=1.0), secret=None)
    assert summary.outcome == "cancelled"
    assert summary.counts["cancelled_unsent"] == 4
