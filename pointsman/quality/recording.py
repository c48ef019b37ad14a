"""Writing judgements: one transaction per sample, so that a repeated chunk continues and never duplicates.

An attempt that may be billed is written down before it is made. A process that dies in between leaves it as
`unknown` with unknown usage, so that the cost of the comparison is not understated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from pointsman.canonical import sha256_of
from pointsman.ids import derive
from pointsman.model import Json, Missing
from pointsman.quality.protocol import Evaluation, Judge, JudgeAttempt, JudgeUsage
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

SUBJECT_KIND = "judgement"


def subject_of(set_id: str, dispatch_id: str) -> str:
    """The subject of a judgement's attempts: `<evaluation set>:<dispatch>`."""
    return f"{set_id}:{dispatch_id}"


def claim(ws: Workspace, set_id: str, dispatch_id: str, judge: Judge) -> str:
    """Write down that an attempt is about to be made; return its id, which `record` replaces by what came of it."""
    now = ws.clock.now()
    unknown = Missing("the process that asked ended before the answer came; the tokens may have been billed")
    attempt = JudgeAttempt(
        number=1,
        outcome="unknown",
        started=now,
        ended=now,
        usage=tuple(JudgeUsage(sku, unknown) for sku in judge.billed_skus),
        code="interrupted",
    )
    with ws.database.begin() as connection:
        (attempt_id,) = _insert_attempts(connection, set_id, dispatch_id, judge.identity.name, (attempt,), {})
    return attempt_id


def record(
    ws: Workspace,
    *,
    set_id: str,
    benchmark_id: str,
    dispatch_id: str,
    judge: str,
    attempts: Sequence[JudgeAttempt],
    claimed: str | None,
    transcript: Mapping[str, Json] | None,
    folder: str,
    evaluation: Evaluation | None,
) -> bool:
    """Store what came of one sample; `evaluation` is None when the judge gave up on it.

    The transcript goes to `folder` of the results store first and is named, with its hash, in scores and attempts.
    Returns whether the evaluation is new.
    """
    kept = _keep(ws, folder, dispatch_id, transcript)
    with ws.database.begin() as connection:
        if claimed is not None:
            connection.execute(sa.delete(tables.usage).where(tables.usage.c.subject_id == claimed))
            connection.execute(sa.delete(tables.attempts).where(tables.attempts.c.id == claimed))
        _insert_attempts(connection, set_id, dispatch_id, judge, attempts, kept)
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


def _keep(ws: Workspace, folder: str, dispatch_id: str, transcript: Mapping[str, Json] | None) -> dict[str, Json]:
    if transcript is None:
        return {}
    # The name holds the content's hash: a later try of the same sample never replaces what an earlier one heard.
    relative = f"{folder}/{dispatch_id}-{sha256_of(dict(transcript))[:12]}.json"
    stored = ws.results.write_json(relative, dict(transcript))
    return {"transcript": {"path": relative, "sha256": stored.sha256}}


def _insert_attempts(
    connection: sa.Connection,
    set_id: str,
    dispatch_id: str,
    judge: str,
    attempts: Sequence[JudgeAttempt],
    kept: Mapping[str, Json],
) -> list[str]:
    subject = subject_of(set_id, dispatch_id)
    numbers = sa.select(sa.func.max(tables.attempts.c.number)).where(tables.attempts.c.subject_id == subject)
    before = connection.execute(numbers).scalar() or 0
    ids: list[str] = []
    for attempt in attempts:
        # Numbers go on from an earlier, interrupted judging of the same sample.
        number = before + attempt.number
        attempt_id = f"{subject}#{number}"
        ids.append(attempt_id)
        connection.execute(
            sa.insert(tables.attempts).values(
                id=attempt_id,
                run_id=set_id,
                subject_id=subject,
                subject_kind=SUBJECT_KIND,
                number=number,
                provider=judge,
                generation=None,
                outcome=attempt.outcome,
                started_at=attempt.started,
                ended_at=attempt.ended,
                detail={"code": attempt.code, **attempt.detail, **kept},
            )
        )
        for used in attempt.usage:
            known = not isinstance(used.quantity, Missing)
            connection.execute(
                sa.insert(tables.usage).values(
                    id=derive("usage", attempt_id, used.sku),
                    run_id=set_id,
                    subject_id=attempt_id,
                    sku=used.sku,
                    quantity=used.quantity if known else None,
                    missing_reason=used.quantity.reason if isinstance(used.quantity, Missing) else None,
                    basis=used.basis,
                )
            )
    return ids
