"""Executing a planned run: drive it, follow it in its row, conclude it. The same call again continues."""

from __future__ import annotations

from collections.abc import Callable

from pointsman.dispatch import DriveStatus, drive, settle
from pointsman.errors import DataCheckFailed, DependencyDown, RunFailed
from pointsman.scenario.cancelling import request_stop
from pointsman.scenario.conclusion import conclude, write_results
from pointsman.scenario.record import RunOutcome, RunRecord, advance, outcome, read_run, run_folder
from pointsman.settings import Secret
from pointsman.workspace import Workspace

_LOOK_EVERY_S = 1.0
_DRAINING = ("draining", "closing", "closed")


def execute_run(
    ws: Workspace,
    run_id: str,
    *,
    secret: Secret | None,
    cancelled: Callable[[], bool],
    on_status: Callable[[DriveStatus], None],
) -> RunOutcome:
    """Dispatch a planned run and return how it ended: `completed`, `cancelled` or `failed`.

    Call it again after anything that interrupted it: it continues, and a run that has ended answers as it did. Stops
    within about a second when `cancelled` says so or when `cancel_run` was called, in this process or another. Raises
    `NotFound`; `Conflict` when another process is dispatching it; and, leaving the run as it is for a later call or for
    `give_up_run`, `DependencyDown` when the target is out of reach (`target_lost`) and `RunFailed` when the engine's
    process died.
    """
    record = advance(ws, run_id, "starting", reason="executed")
    if record.ended:
        return outcome(record)
    folder = run_folder(ws, record)
    follower = _Follower(ws, record, cancelled, on_status)
    try:
        drive(folder, secret=secret, cancelled=follower.cancelled, on_status=follower.saw, clock=ws.clock)
    except DataCheckFailed as error:
        return _fail(ws, run_id, error)
    except (DependencyDown, RunFailed) as error:
        if not follower.cancelling:
            advance(ws, run_id, None, metrics={"interrupted": error.as_failure()})
            raise
        # Who asked for an end gets one: what the target does with the rest counts as unknown.
    return _conclude(ws, run_id)


def give_up_run(ws: Workspace, run_id: str) -> RunOutcome:
    """End a run that cannot go on: what was sent and not learnt is `unknown`, the rest was never sent.

    The run is then `failed` with the failure that interrupted it, or `cancelled` if that was asked for before. A run
    that has ended is left as it is. Raises `NotFound`, and `Conflict` while a process is still dispatching it.
    """
    record = read_run(ws, run_id)
    if record.ended:
        return outcome(record)
    interrupted = record.metrics_json.get("interrupted")
    failure = RunFailed(
        interrupted["message"] if interrupted else "The run was given up before all its dispatches had ended.",
        instruction=interrupted["instruction"] if interrupted else f"Look at it: pointsman scenario status {run_id}",
        code=interrupted["code"] if interrupted else "given_up",
    )
    return _conclude(ws, run_id, failure=failure)


def cancel_run(ws: Workspace, run_id: str, *, reason: str) -> RunOutcome:
    """Ask a run to stop. `runner.stop` keeps who asked first, when and why; asking again changes nothing.

    A run that no process has started ends at once; otherwise its executor sees the request within about a second and
    ends it, so the answer may say `cancelling`. Raises `NotFound`.
    """
    before, after = request_stop(ws, run_id, reason=reason)
    if before.status in ("created", "awaiting_approval"):
        return _conclude(ws, run_id)
    return outcome(after)


class _Follower:
    """Carries what the drive tells into the run's row, and a request to stop from the row to the drive."""

    def __init__(
        self,
        ws: Workspace,
        record: RunRecord,
        cancelled: Callable[[], bool],
        on_status: Callable[[DriveStatus], None],
    ) -> None:
        self._ws = ws
        self._run_id = record.id
        self._asked = cancelled
        self._on_status = on_status
        self._looked_at = ws.clock.monotonic()
        self.cancelling = record.status == "cancelling"

    def cancelled(self) -> bool:
        if self.cancelling:
            return True
        if self._asked():
            request_stop(self._ws, self._run_id, reason="asked for by the process that executes the run")
            self.cancelling = True
        elif self._ws.clock.monotonic() - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = self._ws.clock.monotonic()
            self.cancelling = read_run(self._ws, self._run_id).status == "cancelling"
        return self.cancelling

    def saw(self, status: DriveStatus) -> None:
        sent = status.counts.get("sent", 0)
        if status.phase in _DRAINING:
            # Both moves are recorded, also when the drive was faster than the status.
            advance(self._ws, self._run_id, "running", reason="dispatching")
            state, reason = "draining", "all is sent; waiting for answers"
        elif status.phase == "sending":
            state, reason = "running", "dispatching"
        else:
            state, reason = "starting", "preparing"
        record = advance(self._ws, self._run_id, state, reason=reason, submitted=sent)
        self.cancelling = self.cancelling or record.status == "cancelling"
        self._on_status(status)


def _conclude(ws: Workspace, run_id: str, *, failure: RunFailed | None = None) -> RunOutcome:
    """Close the drive if it is not, write figures and results, then move the run to where it belongs."""
    record = read_run(ws, run_id)
    try:
        summary = settle(run_folder(ws, record), clock=ws.clock)
        figures = conclude(ws, record, summary)
    except DataCheckFailed as error:
        return _fail(ws, run_id, error)
    write_results(ws, record, figures)
    sent = figures["counts"]["sent"]
    metrics = {**figures, "interrupted": None, "failure": None}
    if failure is not None and record.status != "cancelling":
        record = advance(ws, run_id, None, metrics=metrics, submitted=sent)
        return _fail(ws, run_id, failure)
    for state, reason in (("running", "dispatched"), ("draining", "all is sent"), ("completed", "all has ended")):
        if record.status != "cancelling":
            record = advance(ws, run_id, state, reason=reason, metrics=metrics, submitted=sent)
    if record.status == "cancelling":
        record = advance(ws, run_id, "cancelled", reason=_stop_reason(record), metrics=metrics, submitted=sent)
    return outcome(record)


def _fail(ws: Workspace, run_id: str, failure: RunFailed) -> RunOutcome:
    return outcome(advance(ws, run_id, "failed", reason=failure.message, metrics={"failure": failure.as_failure()}))


def _stop_reason(record: RunRecord) -> str:
    return str(record.metrics_json["runner"]["stop"]["reason"])
