"""The ledger of a judge's calls: each is on record before it is made, and its tokens as soon as it has ended.

A process that dies in between leaves a call as `unknown` with unknown usage, so that neither the number of calls nor
the cost of the comparison is understated.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa

from pointsman.ids import derive
from pointsman.model import Missing, Number
from pointsman.quality.protocol import JudgeAttempt, JudgeUnavailable, JudgeUsage
from pointsman.storage import tables
from pointsman.workspace import Workspace

SUBJECT_KIND = "judgement"
_DIED = Missing("the process that asked ended before the answer came; the tokens may have been billed")


@dataclass(frozen=True, slots=True)
class SpendCap:
    """The most that judging a set may cost, in USD, and what one unit of a sku costs.

    Held before each call, so it can be passed by the calls in flight and by nothing else. A call whose usage is not
    known, because its answer was lost, counts as much as the others did on average.
    """

    usd: Decimal
    price: Callable[[str], Number]


def subject_of(set_id: str, subject: str) -> str:
    """The subject of a judgement's attempts: `<evaluation set>:<dispatch>`."""
    return f"{set_id}:{subject}"


class LedgerCalls:
    """`Calls` that stand in the tables `attempts` and `usage`, for one evaluation set and one judge."""

    def __init__(
        self, ws: Workspace, set_id: str, *, judge: str, billed_skus: tuple[str, ...], cap: SpendCap | None
    ) -> None:
        self._ws = ws
        self._set_id = set_id
        self._judge = judge
        self._skus = billed_skus
        self._cap = cap
        self._in_flight = 0
        self.writing = threading.Lock()
        """Held while this process writes: SQLite makes a second writer wait in steps of up to a tenth of a second."""

    def begin(self, subject: str) -> int:
        """As `Calls.begin`."""
        now = self._ws.clock.now()
        usage = tuple(JudgeUsage(sku, _DIED) for sku in self._skus)
        with self.writing, self._ws.database.begin() as connection:
            if self._cap is not None and (spent := self._spent(connection, self._cap)) >= self._cap.usd:
                raise JudgeUnavailable(
                    f"Judging has cost {spent:f} USD; its cap is {self._cap.usd:f} USD.",
                    instruction="Raise max_spend_usd of the judge, or choose the judge `local`.",
                    code="spend_cap",
                )
            numbers = sa.select(sa.func.max(tables.attempts.c.number)).where(
                tables.attempts.c.subject_id == subject_of(self._set_id, subject)
            )
            number = int(connection.execute(numbers).scalar() or 0) + 1
            claim = JudgeAttempt(number, "unknown", now, now, usage, "interrupted")
            insert_attempt(connection, self._set_id, subject, self._judge, claim)
            self._in_flight += 1
        return number

    def end(self, subject: str, attempt: JudgeAttempt) -> None:
        """As `Calls.end`."""
        attempts, usage = tables.attempts, tables.usage
        attempt_id = f"{subject_of(self._set_id, subject)}#{attempt.number}"
        with self.writing, self._ws.database.begin() as connection:
            connection.execute(sa.delete(usage).where(usage.c.subject_id == attempt_id))
            connection.execute(sa.delete(attempts).where(attempts.c.id == attempt_id))
            insert_attempt(connection, self._set_id, subject, self._judge, attempt)
            self._in_flight -= 1

    def _spent(self, connection: sa.Connection, cap: SpendCap) -> Decimal:
        usage = tables.usage
        # Counts of tokens are whole and far below 2^53, so adding them up as floating-point numbers is exact.
        known = sa.func.sum(sa.cast(usage.c.quantity, sa.Double))
        rows = connection.execute(
            sa.select(usage.c.sku, known, sa.func.count(usage.c.quantity), sa.func.count())
            .where(usage.c.run_id == self._set_id)
            .group_by(usage.c.sku)
        ).all()
        total = Decimal(0)
        for sku, quantity, measured, all_calls in rows:
            price = cap.price(sku)
            if isinstance(price, Missing) or not measured:
                continue
            lost = max(0, all_calls - measured - self._in_flight)
            total += price * Decimal(quantity) * (1 + Decimal(lost) / measured)
        return total


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
