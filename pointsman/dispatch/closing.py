"""Closing a drive: the journal becomes Parquet files, a pair per part of the plan, and a summary, written last."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from pointsman.dispatch.attempts import attempts_of
from pointsman.dispatch.claims import Claim, Era, read_claims, read_eras
from pointsman.dispatch.conservation import check_conservation
from pointsman.dispatch.durable import write_durably
from pointsman.dispatch.ledger import JournalCounts, Part, add_up, count_heard, count_part, fold_drive, latest
from pointsman.dispatch.plan import parse_route, read_header
from pointsman.dispatch.status import DriveSummary, Interruption, Percentiles
from pointsman.ids import VariantId

DISPATCHES, ATTEMPTS = "dispatches", "attempts"
SUMMARY = "summary.json"
Outcome = Literal["completed", "cancelled", "settled"]
_METRICS = ("queue_ms", "run_ms", "total_ms", "raw_total_ms", "lateness_ms")
_DISPATCH_COLUMNS = (
    *("seq", "dispatch_id", "route", "variant", "generation", "version", "input_id", "params"),
    *("repeat", "stage", "planned_ns", "sent_ns", "lateness_ns", "ack_ns", "done_ns", "state", "reason", "job_id"),
    *("queue_ms", "run_ms", "total_ms", "raw_total_ms", "output_uri", "output_sha256", "output_bytes"),
)


def close_drive(drive_dir: Path, outcome: Outcome) -> DriveSummary:
    """Write the closed form of a drive whose dispatches have all ended.

    Raises `DataCheckFailed` when the numbers do not add up; then nothing is closed.
    """
    header = read_header(drive_dir)
    eras, claims = read_eras(drive_dir), read_claims(drive_dir)
    epoch = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=eras[0].epoch_wall_ns // 1000)
    totals = _Totals(eras, claims)
    for number, part in enumerate(fold_drive(drive_dir)):
        dispatches = _dispatches(part.folded)
        _write_parquet(drive_dir / f"{DISPATCHES}-{number:05d}.parquet", dispatches.select(_DISPATCH_COLUMNS))
        _write_parquet(drive_dir / f"{ATTEMPTS}-{number:05d}.parquet", attempts_of(dispatches, epoch))
        totals.count(part, dispatches)
    journal_counts, target_counts = add_up(totals.counts), count_heard(drive_dir)
    check_conservation(header.planned, journal_counts, target_counts, closed=True)
    summary = DriveSummary(
        outcome=outcome,
        epoch=epoch,
        wall_s=totals.latest_ns / 1e9,
        counts={"planned": header.planned, **journal_counts.terms},
        answered=target_counts.answered,
        achieved_per_s=totals.achieved_per_s(),
        **{name: _percentiles(values) for name, values in totals.milliseconds.items()},
        interruptions=totals.interruptions(),
    )
    write_durably(drive_dir / SUMMARY, summary.model_dump_json(indent=1).encode())
    return summary


class _Totals:
    """What the summary says about all dispatches, added up part by part."""

    def __init__(self, eras: Sequence[Era], claims: Sequence[Claim]) -> None:
        self._eras = eras
        self._claims = claims
        self.counts: list[JournalCounts] = []
        self.milliseconds: dict[str, list[pl.Series]] = {name: [] for name in _METRICS}
        self.latest_ns = 0
        self._sent = 0
        self._first_sent_ns: int | None = None
        self._last_sent_ns = 0
        self._known_ns = [0] * len(eras)
        """By era: the last thing that the journal knows from before it."""
        self._unsettled = [0] * len(eras)
        """By era: dispatches claimed before it whose end was not known."""

    def count(self, part: Part, dispatches: pl.DataFrame) -> None:
        self.counts.append(count_part(part))
        for name, values in self.milliseconds.items():
            known = dispatches["lateness_ns"] / 1e6 if name == "lateness_ms" else dispatches[name]
            values.append(known.drop_nulls())
        at_ns = part.rows["at_ns"]
        self.latest_ns = max(self.latest_ns, latest(at_ns))
        sent_ns = dispatches["sent_ns"].drop_nulls()
        if sent_ns.len():
            first, last = sent_ns.min(), sent_ns.max()
            assert isinstance(first, int)
            assert isinstance(last, int)
            self._first_sent_ns = first if self._first_sent_ns is None else min(first, self._first_sent_ns)
            self._last_sent_ns = max(last, self._last_sent_ns)
            self._sent += sent_ns.len()
        for number, era in enumerate(self._eras[1:], 1):
            self._known_ns[number] = max(self._known_ns[number], latest(at_ns.filter(at_ns < era.started_ns)))
            claimed = [claim.last for claim in self._claims if claim.era < era.number]
            self._unsettled[number] += part.folded.filter(
                (pl.col("seq") <= (claimed[-1] if claimed else -1))
                & (pl.col("end_ns").is_null() | (pl.col("end_ns") >= era.started_ns))
                & (pl.col("state") != "dropped")
            ).height

    def achieved_per_s(self) -> float:
        span_s = (self._last_sent_ns - (self._first_sent_ns or 0)) / 1e9
        return (self._sent - 1) / span_s if self._sent > 1 and span_s > 0 else 0.0

    def interruptions(self) -> tuple[Interruption, ...]:
        return tuple(
            Interruption(
                after_s=self._known_ns[number] / 1e9,
                resumed_s=era.started_ns / 1e9,
                first_seq=next((claim.first for claim in self._claims if claim.era >= era.number), None),
                unsettled=self._unsettled[number],
            )
            for number, era in enumerate(self._eras[1:], 1)
        )


def _dispatches(folded: pl.DataFrame) -> pl.DataFrame:
    """The columns of CONTRACTS and `attempts`, `told` as the journal has them."""
    routes = {text: parse_route(text) for text in folded["route"].unique().to_list()}
    pinned = [text for text, route in routes.items() if isinstance(route, VariantId)]
    sent = pl.col("sent")
    on_time = pl.coalesce("planned_ns", "sent_ns")
    done = pl.when(pl.col("state").is_in(["completed", "failed", "cancelled_sent"])).then(
        pl.coalesce("done_ns", "end_ns")
    )
    completed = pl.col("state") == "completed"
    return (
        folded.with_columns(
            pl.coalesce("variant", pl.when(pl.col("route").is_in(pinned)).then(pl.col("route"))).alias("variant"),
            pl.when(sent).then(pl.col("sent_ns")).alias("sent_ns"),
            done.alias("done_ns"),
        )
        .with_columns(
            (pl.col("sent_ns") - pl.col("planned_ns")).alias("lateness_ns"),
            pl.when(completed).then((pl.col("done_ns") - on_time) / 1e6).alias("total_ms"),
            pl.when(completed).then((pl.col("done_ns") - pl.col("sent_ns")) / 1e6).alias("raw_total_ms"),
        )
        .sort("seq")
    )


def _percentiles(values: Sequence[pl.Series]) -> Percentiles:
    """Exact, by nearest rank."""
    known = np.sort(np.concatenate([series.to_numpy() for series in values]))
    if not known.size:
        return Percentiles()

    def at(q: float) -> float:
        return float(known[max(0, math.ceil(q * known.size) - 1)])

    return Percentiles(count=known.size, p50=at(0.5), p95=at(0.95), p99=at(0.99), p999=at(0.999), max=at(1.0))


def _write_parquet(path: Path, frame: pl.DataFrame) -> None:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1)
    write_durably(path, buffer.getvalue())
