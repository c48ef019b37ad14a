"""A run over time, from its ledger: rates, latencies, what was in flight, and how its times are distributed.

The ledger is read once, and of a row only the numbers that count, 67 bytes. So ten million rows take seconds and little
more than a gigabyte, and twice the rows take twice the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from pointsman.statistics import Floats

_SPANS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_SPANS = 150
"""How many spans a run is drawn in, at most."""
_PER_SPAN = 20
"""Completed dispatches that a span of latencies holds on average, at least: percentiles of fewer say little."""
_PLANNED_PER_SPAN = 4
"""Dispatches planned in a span of rates on average, at least: with fewer a steady rate looks like a saw."""
_EACH = 300
"""So many completed dispatches are drawn one by one, too."""
_FINER = 10
"""Events are counted so many times as finely as they are drawn: a short peak is not lost between two points."""
_BINS_PER_DECADE, _FIRST_BIN = 5, -10
"""Lateness is counted in ranges that begin at 0.01 ms; what is less counts in the first."""
_SHOWN = ("p50", "p95", "p99")
_STATES = ("completed", "failed", "dropped")
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
    each: pl.DataFrame
    """`at_s` (planned) and `total_ms` of every completed dispatch, where they are few; else empty."""
    in_flight: pl.DataFrame
    """`at_s` and the most that were at once within a span: `in_flight` (sent and not ended), `queued` (of these,
    waiting in the target's queue, as far as it said afterwards how long a job had waited)."""
    lateness: pl.DataFrame
    """`low_ms`, `high_ms`, `count`: how late sent dispatches left, in ranges that grow by a constant factor."""
    distributions: Mapping[str, Distribution]
    """By the names of TIMES (of completed dispatches that count) and `lateness_ms` (of sent ones); absent: nothing is
    known."""
    unplaced: int
    """Sent dispatches whose time of sending is not known, because the process that sent them died."""


def run_series(ledger: pl.LazyFrame, counted: pl.Expr | None = None) -> RunSeries:
    """Aggregate a ledger (`scan_ledger`). `counted` = the rows for the distributions of times, None = all of them."""
    rows = ledger.select(
        *("planned_ns", "sent_ns", "ack_ns", "done_ns", *TIMES),
        *((pl.col("state") == state).alias(state) for state in _STATES),
        (pl.col("state") == "completed" if counted is None else (pl.col("state") == "completed") & counted).alias(
            "counted"
        ),
    ).collect(engine="streaming")
    planned, last, completed, unplaced = rows.select(
        pl.col("planned_ns").max().alias("planned"),
        pl.max_horizontal(pl.col("planned_ns", "sent_ns", "done_ns").max()).alias("last"),
        pl.col("completed").sum(),
        (pl.col("sent_ns").is_null() & pl.col("done_ns").is_not_null()).sum().alias("unplaced"),
    ).row(0)
    until_s = max((last or 0) / 1e9, 0.1)
    span_s = _span(until_s / _SPANS)
    rate_span_s = max(span_s, _span(until_s / max(1, min(_SPANS, rows.height / _PLANNED_PER_SPAN))))
    latency_span_s = _span(until_s / max(1, min(_SPANS, completed / _PER_SPAN)))
    moves = _moves(rows.lazy(), span_s / _FINER)
    rows = rows.drop("ack_ns", "done_ns")  # they have been counted
    late_ms = np.sort((rows["sent_ns"] - rows["planned_ns"]).drop_nulls().to_numpy() / 1e6)
    return RunSeries(
        until_s=until_s,
        rates=_rates(moves, rate_span_s, span_s / _FINER, (planned or 0) / 1e9),
        latency=_latency(rows, latency_span_s),
        latency_span_s=latency_span_s,
        each=_each(rows if completed <= _EACH else rows.clear()),
        in_flight=_in_flight(moves, span_s),
        lateness=_lateness(late_ms),
        distributions=dict(_distributions(rows, late_ms)),
        unplaced=unplaced,
    )


def _span(at_least_s: float) -> float:
    return next((span for span in _SPANS_S if span >= at_least_s), math.ceil(at_least_s / 3600) * 3600.0)


def _index(column: pl.Expr, span_s: float) -> pl.Expr:
    return (column // round(span_s * 1e9)).cast(pl.Int32).alias("span")


def _moves(rows: pl.LazyFrame, fine_s: float) -> pl.DataFrame:
    """How many dispatches were planned, sent and so on within each `fine_s`: columns of counts by `span`."""
    sent = rows.filter(pl.col("sent_ns").is_not_null())
    waited = sent.filter(pl.col("queue_ms").is_not_null() & pl.col("ack_ns").is_not_null())
    left = pl.col("ack_ns") + (pl.col("queue_ms") * 1e6).cast(pl.Int64)
    when = {
        "planned": (rows, pl.col("planned_ns"), ["dropped"]),
        "sent": (sent, pl.col("sent_ns"), []),
        "ended": (sent, pl.col("done_ns"), ["completed", "failed"]),
        "entered": (waited, pl.col("ack_ns"), []),
        "left": (waited, left, []),
    }
    counted = pl.collect_all(
        [
            those.filter(at.is_not_null()).group_by(_index(at, fine_s)).agg(pl.len().alias(name), pl.col(also).sum())
            for name, (those, at, also) in when.items()
        ],
        engine="streaming",
    )
    last = max((int(frame["span"].to_numpy().max()) for frame in counted if frame.height), default=-1)
    moves = pl.DataFrame({"span": pl.int_range(0, last + 1, dtype=pl.Int32, eager=True)})
    for frame in counted:
        moves = moves.join(frame, on="span", how="left", maintain_order="left")
    return moves.with_columns(pl.all().exclude("span").fill_null(0).cast(pl.Int64))


def _rates(moves: pl.DataFrame, span_s: float, fine_s: float, last_planned_s: float) -> pl.DataFrame:
    names = ("planned", "sent", "completed", "failed", "dropped")
    # The schedule ends within a span, which would look like a fall of the rate.
    over = (last_planned_s / span_s) % 1
    last = over if last_planned_s < span_s else 1.0 if over > 0.9 else None
    ending = pl.when(pl.col("span") < int(last_planned_s / span_s)).then(1.0).otherwise(last)
    return (
        moves.group_by(pl.col("span") // round(span_s / fine_s), maintain_order=True)
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


def _each(rows: pl.DataFrame) -> pl.DataFrame:
    known = pl.col("completed") & pl.col("total_ms").is_not_null() & pl.col("planned_ns").is_not_null()
    return rows.filter(known).select((pl.col("planned_ns") / 1e9).alias("at_s"), pl.col("total_ms"))


def _latency(rows: pl.DataFrame, span_s: float) -> pl.DataFrame:
    known = rows["completed"] & rows["total_ms"].is_not_null()
    index = rows.select(_index(pl.coalesce("planned_ns", "sent_ns"), span_s)).to_series().filter(known).to_numpy()
    order = np.argsort(index.astype(np.int16), kind="stable")  # of so few spans it takes linear time
    index = index[order]
    spans = np.arange(index[0], index[-1] + 1) if index.size else index
    cuts = np.searchsorted(index, spans)
    found = [pl.DataFrame({"at_s": (spans + 0.5) * span_s, "count": np.diff(cuts, append=index.size)})]
    for column, prefix in (("total_ms", ""), ("raw_total_ms", "raw_")):
        parts = np.split(rows[column].filter(known).to_numpy()[order], cuts)[1:]
        schema = {prefix + name: pl.Float64 for name in _SHOWN}
        found.append(pl.DataFrame([_shown(part) for part in parts], schema, orient="row"))
    return pl.concat(found, how="horizontal")


def _shown(values: Floats) -> list[float | None]:
    """Null where nothing completed. A completed dispatch whose sending is not known has no raw time, which is NaN."""
    ascending = np.sort(values[~np.isnan(values)])
    return [_nearest_rank(ascending, QUANTILES[name]) if ascending.size else None for name in _SHOWN]


def _lateness(ascending: Floats) -> pl.DataFrame:
    most = max(float(ascending[-1]), 0.01) if ascending.size else 0.01
    last = math.floor(math.log10(most) * _BINS_PER_DECADE + 1e-9)
    exponents = np.arange(_FIRST_BIN, last + 2)
    edges = 10.0 ** (exponents / _BINS_PER_DECADE)
    below = np.searchsorted(ascending, 10.0 ** ((exponents[1:] - 1e-9) / _BINS_PER_DECADE))
    counted = {"low_ms": edges[:-1], "high_ms": edges[1:], "count": np.diff(below, prepend=0)}
    return pl.DataFrame(counted).filter(pl.col("count") > 0)


def _distributions(rows: pl.DataFrame, late_ms: Floats) -> Iterator[tuple[str, Distribution]]:
    for name in TIMES:  # one after the other: only one is held twice
        values = np.sort(rows[name].filter(rows["counted"]).drop_nulls().to_numpy())
        if values.size:
            yield name, _distribution(values)
    if late_ms.size:
        yield "lateness_ms", _distribution(late_ms)


def _distribution(ascending: Floats) -> Distribution:
    return Distribution(
        count=ascending.size,
        mean=float(ascending.mean()),
        smallest=float(ascending[0]),
        largest=float(ascending[-1]),
        quantiles={name: _nearest_rank(ascending, q) for name, q in QUANTILES.items()},
    )


def _nearest_rank(ascending: Floats, q: float) -> float:
    return float(ascending[max(0, math.ceil(q * ascending.size) - 1)])
