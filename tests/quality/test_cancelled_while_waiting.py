"""A cancel in Prefect while a flow run waits for a batch: its process is ended, and then the batch at the service."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled
from prefect.utilities.engine import capture_sigterm

import tasks.quality
from flows.evaluate_quality import evaluate_quality
from pointsman.clock import SystemClock
from pointsman.quality import JudgeSpec, open_evaluation_set, pending
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.quality.gemini_stand_in import API_KEY, StandIn, answering
from tests.quality.worlds import LEVELS, Matrix


@pytest.fixture
def service(gemini: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """A service that is never through with a batch, and settings that lead to it and to the state of `ws`."""
    for name, value in {
        "POINTSMAN_HOME": str(tmp_path),
        "POINTSMAN_DATABASE_URL": f"sqlite:///{tmp_path / 'pointsman.db'}",
        "GEMINI_API_KEY": API_KEY,
        "POINTSMAN_GEMINI_BASE_URL": gemini.url,
    }.items():
        monkeypatch.setenv(name, value)
    gemini.choose = answering(LEVELS)
    gemini.batches.looks = 10**9
    return gemini


@pytest.fixture
def cancelled_at_the_first_look(service: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What Prefect's runner does to the process of a flow run that is cancelled, and nothing else to this process."""
    look, sent = service.batches.look, threading.Event()

    def cancel(batch: Any) -> Any:
        if not sent.is_set():
            sent.set()
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return look(batch)

    monkeypatch.setattr(service.batches, "look", cancel)
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # Prefect's engine hands the signal on to it at its end
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("cancelled_at_the_first_look")
def test_the_task_ends_at_once_and_the_flows_hook_ends_its_batch(
    ws: Workspace, matrix: Matrix, service: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec, now = JudgeSpec(kind="gemini", wait_hours=24), replace(ws, clock=SystemClock())
    monkeypatch.setattr(tasks.quality, "open_workspace", lambda: now)
    monkeypatch.setattr(tasks.quality, "open_judge", lambda name: spec)
    monkeypatch.setattr(tasks.quality, "open_price_book", lambda name: None)
    monkeypatch.setattr(tasks.quality, "get_run_logger", lambda: logging.getLogger("judging"))
    caplog.set_level(logging.INFO, "judging")
    set_id = open_evaluation_set(ws, matrix.id, tasks.quality._chosen("gemini", "default").judge.identity)
    with pytest.raises(TerminationSignal), capture_sigterm():
        tasks.quality.judge_chunk.fn(set_id, "gemini", "default", matrix.cells)
    (batch,) = service.batches.sent
    assert (batch.cancels, batch.looks) == (0, 1)
    (told,) = caplog.messages
    assert "Gemini's batches/b1 (3 calls, sent " in told
    assert " is running since " in told
    assert len(pending(ws, set_id)) == 3, "the first was judged at once"

    run = FlowRun(flow_id=uuid4(), parameters={"request": {"benchmark_id": matrix.id}})
    for hook in evaluate_quality.on_cancellation_hooks or []:
        hook(evaluate_quality, run, Cancelled())
    assert (batch.cancels, batch.state) == (1, "BATCH_STATE_CANCELLED")
    (row,) = matrix.rows(tables.judge_batches)
    assert (row.name, row.state) == ("batches/b1", None), "whoever goes on learns what became of it"
