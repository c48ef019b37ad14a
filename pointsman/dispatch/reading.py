"""Reading a drive folder: its live status, its summary, its dispatches and attempts."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from pointsman.dispatch.claims import read_eras
from pointsman.dispatch.closing import ATTEMPTS, DISPATCHES, SUMMARY
from pointsman.dispatch.ledger import JournalCounts, TargetCounts, add_up, count_heard, count_part, fold_drive
from pointsman.dispatch.plan import read_header
from pointsman.dispatch.status import PLANNED_TERMS, SENT_TERMS, DriveStatus, DriveSummary
from pointsman.errors import NotFound

STATUS = "status.json"


def read_summary(drive_dir: Path) -> DriveSummary | None:
    """The summary of a closed drive; None while it is open."""
    path = drive_dir / SUMMARY
    return DriveSummary.model_validate_json(path.read_bytes()) if path.is_file() else None


def read_dispatches(drive_dir: Path) -> pl.DataFrame:
    """One row per planned dispatch of a closed drive, in order of `seq`. Raises `NotFound` while it is open.

    Times `*_ns` after the drive's epoch, null = not known; `total_ms` from the planned time (closed loop: from sending)
    to completion, `raw_total_ms` from sending; `params` = what was laid over the variant's parameters, null = nothing.
    """
    return _read(drive_dir, DISPATCHES)


def scan_dispatches(drive_dir: Path) -> pl.LazyFrame:
    """The same rows, read when and as far as they are needed."""
    return pl.scan_parquet(_closed(drive_dir) / f"{DISPATCHES}-*.parquet")


def read_attempts(drive_dir: Path) -> pl.DataFrame:
    """One row per attempt and SKU of a closed drive; a null SKU says in `missing_reason` why there is no usage."""
    return _read(drive_dir, ATTEMPTS)


def scan_attempts(drive_dir: Path) -> pl.LazyFrame:
    """The same rows, read when and as far as they are needed."""
    return pl.scan_parquet(_closed(drive_dir) / f"{ATTEMPTS}-*.parquet")


def _read(drive_dir: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(_closed(drive_dir) / f"{name}-*.parquet")


def _closed(drive_dir: Path) -> Path:
    if read_summary(drive_dir) is None:
        raise NotFound("closed drive", str(drive_dir), "a drive whose dispatches have all ended")
    return drive_dir


def read_counts(drive_dir: Path) -> tuple[int, JournalCounts, TargetCounts]:
    """The three sources that `check_conservation` compares: planned rows, journal rows, what was heard."""
    planned = 0
    counts = []
    for part in fold_drive(drive_dir):
        planned += part.folded.height
        counts.append(count_part(part))
    return planned, add_up(counts), count_heard(drive_dir)


def read_live_status(drive_dir: Path) -> DriveStatus | None:
    """The driver's last word about itself, at most a second old while it runs; None before the first.

    It counts what is in the journal at that moment, so it is still true of a drive that was interrupted.
    """
    try:
        return DriveStatus.model_validate_json((drive_dir / STATUS).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def read_status(drive_dir: Path) -> DriveStatus:
    """A drive now; the cost does not depend on its length. Raises `NotFound` when no drive was written there."""
    header = read_header(drive_dir)
    summary = read_summary(drive_dir)
    if summary is not None:
        return DriveStatus(
            phase="closed",
            at=summary.epoch + timedelta(seconds=summary.wall_s),
            elapsed_s=summary.wall_s,
            counts=summary.counts,
            queue_ms=summary.queue_ms,
            run_ms=summary.run_ms,
            total_ms=summary.total_ms,
            lateness_ms=summary.lateness_ms,
            interruptions=len(summary.interruptions),
        )
    live = read_live_status(drive_dir)
    if live is None:
        return _before_the_first_word(drive_dir, header.planned)
    return live if is_running(drive_dir) else live.model_copy(update={"phase": "interrupted"})


def _before_the_first_word(drive_dir: Path, planned: int) -> DriveStatus:
    """Not begun, or taken up again a moment ago: then the journal knows more."""
    eras = read_eras(drive_dir)
    now = datetime.now(UTC)
    terms: Mapping[str, int] = {**dict.fromkeys((*PLANNED_TERMS, *SENT_TERMS), 0), "still_planned": planned}
    if eras:
        terms = read_counts(drive_dir)[1].terms
    return DriveStatus(
        phase="interrupted" if eras and not is_running(drive_dir) else "waiting",
        at=now,
        elapsed_s=max(0.0, now.timestamp() - eras[0].epoch_wall_ns / 1e9) if eras else 0.0,
        counts={"planned": planned, **terms},
        interruptions=max(0, len(eras) - 1),
    )


def read_epoch(drive_dir: Path) -> datetime | None:
    """When the drive's schedule starts: what `due_ns` and all `*_ns` count from. None before its first process."""
    eras = read_eras(drive_dir)
    return eras[0].epoch if eras else None


def is_running(drive_dir: Path) -> bool:
    """Whether a process holds the drive's lock."""
    path = drive_dir / "lock"
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
