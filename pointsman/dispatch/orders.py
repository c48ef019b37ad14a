"""What a run's coordinator tells the drives of its shards, as files in their folders: when to start, and to end.

A file reaches a process whoever started it, also when the coordinator is gone or held up, and is still there for the
process that takes its place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pointsman.dispatch.claims import read_claims
from pointsman.dispatch.durable import replace_file, sync_folder, write_durably
from pointsman.dispatch.plan import read_planned

_START, _CANCEL, _CONFIRMED = "start.json", "cancel", "confirmed"
CONFIRM_CLAIMS = "--confirm-claims"
"""Told to a process whose claims are to be used only when they are confirmed."""


@dataclass(frozen=True, slots=True)
class Start:
    """The schedule's place in time, the same for all shards of a run."""

    epoch_wall_ns: int
    """Unix time of the run's epoch."""
    shift_ns: int = 0
    """How much later than planned the schedule runs, because the whole run was interrupted."""


def order_start(drive_dir: Path, start: Start) -> None:
    document = {"epoch_wall_ns": start.epoch_wall_ns, "shift_ns": start.shift_ns}
    write_durably(drive_dir / _START, json.dumps(document).encode())


def read_start(drive_dir: Path) -> Start | None:
    """None while the drive is to wait."""
    path = drive_dir / _START
    return Start(**json.loads(path.read_bytes())) if path.is_file() else None


def withdraw_start(drive_dir: Path) -> None:
    """Let the next process of the drive wait for an order."""
    (drive_dir / _START).unlink(missing_ok=True)


def order_cancel(drive_dir: Path) -> None:
    """Whatever process carries the drive, now or later, ends its jobs at the target and closes it."""
    (drive_dir / _CANCEL).touch()
    sync_folder(drive_dir)


def cancel_ordered(drive_dir: Path) -> bool:
    return (drive_dir / _CANCEL).exists()


def confirm_claims(drive_dir: Path, first: int) -> None:
    """Claims up to the one that begins with this sequence number are where whoever takes over will find them."""
    replace_file(drive_dir / _CONFIRMED, str(first).encode())


def confirmed_claim(drive_dir: Path) -> int:
    """The first sequence number of the latest confirmed claim; -1 before the first."""
    try:
        return int((drive_dir / _CONFIRMED).read_bytes())
    except FileNotFoundError:
        return -1


def next_due_ns(drive_dirs: Sequence[Path]) -> int | None:
    """The earliest planned time among what no process of these drives has claimed; None when all is claimed."""
    found = [due for drive_dir in drive_dirs if (due := _next_due_ns(drive_dir)) is not None]
    return min(found, default=None)


def _next_due_ns(drive_dir: Path) -> int | None:
    claims = read_claims(drive_dir)
    last = claims[-1].last if claims else -1
    left = read_planned(drive_dir).filter(pl.col("seq") > last)["due_ns"]
    return int(left[0]) if left.len() else None
