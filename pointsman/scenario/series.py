"""A run over time, from its ledger: rates, latencies, what was in flight, and how its times are distributed.

Everything is an aggregation that polars streams from the files, so that a ledger of ten million rows takes seconds and
little memory, and twice the rows take twice the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

_SPANS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_SPANS = 150
"""How many spans a run is drawn in, at most."""
_PER_SPAN = 20
"""Completed dispatches that a span of latencies holds on average, at least: percentiles of fewer say little."""
_FINER = 10
"""Events are counted so many times as finely as they are drawn: a short peak is not lost between two points."""
_BINS_PER_DECADE = 5
_SMALLEST_LATE_NS = 10_000
QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
TIMES = ("total_ms", "raw_total_ms", "queue_ms", "run_ms")


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a time in milliseconds is distributed. `quantiles` by the names of QUANTILES, nearest rank."""

    count: int
    mean: float
    smallest: float
    largest: float
    quantiles: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RunSeries:
    """Times in seconds after the run's epoch. A series is empty when nothing of its kind happened."""

    until_s: float
    rates: pl.DataFrame
    """`at_s` (middle of a span) and per second of it: `planned`, `sent`, `completed`, `failed`, `dropped`."""
    latency: pl.DataFrame
    """`at_s`, `count`, and milliseconds by the planned time: `p50`, `p95`, `p99` of the time since then, and `raw_p50`,
    `raw_p95`, `raw_p99` of the time since sending. Null in a span in which nothing completed that was planned in it."""
    latency_span_s: float
    in_flight: pl.DataFrame
    """`at_s` and the most that were at once within a span: `in_flight` (sent and not ended), `queued` (of these,
    waiting in the target's queue, as far as it said afterwards how long a job had waited)."""
    lateness: pl.DataFrame
    """`low_ms`, `high_ms`, `count`: how late sent dispatches left, in ranges that grow by a constant factor."""
    distributions: Mapping[str, Distribution]
    """By the names of TIMES (of completed dispatches) and `lateness_ms` (of sent ones); absent: nothing is known."""
    unplaced: int
    """Sent dispatches whose time of sending is not known, because the process that sent them died."""


def run_series(ledger: pl.LazyFrame) -> RunSeries:
    """Aggregate a ledger (`scan_ledger`)."""
    ends = ledger.select(
        pl.max_horizontal(pl.col("planned_ns").max(), pl.col("sent_ns").max(), pl.col("done_ns").max()).alias("last"),
        pl.col("planned_ns").max().alias("planned"),
        (pl.col("state") == "completed").sum().alias("completed"),
        (pl.col("sent_ns").is_null() & pl.col("done_ns").is_not_null()).sum().alias("unplaced"),
    )
    last, planned, completed, unplaced = ends.collect(engine="streaming").row(0)
    until_s = max((last or 0) / 1e9, 0.1)
    span_s = _span(until_s / _SPANS)
    latency_span_s = _span(until_s / max(1, min(_SPANS, completed / _PER_SPAN)))
    moves = _moves(ledger, span_s / _FINER)
    return RunSeries(
        until_s=until_s,
        rates=_rates(moves, span_s, (planned or 0) / 1e9),
        latency=_latency(ledger, latency_span_s),
        latency_span_s=latency_span_s,
        in_flight=_in_flight(moves, span_s),
        lateness=_lateness(ledger),
        distributions=dict(_distributions(ledger)),
        unplaced=unplaced,
    )


def _span(at_least_s: float) -> float:
    return next((span for span in _SPANS_S if span >= at_least_s), math.ceil(at_least_s / 3600) * 3600.0)


