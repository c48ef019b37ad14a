"""What earlier eras of a drive left behind: where the schedule stands and which dispatches are not settled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pointsman.dispatch.claims import Claim, Era, read_claims, read_eras
from pointsman.dispatch.journal import read_journal
from pointsman.dispatch.ledger import fold
from pointsman.dispatch.status import TERMINAL


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A dispatch that was claimed and has not ended."""

    index: int
    state: str
    acked: bool
    job_id: str | None
    sent: bool
    """The journal says that it was sent; otherwise it may have been."""
    planned_ns: int | None
    sent_ns: int | None
    ack_ns: int | None


@dataclass(frozen=True, slots=True)
class History:
    eras: list[Era]
    next_index: int
    """The first index that nobody has claimed."""
    ended: dict[str, int]
    """By state."""
    ended_indexes: list[int]
    unsettled: list[Unsettled]
    unsent: list[int]
    """Claimed, and surely not sent."""
    claims: list[Claim]
    last_ns: int
    """The last time that the journal knows."""


def read_history(drive_dir: Path, planned: pl.DataFrame) -> History:
    """Read claims and journal of a drive folder; empty for a new one."""
    claims, journal = read_claims(drive_dir), read_journal(drive_dir)
    folded = fold(planned, journal, claims).with_row_index("index")
    released = journal.filter(pl.col("kind").is_in(["returned", "released"]))["seq"].unique()
    terminal = pl.col("state").is_in(sorted(TERMINAL))
    surely_unsent = ~pl.col("sent") & pl.col("seq").is_in(released.implode())
    ended = folded.filter(terminal)
    open_rows = folded.filter(pl.col("claimed") & ~terminal)
    states = ended["state"].value_counts()
    last = journal["at_ns"].drop_nulls()
    return History(
        eras=read_eras(drive_dir),
        next_index=folded["seq"].search_sorted(claims[-1].last, side="right") if claims else 0,
        ended=dict(zip(states["state"].to_list(), states["count"].to_list(), strict=True)),
        ended_indexes=ended["index"].to_list(),
        unsettled=[
            Unsettled(**row)
            for row in open_rows.filter(~surely_unsent)
            .select(
                "index",
                pl.when(pl.col("sent")).then(pl.col("state")).otherwise(pl.lit("awaiting_ack")).alias("state"),
                *("acked", "job_id", "sent", "planned_ns", "sent_ns", "ack_ns"),
            )
            .iter_rows(named=True)
        ],
        unsent=open_rows.filter(surely_unsent)["index"].to_list(),
        claims=claims,
        last_ns=int(last.sort()[-1]) if last.len() else 0,
    )
