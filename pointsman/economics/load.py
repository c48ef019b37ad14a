"""What a load test cost: its usage is added up in columns, as there may be millions of attempts, and then priced."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl

from pointsman.economics.beside import paid_beside
from pointsman.economics.exact import EXACT
from pointsman.economics.price_book import PriceBook
from pointsman.economics.pricing import attempt_cost, total
from pointsman.model import Number

_PLAIN = r"^\d{1,13}(\.\d{1,18})?$"
_EXACT_SUM = pl.Decimal(38, 18)
"""Holds the exact sum of ten million such quantities."""


def load_cost(attempts: pl.LazyFrame, book: PriceBook) -> Number:
    """USD for the attempts of a drive, a row per attempt and sku; on self-hosted capacity with what is paid beside.

    What one price buys is added up exactly before it is priced, so it is rounded once. A row without usage makes the
    sum `Missing`, unless the target did not take the job: then there was nothing to bill.
    """
    return total(attempt_cost(book, row, row["started"]) for row in summed_usage(attempts, book))


def summed_usage(attempts: pl.LazyFrame, book: PriceBook) -> Iterator[dict[str, Any]]:
    """The attempts added up by all that bears on their price, and by day; `rows` is of how many each sum is.

    `part` is `work`, or what self-hosted capacity is paid for beside it: `idle`, `cold start`, `minimum billing`.
    """
    quantity, started = pl.col("quantity"), pl.col("started")
    plain = quantity.str.contains(_PLAIN)
    timed = attempts.with_columns(day=started.dt.date(), period=_period(book, started))
    sums = (
        timed.group_by(
            *("outcome", "sku", "missing_reason", "basis", "provider", "day", "period"),
            quantity.is_not_null().alias("known"),
            pl.when(~plain).then(quantity).alias("as_told"),  # so long, or so written, that it is added up here
        )
        .agg(
            started.min(),
            pl.len().alias("rows"),
            pl.when(plain).then(quantity).cast(_EXACT_SUM).sum().alias("sum"),
        )
        .sort("started", "sku", "missing_reason", "provider", "outcome", "basis", "as_told")
        .collect(engine="streaming")
    )
    for row in sums.iter_rows(named=True):
        yield {**row, "part": "work", "quantity": _quantity(row) if row["known"] else None}
    for hosting in book.hosting:
        yield from paid_beside(timed, hosting, book)


def _period(book: PriceBook, at: pl.Expr) -> pl.Expr:
    """A number that is the same for times between which no price of the book changes."""
    changes: set[datetime] = {entry.valid_from for entry in book.entries}
    changes |= {entry.valid_to for entry in book.entries if entry.valid_to is not None}
    return pl.sum_horizontal(at >= change for change in sorted(changes))


def _quantity(row: dict[str, object]) -> Decimal:
    if row["as_told"] is None:
        return Decimal(str(row["sum"]))
    return EXACT.multiply(Decimal(str(row["as_told"])), Decimal(str(row["rows"])))
