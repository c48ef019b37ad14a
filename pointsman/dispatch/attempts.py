"""The attempts that a drive's dispatches made: what the target reported, and one of our own where it says nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from pointsman.dispatch.targets.refusals import MODERATION
from pointsman.ids import VariantId

ATTEMPTS_SCHEMA: dict[str, Any] = {
    "dispatch_id": pl.String,
    "number": pl.Int64,
    "provider": pl.String,
    "generation": pl.Int64,
    "outcome": pl.String,
    "started": pl.Datetime("us", "UTC"),
    "ended": pl.Datetime("us", "UTC"),
    "sku": pl.String,
    "quantity": pl.String,
    "missing_reason": pl.String,
    "basis": pl.String,
}
_NO_USAGE = "the target reports no usage"
_MODERATED = pl.col("reason").fill_null("").str.starts_with(MODERATION)
NOT_TAKEN = (pl.col("told") == "refused") & ~_MODERATED
"""Of rows with `told` and `reason`, those of jobs that the target did not take. What its moderation turned down, before
or after the work, may be billed."""


def attempts_of(dispatches: pl.DataFrame, epoch: datetime) -> pl.DataFrame:
    """Rows of ATTEMPTS_SCHEMA in the order of the dispatches: one per attempt and SKU.

    A dispatch without reported attempts made one, without a SKU; `missing_reason` says why there is no usage. It is
    null where the target did not take the job: there was nothing to use.
    """
    sent = dispatches.with_row_index("n").filter(pl.col("sent"))
    has_report = pl.col("attempts").is_not_null()
    schema = {"n": pl.UInt32, **ATTEMPTS_SCHEMA}
    reported = pl.DataFrame(list(_reported(sent.filter(has_report), epoch)), schema=schema, orient="row")
    silent = _silent(sent.filter(~has_report), epoch)
    return pl.concat([reported, silent.select(list(schema))]).sort("n", maintain_order=True).drop("n")


def _reported(dispatches: pl.DataFrame, epoch: datetime) -> Iterator[tuple[Any, ...]]:
    columns = ("n", "dispatch_id", "generation", "variant", "sent_ns", "done_ns", "attempts")
    for n, dispatch_id, generation, variant, sent_ns, done_ns, text in dispatches.select(columns).iter_rows():
        for attempt in json.loads(text):
            provider = attempt["provider"] or _provider(variant)
            head = (n, dispatch_id, attempt["number"], provider, generation, attempt["outcome"])
            if attempt["started"] is None:  # told of as the dispatch itself
                times = (_after(epoch, sent_ns or 0), _after(epoch, done_ns))
            else:
                times = (datetime.fromisoformat(attempt["started"]), _time(attempt["ended"]))
            for use in attempt["usage"]:
                sku = use["sku"].replace("$provider", provider)
                yield (*head, *times, sku, use["quantity"], use["missing"], use["basis"])
            if not attempt["usage"]:
                yield (*head, *times, None, None, f"{_NO_USAGE} for this attempt", None)


def _provider(variant: str | None) -> str:
    return VariantId.parse(variant).provider if variant else "unknown"


def _after(epoch: datetime, ns: int | None) -> datetime | None:
    return None if ns is None else epoch + timedelta(microseconds=ns / 1000)


def _silent(dispatches: pl.DataFrame, epoch: datetime) -> pl.DataFrame:
    variants = dispatches["variant"].drop_nulls().unique().to_list()
    providers = [_provider(variant) for variant in variants]
    state = pl.col("state")
    outcome = (
        pl.when(pl.col("told") == "refused")
        .then(pl.lit("refused"))
        .when(state.is_in(["completed", "failed"]))
        .then(state)
        .otherwise(pl.lit("unknown"))
    )
    return dispatches.with_columns(
        pl.lit(1, pl.Int64).alias("number"),
        pl.col("variant")
        .replace_strict(variants, providers, default="unknown", return_dtype=pl.String)
        .alias("provider"),
        outcome.alias("outcome"),
        _at(pl.col("sent_ns").fill_null(0), epoch).alias("started"),
        _at(pl.col("done_ns"), epoch).alias("ended"),
        *(pl.lit(None, pl.String).alias(name) for name in ("sku", "quantity", "basis")),
        pl.when(NOT_TAKEN)
        .then(None)
        .when(outcome == "refused")
        .then(pl.lit(f"{_NO_USAGE} for what its moderation turned down"))
        .otherwise(pl.when(outcome == "unknown").then("reason").fill_null(_NO_USAGE))
        .alias("missing_reason"),
    )


def _at(after_ns: pl.Expr, epoch: datetime) -> pl.Expr:
    return pl.lit(epoch) + pl.duration(microseconds=after_ns // 1000)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