def _index(column: pl.Expr, span_s: float) -> pl.Expr:
    return (column // round(span_s * 1e9)).cast(pl.Int32).alias("span")


def _moves(ledger: pl.LazyFrame, fine_s: float) -> pl.DataFrame:
    """How many dispatches were planned, sent and so on within each `fine_s`: columns of counts by `span`."""
    sent = ledger.filter(pl.col("sent_ns").is_not_null())
    waited = sent.filter(pl.col("queue_ms").is_not_null() & pl.col("ack_ns").is_not_null())
    left = pl.col("ack_ns") + (pl.col("queue_ms") * 1e6).cast(pl.Int64)
    when = {
        "planned": (ledger, pl.col("planned_ns"), [(pl.col("state") == "dropped").sum().alias("dropped")]),
        "sent": (sent, pl.col("sent_ns"), []),
        "ended": (
            sent,
            pl.col("done_ns"),
            [(pl.col("state") == state).sum().alias(state) for state in ("completed", "failed")],
        ),
        "entered": (waited, pl.col("ack_ns"), []),
        "left": (waited, left, []),
    }
    counted = pl.collect_all(
        [
            rows.filter(at.is_not_null()).group_by(_index(at, fine_s)).agg(pl.len().alias(name), *more)
            for name, (rows, at, more) in when.items()
        ],
        engine="streaming",
    )
    last = max((int(frame["span"].to_numpy().max()) for frame in counted if frame.height), default=-1)
    moves = pl.DataFrame({"span": pl.int_range(0, last + 1, dtype=pl.Int32, eager=True)})
    for frame in counted:
        moves = moves.join(frame, on="span", how="left", maintain_order="left")
    return moves.with_columns(pl.all().exclude("span").fill_null(0).cast(pl.Int64))


def _rates(moves: pl.DataFrame, span_s: float, last_planned_s: float) -> pl.DataFrame:
    names = ("planned", "sent", "completed", "failed", "dropped")
    # The schedule ends within a span, which would look like a fall of the rate.
    over = (last_planned_s / span_s) % 1
    ending = pl.when(pl.col("span") < int(last_planned_s / span_s)).then(1.0).otherwise(over if over > 0.2 else None)
    return (
        moves.group_by(pl.col("span") // _FINER, maintain_order=True)
        .agg(pl.col(names).sum())
        .select(
            _middle(span_s),
            *(pl.col(name) / span_s / (ending if name in ("planned", "sent") else 1) for name in names),
        )
    )


def _in_flight(moves: pl.DataFrame, span_s: float) -> pl.DataFrame:
    known = ["in_flight", "queued"] if moves["entered"].sum() else ["in_flight"]
    return (
        moves.select(
            pl.col("span") // _FINER,
            (pl.col("sent").cum_sum() - pl.col("ended").cum_sum()).alias("in_flight"),
            (pl.col("entered").cum_sum() - pl.col("left").cum_sum()).alias("queued"),
        )
        .group_by("span", maintain_order=True)
        .agg(pl.all().max())
        .select(_middle(span_s), *known)
    )


def _middle(span_s: float) -> pl.Expr:
    return ((pl.col("span") + 0.5) * span_s).alias("at_s")


def _latency(ledger: pl.LazyFrame, span_s: float) -> pl.DataFrame:
    shown = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    found = (
        ledger.filter((pl.col("state") == "completed") & pl.col("total_ms").is_not_null())
        .group_by(_index(pl.coalesce("planned_ns", "sent_ns"), span_s))
        .agg(
            pl.len().alias("count"),
            *(
                pl.col(column).quantile(q, interpolation="equiprobable").alias(prefix + name)
                for column, prefix in (("total_ms", ""), ("raw_total_ms", "raw_"))
                for name, q in shown.items()
            ),
        )
        .collect(engine="streaming")
    )
    if found.is_empty():
        return found.drop("span").insert_column(0, pl.Series("at_s", [], dtype=pl.Float64))
    first, last = int(found["span"].min()), int(found["span"].max())  # type: ignore[arg-type]
    spans = pl.DataFrame({"span": pl.int_range(first, last + 1, dtype=pl.Int32, eager=True)})
    return spans.join(found, on="span", how="left", maintain_order="left").select(
        _middle(span_s), pl.all().exclude("span")
    )


def _lateness(ledger: pl.LazyFrame) -> pl.DataFrame:
    bin_of = (pl.col("lateness_ns").clip(_SMALLEST_LATE_NS).log10() * _BINS_PER_DECADE + 1e-9).floor().cast(pl.Int32)
    counted = (
        ledger.filter(pl.col("lateness_ns").is_not_null())
        .group_by(bin_of.alias("bin"))
        .agg(pl.len().alias("count"))
        .collect(engine="streaming")
        .sort("bin")
    )
    low, high = ((10.0 ** ((pl.col("bin") + more) / _BINS_PER_DECADE) / 1e6) for more in (0, 1))
    return counted.select(low.alias("low_ms"), high.alias("high_ms"), "count")


def _distributions(ledger: pl.LazyFrame) -> list[tuple[str, Distribution]]:
    completed = ledger.filter(pl.col("state") == "completed")
    columns = {name: completed.select(pl.col(name)) for name in TIMES}
    columns["lateness_ms"] = ledger.select(pl.col("lateness_ns") / 1e6)
    found = []
    for name, column in columns.items():  # one after the other: only one is held at a time
        values = column.drop_nulls().collect(engine="streaming").to_series().sort()
        if values.len():
            found.append((name, _distribution(values)))
    return found


def _distribution(ascending: pl.Series) -> Distribution:
    count = ascending.len()
    return Distribution(
        count=count,
        mean=float(ascending.mean()),  # type: ignore[arg-type]
        smallest=float(ascending[0]),
        largest=float(ascending[-1]),
        quantiles={name: float(ascending[max(0, math.ceil(q * count) - 1)]) for name, q in QUANTILES.items()},
    )
