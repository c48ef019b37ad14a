"""The journal of a drive: small whole Arrow files of rows that say what happened to which dispatch, in order.

Each file ends with a tally row: what was counted where requests leave and answers are heard, independently of the
rows, and when the rows were taken. A dispatch's rows are `sent`, `resent` (the same submission again), `returned` (it
did not reach the target after all), `released` (claimed and not sent), `state` (what the target said), and one of `end`
(a sent dispatch ended) or `unsent` (it will never be sent).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from pointsman.dispatch.durable import write_durably
from pointsman.dispatch.status import ANSWERED
from pointsman.errors import DataCheckFailed

SCHEMA: Mapping[str, Any] = {
    "seq": pl.Int64,
    "kind": pl.String,
    "at_ns": pl.Int64,
    "from_ns": pl.Int64,
    "acked": pl.Boolean,
    "state": pl.String,
    "told": pl.String,
    "reason": pl.String,
    "job_id": pl.String,
    "variant": pl.String,
    "generation": pl.Int64,
    "version": pl.String,
    "queue_ms": pl.Float64,
    "run_ms": pl.Float64,
    "done_ns": pl.Int64,
    "attempts": pl.String,
    "output_uri": pl.String,
    "output_sha256": pl.String,
    "output_bytes": pl.Int64,
}
"""`*_ns` after the drive's epoch, null = not known: `at_ns` when we learnt it, `done_ns` when it ended by the target's
own clock, `from_ns` what lateness (`sent`) and total time (`end`) count from: the planned time, in a closed loop the
time of sending. `acked` = this answer took the job; `told` = how the target says it ended; `version` =
the model or version that did it; `attempts` = JSON."""

Row: TypeAlias = tuple[Any, ...]


class Rows:
    """Rows of one file to be. The two commonest kinds are kept as bare columns: this is the sending loop's hot path."""

    __slots__ = ("_full", "done_at", "done_from", "done_seq", "sent_at", "sent_from", "sent_seq", "tally")

    def __init__(self) -> None:
        self.sent_seq: list[int] = []
        self.sent_at: list[int | None] = []
        self.sent_from: list[int | None] = []
        self.done_seq: list[int] = []
        """Sent and completed by one and the same answer."""
        self.done_at: list[int] = []
        self.done_from: list[int | None] = []
        self._full: list[Row] = []
        self.tally = dict.fromkeys(("sent", *ANSWERED), 0)

    def __len__(self) -> int:
        return len(self.sent_seq) + len(self.done_seq) + len(self._full)

    def add(
        self,
        seq: int,
        kind: str,
        at_ns: int | None,
        *,
        from_ns: int | None = None,
        acked: bool = False,
        state: str | None = None,
        told: str | None = None,
        reason: str | None = None,
        job_id: str | None = None,
        variant: str | None = None,
        generation: int | None = None,
        version: str | None = None,
        queue_ms: float | None = None,
        run_ms: float | None = None,
        done_ns: int | None = None,
        attempts: str | None = None,
        output_uri: str | None = None,
        output_sha256: str | None = None,
        output_bytes: int | None = None,
    ) -> None:
        self._full.append(
            (
                *(seq, kind, at_ns, from_ns, acked, state, told, reason, job_id, variant, generation, version),
                *(queue_ms, run_ms, done_ns, attempts, output_uri, output_sha256, output_bytes),
            )
        )

    def frame(self, taken_ns: int) -> pl.DataFrame:
        """The columns of SCHEMA. A dispatch's rows keep their order; `taken_ns` = now."""
        parts = []
        if self.sent_seq:
            sent = _bare(self.sent_seq, self.sent_at, self.sent_from)
            parts.append(sent.with_columns(kind=pl.lit("sent"), acked=pl.lit(False)))
        if self._full:
            columns = zip(SCHEMA.items(), zip(*self._full, strict=True), strict=True)
            parts.append(pl.DataFrame([pl.Series(name, values, dtype=kind) for (name, kind), values in columns]))
        if self.done_seq:
            ended = {"kind": "end", "acked": True, "state": "completed", "told": "completed"}
            done = _bare(self.done_seq, self.done_at, self.done_from)
            parts.append(done.with_columns(**{name: pl.lit(value) for name, value in ended.items()}))
        return tallied(parts, self.tally, taken_ns)


def tallied(parts: Sequence[pl.DataFrame], tally: Mapping[str, int], taken_ns: int) -> pl.DataFrame:
    """What one segment holds: rows that have some of SCHEMA's columns, and the tally row behind them."""
    said = json.dumps({**tally, "rows": sum(part.height for part in parts)}, sort_keys=True)
    last = pl.DataFrame({"seq": [-1], "kind": ["tally"], "at_ns": [taken_ns], "reason": [said]})
    return pl.concat([pl.DataFrame(schema=SCHEMA), *parts, last], how="diagonal")


def _bare(seq: list[int], at_ns: Sequence[int | None], from_ns: Sequence[int | None]) -> pl.DataFrame:
    columns = {"seq": seq, "at_ns": at_ns, "from_ns": from_ns}
    return pl.DataFrame([pl.Series(name, values, dtype=pl.Int64) for name, values in columns.items()])


def segment_path(drive_dir: Path, era: int, number: int) -> Path:
    return drive_dir / "journal" / f"{era:04d}-{number:06d}.arrow"


def write_segment(path: Path, rows: pl.DataFrame) -> None:
    """Columns in which nothing is known are left out: of the commonest rows they would be two thirds of the file."""
    buffer = io.BytesIO()
    rows.select(column for column in rows if column.null_count() < rows.height).write_ipc(buffer)
    write_durably(path, buffer.getvalue())


def segment_paths(drive_dir: Path) -> list[Path]:
    """In the order in which they were written."""
    return sorted((drive_dir / "journal").glob("[0-9]*.arrow"))


def read_segment(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """One segment, all columns or, of those which every segment has (`seq`, `kind`, `at_ns`, `reason`), these.

    Raises `DataCheckFailed` (`journal_damaged`) when it is not whole: it was written whole, or not.
    """
    try:
        found = pl.read_ipc(path, columns=columns)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataCheckFailed(
            f"The journal's file {path.name} is damaged, so what happened to its dispatches is not known.",
            instruction=f"Restore {path} from a backup, or start again under a new run id.",
            code="journal_damaged",
        ) from error
    if columns is not None:
        return found
    return found.select(
        name if name in found.columns else pl.lit(None, kind).alias(name) for name, kind in SCHEMA.items()
    )


def read_journal(
    paths: Iterable[Path], where: pl.Expr, read: Callable[[Path], pl.DataFrame] = read_segment
) -> pl.DataFrame:
    """Those rows of these segments, in their order. `read` may remember segments that are read again soon."""
    return pl.concat([pl.DataFrame(schema=SCHEMA), *(read(path).filter(where) for path in paths)])
