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

from pointsman.model import Missing, Number
from pointsman.quality.attempts import claim_attempt, settle_attempt
from pointsman.quality.batches import LedgerBatches
from pointsman.quality.protocol import JudgeAttempt, JudgeUnavailable
from pointsman.storage import tables
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class SpendCap:
    """The most that judging a set may cost, in USD, and what one unit of a sku costs.

    Held before each call, so it can be passed by the calls in flight and by nothing else. A call whose usage is not
    known, because its answer was lost or a batch holds it, counts as much as the dearest of the others.
    """

    usd: Decimal
    price: Callable[[str], Number]


class LedgerCalls:
    """`Calls` that stand in the tables `attempts` and `usage`, for one evaluation set and one judge."""

    def __init__(self, ws: Workspace, set_id: str, *, judge: str, cap: SpendCap | None) -> None:
        self.batches = LedgerBatches(ws, set_id, judge=judge)
        self._ws = ws
        self._set_id = set_id
        self._judge = judge
        self._cap = cap
        self._in_flight = 0
        self._begun: set[str] = set()
        self.writing = threading.Lock()
        """Held while this process writes: SQLite makes a second writer wait in steps of up to a tenth of a second."""

    def begin(self, subject: str, skus: tuple[str, ...]) -> int:
        """As `Calls.begin`."""
        with self.writing, self._ws.database.begin() as connection:
            if self._cap is not None and (spent := self._spent(connection, self._cap)[0]) >= self._cap.usd:
                raise JudgeUnavailable(
                    f"Judging has cost {spent:f} USD; its cap is {self._cap.usd:f} USD.",
                    instruction="Raise max_spend_usd of the judge, or choose the judge `local`.",
                    code="spend_cap",
                )
            number = claim_attempt(connection, self._ws.clock.now(), self._set_id, subject, self._judge, skus)
            self._in_flight += 1
            self._begun.update(skus)
        return number

    def room(self, skus: tuple[str, ...]) -> int | None:
        """As `Calls.room`; 0 while nothing tells what a call costs."""
        if self._cap is None:
            return None
        with self.writing, self._ws.database.connect() as connection:
            spent, dearest = self._spent(connection, self._cap)
        each = Decimal(0)
        for sku in skus:
            price, quantity = self._cap.price(sku), dearest.get(_kind(sku))
            if isinstance(price, Missing) or quantity is None:
                return 0
            each += price * quantity
        return max(0, int((self._cap.usd - spent) / each)) if each else None

    def end(self, subject: str, attempt: JudgeAttempt) -> None:
        """As `Calls.end`."""
        with self.writing, self._ws.database.begin() as connection:
            settle_attempt(connection, self._set_id, subject, self._judge, attempt)
            self._in_flight -= 1

    def _spent(self, connection: sa.Connection, cap: SpendCap) -> tuple[Decimal, dict[str, Decimal]]:
        """USD that were spent, and the most of each kind of token that a call took."""
        usage = tables.usage
        # Counts of tokens are whole and far below 2^53, so adding them up as floating-point numbers is exact.
        tokens = sa.cast(usage.c.quantity, sa.Double)
        rows = connection.execute(
            sa.select(
                usage.c.sku, sa.func.sum(tokens), sa.func.max(tokens), sa.func.count(usage.c.quantity), sa.func.count()
            )
            .where(usage.c.run_id == self._set_id)
            .group_by(usage.c.sku)
        ).all()
        dearest: dict[str, Decimal] = {}
        for sku, _, most, measured, _ in rows:
            if measured:
                dearest[_kind(sku)] = max(dearest.get(_kind(sku), Decimal(0)), Decimal(most))
        total = Decimal(0)
        for sku, quantity, _, measured, all_calls in rows:
            price = cap.price(sku)
            if not isinstance(price, Missing):
                lost = max(0, all_calls - measured - (self._in_flight if sku in self._begun else 0))
                total += price * (Decimal(quantity or 0) + lost * dearest.get(_kind(sku), Decimal(0)))
        return total, dearest


def _kind(sku: str) -> str:
    """Input or output: a call takes as many tokens of each in a batch as on its own."""
    return sku.rpartition(":")[2]
