"""Writing the feed of seconds while a drive runs: a fold of what goes to the journal, so nothing is counted twice.

A segment is on the disk before its rows are counted here. A process that takes over counts the rows that are in the
journal and in no second yet, so a crash loses of the feed only what the journal has lost as well.
"""

from __future__ import annotations

import array
import errno
import json
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from pointsman.dispatch.attempts import NOT_TAKEN
from pointsman.dispatch.claims import Era
from pointsman.dispatch.durable import replace_file
from pointsman.dispatch.figures import FIGURES, Figures, StageFigures, percentiles, read_figures
from pointsman.dispatch.journal import Rows, read_segment, segment_path, segment_paths, write_segment
from pointsman.dispatch.seconds import METRICS, SECONDS, Second, read_seconds, to_line
from pointsman.dispatch.status import TERMINAL_SENT, DriveStatus, Phase

Buffer: TypeAlias = "array.array[int] | npt.NDArray[np.int64]"
_SECOND_NS = 1_000_000_000
_LIKELY_LINE = 1 << 16


class Recorder:
    """One era's; the seconds between two eras belong to none. `seqs` and `stages` of the plan are 64-bit integers."""

    def __init__(self, drive_dir: Path, seqs: Buffer, stages: Buffer, *, started_ns: int) -> None:
        self._drive_dir = drive_dir
        self._seqs = np.frombuffer(seqs, dtype=np.int64)
        self._stages = np.frombuffer(stages, dtype=np.int64)
        self._path = drive_dir / SECONDS
        last, self._segment = _end_of_feed(self._path)
        self.figures = read_figures(drive_dir)
        if self.figures.through != last:
            # The machine went down: of two files that nobody waited for, one is older than the other.
            self.figures = Figures()
            self.figures.count(read_seconds(drive_dir))
        overall = self.figures.overall().counts
        self._in_flight = overall["sent"] - sum(overall[state] for state in TERMINAL_SENT)
        self._began = max(0, started_ns // _SECOND_NS)
        self._stage = max(self.figures.stages, default=int(self._stages[0]))
        self._open: dict[int, dict[int, StageFigures]] = defaultdict(lambda: defaultdict(StageFigures))
        """By second and stage: what is not written yet."""
        self.sent_per_s = 0
        """In the last whole second."""
        self._catch_up()

    def _catch_up(self) -> None:
        """Count what the journal has and the feed has not."""
        left = []
        for path in reversed(segment_paths(self._drive_dir)):
            frame = read_segment(path)
            if path.stem <= self._segment and _taken_ns(frame) // _SECOND_NS <= self.figures.through:
                break
            left.append((path.stem, frame))
        for segment, frame in reversed(left):
            counted_before = segment <= self._segment
            self._count(frame, only_open=counted_before)
            self._segment = max(self._segment, segment)

    def take(self, segment: str, frame: pl.DataFrame) -> None:
        """Count the rows of a segment that is on the disk."""
        self._count(frame, only_open=False)
        self._segment = segment

    def _count(self, frame: pl.DataFrame, *, only_open: bool) -> None:
        kind, state, at_ns, from_ns = (pl.col(name) for name in ("kind", "state", "at_ns", "from_ns"))
        first_open = self.figures.through + 1
        rows = frame.filter(kind.is_in(["sent", "returned", "end", "unsent"])).select(
            *("seq", "queue_ms", "run_ms"),
            NOT_TAKEN.alias("not_taken"),
            pl.when(kind.is_in(["end", "unsent"])).then(state).otherwise(kind).alias("event"),
            (at_ns.fill_null(_taken_ns(frame)) // _SECOND_NS).clip(0).alias("second"),
            pl.when(kind == "sent").then((at_ns - from_ns).clip(0) / 1e6).alias("lateness_ms"),
            pl.when((kind == "end") & (state == "completed"))
            .then((pl.coalesce("done_ns", "at_ns") - from_ns).clip(0) / 1e6)
            .alias("total_ms"),
        )
        second = pl.col("second")
        # What is told late is counted in the first second that is still open.
        rows = rows.filter(second >= first_open) if only_open else rows.with_columns(second.clip(first_open))
        if rows.is_empty():
            return
        stages = self._stages[np.searchsorted(self._seqs, rows["seq"].to_numpy())]
        for key, part in (
            rows.with_columns(pl.Series("stage", stages)).partition_by("second", "stage", as_dict=True).items()
        ):
            figures = self._open[key[0]][key[1]]
            events = part["event"].value_counts()
            figures.counts.update(dict(zip(events["event"].to_list(), events["count"].to_list(), strict=True)))
            figures.counts["refused"] += int(part["not_taken"].sum())
            for name in METRICS:
                known = part.filter(pl.col("event") == "completed") if name != "lateness_ms" else part
                getattr(figures, name).add(known[name].drop_nulls().to_numpy())

    def write(self, now_ns: int, *, queued: int, last: bool) -> None:
        """Append the seconds that are over; all of them when it is the `last` time for this drive."""
        until = max(0, now_ns // _SECOND_NS + (1 if last else 0))
        over = {second for second in self._open if second < until}
        over.update(range(max(self.figures.through + 1, self._began), until))
        if not over:
            return
        found = [self._close(second, queued) for second in sorted(over)]
        _append(self._path, b"".join(to_line(stages, self._segment) for stages in found))
        for stages in found:
            self.figures.count(stages)
        self.sent_per_s = max(0, sum(one.counts.get("sent", 0) for one in found[-1]))
        replace_file(self._drive_dir / FIGURES, self.figures.to_json())

    def _close(self, second: int, queued: int) -> list[Second]:
        stages = self._open.pop(second, {})
        for figures in stages.values():
            counts = figures.counts
            counts["sent"] -= counts.pop("returned", 0)
            figures.counts = Counter({name: number for name, number in counts.items() if number})
            self._in_flight += counts["sent"] - sum(counts[state] for state in TERMINAL_SENT)
        self._stage = max(stages, default=self._stage)
        stages = stages or {self._stage: StageFigures()}
        return [
            Second(
                *(second, stage, figures.counts, self._in_flight, min(queued, self._in_flight)),
                **{name: getattr(figures, name) for name in METRICS},
            )
            for stage, figures in sorted(stages.items())
        ]


def rehearse(drive_dir: Path) -> None:
    """Write and count two rows that nobody reads: what a process does for the first time holds up its sending by 50 ms.

    Raises `OSError` when the drive's folder cannot be written.
    """
    rows = Rows()
    rows.add(0, "sent", 0, from_ns=0)
    rows.sent_seq, rows.sent_at, rows.sent_from = [1], [0], [0]
    rows.done_seq, rows.done_at, rows.done_from = [1], [1], [0]
    with tempfile.TemporaryDirectory(dir=drive_dir) as folder:
        path = segment_path(Path(folder), 0, 0)
        path.parent.mkdir()
        recorder = Recorder(Path(folder), array.array("q", [0, 1]), array.array("q", [0, 0]), started_ns=0)
        frame = rows.frame(1)
        write_segment(path, frame)
        recorder.take(path.stem, frame)
        recorder.write(_SECOND_NS, queued=0, last=False)


def live_status(recorder: Recorder, phase: Phase, terms: Mapping[str, int], *, era: Era, now_ns: int) -> DriveStatus:
    """How the drive stands at a moment whose `terms` are in the journal."""
    return DriveStatus(
        phase=phase,
        at=datetime.fromtimestamp((era.epoch_wall_ns + now_ns) / 1e9, UTC),
        elapsed_s=max(0.0, now_ns / 1e9),
        counts=terms,
        sent_per_s=float(recorder.sent_per_s),
        **percentiles(recorder.figures.overall()),
        interruptions=era.number,
    )


def _taken_ns(frame: pl.DataFrame) -> int:
    """When the rows of a segment were taken to be written: the time of those that do not know theirs."""
    return int(frame["at_ns"][-1])


def _end_of_feed(path: Path) -> tuple[int, str]:
    """The second and the segment of the last whole line; half a line behind it, left by a crash, is cut off."""
    try:
        file = path.open("rb+")
    except FileNotFoundError:
        return -1, ""
    with file:
        size = file.seek(0, 2)
        reach = _LIKELY_LINE
        while True:
            begin = max(0, size - reach)
            file.seek(begin)
            lines = file.read().split(b"\n")
            if len(lines) > 2 or begin == 0:
                break
            reach *= 4
        file.truncate(size - len(lines[-1]))
    if len(lines) < 2:
        return -1, ""
    line = json.loads(lines[-2])
    return line["second"], line["journal"]


def _append(path: Path, content: bytes) -> None:
    """All of it or, where the disk is full, nothing. Nobody waits for the disk: the journal has it all."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, content) != len(content):
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)
