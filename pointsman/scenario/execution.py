"""Executing a planned run: drive it, follow it in its row, conclude it. The same call again continues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pointsman.actions import ActionLog
from pointsman.dispatch import has_plan, order_cancel, settle
from pointsman.errors import Conflict, DataCheckFailed, DependencyDown, InputRefused, RunFailed
from pointsman.scenario.admission import require_admission
from pointsman.scenario.assessment import load_checks
from pointsman.scenario.cancelling import request_stop
from pointsman.scenario.conclusion import conclude, note_run_versions, write_results
from pointsman.scenario.coordination import Coordinator
from pointsman.scenario.holding import Hold, hold_run
from pointsman.scenario.launching import ShardLauncher
from pointsman.scenario.record import RunOutcome, RunRecord, advance, failure_of, outcome, read_run, run_drives
from pointsman.scenario.watchers import Watch, end_watchers, halt_faults, laid_over
from pointsman.scenario.words import forget
from pointsman.settings import Secret
from pointsman.storage import PATIENCE_S
from pointsman.workspace import Workspace

_OTHERS_WAIT_S = 10.0
_LOOK_EVERY_S = 0.5


def execute_run(
    ws: Workspace,
    run_id: str,
    *,
    secret: Secret | None,
    cancelled: Callable[[], bool] = lambda: False,
    launcher: ShardLauncher | None = None,
    fall_back: bool = False,
) -> RunOutcome:
    """Dispatch a planned run and return how it ended: `completed`, `cancelled` or `failed`.

    Its shards run where `launcher` starts them, or else as children of this process. Where ECS cannot be used they run
    here if the run may `fall_back`; else it ends by what stands in the way, before anything is sent.

    Call it again after anything that interrupted it: it continues, and a run that has ended answers as it did. Stops
    within about a second when `cancelled` says so, when a watcher of the run wants it to stop (it is then `failed`), or
    when `cancel_run` was called, in this process or another. A shard that dies or hangs is replaced. The run's watchers
    end before it does. Raises `NotFound`; `GuardRefused` for a run that `admit_run` did not admit; `Conflict` when
    another process coordinates it; and, leaving the run as it is for a later call or for `give_up_run`,
    `DependencyDown` when the target is out of reach (`target_lost`) and `RunFailed` when the engine's processes die as
    soon as they are started.
    """
    with hold_run(ws, run_id, wait_s=_OTHERS_WAIT_S) as hold:
        if hold.record.ended:
            return outcome(hold.record)
        require_admission(hold.record)
        record = advance(ws, run_id, "starting", reason="executed")
        mode = "inline" if launcher is None else launcher.mode
        advance(ws, run_id, None, metrics={"runner": {"mode": mode}})
        return _carry_out(ws, hold, record, secret, cancelled, launcher, fall_back=fall_back)


def give_up_run(ws: Workspace, run_id: str, *, because: Mapping[str, str] | None = None) -> RunOutcome:
    """End a run that cannot go on: what was sent and not learnt is `unknown`, the rest was never sent.

    The run is then `failed` with the failure that interrupted it, else with `because` (code, message, instruction), or
    `cancelled` if that was asked for before. A run that has ended is left as it is. Raises `NotFound`, and `Conflict`
    while a process still coordinates it.
    """
    with hold_run(ws, run_id, wait_s=_OTHERS_WAIT_S) as hold:
        if hold.record.ended:
            return outcome(hold.record)
        interrupted = hold.record.metrics_json.get("interrupted")
        failure = (
            _as_failure(interrupted)
            or _as_failure(because)
            or RunFailed(
                "The run was given up before all its dispatches had ended.",
                instruction=f"Look at it: pointsman scenario status {run_id}",
                code="given_up",
            )
        )
        return _conclude(ws, run_id, failure=failure)


def cancel_run(
    ws: Workspace, run_id: str, *, reason: str, secret: Secret | None = None, wait_s: float = 0.0
) -> RunOutcome:
    """Ask a run to stop. `runner.stop` keeps who asked first, when and why; asking again changes nothing.

    Its faults are ended first. Its shards hear of it within two seconds, whatever has become of their coordinator: they
    send nothing more, end their jobs at the target and close their books. The coordinator ends the run then. Where none
    lives, this call does; `secret` is what a target may ask for when jobs of a dead shard are ended. The answer may say
    `cancelling` when `wait_s` were not enough. Raises `NotFound`.
    """
    _, record = request_stop(ws, run_id, reason=reason)
    give_up = ws.clock.monotonic() + wait_s
    if not record.ended:
        halt_faults(ws, record)
    while not record.ended:
        for drive_dir in filter(has_plan, run_drives(ws, record)):  # shards elsewhere read the run's row
            order_cancel(drive_dir)
        try:
            with hold_run(ws, run_id, wait_s=0.0) as hold:
                if hold.record.ended:
                    return outcome(hold.record)
                return _carry_out(ws, hold, hold.record, secret, lambda: False)
        except Conflict:
            if ws.clock.monotonic() >= give_up:
                break
        ws.clock.sleep(_LOOK_EVERY_S)
        record = read_run(ws, run_id)
    return outcome(read_run(ws, run_id))


def _carry_out(
    ws: Workspace,
    hold: Hold,
    record: RunRecord,
    secret: Secret | None,
    cancelled: Callable[[], bool],
    launcher: ShardLauncher | None = None,
    *,
    fall_back: bool = False,
) -> RunOutcome:
    _bring(ws, record)
    coordinator = Coordinator(ws, hold, record, secret=secret, cancelled=cancelled, launcher=launcher)
    try:
        coordinator.run()
    except DataCheckFailed as error:
        return _fail(ws, record.id, error, end_watchers(ws, read_run(ws, record.id), coordinator.watch))
    except (DependencyDown, RunFailed, InputRefused) as error:
        if fall_back and launcher is not None and not coordinator.begun and not coordinator.ending:
            ActionLog(ws).record(
                "load_test_runner_ecs_fallback",
                run_id=record.id,
                context=record.context,
                why=error.message,
                code=error.code,
            )
            record = advance(ws, record.id, None, metrics={"runner": {"mode": "inline"}})
            return _carry_out(ws, hold, record, secret, cancelled)
        if isinstance(error, InputRefused):
            raise
        if not coordinator.ending:
            advance(ws, record.id, None, metrics={"interrupted": error.as_failure()})
            raise
        # Who asked for an end gets one: what the target does with the rest counts as unknown.
    return _conclude(ws, record.id, watch=coordinator.watch)


def _bring(ws: Workspace, record: RunRecord) -> None:
    """What another coordinator, or a shard of its, has left in the store. Waits for one that does not answer."""
    try:
        ws.results.pull(record.results_path, patience_s=PATIENCE_S)
    except DependencyDown as error:
        if error.code != "results_unreachable":
            raise
        raise DependencyDown(
            error.message,
            instruction="Wait until `pointsman doctor` says that the results store works, then run the same again: the "
            f"run {record.id} goes on where it was.",
            code=error.code,
        ) from error


def _conclude(
    ws: Workspace, run_id: str, *, failure: RunFailed | None = None, watch: Watch | None = None
) -> RunOutcome:
    """Close what is not closed, end what watched the run, write figures and results, move the run where it belongs."""
    record = read_run(ws, run_id)
    _bring(ws, record)
    try:
        summaries = [settle(drive_dir, clock=ws.clock) for drive_dir in run_drives(ws, record)]
        figures = conclude(ws, record, summaries)
    except DataCheckFailed as error:
        return _fail(ws, run_id, error, end_watchers(ws, record, watch))
    write_results(ws, record, figures)
    note_run_versions(ws, record)
    ws.results.publish(record.results_path)
    forget(ws, run_id)
    sent = figures["counts"]["sent"]
    ended = end_watchers(ws, record, watch)
    metrics = laid_over({**figures, "interrupted": None, "failure": None}, ended)
    failure = _as_failure(record.metrics_json.get("stopped")) or failure or _as_failure(metrics["failure"])
    if failure is not None and record.status != "cancelling":
        return _fail(ws, run_id, failure, metrics, submitted=sent)
    for state, reason in (("running", "dispatched"), ("draining", "all is sent"), ("completed", "all has ended")):
        if record.status != "cancelling":
            record = advance(ws, run_id, state, reason=reason, metrics=metrics, submitted=sent)
    if record.status == "completed":
        _tell_missed_rate(ws, record)
    if record.status == "cancelling":
        metrics["failure"] = None
        record = advance(ws, run_id, "cancelled", reason=_stop_reason(record), metrics=metrics, submitted=sent)
    return outcome(record)


def _tell_missed_rate(ws: Workspace, record: RunRecord) -> None:
    metrics = record.metrics_json
    missed = [check for check in load_checks(metrics["counts"], metrics["lateness_ms"]) if check.verdict == "failed"]
    if missed:
        why = "; ".join(f"{check.asked}, but {check.found}" for check in missed)
        ActionLog(ws).record("load_test_rate_missed", run_id=record.id, context=record.context, why=why)


def _fail(
    ws: Workspace, run_id: str, failure: RunFailed, metrics: Mapping[str, Any], *, submitted: int | None = None
) -> RunOutcome:
    ws.results.publish(read_run(ws, run_id).results_path)
    told = {**metrics, "failure": failure_of(run_id, failure)}
    return outcome(advance(ws, run_id, "failed", reason=failure.message, metrics=told, submitted=submitted))


def _as_failure(told: Mapping[str, str] | None) -> RunFailed | None:
    """What the row says that a run failed for, or would."""
    return RunFailed(told["message"], instruction=told["instruction"], code=told["code"]) if told else None


def _stop_reason(record: RunRecord) -> str:
    return str(record.metrics_json["runner"]["stop"]["reason"])
