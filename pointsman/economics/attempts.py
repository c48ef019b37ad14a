"""What one attempt costs: its usage at list price, and what its hold on self-hosted capacity is paid for beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pointsman.economics.entries import PriceEntry, counted_in_time
from pointsman.economics.exact import EXACT
from pointsman.economics.hosting import NOTHING_BESIDE, Busy, Hosting, Overhead, overhead
from pointsman.economics.price_book import PriceBook
from pointsman.economics.pricing import attempt_cost, total
from pointsman.model import Missing, Number

Basis = Literal["measured", "estimated"]


@dataclass(frozen=True, slots=True)
class Charged:
    """`amount` of a currency, which were `usd` at the price book's rate."""

    currency: str
    usd: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class PricedAttempt:
    """What one attempt costs at list price, and how long it held an instance where what it used is time.

    `foreign` is what of that is charged in other currencies.
    """

    number: int
    outcome: str
    cost: Number
    busy: Busy | Missing | None = None
    overhead: Overhead | Missing = NOTHING_BESIDE
    basis: Basis = "measured"
    foreign: tuple[Charged, ...] = ()
    at: datetime | None = None
    """As of when it was priced."""

    @property
    def paid(self) -> Number:
        """At list price and, on self-hosted capacity, for what is paid beside."""
        return total((self.cost, self.overhead if isinstance(self.overhead, Missing) else self.overhead.usd))


Row = Mapping[str, Any]
"""Of one attempt and sku: `provider`, `number`, `outcome`, `sku`, `quantity`, `missing_reason`, `basis`."""


def priced_attempt(book: PriceBook, rows: Sequence[Row], at: datetime) -> PricedAttempt:
    """One attempt from its rows, a row per sku, at the prices of `at`."""
    first = rows[0]
    costs = [attempt_cost(book, row, at) for row in rows]
    hosting = book.hosting_of(first["provider"])
    busy = _busy(book, rows, costs, hosting, at)
    beside: Overhead | Missing = NOTHING_BESIDE
    if hosting is not None and busy is not None:
        beside = busy if isinstance(busy, Missing) else overhead(hosting, busy)
    foreign = []
    for row, cost in zip(rows, costs, strict=True):
        entry = None if row["sku"] is None or isinstance(cost, Missing) else book.entry(row["sku"], at)
        if isinstance(entry, PriceEntry) and entry.foreign is not None and not isinstance(cost, Missing):
            foreign.append(Charged(entry.currency, cost, EXACT.divide(cost, entry.foreign.rate)))
    return PricedAttempt(
        number=first["number"],
        outcome=first["outcome"],
        cost=total(costs),
        busy=busy,
        overhead=beside,
        basis="estimated" if any(row["basis"] == "estimated" for row in rows) else "measured",
        foreign=tuple(foreign),
        at=at,
    )


def _busy(
    book: PriceBook, rows: Sequence[Row], costs: Sequence[Number], hosting: Hosting | None, at: datetime
) -> Busy | Missing | None:
    """The hold of one attempt on an instance; None where none of its usage is time.

    An instance is held for as long as the unit of which the attempt took the largest share. Where it is not said what
    an instance holds, one that holds just what the attempt used in a second is meant.
    """
    timed = [(row, cost) for row, cost in zip(rows, costs, strict=True) if row["sku"] and counted_in_time(row["sku"])]
    if not timed:
        return None
    list_usd = total(cost for _, cost in timed)
    if isinstance(list_usd, Missing):
        return list_usd
    holds = hosting.instance if hosting is not None else {}
    if not holds:
        seconds = Decimal(timed[0][0]["quantity"])
        rate = EXACT.divide(list_usd, seconds) if seconds else book.price(timed[0][0]["sku"], at)
        return rate if isinstance(rate, Missing) else Busy(seconds, rate, list_usd)
    seconds = max(Decimal(row["quantity"]) / holds.get(row["sku"].rsplit(":", 1)[-1], Decimal(1)) for row, _ in timed)
    rates = [book.price(f"{timed[0][0]['provider']}:{unit}", at) for unit in holds]
    per_second = total(
        rate if isinstance(rate, Missing) else EXACT.multiply(rate, held)
        for rate, held in zip(rates, holds.values(), strict=True)
    )
    return per_second if isinstance(per_second, Missing) else Busy(seconds, per_second, list_usd)
