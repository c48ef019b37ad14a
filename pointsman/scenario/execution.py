"""Executing a planned run: drive it, follow it in its row, conclude it. The same call again continues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pointsman.dispatch import DriveStatus, drive, read_epoch, settle
from pointsman.errors import DataCheckFailed, DependencyDown, RunFailed
from pointsman.scenario.cancelling import request_stop
from pointsman.scenario.conclusion import conclude, write_results
from pointsman.scenario.record import RunOutcome, RunRecord, advance, outcome, read_run, run_folder
from pointsman.scenario.watchers import Watch, end_watchers, laid_over
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
    within about a second when `cancelled` says so, when a watcher of the run wants it to stop (it is then `failed`), or
    when `cancel_run` was called, in this process or another. The run's watchers end before it does. Raises
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
        return _fail(ws, run_id, error, end_watchers(ws, read_run(ws, run_id), follower.watch))
    except (DependencyDown, RunFailed) as error:
        if not follower.ending:
            advance(ws, run_id, None, metrics={"interrupted": error.as_failure()})
            raise
        # Who asked for an end gets one: what the target does with the rest counts as unknown.
    follower.look(last=True)
    return _conclude(ws, run_id, watch=follower.watch)


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
    """Carries what the drive tells into the run's row and to its watchers, and a request to stop to the drive."""

    def __init__(
        self,
        ws: Workspace,
        record: RunRecord,
        cancelled: Callable[[], bool],
        on_status: Callable[[DriveStatus], None],
    ) -> None:
        self._ws = ws
        self._run_id = record.id
        self._folder = run_folder(ws, record)
        self._asked = cancelled
        self._on_status = on_status
        self._looked_at = ws.clock.monotonic()
        self.watch = Watch(ws, record)
        self.ending = _is_ending(record)

    def cancelled(self) -> bool:
        if not self.ending:
            if self._asked():
                request_stop(self._ws, self._run_id, reason="asked for by the process that executes the run")
                self.ending = True
            elif self._ws.clock.monotonic() - self._looked_at >= _LOOK_EVERY_S:
                self._looked_at = self._ws.clock.monotonic()
                self.look()
        return self.ending

    def look(self, *, last: bool = False) -> None:
        """See who wants the run to end: whoever cancelled it in its row, or one of its watchers."""
        epoch = read_epoch(self._folder)
        if epoch is not None and not self.watch.begun:
            self.watch.begin(epoch)
        if self.watch.begun and not self.ending:
            self.watch.look([self._folder], last=last)
        self.ending = self.ending or _is_ending(read_run(self._ws, self._run_id))

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
        self.ending = self.ending or _is_ending(record)
        self._on_status(status)


def _is_ending(record: RunRecord) -> bool:
    return record.status == "cancelling" or "stopped" in record.metrics_json


def _conclude(
    ws: Workspace, run_id: str, *, failure: RunFailed | None = None, watch: Watch | None = None
) -> RunOutcome:
    """Close the drive if it is not, end what watched it, write figures and results, move the run where it belongs."""
    record = read_run(ws, run_id)
    try:
        summary = settle(run_folder(ws, record), clock=ws.clock)
        figures = conclude(ws, record, summary)
    except DataCheckFailed as error:
        return _fail(ws, run_id, error, end_watchers(ws, record, watch))
    write_results(ws, record, figures)
    sent = figures["counts"]["sent"]
    ended = end_watchers(ws, record, watch)
    metrics = laid_over({**figures, "interrupted": None, "failure": None}, ended)
    failure = _as_failure(record.metrics_json.get("stopped")) or failure or _as_failure(metrics["failure"])
    if failure is not None and record.status != "cancelling":
        return _fail(ws, run_id, failure, metrics, submitted=sent)
    for state, reason in (("running", "dispatched"), ("draining", "all is sent"), ("completed", "all has ended")):
        if record.status != "cancelling":
            record = advance(ws, run_id, state, reason=reason, metrics=metrics, submitted=sent)
    if record.status == "cancelling":
        metrics["failure"] = None
        record = advance(ws, run_id, "cancelled", reason=_stop_reason(record), metrics=metrics, submitted=sent)
    return outcome(record)


def _fail(
    ws: Workspace, run_id: str, failure: RunFailed, metrics: Mapping[str, Any], *, submitted: int | None = None
) -> RunOutcome:
    told = {**metrics, "failure": failure.as_failure()}
    return outcome(advance(ws, run_id, "failed", reason=failure.message, metrics=told, submitted=submitted))


def _as_failure(told: Mapping[str, str] | None) -> RunFailed | None:
    """What a watcher says that the run failed for."""
    return RunFailed(told["message"], instruction=told["instruction"], code=told["code"]) if told else None


def _stop_reason(record: RunRecord) -> str:
    return str(record.metrics_json["runner"]["stop"]["reason"])
