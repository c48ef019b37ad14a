"""The artifact of a run in progress: made once, kept up to date, and never a reason for the run to fail."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from pointsman.errors import NotFound
from pointsman.reporting import Report
from tasks import progress


class Shown:
    """Stands in for the run and for Prefect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.artifact = uuid4()
        self.calls: list[UUID | None] = []
        self.trouble: list[Exception] = []
        monkeypatch.setattr(progress, "open_workspace", lambda: None)
        monkeypatch.setattr(progress, "Progress", lambda ws, run_id: self)
        monkeypatch.setattr(progress, "_show", self.show)

    def report(self) -> Report:
        if self.trouble:
            raise self.trouble.pop(0)
        return Report("Load in progress", "so far")

    def show(self, report: Report, shown: UUID | None) -> UUID:
        self.calls.append(shown)
        return self.artifact


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(monkeypatch)


def keep_showing(rounds: int) -> list[float]:
    waits: list[float] = []

    def done_within(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > rounds

    progress._keep_showing("run1", done_within)
    return waits


def test_it_is_made_once_and_updated_in_place_the_last_time_when_the_run_has_ended(shown: Shown) -> None:
    assert keep_showing(3)[:2] == [5.0, 10.0]
    assert shown.calls == [None, *[shown.artifact] * 3]


def test_a_run_that_is_over_before_anybody_could_look_has_none(shown: Shown) -> None:
    keep_showing(0)
    assert shown.calls == []


def test_a_long_run_is_shown_less_and_less_often(shown: Shown) -> None:
    waits = keep_showing(400)
    assert waits[1:] == sorted(waits[1:])
    assert waits[-1] == 60


@pytest.mark.parametrize("trouble", [httpx.ConnectError("away"), NotFound("run", "run1", "one that is there")])
def test_trouble_passes_over_a_round_and_no_more(shown: Shown, trouble: Exception) -> None:
    shown.trouble = [trouble]
    keep_showing(2)
    assert shown.calls == [None, shown.artifact]


def test_the_block_does_not_wait_for_the_next_round(shown: Shown) -> None:
    before = set(threading.enumerate())
    with progress.progress_shown("run1"):
        pass
    assert set(threading.enumerate()) <= before
    assert shown.calls == []


def test_the_artifact_is_made_under_its_key_and_then_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    artifact, told = uuid4(), []

    class Client:
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None: ...

        def update_artifact(self, artifact_id: UUID, change: Any) -> None:
            told.append((artifact_id, change.data))

    monkeypatch.setattr(progress, "record_report", lambda key, report: told.append((key, report.title)) or artifact)
    monkeypatch.setattr(progress, "get_client", lambda sync_client: Client())
    report = Report("Load in progress", "so far")
    assert progress._show(report, progress._show(report, None)) == artifact
    assert told == [("scenario-progress", "Load in progress"), (artifact, "# Load in progress\n\nso far\n")]
