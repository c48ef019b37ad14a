"""An evaluation set: all outputs of one benchmark judged by one identity, chunk by chunk, in any number of sittings."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from pointsman.errors import Conflict, InputRefused, NotFound, RunFailed
from pointsman.ids import derive
from pointsman.quality.calls import LedgerCalls, SpendCap
from pointsman.quality.protocol import Evaluation, FailedJudgement, Judge, JudgeIdentity, JudgeUnavailable
from pointsman.quality.recording import keep_transcript, record
from pointsman.quality.samples import completed_cells, load_samples
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

SetStatus = Literal["running", "complete", "abandoned"]


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    id: str
    benchmark_id: str
    identity: JudgeIdentity
    status: SetStatus
    reason: str | None
    created_at: datetime
    reference: str | None = None
    """The variant that a judge that compares holds every output against."""


def open_evaluation_set(
    ws: Workspace, benchmark_id: str, identity: JudgeIdentity, *, reference: str | None = None
) -> str:
    """The set of this benchmark and identity, made if it is not there; its id derives from both.

    Judging again with the same identity continues the same set. A set that was abandoned stays so until `reopen`.
    `reference` is the variant that a judge that compares holds outputs against. Raises `Conflict` when the set was
    opened for another one.
    """
    results_path_of(ws, benchmark_id)
    set_id = derive("evaluation-set", benchmark_id, identity.name, identity.model, identity.rubric_sha256)
    row = {
        "id": set_id,
        "benchmark_id": benchmark_id,
        "judge": identity.name,
        "identity": identity.as_document(),
        "status": "running",
        "reason": None,
        "reference": reference,
        "created_at": ws.clock.now(),
    }
    with ws.database.begin() as connection:
        insert_absent(connection, tables.evaluation_sets, [row])
    if (opened := evaluation_set(ws, set_id)).reference != reference:
        raise Conflict(
            f"Evaluation set {set_id} compares with {opened.reference}, not with {reference}.",
            instruction="Name the incumbent that it was opened for, or run a new matrix.",
            code="reference_changed",
        )
    return set_id


def evaluation_set(ws: Workspace, set_id: str) -> EvaluationSet:
    """Raises `NotFound`."""
    table = tables.evaluation_sets
    with ws.database.connect() as connection:
        row = connection.execute(sa.select(table).where(table.c.id == set_id)).mappings().first()
    if row is None:
        raise NotFound("evaluation set", set_id, "one that was opened")
    identity = JudgeIdentity(**row["identity"])
    return EvaluationSet(
        row["id"], row["benchmark_id"], identity, row["status"], row["reason"], row["created_at"], row["reference"]
    )


def evaluation_sets_of(ws: Workspace, benchmark_id: str) -> list[EvaluationSet]:
    """The sets of a benchmark, newest first."""
    table = tables.evaluation_sets
    wanted = sa.select(table.c.id).where(table.c.benchmark_id == benchmark_id).order_by(table.c.created_at.desc())
    with ws.database.connect() as connection:
        ids = list(connection.execute(wanted).scalars())
    return [evaluation_set(ws, set_id) for set_id in ids]


def pending(ws: Workspace, set_id: str) -> list[str]:
    """Dispatch ids of the outputs that have no evaluation yet, in the order of the matrix's plan."""
    found = evaluation_set(ws, set_id)
    table = tables.quality_evaluations
    with ws.database.connect() as connection:
        wanted = sa.select(table.c.dispatch_id).where(table.c.evaluation_set_id == set_id)
        judged = set(connection.execute(wanted).scalars())
    return [dispatch_id for dispatch_id in completed_cells(ws, found.benchmark_id) if dispatch_id not in judged]


