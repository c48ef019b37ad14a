"""What the journal says in the end: one row per planned dispatch, and the counts of the conservation law."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from pointsman.dispatch.claims import Claim, read_claims
from pointsman.dispatch.journal import SCHEMA, read_journal, read_segment, segment_paths
from pointsman.dispatch.plan import read_header, read_planned_part
from pointsman.dispatch.status import ANSWERED, PLANNED_TERMS, SENT_TERMS, TERMINAL_SENT

_PART = 10_000
"""Dispatches that are folded together."""
_ALL = 2**63 - 1
_OF_THE_JOB = (
    *("job_id", "variant", "generation", "version", "queue_ms", "run_ms", "done_ns", "attempts"),
    *("output_uri", "output_sha256", "output_bytes"),
)


@dataclass(frozen=True, slots=True)
class JournalCounts:
    """Counted from journal rows (`still_planned`: from rows of the plan that no journal row names)."""

    terms: Mapping[str, int]
    answered: Mapping[str, int]
    """Dispatches by what their rows say that the target said."""
    rows: int


@dataclass(frozen=True, slots=True)
class TargetCounts:
    """Counted where requests leave and the target's answers are heard, file by file (the journal's tally rows)."""

    sent: int
    answered: Mapping[str, int]
    rows: int


def fold(planned: pl.DataFrame, journal: pl.DataFrame, claims: list[Claim]) -> pl.DataFrame:
    """One row per planned dispatch in plan order, with its last known state and times after the epoch.

    Columns of the plan plus: claimed, planned_ns, sent (bool), sent_ns, ack_ns, end_ns (last news), state, and the
    journal's columns about the job. `state` is a term of the conservation law.
    """
    rows = journal.filter(pl.col("seq") >= 0).with_row_index("n")
    kind = pl.col("kind")
    left = kind.is_in(["sent", "resent"])
    news = rows.filter(kind.is_in(["state", "end"]))
    last = pl.col("state").drop_nulls().last()
    told_of_job = {name for name in _OF_THE_JOB if rows[name].null_count() < rows.height}
    by_seq = (
        rows.group_by("seq", maintain_order=True)
        .agg(
            pl.col("n").filter(left).max().alias("n_sent"),
            pl.col("n").filter(kind.is_in(["returned", "released"])).max().alias("n_released"),
            pl.col("at_ns").filter(left).last().alias("sent_ns"),
            pl.col("at_ns").filter(pl.col("acked")).last().alias("ack_ns"),
            pl.col("acked").any().alias("acked"),
            pl.col("state").filter(kind == "unsent").last().alias("unsent_state"),
            pl.col("at_ns").filter(kind == "end").last().alias("end_ns"),
            pl.col("told").drop_nulls().last(),
            pl.col("reason").filter(kind.is_in(["end", "unsent"])).last(),
            *(
                # Looked for group by group only where there is something to find: of simple targets there is nothing.
                pl.col(name).drop_nulls().last() if name in told_of_job else pl.lit(None, SCHEMA[name]).alias(name)
                for name in _OF_THE_JOB
            ),
        )
        .join(news.group_by("seq").agg(last.alias("sent_state")), on="seq", how="left", maintain_order="left")
    )
    sent = pl.col("n_sent").is_not_null() & (pl.col("n_released").is_null() | (pl.col("n_sent") > pl.col("n_released")))
    state = (
        pl.when(pl.col("unsent_state").is_not_null())
        .then(pl.col("unsent_state"))
        .when(pl.col("sent_state").is_not_null())
        .then(pl.col("sent_state"))
        .when(pl.col("sent"))
        .then(pl.lit("awaiting_ack"))
        .otherwise(pl.lit("still_planned"))
    )
    return (
        planned.join(by_seq, on="seq", how="left", maintain_order="left")
        .with_columns(sent.fill_null(False).alias("sent"), pl.col("acked").fill_null(False))
        .with_columns(state.alias("state"))
        .join_asof(_claim_frame(claims), left_on="seq", right_on="first", strategy="backward", check_sortedness=False)
        .with_columns((pl.col("last").is_not_null() & (pl.col("seq") <= pl.col("last"))).alias("claimed"))
        # What was never claimed would have come after everything that was: at the schedule's last shift.
        .with_columns((pl.col("due_ns") + pl.col("shift_ns").fill_null(0)).alias("planned_ns"))
        .drop("n_sent", "n_released", "unsent_state", "sent_state", "first", "last", "shift_ns")
    )


def _claim_frame(claims: list[Claim]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "first": [claim.first for claim in claims],
            "last": [claim.last for claim in claims],
            "shift_ns": [claim.shift_ns for claim in claims],
        },
        schema={"first": pl.Int64, "last": pl.Int64, "shift_ns": pl.Int64},
    )


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the planned dispatches, folded, and the journal's rows about them."""

    first: int
    """Index in the plan of the first one."""
    folded: pl.DataFrame
    rows: pl.DataFrame


