"""Reading a drive folder: its live status, its summary, its dispatches and attempts."""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from pointsman.dispatch.claims import read_eras
from pointsman.dispatch.closing import ATTEMPTS, DISPATCHES, SKETCHES, SUMMARY
from pointsman.dispatch.ledger import JournalCounts, TargetCounts, count, fold_drive
from pointsman.dispatch.plan import read_header
from pointsman.dispatch.status import DriveStatus, DriveSummary, Phase
from pointsman.errors import NotFound

STATUS = "status.json"


def read_summary(drive_dir: Path) -> DriveSummary | None:
    """The summary of a closed drive; None while it is open."""
    path = drive_dir / SUMMARY
    return DriveSummary.model_validate_json(path.read_bytes()) if path.is_file() else None


def read_dispatches(drive_dir: Path) -> pl.DataFrame:
    """One row per planned dispatch of a closed drive, in order of `seq`. Raises `NotFound` while it is open.

    Times `*_ns` after the drive's epoch, null = not known; `total_ms` from the planned time (closed loop: from sending)
    to completion, `raw_total_ms` from sending.
    """
    return _read(drive_dir, DISPATCHES)


def read_attempts(drive_dir: Path) -> pl.DataFrame:
    """One row per attempt and SKU of a closed drive; a null SKU says in `missing_reason` why there is no usage."""
    return _read(drive_dir, ATTEMPTS)


def read_sketches(drive_dir: Path) -> pl.DataFrame:
    """Rows (second, stage, metric, count, sketch) of a closed drive; `sketch` is JSON of `Sketch.to_json`."""
    return _read(drive_dir, SKETCHES)


def _read(drive_dir: Path, name: str) -> pl.DataFrame:
    if read_summary(drive_dir) is None:
        raise NotFound("closed drive", str(drive_dir), "a drive whose dispatches have all ended")
    return pl.read_parquet(drive_dir / name)


def read_counts(drive_dir: Path) -> tuple[int, JournalCounts, TargetCounts]:
    """The three sources that `check_conservation` compares: planned rows, journal rows, what was heard."""
    folded, journal = fold_drive(drive_dir)
    return (folded.height, *count(folded, journal))


def read_live_status(drive_dir: Path) -> DriveStatus | None:
    """The driver's last word about itself, at most a second old while it runs; None before the first."""
    try:
        return DriveStatus.model_validate_json((drive_dir / STATUS).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def read_status(drive_dir: Path) -> DriveStatus:
    """A drive now, its counts from the journal on disk. Raises `NotFound` when no drive was written there."""
    header = read_header(drive_dir)
    planned, journal_counts, _ = read_counts(drive_dir)
    counts = {"planned": planned, **journal_counts.terms}
    eras = read_eras(drive_dir)
    summary = read_summary(drive_dir)
    now = datetime.now(UTC)
    if summary is not None:
        return DriveStatus(
            phase="closed",
            at=summary.epoch + timedelta(seconds=summary.wall_s),
            elapsed_s=summary.wall_s,
            counts=counts,
            queue_ms=summary.queue_ms,
            run_ms=summary.run_ms,
            total_ms=summary.total_ms,
            lateness_ms=summary.lateness_ms,
            interruptions=len(summary.interruptions),
        )
    live = read_live_status(drive_dir)
    if live is None or not eras:
        elapsed = now.timestamp() - eras[0].epoch_wall_ns / 1e9 if eras else 0.0
        live = DriveStatus(phase="waiting", at=now, elapsed_s=max(0.0, elapsed), counts={"planned": header.planned})
    phase: Phase = live.phase
    if not is_running(drive_dir):
        phase = "interrupted" if eras else "waiting"
    return live.model_copy(update={"phase": phase, "counts": counts, "interruptions": max(0, len(eras) - 1)})


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
