"""The ledger of calls that a judge sends together: the batch and all its calls are on record before it is sent.

What came back is kept as it came, in the same transaction as what it cost, so that whoever goes on after a crash
neither asks nor pays again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa

from pointsman.ids import derive
from pointsman.model import Json
from pointsman.quality.attempts import claim_attempt, settle_attempt
from pointsman.quality.protocol import Batch, BatchCall, JudgeAttempt
from pointsman.storage import tables
from pointsman.workspace import Workspace


class LedgerBatches:
    """The batches of one evaluation set in the table `judge_batches`, and their calls in `attempts` and `usage`.

    They outlive whoever sent them, so that another can wait on.
    """

    def __init__(self, ws: Workspace, set_id: str, *, judge: str) -> None:
        self._ws = ws
        self._set_id = set_id
        self._judge = judge

    def all(self) -> list[Batch]:
        """Every batch of this judgement, in the order in which they were sent."""
        table = tables.judge_batches
        wanted = sa.select(table).where(table.c.evaluation_set_id == self._set_id).order_by(table.c.number)
        with self._ws.database.connect() as connection:
            rows = connection.execute(wanted).all()
        return [
            Batch(
                row.id,
                tuple(BatchCall(*call) for call in row.calls),
                tuple(row.uploads),
                row.sent_at,
                row.name,
                row.state,
                None if row.answers is None else tuple(row.answers),
            )
            for row in rows
        ]

    def open(self, calls: Sequence[tuple[str, str]], skus: tuple[str, ...], uploads: Sequence[str]) -> Batch:
        """Write down that a call about each `(subject, key)` is about to be made, all in one batch."""
        table, now = tables.judge_batches, self._ws.clock.now()
        with self._ws.database.begin() as connection:
            before = sa.select(sa.func.count()).where(table.c.evaluation_set_id == self._set_id)
            number = int(connection.execute(before).scalar_one()) + 1
            claimed = tuple(
                BatchCall(subject, key, claim_attempt(connection, now, self._set_id, subject, self._judge, skus))
                for subject, key in calls
            )
            batch = Batch(derive("judge-batch", self._set_id, number), claimed, tuple(uploads), now)
            row = {
                "id": batch.id,
                "evaluation_set_id": self._set_id,
                "number": number,
                "calls": [[one.subject, one.key, one.number] for one in claimed],
                "uploads": list(uploads),
                "sent_at": now,
            }
            connection.execute(sa.insert(table).values(row))
        return batch

    def named(self, batch: Batch, name: str) -> Batch:
        """Write down what the service calls it."""
        self._update(batch, name=name)
        return replace(batch, name=name)

    def close(
        self,
        batch: Batch,
        state: str,
        answers: Sequence[Mapping[str, Json] | None],
        attempts: Sequence[JudgeAttempt],
    ) -> Batch:
        """Write down what came of it, and of each of its calls, at once."""
        table = tables.judge_batches
        kept = [None if answer is None else dict(answer) for answer in answers]
        with self._ws.database.begin() as connection:
            for call, attempt in zip(batch.calls, attempts, strict=True):
                settle_attempt(connection, self._set_id, call.subject, self._judge, attempt)
            connection.execute(sa.update(table).where(table.c.id == batch.id).values(state=state, answers=kept))
        return replace(batch, state=state, answers=tuple(answers))

    def _update(self, batch: Batch, **values: object) -> None:
        table = tables.judge_batches
        with self._ws.database.begin() as connection:
            connection.execute(sa.update(table).where(table.c.id == batch.id).values(**values))
