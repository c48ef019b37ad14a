"""Tasks of a load-test run: plan it, drive it, report it."""

from __future__ import annotations

from collections.abc import Mapping

from prefect import task

from pointsman.benchmark import input_set, variant
from pointsman.errors import Cancelled, RunFailed
from pointsman.safety import Limits
from pointsman.scenario import (
    CapacityRun,
    CapacitySearch,
    RunOutcome,
    Scenario,
    capacity_report,
    check_faults,
    end_lost_step,
    execute_run,
    give_up_run,
    next_capacity_run,
    plan_run,
    publish_report,
    read_run,
)
from pointsman.settings import load_settings
from tasks.bridging import cancelled
from tasks.checks import read_own_rules
from tasks.opening import executor_secret, open_target, open_workspace
from tasks.policies import DRIVE, RECORD
from tasks.progress import progress_shown
from tasks.recording import record_report
from tasks.shards import shard_launcher
from tasks.turns import turn_of


@task(name="plan-scenario", **RECORD)
def plan_scenario(
    run_id: str,
    *,
    parent_run_id: str | None,
    scenario: Scenario,
    seed: int,
    variant_id: str,
    input_set_id: str,
) -> None:
    """Write the run's row and its drive, so that driving needs only the id."""
    read_own_rules()
    ws = open_workspace()
    chosen = variant(ws, variant_id)
    plan_run(
        ws,
        run_id=run_id,
        parent_run_id=parent_run_id,
        scenario=scenario,
        seed=seed,
        environment_id=chosen.id.environment,
        variant=chosen,
        target=open_target(chosen.target),
        inputs=input_set(ws, input_set_id),
    )


@task(name="check-faults", **RECORD)
def check_scenario_faults(run_id: str) -> None:
    """Preview the run's faults, so that one which may not be is refused before anything is sent or harmed."""
    check_faults(open_workspace(), run_id)


@task(name="drive-scenario", **DRIVE)
def drive_scenario(run_id: str, *, fall_back_inline: bool) -> RunOutcome:
    """Drive the run's shards until every dispatch is settled; a run that did not complete is an error."""
    with turn_of(run_id), progress_shown(run_id):
        outcome = execute_run(
            open_workspace(),
            run_id,
            secret=executor_secret(),
            cancelled=cancelled,
            launcher=shard_launcher(run_id),
            fall_back=fall_back_inline,
        )
    if outcome.status == "cancelled":
        raise Cancelled(f"The run {run_id} was cancelled.", instruction=f"pointsman scenario status {run_id}")
    if outcome.status != "completed":
        failure = outcome.failure or {}
        raise RunFailed(
            str(failure.get("message", f"The run {run_id} ended {outcome.status}.")),
            instruction=str(failure.get("instruction", f"pointsman scenario status {run_id}")),
            code=str(failure.get("code", "run_failed")),
        )
    return outcome


def was_refused(run_id: str) -> bool:
    """Whether the run has failed before anything of it was begun: its row says why."""
    return read_run(open_workspace(), run_id).refused


@task(name="give-up-scenario", **RECORD)
def give_up_scenario(run_id: str, because: Mapping[str, str]) -> None:
    """End a run that nobody will continue: what was not learnt is unknown, and the row says why it failed."""
    give_up_run(open_workspace(), run_id, because=because)


@task(name="report-scenario", **RECORD)
def report_scenario(run_id: str) -> None:
    """Write the report's files beside the ledger, and the artifact."""
    record_report("scenario-report", publish_report(open_workspace(), run_id).report)


@task(name="next-capacity-step", **RECORD)
def next_capacity_step(search_id: str, variant_id: str, search: CapacitySearch, seed: int) -> CapacityRun | None:
    """Judge the steps that have completed; the next one, or None when the search has ended."""
    variant(open_workspace(), variant_id)
    room = Limits.of(load_settings()).in_flight
    return next_capacity_run(
        open_workspace(), search_id, variant_id=variant_id, search=search, seed=seed, most_in_flight=room
    )


@task(name="end-lost-step", **RECORD)
def end_lost_capacity_step(run_id: str, because: Mapping[str, str]) -> bool:
    """End a step whose target went out of reach under its load; False when the target was away before."""
    return end_lost_step(open_workspace(), run_id, because)


@task(name="report-capacity", **RECORD)
def report_capacity(search_id: str) -> None:
    record_report("capacity-report", capacity_report(open_workspace(), search_id))
