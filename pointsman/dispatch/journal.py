"""The journal of a drive: small whole Arrow files of rows that say what happened to which dispatch, in order.

Each file ends with a tally row: what was counted where requests leave and answers are heard, independently of the
rows. A dispatch's rows are `sent` (again after each resend), `released` (it did not reach the target after all),
`state` (what the target said), and one of `end` (a sent dispatch ended) or `unsent` (it will never be sent).
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from pointsman.dispatch.durable import write_durably

SCHEMA: Mapping[str, Any] = {
    "seq": pl.Int64,
    "kind": pl.String,
    "at_ns": pl.Int64,
    "acked": pl.Boolean,
    "state": pl.String,
    "told": pl.String,
    "reason": pl.String,
    "job_id": pl.String,
    "variant": pl.String,
    "generation": pl.Int64,
    "queue_ms": pl.Float64,
    "run_ms": pl.Float64,
    "elapsed_ms": pl.Float64,
    "attempts": pl.String,
    "output_uri": pl.String,
    "output_sha256": pl.String,
    "output_bytes": pl.Int64,
}
"""`at_ns` after the drive's epoch, null = not known; `acked` = this answer took the job; `told` = how the target says
it ended; `attempts` = JSON."""

Row: TypeAlias = tuple[Any, ...]
_SHORT = ("seq", "kind", "at_ns", "acked", "state", "told")


class Rows:
    """Rows of one file to be. The two commonest kinds are kept as bare columns: this is the sending loop's hot path."""

    __slots__ = ("_full", "done_at", "done_seq", "sent_at", "sent_seq", "tally")

    def __init__(self) -> None:
        self.sent_seq: list[int] = []
        self.sent_at: list[int | None] = []
        self.done_seq: list[int] = []
        """Sent and completed by one and the same answer."""
        self.done_at: list[int] = []
        self._full: list[Row] = []
        self.tally: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.sent_seq) + len(self.done_seq) + len(self._full)

    def add(
        self,
        seq: int,
        kind: str,
        at_ns: int | None,
        *,
        acked: bool = False,
        state: str | None = None,
        told: str | None = None,
        reason: str | None = None,
        job_id: str | None = None,
        variant: str | None = None,
        generation: int | None = None,
        queue_ms: float | None = None,
        run_ms: float | None = None,
        elapsed_ms: float | None = None,
        attempts: str | None = None,
        output_uri: str | None = None,
        output_sha256: str | None = None,
        output_bytes: int | None = None,
    ) -> None:
        self._full.append(
            (
                *(seq, kind, at_ns, acked, state, told, reason, job_id, variant, generation),
                *(queue_ms, run_ms, elapsed_ms, attempts, output_uri, output_sha256, output_bytes),
            )
        )

    def encode(self) -> bytes:
        """The Arrow IPC file. Within it a dispatch's rows keep their order; see `again` for the one exception."""
        parts = []
        if self.sent_seq:
            parts.append(
                pl.DataFrame(
                    {
                        "seq": pl.Series(self.sent_seq, dtype=pl.Int64),
                        "at_ns": pl.Series(self.sent_at, dtype=pl.Int64),
                    }
                ).with_columns(pl.lit("sent").alias("kind"), pl.lit(False).alias("acked"))
            )
        if self._full:
            columns = zip(SCHEMA.items(), zip(*self._full, strict=True), strict=True)
            parts.append(pl.DataFrame([pl.Series(name, values, dtype=kind) for (name, kind), values in columns]))
        if self.done_seq:
            parts.append(
                pl.DataFrame(
                    {
                        "seq": pl.Series(self.done_seq, dtype=pl.Int64),
                        "at_ns": pl.Series(self.done_at, dtype=pl.Int64),
                    }
                ).with_columns(
                    pl.lit("end").alias("kind"),
                    pl.lit(True).alias("acked"),
                    pl.lit("completed").alias("state"),
                    pl.lit("completed").alias("told"),
                )
            )
        tally = json.dumps({**self.tally, "rows": len(self)}, sort_keys=True)
        parts.append(pl.DataFrame({"seq": [-1], "kind": ["tally"], "reason": [tally]}))
        missing = pl.DataFrame(schema=SCHEMA)
        buffer = io.BytesIO()
        pl.concat([missing, *parts], how="diagonal").write_ipc(buffer)
        return buffer.getvalue()


def segment_path(drive_dir: Path, era: int, number: int) -> Path:
    return drive_dir / "journal" / f"{era:04d}-{number:06d}.arrow"


def write_segment(path: Path, rows: Rows) -> None:
    write_durably(path, rows.encode())


def read_journal(drive_dir: Path) -> pl.DataFrame:
    """All rows in the order in which they were written, tally rows included."""
    paths = sorted((drive_dir / "journal").glob("[0-9]*.arrow"))
    if not paths:
        return pl.DataFrame(schema=SCHEMA)
    return pl.concat([pl.read_ipc(path) for path in paths])
