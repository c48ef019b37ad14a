"""The artifact `scenario-progress`: one of each run, kept up to date in place while the run is driven."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectException

from pointsman.errors import PointsmanError
from pointsman.reporting import Report, to_markdown
from pointsman.scenario import Progress
from tasks.opening import open_workspace
from tasks.recording import record_report

KEY = "scenario-progress"
_FIRST_S = 5.0
_EVERY_S = 10.0
_SLOWER = 1.02
"""Each wait is so much longer than the one before: of a long run nobody looks at every ten seconds."""
_LONGEST_S = 60.0
_LAST_S = 10.0


@contextmanager
def progress_shown(run_id: str) -> Iterator[None]:
    """Show the run's progress until the block ends. A short run has none; trouble with it never ends a run."""
    done = threading.Event()
    thread = threading.Thread(target=copy_context().run, args=(_keep_showing, run_id, done.wait), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(_LAST_S)


def _keep_showing(run_id: str, done_within: Callable[[float], bool]) -> None:
    progress: Progress | None = None
    shown: UUID | None = None
    wait_s, over = _FIRST_S, False
    while not over:
        over = done_within(wait_s)
        if over and shown is None:
            return
        wait_s = min(_LONGEST_S, max(_EVERY_S, wait_s * _SLOWER))
        try:
            progress = progress or Progress(open_workspace(), run_id)
            shown = _show(progress.report(), shown)
        except (PointsmanError, PrefectException, httpx.HTTPError):
            continue  # the next time, perhaps


def _show(report: Report, shown: UUID | None) -> UUID:
    if shown is None:
        return record_report(KEY, report)
    with get_client(sync_client=True) as client:
        client.update_artifact(shown, ArtifactUpdate(data=to_markdown(report)))
    return shown
