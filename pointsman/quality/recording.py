"""Writing judgements: one transaction per sample, so that a repeated chunk continues and never duplicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from pointsman.canonical import sha256_of
from pointsman.ids import derive
from pointsman.model import Json, Missing
from pointsman.quality.attempts import insert_attempt, subject_of
from pointsman.quality.protocol import Evaluation, JudgeAttempt
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace


def record(
    ws: Workspace,
    *,
    set_id: str,
    benchmark_id: str,
    dispatch_id: str,
    judge: str,
    attempts: Sequence[JudgeAttempt],
    kept: Mapping[str, Json],
    evaluation: Evaluation | None,
) -> bool:
    """Store what came of one sample; `evaluation` is None when the judge gave up on it.

    `kept` is what `keep_transcript` returned, to stand in scores and attempts. Attempts that are not on record yet,
    because nothing of them is billed, are put there. Returns whether the evaluation is new.
    """
    with ws.database.begin() as connection:
        note_attempts(connection, set_id, dispatch_id, judge, attempts, kept)
        if evaluation is None:
            return False
        missing = evaluation.quality.reason if isinstance(evaluation.quality, Missing) else None
        row = {
            "id": derive("evaluation", set_id, dispatch_id),
            "evaluation_set_id": set_id,
            "benchmark_id": benchmark_id,
            "dispatch_id": dispatch_id,
            "quality": None if isinstance(evaluation.quality, Missing) else evaluation.quality,
            "missing_reason": missing,
            "scores": {**evaluation.scores, **kept},
            "created_at": ws.clock.now(),
        }
        return insert_absent(connection, tables.quality_evaluations, [row]) == 1


def keep_transcript(ws: Workspace, folder: str, name: str, transcript: Mapping[str, Json] | None) -> dict[str, Json]:
    """Store what was asked and answered; return where and its hash, as it stands in scores and attempts."""
    if transcript is None:
        return {}
    # The name holds the content's hash: a later try of the same sample never replaces what an earlier one heard.
    relative = f"{folder}/{name}-{sha256_of(dict(transcript))[:12]}.json"
    stored = ws.results.write_json(relative, dict(transcript))
    return {"transcript": {"path": relative, "sha256": stored.sha256}}


def note_attempts(
    connection: sa.Connection,
    set_id: str,
    subject: str,
    judge: str,
    attempts: Sequence[JudgeAttempt],
    kept: Mapping[str, Json],
) -> None:
    """Put into the ledger which attempts are not there, and into all of them where their transcript is."""
    table = tables.attempts
    held = sa.select(table.c.number).where(table.c.subject_id == subject_of(set_id, subject))
    numbers = set(connection.execute(held).scalars())
    for attempt in attempts:
        if attempt.number not in numbers:
            insert_attempt(connection, set_id, subject, judge, attempt)
        if kept:
            detail = {"code": attempt.code, **attempt.detail, **kept}
            one = table.c.id == f"{subject_of(set_id, subject)}#{attempt.number}"
            connection.execute(sa.update(table).where(one).values(detail=detail))
