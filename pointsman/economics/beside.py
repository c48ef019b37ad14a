"""What self-hosted capacity is paid for beside the work of many attempts, added up in columns.

It is what `hosting.overhead` says of each attempt. All of it is straight in the attempts' seconds but for minimum
billing, which is so on either side of a threshold; so sums on each side are enough. Seconds are kept in the unit of
which an attempt took the largest share, in decimals, so that no sum depends on its order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import polars as pl

from pointsman.economics.entries import counted_in_time
from pointsman.economics.exact import EXACT
from pointsman.economics.hosting import Hosting
from pointsman.economics.price_book import PriceBook

_SECONDS = pl.Decimal(38, 18)


def paid_beside(attempts: pl.LazyFrame, hosting: Hosting, book: PriceBook) -> Iterator[dict[str, Any]]:
    """A row per day, unit and part (`idle`, `cold start`, `minimum billing`), as usage of the unit's sku.

    `attempts` have a row per attempt and sku, with the `day` and the `period` of prices. One whose usage is not known
    is left out: what it costs is not known either.
    """
    held = instance_of(hosting, book)
    at = {f"{hosting.provider}:{unit}": f"used {number}" for number, unit in enumerate(held)}
    quantity = pl.col("quantity")
    seconds = pl.coalesce(quantity.cast(_SECONDS, strict=False), quantity.cast(pl.Float64, strict=False).cast(_SECONDS))
    shares = [
        pl.col(name).cast(pl.Float64) / float(holds) for name, holds in zip(at.values(), held.values(), strict=True)
    ]
    sums = (
        attempts.filter(pl.col("provider") == hosting.provider, pl.col("sku").is_in(list(at)), quantity.is_not_null())
        .group_by("dispatch_id", "number", "day", "period")
        .agg(
            pl.col("started").min(),
            *(pl.when(pl.col("sku") == sku).then(seconds).sum().alias(name) for sku, name in at.items()),
        )
        .with_columns(
            most=pl.concat_list(shares).list.arg_max(),
            short=pl.max_horizontal(shares) < float(_threshold(hosting)),
        )
        .group_by("day", "period", "most", "short")
        .agg(pl.col("started").min(), pl.len().alias("attempts"), *(pl.col(name).sum() for name in at.values()))
        .sort("day", "period", "most", "short")
        .collect(engine="streaming")
    )
    for row in sums.iter_rows(named=True):
        used = [Decimal(row[name]) for name in at.values()]
        for part, instance_s in _instance_seconds(
            hosting, row, EXACT.divide(used[row["most"]], [*held.values()][row["most"]])
        ):
            for sku, holds, own in zip(at, held.values(), used, strict=True):
                beside = EXACT.multiply(instance_s, holds) - (own if part == "idle" else 0)
                if beside > 0:
                    yield _usage(hosting, row, sku, part, beside)


def instance_of(hosting: Hosting, book: PriceBook) -> Mapping[str, Decimal]:
    """What one instance holds of each unit; where that is not said, just what is used of the one unit in a second."""
    if hosting.instance:
        return hosting.instance
    own = (sku for sku in book.skus if sku.startswith(f"{hosting.provider}:") and counted_in_time(sku))
    return {sku.rsplit(":", 1)[-1]: Decimal(1) for sku in own}


def _threshold(hosting: Hosting) -> Decimal:
    """Seconds of work below which an instance's jobs do not fill what it is billed for at least."""
    billed = hosting.minimum_billing_s - hosting.cold_start_s
    return EXACT.divide(billed * hosting.utilisation, hosting.jobs_per_start)


def _instance_seconds(hosting: Hosting, row: Mapping[str, Any], busy: Decimal) -> Iterator[tuple[str, Decimal]]:
    """Instance-seconds: all those in which it is ready, of which the work is part, and those before and after."""
    ready = EXACT.divide(busy, hosting.utilisation)
    starts = EXACT.divide(Decimal(row["attempts"]), hosting.jobs_per_start)
    yield "idle", ready
    yield "cold start", EXACT.multiply(starts, hosting.cold_start_s)
    if row["short"]:
        yield "minimum billing", EXACT.multiply(starts, hosting.minimum_billing_s - hosting.cold_start_s) - ready


def _usage(hosting: Hosting, row: Mapping[str, Any], sku: str, part: str, quantity: Decimal) -> dict[str, Any]:
    return {
        "provider": hosting.provider,
        "outcome": None,
        "sku": sku,
        "quantity": quantity,
        "missing_reason": None,
        "basis": "estimated",
        "part": part,
        "day": row["day"],
        "started": row["started"],
        "rows": row["attempts"],
    }
