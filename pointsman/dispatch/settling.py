"""Giving up on an interrupted drive: every dispatch gets a final state without asking the target again."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl

from pointsman.clock import Clock, SystemClock
from pointsman.dispatch.claims import Claim, Era, read_claims, read_eras, write_claim, write_era
from pointsman.dispatch.closing import SUMMARY, Outcome, close_drive
from pointsman.dispatch.durable import sole_process
from pointsman.dispatch.history import ENDED, last_written_ns, maybe_sent
from pointsman.dispatch.journal import segment_path, tallied, write_segment
from pointsman.dispatch.ledger import Part, fold_drive
from pointsman.dispatch.orders import read_start
from pointsman.dispatch.plan import read_header, read_planned, read_planned_part
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
    eras = read_eras(drive_dir)
    start = read_start(drive_dir)
    first_epoch = start.epoch_wall_ns if start is not None else time.time_ns()
    epoch = eras[0].epoch_wall_ns if eras else first_epoch
    at = max(last_written_ns(drive_dir), time.time_ns() - epoch)
    write_era(drive_dir, Era(len(eras), epoch, at))
    planned = read_planned_part(drive_dir, 0, read_header(drive_dir).planned, ("seq", "stage"))
    recorder = Recorder(drive_dir, *(planned[name].to_numpy() for name in ("seq", "stage")), started_ns=at)
    sent_state = "cancelled_sent" if outcome == "cancelled" else "unknown"
    for number, part in enumerate(fold_drive(drive_dir)):
        rows = _given_up(part, at, sent_state, reason)
        if rows.height > 1:
            path = segment_path(drive_dir, len(eras), number)
            write_segment(path, rows)
            recorder.take(path.stem, rows)
    recorder.write(at, queued=0, last=True)
    return close_drive(drive_dir, outcome)


def _given_up(part: Part, at_ns: int, sent_state: str, reason: str) -> pl.DataFrame:
    """The journal's rows that end what has not ended, and the tally row."""
    left = part.folded.filter(~ENDED)
    maybe = maybe_sent(part)
    now = {"at_ns": pl.lit(at_ns, pl.Int64), "acked": pl.lit(False), "reason": pl.lit(reason)}
    forgotten = {"kind": pl.lit("sent"), "acked": pl.lit(False), "from_ns": pl.col("planned_ns")}
    sent = left.filter(maybe & ~pl.col("sent")).select("seq", **forgotten)
    ends = left.filter(maybe).select("seq", kind=pl.lit("end"), state=pl.lit(sent_state), **now)
    never = left.filter(~maybe).select("seq", kind=pl.lit("unsent"), state=pl.lit("cancelled_unsent"), **now)
    return tallied([sent, ends, never], {"sent": sent.height}, at_ns)


def doubt_the_rest(drive_dir: Path, *, clock: Clock) -> None:
    """Claim all that nobody has claimed: for whoever takes over from a process whose last claims are lost with it.

    What the target does not know of it, and may not be asked to do twice, is unknown then.
    """
    claims, eras = read_claims(drive_dir), read_eras(drive_dir)
    left = [seq for seq in read_planned(drive_dir)["seq"].to_list() if not claims or seq > claims[-1].last]
    if not left:
        return
    for name in ("claims", "eras"):
        (drive_dir / name).mkdir(exist_ok=True)
    if not eras:
        eras = [Era(0, round(clock.now().timestamp() * 1e6) * 1000, 0)]
        write_era(drive_dir, eras[0])
    shift_ns = claims[-1].shift_ns if claims else 0
    write_claim(drive_dir, Claim(eras[-1].number, left[0], left[-1], shift_ns))
