"""Planning a run: its row and the drives of its shards, written together or not at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import sqlalchemy as sa

from pointsman.dispatch import DriveInput, DrivePlan, Limits, TargetSpec, planned_dispatches, write_drive
from pointsman.errors import Conflict, InputRefused
from pointsman.ids import check_id, scenario_context
from pointsman.model import InputSet, Variant
from pointsman.scenario.arrivals import plan_arrivals
from pointsman.scenario.model import Scenario
from pointsman.scenario.record import RunRecord, run_drives
from pointsman.scenario.trace import Traces, keep_traces, stage_traces
from pointsman.states import LOAD_TEST_RUN
from pointsman.storage import insert_absent, record_creation, tables
from pointsman.workspace import Workspace

_MAX_SEED = 2**63 - 1


def plan_run(
    ws: Workspace,
    *,
    run_id: str,
    parent_run_id: str | None,
    scenario: Scenario,
    seed: int,
    environment_id: str,
    variant: Variant,
    target: TargetSpec,
    inputs: InputSet,
) -> None:
    """Write the run (state `created`) and its drive at `{environment}/{scenario}/{timestamp}/{run_id}`.

    Inputs are assigned round robin in an order drawn with the seed, inputs and parameters as recorded where a trace
    has them. The same call again changes nothing, except that the target may have moved to another address. Raises
    `InputRefused` for input that is not allowed and `Conflict` when the run id was used for something else; then no run
    is written.
    """
    check_id("run id", run_id)
    check_id("environment id", environment_id)
    for field, value in (("run id", run_id), ("environment id", environment_id)):
        if value.startswith("."):
            raise InputRefused(field, value, "an id that does not begin with a dot: it names a folder")
    if not 0 <= seed <= _MAX_SEED:
        raise InputRefused("seed", seed, f"0 to {_MAX_SEED}")
    if not inputs.members:
        raise InputRefused("input set", inputs.id, "an input set with at least one member")
    if not variant.enabled:
        raise InputRefused("variant", str(variant.id), "a variant that is enabled")
    target.build()
    traces = keep_traces(ws, scenario, inputs)
    drive_plans = plan_drives(run_id, scenario, seed, traces, variant=variant, target=target, inputs=inputs)
    now = ws.clock.now()
    digest = scenario.sha256
    row = {
        "id": run_id,
        "context": scenario_context(scenario.name, now),
        "parent_run_id": parent_run_id,
        "scenario_id": f"{scenario.name}-{digest[:12]}",
        "environment_id": environment_id,
        "variant_id": str(variant.id),
        "status": LOAD_TEST_RUN.initial,
        "seed": seed,
        "results_path": f"{environment_id}/{scenario.name}/{now:%Y%m%dT%H%M%S}/{run_id}",
        "submitted_count": 0,
        "metrics_json": {
            "runner": {"mode": "inline", "shards": len(drive_plans)},
            "stages": [
                {"name": stage.name, "planned": sum(_in_stage(one, index) for one in drive_plans)}
                for index, stage in enumerate(scenario.stages)
            ],
        },
        "created_at": now,
    }
    definition = {
        "id": row["scenario_id"],
        "definition": scenario.model_dump(mode="json"),
        "sha256": digest,
        "created_at": now,
    }
    with ws.database.begin() as connection:
        insert_absent(connection, tables.scenarios, [definition])
        created = insert_absent(connection, tables.load_test_runs, [row])
        runs = tables.load_test_runs
        record = RunRecord(**connection.execute(sa.select(runs).where(runs.c.id == run_id)).mappings().one())
        if created:
            record_creation(
                connection,
                LOAD_TEST_RUN,
                run_id,
                at=now,
                actor=ws.actor,
                reason=f"{sum(one.header.planned for one in drive_plans)} dispatches planned",
            )
            shards = [
                {"run_id": run_id, "shard": shard, "state": "planned", "planned": one.header.planned, "processes": 0}
                for shard, one in enumerate(drive_plans)
            ]
            insert_absent(connection, tables.load_test_shards, shards)
        for name in ("scenario_id", "environment_id", "variant_id", "seed"):
            if getattr(record, name) != row[name]:
                raise Conflict(
                    f"Run {run_id} was planned with {name} {getattr(record, name)!r}, not {row[name]!r}.",
                    instruction=f"Use another run id, or look at the run: pointsman scenario status {run_id}",
                    code="run_differs",
                )
        # Inside the transaction: a run whose drive could not be written does not exist.
        for drive_dir, one in zip(run_drives(ws, record), drive_plans, strict=True):
            write_drive(drive_dir, one)
    ws.results.publish(record.results_path, patience_s=0)  # what cannot be brought now is, when a shard is started


def plan_drives(
    run_id: str,
    scenario: Scenario,
    seed: int,
    traces: Traces,
    *,
    variant: Variant,
    target: TargetSpec,
    inputs: InputSet,
) -> list[DrivePlan]:
    """One per shard. Together they are the plan of the run: who sends a dispatch changes nothing about it."""
    dispatches = _dispatches(scenario, seed, traces, variant, inputs)
    most = min(scenario.max_in_flight, variant.limits.in_flight or scenario.max_in_flight)
    shards = min(scenario.shards, dispatches.height, most)
    return [
        DrivePlan(
            run_id=run_id,
            target=target,
            variants={str(variant.id): variant.params},
            inputs={member.input_id: DriveInput.of(member) for member in inputs.members},
            dispatches=dispatches.gather_every(shards, offset=shard),
            limits=Limits(
                max_in_flight=(most + shards - 1 - shard) // shards,
                poll_interval_s=scenario.poll_interval_s,
                drain_limit_s=scenario.drain_limit_s,
                request_timeout_s=scenario.request_timeout_s,
                target_patience_s=scenario.target_patience_s,
                rate_share=1 / shards,
            ),
            shared_start=shards > 1,
            sees={str(variant.id): variant.data_classes},
        )
        for shard in range(shards)
    ]


def _refuse_faster(variant: Variant, due_ns: npt.NDArray[np.int64]) -> None:
    """A schedule that gives the variant more in some second than its limit."""
    most = variant.limits.per_s
    if most is None:
        return
    window_s = max(1.0, 1 / most)
    ahead = np.searchsorted(due_ns, due_ns + round(window_s * 1e9), side="left")
    fastest = int((ahead - np.arange(due_ns.size)).max())
    if fastest > max(most, 1):
        raise InputRefused(
            "scenario rate",
            f"{fastest} in {window_s:g} s",
            f"at most {most:g} per second, which is the limit of {variant.id}",
            instruction="Lower the rate, or change the limit: pointsman variants change --help",
        )


def _in_stage(plan: DrivePlan, stage: int) -> int:
    return int((plan.dispatches["stage"] == stage).sum())


def _dispatches(scenario: Scenario, seed: int, traces: Traces, variant: Variant, inputs: InputSet) -> pl.DataFrame:
    """Those of all shards."""
    due, stages = plan_arrivals(scenario, seed, traces)
    if not due.size:
        raise InputRefused(
            "seed", seed, f"a seed with which at least one of {scenario.expected_dispatches:g} expected arrivals occurs"
        )
    _refuse_faster(variant, due)
    # A stream of its own, so that the order of inputs does not move when the number of arrivals does.
    order = np.random.Generator(np.random.PCG64([seed, 1])).permutation(len(inputs.members))
    turn, place = np.divmod(np.arange(due.size), len(order))
    chosen = pl.Series([member.input_id for member in inputs.members], dtype=pl.String).gather(order[place])
    params = pl.Series([None], dtype=pl.String).new_from_index(0, due.size)
    for stage, trace in stage_traces(scenario, traces).items():
        arrivals = np.flatnonzero(stages == stage)
        if trace.input_ids is not None:
            chosen = chosen.scatter(arrivals, list(trace.input_ids))
        if trace.params is not None:
            params = params.scatter(arrivals, trace.params)
    return planned_dispatches(
        route=str(variant.id), input_id=chosen, due_ns=due, repeat=turn, stage=stages, params=params
    )
