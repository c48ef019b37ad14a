"""What earlier eras of a drive left behind: where the schedule stands and which dispatches are not settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pointsman.dispatch.claims import Claim, Era, read_claims, read_eras
from pointsman.dispatch.journal import read_segment, segment_paths
from pointsman.dispatch.ledger import Part, fold_drive, latest
from pointsman.dispatch.status import TERMINAL

ENDED = pl.col("state").is_in(sorted(TERMINAL))


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
    ended: Mapping[str, int]
    """By state."""
    ended_indexes: npt.NDArray[np.int64]
    unsettled: list[Unsettled]
    unsent: list[int]
    """Claimed, and surely not sent."""
    claims: list[Claim]
    last_ns: int
    """When the last rows were written."""


def read_history(drive_dir: Path) -> History:
    """Read claims and journal of a drive folder; empty for a new one."""
    claims = read_claims(drive_dir)
    ended: Counter[str] = Counter()
    indexes = [np.empty(0, dtype=np.int64)]
    unsettled: list[Unsettled] = []
    unsent: list[int] = []
    next_index = 0
    for part in fold_drive(drive_dir) if claims else ():
        folded = part.folded.with_row_index("index", offset=part.first).with_columns(pl.col("index").cast(pl.Int64))
        if folded["seq"][0] <= claims[-1].last:
            next_index = part.first + int(folded["seq"].search_sorted(claims[-1].last, side="right"))
        over = folded.filter(ENDED)
        ended.update(over["state"].to_list())
        indexes.append(over["index"].to_numpy())
        unsure = maybe_sent(part)
        still_open = folded.filter(pl.col("claimed") & ~ENDED)
        unsent += still_open.filter(~unsure)["index"].to_list()
        unsettled += [
            Unsettled(**row)
            for row in still_open.filter(unsure)
            .select(
                "index",
                pl.when(pl.col("sent")).then(pl.col("state")).otherwise(pl.lit("awaiting_ack")).alias("state"),
                *("acked", "job_id", "sent", "planned_ns", "sent_ns", "ack_ns"),
            )
            .iter_rows(named=True)
        ]
    return History(
        eras=read_eras(drive_dir),
        next_index=next_index,
        ended=ended,
        ended_indexes=np.concatenate(indexes),
        unsettled=unsettled,
        unsent=unsent,
        claims=claims,
        last_ns=last_written_ns(drive_dir),
    )


def maybe_sent(part: Part) -> pl.Expr:
    """Of the part's dispatches that have not ended, those that the target may have: claimed, and not surely unsent."""
    released = part.rows.filter(pl.col("kind").is_in(["returned", "released"]))["seq"].unique()
    return pl.col("claimed") & (pl.col("sent") | ~pl.col("seq").is_in(released.implode()))


def last_written_ns(drive_dir: Path) -> int:
    """When the last rows of a drive were written; 0 before the first."""
    segments = segment_paths(drive_dir)
    return latest(read_segment(segments[-1], ["at_ns"])["at_ns"]) if segments else 0
