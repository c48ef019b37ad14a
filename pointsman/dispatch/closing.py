"""Closing a drive: the journal becomes two Parquet files and a summary, written last."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl

from pointsman.dispatch.claims import Claim, Era, read_claims, read_eras
from pointsman.dispatch.conservation import check_conservation
from pointsman.dispatch.durable import write_durably
from pointsman.dispatch.ledger import count, fold_drive
from pointsman.dispatch.plan import parse_route, read_header
from pointsman.dispatch.status import DriveSummary, Interruption, Percentiles
from pointsman.ids import VariantId

DISPATCHES = "dispatches-00000.parquet"
ATTEMPTS = "attempts-00000.parquet"
SUMMARY = "summary.json"
Outcome = Literal["completed", "cancelled", "settled"]
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
_DISPATCH_COLUMNS = (
    *("seq", "dispatch_id", "route", "variant", "generation", "version", "input_id", "repeat", "stage"),
    *("planned_ns", "sent_ns", "lateness_ns", "ack_ns", "done_ns", "state", "reason", "job_id"),
    *("queue_ms", "run_ms", "total_ms", "raw_total_ms", "output_uri", "output_sha256", "output_bytes"),
)


def close_drive(drive_dir: Path, outcome: Outcome) -> DriveSummary:
    """Write the closed form of a drive whose dispatches have all ended.

    Raises `DataCheckFailed` when the numbers do not add up; then nothing is closed.
    """
    header = read_header(drive_dir)
    folded, journal = fold_drive(drive_dir)
    journal_counts, target_counts = count(folded, journal)
    check_conservation(header.planned, journal_counts, target_counts, closed=True)
    eras, claims = read_eras(drive_dir), read_claims(drive_dir)
    epoch = eras[0].epoch
    dispatches = _dispatches(folded)
    _write_parquet(drive_dir / DISPATCHES, dispatches.select(_DISPATCH_COLUMNS))
    attempts = list(_attempts(dispatches, epoch))
    _write_parquet(drive_dir / ATTEMPTS, pl.DataFrame(attempts, schema=ATTEMPTS_SCHEMA, orient="row"))
    sent_at = dispatches["sent_ns"].drop_nulls().sort()
    span_s = (sent_at[-1] - sent_at[0]) / 1e9 if sent_at.len() > 1 else 0.0
    summary = DriveSummary(
        outcome=outcome,
        epoch=epoch,
        wall_s=max(0, _latest(journal.filter(pl.col("seq") >= 0)["at_ns"])) / 1e9,
        counts={"planned": header.planned, **journal_counts.terms},
        answered=target_counts.answered,
        achieved_per_s=(sent_at.len() - 1) / span_s if span_s > 0 else 0.0,
        queue_ms=_percentiles(dispatches["queue_ms"]),
        run_ms=_percentiles(dispatches["run_ms"]),
        total_ms=_percentiles(dispatches["total_ms"]),
        raw_total_ms=_percentiles(dispatches["raw_total_ms"]),
        lateness_ms=_percentiles(dispatches["lateness_ns"] / 1e6),
        interruptions=_interruptions(eras, claims, journal, folded),
    )
    write_durably(drive_dir / SUMMARY, summary.model_dump_json(indent=1).encode())
    return summary


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


def _attempts(dispatches: pl.DataFrame, epoch: datetime) -> Iterator[tuple[Any, ...]]:
    """Rows of ATTEMPTS_SCHEMA: what the target reported, or one row without a SKU that says why there is no usage."""
    columns = ("dispatch_id", "variant", "generation", "state", "told", "reason", "sent_ns", "done_ns", "attempts")
    for dispatch_id, variant, generation, state, told, reason, sent_ns, done_ns, text in (
        dispatches.filter(pl.col("sent")).select(columns).iter_rows()
    ):
        reported = json.loads(text) if text else []
        provider = VariantId.parse(variant).provider if variant else "unknown"
        sent = epoch + timedelta(microseconds=(sent_ns or 0) / 1000)
        done = None if done_ns is None else epoch + timedelta(microseconds=done_ns / 1000)
        for attempt in reported:
            by = attempt["provider"] or provider
            head = (dispatch_id, attempt["number"], by, generation, attempt["outcome"])
            single = attempt["started"] is None  # told of as the dispatch itself
            times = (sent, done) if single else (_time(attempt["started"]), _time(attempt["ended"]))
            for use in attempt["usage"] or [_no_usage("the target reports no usage for this attempt")]:
                sku = use["sku"].replace("$provider", by) if use["sku"] else None
                yield (*head, *times, sku, use["quantity"], use["missing"], use["basis"])
        if not reported:
            outcome = _outcome_without_report(state, told)
            use = _no_usage(reason if outcome == "unknown" and reason else "the target reports no usage")
            yield (
                *(dispatch_id, 1, provider, generation, outcome, sent, done),
                *(use["sku"], use["quantity"], use["missing"], use["basis"]),
            )


def _outcome_without_report(state: str, told: str | None) -> str:
    if told == "refused":
        return "refused"
    return state if state in ("completed", "failed") else "unknown"


def _no_usage(why: str) -> dict[str, Any]:
    return {"sku": None, "quantity": None, "missing": why, "basis": None}


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _percentiles(values: pl.Series) -> Percentiles:
    """Exact, by nearest rank."""
    known = values.drop_nulls().sort()
    if known.is_empty():
        return Percentiles()

    def at(q: float) -> float:
        return float(known[max(0, math.ceil(q * known.len()) - 1)])

    return Percentiles(count=known.len(), p50=at(0.5), p95=at(0.95), p99=at(0.99), p999=at(0.999), max=at(1.0))


def _interruptions(
    eras: list[Era], claims: list[Claim], journal: pl.DataFrame, folded: pl.DataFrame
) -> tuple[Interruption, ...]:
    found = []
    for era in eras[1:]:
        earlier = [claim for claim in claims if claim.era < era.number]
        later = [claim for claim in claims if claim.era >= era.number]
        known = _latest(journal.filter(pl.col("at_ns") < era.started_ns)["at_ns"])
        unsettled = folded.filter(
            (pl.col("seq") <= (earlier[-1].last if earlier else -1))
            & (pl.col("end_ns").is_null() | (pl.col("end_ns") >= era.started_ns))
            & (pl.col("state") != "dropped")
        ).height
        found.append(
            Interruption(
                after_s=max(0, known) / 1e9,
                resumed_s=era.started_ns / 1e9,
                first_seq=later[0].first if later else None,
                unsettled=unsettled,
            )
        )
    return tuple(found)


def _latest(at_ns: pl.Series) -> int:
    known = at_ns.drop_nulls().sort()
    return int(known[-1]) if known.len() else 0


def _write_parquet(path: Path, frame: pl.DataFrame) -> None:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    write_durably(path, buffer.getvalue())