def fold_drive(drive_dir: Path) -> Iterator[Part]:
    """The dispatches of a drive folder part by part, in plan order: a drive of a million is never held as a whole."""
    planned, claims = read_header(drive_dir).planned, read_claims(drive_dir)
    segments = [(path, *_reach(path)) for path in segment_paths(drive_dir)] if planned > _PART else None
    read = lru_cache(maxsize=2)(read_segment)  # parts that follow each other are mostly in the same segments
    after = -1
    for first in range(0, planned, _PART):
        part = read_planned_part(drive_dir, first, _PART)
        if segments is None:
            rows = read_journal(segment_paths(drive_dir), pl.col("seq") >= 0)
        else:
            # The last part gets whatever follows: rows that no dispatch is planned for must not vanish.
            last = _ALL if first + _PART >= planned else int(part["seq"][-1])
            about = pl.col("seq").is_between(after + 1, last)
            rows = read_journal((path for path, low, high in segments if low <= last and high > after), about, read)
            after = last
        yield Part(first, fold(part, rows, claims), rows)


def _reach(path: Path) -> tuple[int, int]:
    """The lowest and highest sequence number of a segment."""
    seqs = read_segment(path, ["seq"])["seq"]
    known = seqs.filter(seqs >= 0)
    return (known.min(), known.max()) if known.len() else (_ALL, -1)  # type: ignore[return-value]


def count_part(part: Part) -> JournalCounts:
    """What the journal says about some dispatches."""
    folded, rows = part.folded, part.rows
    ends = Counter(rows.filter(pl.col("kind") == "end")["state"].to_list())
    unsent = Counter(rows.filter(pl.col("kind") == "unsent")["state"].to_list())
    states = Counter(folded["state"].to_list())
    terms = {term: states[term] for term in SENT_TERMS if term not in TERMINAL_SENT}
    terms |= {term: ends[term] for term in TERMINAL_SENT}
    terms |= {term: unsent[term] for term in ("dropped", "cancelled_unsent")}
    terms["still_planned"] = states["still_planned"]
    terms["sent"] = int(folded["sent"].sum())
    told = Counter(folded["told"].drop_nulls().to_list())
    answered = {name: told[name] for name in ANSWERED} | {"accepted": int(folded["acked"].sum())}
    return JournalCounts({term: terms[term] for term in (*PLANNED_TERMS, *SENT_TERMS)}, answered, rows.height)


def add_up(counts: Iterable[JournalCounts]) -> JournalCounts:
    """The counts of all parts."""
    terms, answered, rows = Counter[str](), Counter[str](), 0
    for one in counts:
        terms.update(one.terms)
        answered.update(one.answered)
        rows += one.rows
    return JournalCounts(
        {term: terms[term] for term in (*PLANNED_TERMS, *SENT_TERMS)}, {name: answered[name] for name in ANSWERED}, rows
    )


def count_heard(drive_dir: Path) -> TargetCounts:
    """What was counted where requests leave and answers are heard."""
    tally: Counter[str] = Counter()
    for path in segment_paths(drive_dir):
        for text in read_segment(path, ["seq", "reason"]).filter(pl.col("seq") < 0)["reason"].to_list():
            tally.update(json.loads(text))
    return TargetCounts(tally["sent"], {name: tally[name] for name in ANSWERED}, tally["rows"])


def latest(at_ns: pl.Series) -> int:
    """The last of these times; 0 when none is known."""
    last = at_ns.max()
    return last if isinstance(last, int) else 0
