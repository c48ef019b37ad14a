"""Giving up on an interrupted drive: every dispatch gets a final state without asking the target again."""

from __future__ import annotations

import time
from pathlib import Path

from pointsman.clock import Clock, SystemClock
from pointsman.dispatch.claims import Era, read_eras, write_era
from pointsman.dispatch.closing import SUMMARY, Outcome, close_drive
from pointsman.dispatch.durable import sole_process
from pointsman.dispatch.history import read_history
from pointsman.dispatch.journal import Rows, segment_path, write_segment
from pointsman.dispatch.orders import read_start
from pointsman.dispatch.plan import read_planned
from pointsman.dispatch.recording import Recorder
from pointsman.dispatch.status import DriveSummary

_ORPHAN_WAIT_S = 10.0


def settle(drive_dir: Path, *, clock: Clock | None = None) -> DriveSummary:
    """Give up on a drive: what may have been sent becomes `unknown`, the rest `cancelled_unsent`; then close it.

    A closed drive stays as it is. Raises `Conflict` when a process still dispatches it.
    """
    with sole_process(drive_dir, wait_s=_ORPHAN_WAIT_S, clock=clock or SystemClock()):
        return settle_locked(drive_dir, "settled", reason="given_up")


def settle_cancelled(drive_dir: Path, *, clock: Clock) -> DriveSummary:
    """Close a drive that was to be cancelled and whose process could not say good-bye to the target."""
    with sole_process(drive_dir, wait_s=_ORPHAN_WAIT_S, clock=clock):
        return settle_locked(drive_dir, "cancelled", reason="not confirmed by the target")


def settle_locked(drive_dir: Path, outcome: Outcome, *, reason: str) -> DriveSummary:
    """`settle` for a caller that holds the lock."""
    if (drive_dir / SUMMARY).is_file():
        return DriveSummary.model_validate_json((drive_dir / SUMMARY).read_bytes())
    for name in ("journal", "claims", "eras"):
        (drive_dir / name).mkdir(exist_ok=True)
    planned = read_planned(drive_dir)
    history = read_history(drive_dir)
    start = read_start(drive_dir)
    first_epoch = start.epoch_wall_ns if start is not None else time.time_ns()
    epoch = history.eras[0].epoch_wall_ns if history.eras else first_epoch
    at = max(history.last_ns, time.time_ns() - epoch)
    write_era(drive_dir, Era(len(history.eras), epoch, at))
    rows = Rows()
    maybe_sent = {left.index: left for left in history.unsettled}
    ended = set(history.ended_indexes.tolist())
    for index, seq in enumerate(planned["seq"].to_list()):
        if index in ended:
            continue
        left = maybe_sent.get(index)
        if left is None:
            rows.add(seq, "unsent", at, state="cancelled_unsent", reason=reason)
            continue
        if not left.sent:
            rows.sent_seq.append(seq)
            rows.sent_at.append(None)
            rows.sent_from.append(left.planned_ns)
            rows.tally["sent"] += 1
        rows.add(seq, "end", at, state="cancelled_sent" if outcome == "cancelled" else "unknown", reason=reason)
    recorder = Recorder(drive_dir, *(planned[name].to_numpy() for name in ("seq", "stage")), started_ns=at)
    if len(rows):
        path = segment_path(drive_dir, len(read_eras(drive_dir)) - 1, 0)
        frame = rows.frame(at)
        write_segment(path, frame)
        recorder.take(path.stem, frame)
    recorder.write(at, queued=0, last=True)
    return close_drive(drive_dir, outcome)
