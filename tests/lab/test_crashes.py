"""Real kills: of the backend, of its workers, of neither; nothing accepted is lost and nothing is left running."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.clips import Clip
from tests.lab.running import Backend, alive, descendants, eventually, job, variant

pytestmark = pytest.mark.e2e
OPTIONS = ("--lease", "1")


@dataclass
class Crashing:
    """A backend that tests may kill; whoever does puts another one in its place."""

    roots: Path
    home: Path
    backend: Backend

    def restart(self) -> None:
        self.backend = Backend.start(self.home, self.roots, *OPTIONS)


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory, roots: Path) -> Iterator[Crashing]:
    home = tmp_path_factory.mktemp("crashing")
    world = Crashing(roots, home, Backend.start(home, roots, *OPTIONS))
    yield world
    if world.backend.process.poll() is None:
        world.backend.end(signal.SIGTERM)


def encoding(backend: Backend) -> dict[int, str]:
    """The ffmpeg processes below the backend."""
    return {
        pid: line for pid, line in descendants(backend.process.pid).items() if "ffmpeg" in line and "-m lab" not in line
    }


def worker_of(backend: Backend) -> int:
    """The worker that encodes; its ffmpeg is in its process group."""
    eventually(lambda: len(encoding(backend)) > 0, 10)
    return os.getpgid(next(iter(encoding(backend))))


def test_workers_that_die_or_fall_silent_are_replaced_and_their_jobs_tried_again(
    crashing: Crashing, long_clip: Clip
) -> None:
    backend = crashing.backend
    for name, number in (("killed", signal.SIGKILL), ("silent", signal.SIGSTOP)):
        backend.submit(job(name, long_clip))
        worker = worker_of(backend)
        ffmpeg = next(iter(encoding(backend)))
        for pid in (worker, ffmpeg) if number == signal.SIGSTOP else (worker,):
            os.kill(pid, number)
        (done,) = backend.ended(name)
        assert [attempt["outcome"] for attempt in done["attempts"]] == ["lost", "completed"]
        assert done["status"] == "completed"
        assert not alive(worker)
        assert not alive(ffmpeg)
    workers = [line for line in descendants(backend.process.pid).values() if "lab.effects.worker" in line]
    assert len(workers) == 3


def test_a_killed_backend_leaves_nothing_behind_and_its_successor_continues(
    crashing: Crashing, clip: Clip, long_clip: Clip
) -> None:
    killed = crashing.backend
    before = killed.stats()
    bodies = [job(f"running-{n}", long_clip) for n in range(2)] + [job(f"waiting-{n}", clip) for n in range(4)]
    for body in bodies:
        killed.submit(body)
    eventually(lambda: len(encoding(killed)) == 2, 10)
    below = descendants(killed.process.pid)
    assert len(below) >= 5, "three workers and two encodes are there"
    killed.end(signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in below), 2)

    crashing.restart()
    successor = crashing.backend
    assert [successor.client.post("/v1/jobs", json=body).status_code for body in bodies] == [200] * 6
    done = successor.ended(*(body["dispatch_id"] for body in bodies))
    assert {document["status"] for document in done} == {"completed"}
    outcomes = [[attempt["outcome"] for attempt in document["attempts"]] for document in done]
    assert outcomes == [["lost", "completed"]] * 2 + [["completed"]] * 4
    for document in done[:2]:
        lost, completed = document["attempts"]
        assert lost["wall_seconds"] >= 0
        assert lost["ended_at"] <= completed["started_at"]
    after = successor.stats()
    assert after["accepted"] - before["accepted"] == 6
    assert after["submissions"] - before["submissions"] == 12
    assert after["attempts"] - before["attempts"] == 8


def test_asked_to_stop_it_ends_well_at_once_and_keeps_what_runs(crashing: Crashing, long_clip: Clip) -> None:
    backend = crashing.backend
    backend.submit(job("interrupted", long_clip, variant=variant("svtav1-p6-crf38")))
    worker_of(backend)
    below = descendants(backend.process.pid)
    assert backend.end(signal.SIGTERM) == 0
    assert not any(alive(pid) for pid in below)
    with closing(sqlite3.connect(crashing.home / "effects.db")) as stored:
        row = stored.execute("SELECT status FROM jobs WHERE dispatch_id = 'interrupted'").fetchone()
    assert row == ("leased",)
