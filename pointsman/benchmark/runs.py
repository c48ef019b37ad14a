"""Matrix runs: planning one as rows, its moves through the state machine, and what remains of it to be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from pointsman.benchmark import cells
from pointsman.benchmark.matrix import plan_cells
from pointsman.benchmark.registry import enabled_variants, require_environment, variant_of_row
from pointsman.benchmark.stopping import StopRule, stopped_variants, withheld
from pointsman.canonical import sha256_of
from pointsman.dispatch import TargetSpec
from pointsman.errors import Cancelled, Conflict, InputRefused, NotFound, RunFailed
from pointsman.ids import VariantId, check_id
from pointsman.model import InputSet, Variant
from pointsman.safety.admission import others_going_on
from pointsman.safety.places import registered_place
from pointsman.safety.production import Consent, not_alone, require_consent
from pointsman.safety.spending import lock_spending
from pointsman.states import BENCHMARK_RUN
from pointsman.storage import insert_absent, move, record_creation, tables
from pointsman.workspace import Workspace

_RUNS = tables.benchmark_matrix_runs
_ITEMS = tables.benchmark_matrix_run_items
_SEED_LIMIT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class MatrixRun:
    """One matrix as it stands."""

    id: str
    parent_run_id: str | None
    status: str
    environment_id: str
    input_set_id: str
    repeats: int
    seed: int
    round_cells: int
    chunk_size: int
    """Cells that a task elsewhere is given at most, but at least a round."""
    variants: tuple[Variant, ...]
    targets: tuple[TargetSpec, ...]
    in_flight_per_provider: int
    drain_limit_s: float
    early_stop: StopRule | None
    """By what rule a variant is stopped before its last cell."""
    stopped: Mapping[str, str]
    """By id of a variant that was stopped: why."""
    results_path: str
    planned: int
    consent: Consent | None
    """Of a matrix that may send to production."""


def create_matrix(
    ws: Workspace,
    *,
    benchmark_id: str,
    parent_run_id: str | None,
    variants: Sequence[VariantId],
    inputs: InputSet,
    repeats: int,
    seed: int,
    round_cells: int,
    environment_id: str,
    targets: Sequence[TargetSpec],
    in_flight_per_provider: int,
    drain_limit_s: float = 300.0,
    chunk_size: int | None = None,
    consent: Consent | None = None,
    early_stop: StopRule | None = None,
) -> MatrixRun:
    """Plan a matrix: its run row, one item per cell, and `plan.json` in its results folder.

    A cell whose variant may not see all data classes of its input is skipped from the start, with the reason.
    `drain_limit_s` is how long a round may learn nothing before its open cells count as unknown. `chunk_size` is how
    many cells a task elsewhere is given at most, a round by default; whoever asks again gets the chunks that there are.
    The same id with the
    same request is answered with the matrix as it stands, and a cancelled one is set running again: asking for it by
    the same command continues it; with another request it is a `Conflict`. Where targets listen is no part of that
    comparison: a restarted one may listen elsewhere. Raises `InputRefused` before anything is written for unknown or
    disabled variants, variants of more than one route key or of a target not among `targets`, an unknown environment
    or input set, numbers out of range, and when no variant may see any of the inputs.

    One against production needs the `consent` of its guard, for which it asks alone: raises `GuardRefused`
    (`production_not_guarded`, `another_run_goes_on`). One that failed or was cancelled needs it anew.
    """
    check_id("benchmark id", benchmark_id)
    if in_flight_per_provider < 1:
        raise InputRefused("in_flight_per_provider", in_flight_per_provider, "1 or more")
    if not 0 < drain_limit_s <= 86_400:
        raise InputRefused("drain_limit_s", drain_limit_s, "more than 0 and at most 86400 seconds")
    if chunk_size is not None and chunk_size < 1:
        raise InputRefused("chunk_size", chunk_size, "1 or more")
    if not 0 <= seed <= _SEED_LIMIT:
        raise InputRefused("seed", seed, f"0 to {_SEED_LIMIT}")
    planned = plan_cells(variants, inputs.members, repeats=repeats, seed=seed, round_cells=round_cells)
    plan: dict[str, Any] = {
        "variants": sorted(str(one) for one in variants),
        "input_set": {"id": inputs.id, "sha256": inputs.sha256},
        "repeats": repeats,
        "seed": seed,
        "round_cells": round_cells,
        "environment": environment_id,
        "targets": [one.model_dump(mode="json") for one in sorted(targets, key=lambda one: one.name)],
        "in_flight_per_provider": in_flight_per_provider,
        "drain_limit_s": drain_limit_s,
        "cells": len(planned),
        "chunk_size": chunk_size or round_cells,
        "early_stop": None if early_stop is None else early_stop.document(),
    }
    if consent is not None:
        plan["production"] = consent.document()
    results_path = f"{environment_id}/benchmarks/{benchmark_id}"
    with ws.database.begin() as connection:
        existing = connection.execute(sa.select(_RUNS.c.plan).where(_RUNS.c.id == benchmark_id)).scalar()
        if existing is not None:
            differs = _differences(existing, plan)
            if differs:
                raise Conflict(
                    f"Matrix {benchmark_id} was created with another plan: {', '.join(differs)} differ.",
                    instruction="Use another benchmark id, or the request it was created with.",
                    differs=differs,
                )
            _require_entry(connection, benchmark_id, environment_id, consent)
            moved = (
                sa.update(_RUNS)
                .where(_RUNS.c.id == benchmark_id)
                .values(plan={**existing, **plan, "chunk_size": existing.get("chunk_size", plan["chunk_size"])})
            )
            connection.execute(moved)
            if _read(connection, benchmark_id).status == "cancelled":
                _set_running(connection, ws, benchmark_id, "asked for again")
            return _read(connection, benchmark_id)
        require_environment(connection, environment_id)
        registered = enabled_variants(connection, variants)
        _refuse_mixed(registered, targets)
        _require_input_set(connection, inputs)
        kept_away = withheld(registered, inputs.members)
        if len(kept_away) == len(registered) * len(inputs.members):
            raise InputRefused(
                "inputs",
                inputs.id,
                f"a set of which a variant may see something ({next(iter(kept_away.values()))})",
                instruction="See what they may see: pointsman variants list",
            )
        _require_entry(connection, benchmark_id, environment_id, consent)
        row = {
            "id": benchmark_id,
            "parent_run_id": parent_run_id,
            "status": BENCHMARK_RUN.initial,
            "input_set_id": inputs.id,
            "environment_id": environment_id,
            "seed": seed,
            "plan": plan,
            "plan_sha256": sha256_of(_identity(plan)),
            "results_path": results_path,
            "created_at": ws.clock.now(),
        }
        insert_absent(connection, _RUNS, [row])
        record_creation(
            connection, BENCHMARK_RUN, benchmark_id, at=ws.clock.now(), actor=ws.actor, reason="matrix planned"
        )
        cells.insert_cells(connection, ws, benchmark_id, planned, kept_away)
        created = _read(connection, benchmark_id)
        ws.results.write_json(f"{results_path}/plan.json", plan)
    return created


def matrix_run(ws: Workspace, benchmark_id: str) -> MatrixRun:
    """The matrix as it stands. Raises `NotFound`."""
    with ws.database.begin() as connection:
        return _read(connection, benchmark_id)


def cell_counts(ws: Workspace, benchmark_id: str) -> dict[str, int]:
    """How many cells of the matrix are in each item state that occurs."""
    own = _ITEMS.c.benchmark_id == benchmark_id
    with ws.database.connect() as connection:
        counted = connection.execute(sa.select(_ITEMS.c.status, sa.func.count()).where(own).group_by(_ITEMS.c.status))
        return {str(status): int(count) for status, count in counted}


def rounds(ws: Workspace, benchmark_id: str) -> list[int]:
    """The rounds that still have something to do, in order. Cancelled cells count: they are planned again."""
    with ws.database.begin() as connection:
        _read(connection, benchmark_id)
        return cells.unfinished_rounds(connection, benchmark_id)


def start_matrix(ws: Workspace, benchmark_id: str, *, number: int | None = None) -> MatrixRun:
    """Set the matrix running if it is not; one that failed goes on where it stopped.

    Cells that were cancelled, of all rounds or of one, are planned again as new dispatches within their rounds: the
    target has cancelled their jobs for good, and a dispatch id never stands for two jobs. Raises `Cancelled` for a
    matrix that somebody cancelled (only asking for it again resumes that), `IllegalMove` for one that is collected or
    ready, and `GuardRefused` for one against production that was not admitted there.
    """
    with ws.database.begin() as connection:
        found = _read(connection, benchmark_id)
        if found.status == "cancelled":
            raise Cancelled(
                f"Matrix {benchmark_id} was cancelled.",
                instruction="Run the command that created it again: it continues where this one stopped.",
            )
        require_consent(registered_place(connection, found.environment_id), found.consent, f"The matrix {benchmark_id}")
        _set_running(connection, ws, benchmark_id, "cells are being run", number=number)
        return replace(found, status="running")


def list_matrix_runs(ws: Workspace, *, limit: int) -> list[MatrixRun]:
    """The newest `limit` matrices, newest first."""
    newest = sa.select(_RUNS.c.id).order_by(_RUNS.c.created_at.desc(), _RUNS.c.id).limit(limit)
    with ws.database.begin() as connection:
        return [_read(connection, one) for one in connection.execute(newest).scalars().all()]


def finish_matrix(ws: Workspace, benchmark_id: str) -> MatrixRun:
    """Move the matrix to collected; one that is ready stays so. Raises `RunFailed` while a cell is not terminal."""
    ws.results.publish(matrix_run(ws, benchmark_id).results_path)
    with ws.database.begin() as connection:
        left = cells.unfinished_rounds(connection, benchmark_id)
        if left:
            raise RunFailed(
                f"Matrix {benchmark_id} has unfinished cells in rounds {', '.join(map(str, left))}.",
                instruction="Run the command that created it again: it continues where this one stopped.",
                code="matrix_unfinished",
            )
        if _read(connection, benchmark_id).status != "ready":
            _move(connection, ws, benchmark_id, "collected", "every cell is terminal")
        return _read(connection, benchmark_id)


def end_early(ws: Workspace, benchmark_id: str, *, why: str) -> int:
    """Skip the cells that were not begun, each with the reason; how many these were. What runs is left to end."""
    with ws.database.begin() as connection:
        waiting = sa.select(_ITEMS).where(_ITEMS.c.benchmark_id == benchmark_id, _ITEMS.c.status == "pending")
        rows = connection.execute(waiting.order_by(_ITEMS.c.seq).with_for_update()).all()
        cells.move_cells(connection, ws, [(row, "skipped", why, {"reason": f"skipped: {why}"}) for row in rows])
    return len(rows)


def mark_ready(ws: Workspace, benchmark_id: str) -> MatrixRun:
    """Move the matrix to ready: judged, or judging was not asked for."""
    return _ended(ws, benchmark_id, "ready", "judged, or judging was not asked for")


def fail_matrix(ws: Workspace, benchmark_id: str, *, code: str, message: str, instruction: str) -> MatrixRun:
    """Move the matrix to failed, keeping why. It can be resumed; where it is in production, by passing its guard."""
    failure = {"code": code, "message": message, "instruction": instruction}
    return _ended(ws, benchmark_id, "failed", f"{code}: {message}", failure=failure)


def cancel_matrix(ws: Workspace, benchmark_id: str, *, reason: str) -> MatrixRun:
    """Move the matrix to cancelled; a round that is running notices within seconds and stops.

    Asking for the same matrix again (`create_matrix`) resumes it.
    """
    return _ended(ws, benchmark_id, "cancelled", reason)


def _set_running(
    connection: sa.Connection, ws: Workspace, benchmark_id: str, reason: str, *, number: int | None = None
) -> None:
    moved = _move(connection, ws, benchmark_id, "running", reason, ended_at=None, failure=None)
    if moved:
        started = sa.update(_RUNS).where(_RUNS.c.id == benchmark_id, _RUNS.c.started_at.is_(None))
        connection.execute(started.values(started_at=ws.clock.now()))
    cells.plan_cancelled_again(connection, ws, benchmark_id, number=number)


def _ended(ws: Workspace, benchmark_id: str, new: str, reason: str, **values: Any) -> MatrixRun:
    with ws.database.begin() as connection:
        _move(connection, ws, benchmark_id, new, reason, ended_at=ws.clock.now(), **values)
        if new in ("failed", "cancelled"):
            plan = connection.execute(sa.select(_RUNS.c.plan).where(_RUNS.c.id == benchmark_id)).scalar_one()
            used = {name: value for name, value in plan.items() if name != "production"}
            connection.execute(sa.update(_RUNS).where(_RUNS.c.id == benchmark_id).values(plan=used))
        return _read(connection, benchmark_id)


def _require_entry(connection: sa.Connection, benchmark_id: str, environment_id: str, consent: Consent | None) -> None:
    known = connection.execute(sa.select(_RUNS.c.status).where(_RUNS.c.id == benchmark_id)).scalar()
    if known in ("collected", "ready"):
        return  # it sends nothing any more
    require_consent(registered_place(connection, environment_id), consent, f"The matrix {benchmark_id}")
    if consent is not None:
        lock_spending(connection)  # of two that pass the guard at once, one begins
        refusal = not_alone(environment_id, others_going_on(connection, environment_id, benchmark_id))
        if refusal is not None:
            raise refusal.error()


def _move(connection: sa.Connection, ws: Workspace, benchmark_id: str, new: str, reason: str, **values: Any) -> bool:
    return move(
        connection,
        BENCHMARK_RUN,
        _RUNS,
        benchmark_id,
        new,
        at=ws.clock.now(),
        actor=ws.actor,
        reason=reason,
        **values,
    )


def _read(connection: sa.Connection, benchmark_id: str) -> MatrixRun:
    row = connection.execute(sa.select(_RUNS).where(_RUNS.c.id == benchmark_id)).one_or_none()
    if row is None:
        raise NotFound(
            "benchmark id", benchmark_id, "one that was created", instruction="`pointsman benchmark show` lists them."
        )
    registered = connection.execute(sa.select(tables.variants).where(tables.variants.c.id.in_(row.plan["variants"])))
    return MatrixRun(
        id=row.id,
        parent_run_id=row.parent_run_id,
        status=row.status,
        environment_id=row.environment_id,
        input_set_id=row.input_set_id,
        seed=row.seed,
        variants=tuple(map(variant_of_row, registered)),
        targets=tuple(TargetSpec.model_validate(one) for one in row.plan["targets"]),
        repeats=row.plan["repeats"],
        round_cells=row.plan["round_cells"],
        chunk_size=row.plan.get("chunk_size", row.plan["round_cells"]),
        in_flight_per_provider=row.plan["in_flight_per_provider"],
        drain_limit_s=row.plan["drain_limit_s"],
        early_stop=None if row.plan.get("early_stop") is None else StopRule(**row.plan["early_stop"]),
        stopped=stopped_variants(connection, benchmark_id),
        results_path=row.results_path,
        planned=row.plan["cells"],
        consent=Consent.read(row.plan.get("production")),
    )


def _identity(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What must not change once a matrix exists. Where targets listen may: a restarted one moves. How the work is
    shared out changes nothing about it, nor by whose consent it is done."""
    targets = [{name: value for name, value in one.items() if name != "base_url"} for one in plan["targets"]]
    return {name: value for name, value in plan.items() if name not in ("chunk_size", "production")} | {
        "targets": targets
    }


def _differences(existing: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    before, after = _identity(existing), _identity(asked)
    return [name for name in after if before.get(name) != after[name]]


def _refuse_mixed(variants: Sequence[Variant], targets: Sequence[TargetSpec]) -> None:
    known = [target.name for target in targets]
    if len(set(known)) < len(known):
        raise InputRefused("targets", known, "each name only once")
    first = variants[0]
    for one in variants:
        if one.target not in known:
            raise InputRefused(f"target of {one.id}", one.target, f"a target of this matrix: {', '.join(known)}")
        if one.id.route_key != first.id.route_key:
            raise InputRefused("variant", str(one.id), f"variants of one route key, here {first.id.route_key}")


def _require_input_set(connection: sa.Connection, inputs: InputSet) -> None:
    table = tables.input_sets
    sha256 = connection.execute(sa.select(table.c.sha256).where(table.c.id == inputs.id)).scalar()
    if sha256 is None:
        raise NotFound("input set", inputs.id, "a registered one")
    if sha256 != inputs.sha256:
        raise InputRefused("input set sha256", inputs.sha256, f"{sha256}, which {inputs.id} is registered with")
