"""Judgement attempts as they stand in the ledger: claimed before a call is made, settled when it has ended."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from pointsman.ids import derive
from pointsman.model import Missing
from pointsman.quality.protocol import JudgeAttempt, JudgeUsage
from pointsman.storage import tables

SUBJECT_KIND = "judgement"
_DIED = Missing("the process that asked ended before the answer came; the tokens may have been billed")


def subject_of(set_id: str, subject: str) -> str:
    """The subject of a judgement's attempts: `<evaluation set>:<dispatch>`."""
    return f"{set_id}:{subject}"


def claim_attempt(
    connection: sa.Connection, now: datetime, set_id: str, subject: str, judge: str, skus: tuple[str, ...]
) -> int:
    """Put a call that is about to be made on record, as it is to be read if nobody hears of it again: its number."""
    numbers = sa.select(sa.func.max(tables.attempts.c.number)).where(
        tables.attempts.c.subject_id == subject_of(set_id, subject)
    )
    number = int(connection.execute(numbers).scalar() or 0) + 1
    usage = tuple(JudgeUsage(sku, _DIED) for sku in skus)
    insert_attempt(connection, set_id, subject, judge, JudgeAttempt(number, "unknown", now, now, usage, "interrupted"))
    return number


def settle_attempt(connection: sa.Connection, set_id: str, subject: str, judge: str, attempt: JudgeAttempt) -> None:
    """Put what came of a call in place of its claim."""
    attempts, usage = tables.attempts, tables.usage
    attempt_id = f"{subject_of(set_id, subject)}#{attempt.number}"
    connection.execute(sa.delete(usage).where(usage.c.subject_id == attempt_id))
    connection.execute(sa.delete(attempts).where(attempts.c.id == attempt_id))
    insert_attempt(connection, set_id, subject, judge, attempt)


def insert_attempt(connection: sa.Connection, set_id: str, subject: str, judge: str, attempt: JudgeAttempt) -> str:
    """Insert an attempt with its usage; return its id."""
    whole = subject_of(set_id, subject)
    attempt_id = f"{whole}#{attempt.number}"
    connection.execute(
        sa.insert(tables.attempts).values(
            id=attempt_id,
            run_id=set_id,
            subject_id=whole,
            subject_kind=SUBJECT_KIND,
            number=attempt.number,
            provider=judge,
            generation=None,
            outcome=attempt.outcome,
            started_at=attempt.started,
            ended_at=attempt.ended,
            detail={"code": attempt.code, **attempt.detail},
        )
    )
    if attempt.usage:
        rows = [
            {
                "id": derive("usage", attempt_id, used.sku),
                "run_id": set_id,
                "subject_id": attempt_id,
                "sku": used.sku,
                "quantity": None if isinstance(used.quantity, Missing) else used.quantity,
                "missing_reason": used.quantity.reason if isinstance(used.quantity, Missing) else None,
                "basis": used.basis,
            }
            for used in attempt.usage
        ]
        connection.execute(sa.insert(tables.usage), rows)
    return attempt_id