def pending_chunks(ws: Workspace, set_id: str, size: int) -> dict[int, list[str]]:
    """What is pending in chunks of so many outputs, by number: the order of the plan says which chunk an output is in.

    Chunks keep their numbers and members while they are worked off.
    """
    if size < 1:
        raise InputRefused("chunk_size", size, "1 or more")
    left = set(pending(ws, set_id))
    found: dict[int, list[str]] = {}
    for place, dispatch_id in enumerate(completed_cells(ws, evaluation_set(ws, set_id).benchmark_id)):
        if dispatch_id in left:
            found.setdefault(place // size, []).append(dispatch_id)
    return found


def judge_chunk(
    ws: Workspace, set_id: str, judge: Judge, dispatch_ids: Sequence[str], *, cap: SpendCap | None = None
) -> int:
    """Judge those of `dispatch_ids` that are still pending and store each as it is done; return how many were stored.

    Raises `Conflict` when `judge` is not the identity the set was opened for or the set is complete, `NotFound` for an
    id that is no completed cell of the benchmark, and `JudgeUnavailable` after storing what did succeed and every
    attempt of what did not; also with code `spend_cap`, and with `evaluation_set_abandoned` for a set given up before.
    """
    found = evaluation_set(ws, set_id)
    if judge.identity != found.identity:
        raise Conflict(
            f"Evaluation set {set_id} belongs to the judge {found.identity}; {judge.identity} cannot judge in it.",
            instruction="Open a set for this judge: judges never meet in one comparison.",
            code="judge_mixed",
        )
    unknown = set(dispatch_ids) - set(completed_cells(ws, found.benchmark_id))
    if unknown:
        raise NotFound("dispatch id", min(unknown), f"a completed cell of {found.benchmark_id}")
    wanted = set(dispatch_ids)
    todo = [dispatch_id for dispatch_id in pending(ws, set_id) if dispatch_id in wanted]
    if not todo:
        return 0
    if found.status == "abandoned":
        # Not a conflict: a run that was interrupted while it fell back comes by here again and must fall back again.
        raise JudgeUnavailable(
            f"Evaluation set {set_id} was abandoned: {found.reason}.",
            instruction=f"Judge {found.benchmark_id} with the judge `local`, or reopen the set.",
            code="evaluation_set_abandoned",
        )
    if found.status == "complete":
        raise Conflict(
            f"Evaluation set {set_id} is complete, yet {todo[0]} is not judged in it: the matrix grew afterwards.",
            instruction="Judge the benchmark with another judge, or run a new matrix.",
            code="evaluation_set_closed",
        )
    return _Chunk(ws, found, judge, cap).run(todo)


class _Chunk:
    """One call of `judge_chunk`: what is stored so far."""

    def __init__(self, ws: Workspace, into: EvaluationSet, judge: Judge, cap: SpendCap | None) -> None:
        self._ws = ws
        self._set = into
        self._judge = judge
        self._calls = LedgerCalls(ws, into.id, judge=judge.identity.name, cap=cap)
        self._folder = judgements_folder(ws, into)
        self._stored = 0

    def run(self, dispatch_ids: Sequence[str]) -> int:
        of = self._set
        samples, absent = load_samples(self._ws, of.benchmark_id, of.id, dispatch_ids, reference=of.reference)
        for cell in absent:
            self._store(Evaluation(cell.dispatch_id, cell.why, {}, ()))
        try:
            with closing(self._judge.judge(samples, self._calls)) as evaluations:
                for evaluation in evaluations:
                    self._store(evaluation)
        except JudgeUnavailable as error:
            for failed in error.failed:
                self._store(failed)
            raise
        return self._stored

    def _store(self, got: Evaluation | FailedJudgement) -> None:
        kept = keep_transcript(self._ws, self._folder, got.dispatch_id, got.transcript)
        with self._calls.writing:
            self._stored += record(
                self._ws,
                set_id=self._set.id,
                benchmark_id=self._set.benchmark_id,
                dispatch_id=got.dispatch_id,
                judge=self._judge.identity.name,
                attempts=got.attempts,
                kept=kept,
                evaluation=got if isinstance(got, Evaluation) else None,
            )


def complete(ws: Workspace, set_id: str) -> None:
    """Close the set. Raises `RunFailed` while outputs are pending and `Conflict` when it was abandoned. Idempotent."""
    found = evaluation_set(ws, set_id)
    if found.status == "complete":
        return
    if found.status == "abandoned":
        raise Conflict(
            f"Evaluation set {set_id} was abandoned: {found.reason}.",
            instruction=f"Judge again with `pointsman evaluate {found.benchmark_id}`.",
            code="evaluation_set_closed",
        )
    left = pending(ws, set_id)
    if left:
        raise RunFailed(
            f"{len(left)} outputs of {found.benchmark_id} are not judged yet, {left[0]} for one.",
            instruction=f"Continue with `pointsman evaluate {found.benchmark_id}`.",
            code="evaluation_incomplete",
        )
    with ws.database.begin() as connection:
        move_set(connection, set_id, "running", "complete", None)


def abandon(ws: Workspace, set_id: str, reason: str) -> bool:
    """Give the set up, keeping what was judged for the record; False when it was given up before."""
    found = evaluation_set(ws, set_id)
    if found.status == "complete":
        raise Conflict(
            f"Evaluation set {set_id} is complete; it cannot be abandoned.",
            instruction=f"Read it with `pointsman evaluate {found.benchmark_id}`.",
            code="evaluation_set_closed",
        )
    with ws.database.begin() as connection:
        return move_set(connection, set_id, "running", "abandoned", reason)


def reopen(ws: Workspace, set_id: str) -> bool:
    """Continue a set that was abandoned, when its judge is there again; False when it was not abandoned."""
    evaluation_set(ws, set_id)
    with ws.database.begin() as connection:
        return move_set(connection, set_id, "abandoned", "running", None)


def move_set(connection: sa.Connection, set_id: str, before: SetStatus, after: SetStatus, reason: str | None) -> bool:
    """Move the set from `before` to `after` within the caller's transaction; False when it is not in `before`."""
    table = tables.evaluation_sets
    change = sa.update(table).where(table.c.id == set_id, table.c.status == before)
    return connection.execute(change.values(status=after, reason=reason)).rowcount == 1


def judgements_folder(ws: Workspace, of: EvaluationSet) -> str:
    """Where the transcripts of a set lie in the results store."""
    return f"{results_path_of(ws, of.benchmark_id)}/judgements/{of.id}"


def results_path_of(ws: Workspace, benchmark_id: str) -> str:
    """Where the files of a benchmark lie in the results store. Raises `NotFound`."""
    table = tables.benchmark_matrix_runs
    with ws.database.connect() as connection:
        path = connection.execute(sa.select(table.c.results_path).where(table.c.id == benchmark_id)).scalar()
    if path is None:
        raise NotFound("benchmark", benchmark_id, "a matrix run that was created")
    return str(path)
