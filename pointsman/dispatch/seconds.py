"""What a drive did, second by second: the feed on which live figures and rules about a running load are built.

A drive appends one line to `seconds.jsonl` when a second is over, at most 1.5 s later, also when nothing happened in
it. What a second holds does not change any more, and each second is there once, in ascending order: so a reader needs
to remember nothing but the last second that it has seen, and what it pays does not depend on the length of the drive.
While no process carries the drive its seconds are missing; what an interrupted process had written to the journal and
not yet here is in the seconds that the next one writes first.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pointsman.statistics.sketch import Sketch

SECONDS = "seconds.jsonl"
METRICS = ("total_ms", "queue_ms", "run_ms", "lateness_ms")
_HEAD = b'{"second":'
_NEAR = 1 << 16
"""Bytes that are read rather than searched."""
_PATIENCE_S = 2
"""How far one drive of a run may be ahead of another before that one is not waited for."""


@dataclass(frozen=True, slots=True)
class Second:
    """What happened within one second of one stage. Seconds of several shards add up: counts and sketches merge."""

    second: int
    """Whole seconds after the run's epoch, in which the events below happened."""
    stage: int
    """Index of the stage that the dispatches belong to."""
    counts: Mapping[str, int]
    """Events: `sent` (less those that turned out not to have reached the target), `dropped`, `completed`, `failed`,
    `refused` (of `failed`, those that the target did not take, which cost nothing), `unknown`, `cancelled_sent`,
    `cancelled_unsent`. Absent = 0."""
    in_flight: int
    """Sent and not ended, at the end of this second, over all stages."""
    queued: int
    """Of `in_flight`, those that the target says wait in its queue."""
    total_ms: Sketch = field(default_factory=Sketch)
    """Of dispatches that completed in this second, from their planned time."""
    queue_ms: Sketch = field(default_factory=Sketch)
    run_ms: Sketch = field(default_factory=Sketch)
    lateness_ms: Sketch = field(default_factory=Sketch)
    """Of dispatches sent in this second."""


def read_seconds(drive_dir: Path, after: int = -1) -> list[Second]:
    """The seconds of a drive behind the second `after`, oldest first, one item per stage that something happened in.

    A second without events is one item with empty counts. A last line that is only half there is left for later.
    """
    return [one for _, line in lines_after(drive_dir, after) for one in from_line(line)]


def lines_after(drive_dir: Path, after: int) -> list[tuple[int, str]]:
    """The same as lines, each with its second."""
    try:
        file = (drive_dir / SECONDS).open("rb")
    except FileNotFoundError:
        return []
    with file:
        file.seek(_start_behind(file, after))
        lines = file.read().split(b"\n")[:-1]
    return [(number, line.decode()) for line in lines if (number := _number(line)) > after]


def last_second(drive_dir: Path) -> int:
    """The last whole one; -1 when there is none."""
    try:
        file = (drive_dir / SECONDS).open("rb")
    except FileNotFoundError:
        return -1
    with file:
        size = file.seek(0, 2)
        reach = _NEAR
        while True:
            file.seek(max(0, size - reach))
            lines = file.read().split(b"\n")
            if len(lines) > 2 or reach >= size:
                return _number(lines[-2]) if len(lines) > 1 else -1
            reach *= 4


def _start_behind(file: BinaryIO, after: int) -> int:
    """Where a line begins that is not behind `after`, or little before; found by halving, for the lines ascend."""
    low, high = 0, file.seek(0, 2)
    while high - low > _NEAR:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        begin = file.tell()
        line = file.readline()
        if not line.endswith(b"\n") or _number(line) > after:
            high = middle
        else:
            low = begin
    return low


def _number(line: bytes) -> int:
    """Every line begins with its second."""
    return int(line[len(_HEAD) : line.index(b",")])


class RunSeconds:
    """The seconds of all drives of a run, added up. Folders are known by name, which must differ."""

    def __init__(self, seen: Mapping[str, int] | None = None) -> None:
        self.seen = dict(seen or {})
        """By folder: the last second that was handed out. Whoever takes over begins with it."""
        self._gauges: dict[str, tuple[int, int]] = {}
        """By folder: in flight and queued, as last told."""

    def new(self, drive_dirs: Iterable[Path], *, last: bool = False) -> list[Second]:
        """What became known since the last call, oldest first; all of it when it is the `last` call for this run.

        A second is handed out when every drive has told it. A drive that is more than two seconds behind another is not
        waited for: what it tells later comes later, as another item of the same second.
        """
        told = {folder.name: read_seconds(folder, self.seen.get(folder.name, -1)) for folder in drive_dirs}
        ends = {name: seconds[-1].second if seconds else self.seen.get(name, -1) for name, seconds in told.items()}
        if not ends:
            return []
        through = max(min(ends.values()), max(ends.values()) - (0 if last else _PATIENCE_S))
        by_second: dict[int, list[tuple[str, Second]]] = defaultdict(list)
        for name, seconds in told.items():
            for one in seconds:
                if one.second <= through:
                    by_second[one.second].append((name, one))
                    self.seen[name] = one.second
        found: list[Second] = []
        for _, items in sorted(by_second.items()):
            self._gauges.update({name: (one.in_flight, one.queued) for name, one in items})
            in_flight, queued = (sum(column) for column in zip(*self._gauges.values(), strict=True))
            found += _merged([one for _, one in items], in_flight, queued)
        return found


def _merged(seconds: Sequence[Second], in_flight: int, queued: int) -> list[Second]:
    """Items of one second: one per stage."""
    found: list[Second] = []
    for stage in sorted({one.stage for one in seconds}):
        same = [one for one in seconds if one.stage == stage]
        counts: Counter[str] = Counter()
        merged = Second(same[0].second, stage, counts, in_flight, queued)
        for one in same:
            counts.update(one.counts)
            merge_metrics(merged, one)
        found.append(merged)
    return found


def merge_metrics(into: Any, one: Any) -> None:
    """Merge the four sketches of anything that has them."""
    for name in METRICS:
        getattr(into, name).merge(getattr(one, name))


def to_line(seconds: Sequence[Second], journal: str) -> bytes:
    """One line of the feed: all stages of one second. `journal` = the last segment whose rows were counted before."""
    first = seconds[0]
    document = {
        "second": first.second,
        "journal": journal,
        "in_flight": first.in_flight,
        "queued": first.queued,
        "stages": {str(one.stage): events_json(one) for one in seconds},
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def from_line(line: str) -> Iterator[Second]:
    document = json.loads(line)
    for stage, found in document["stages"].items():
        yield Second(
            document["second"],
            int(stage),
            found["counts"],
            document["in_flight"],
            document["queued"],
            **sketches_from(found),
        )


def events_json(one: Any) -> dict[str, Any]:
    """Counts and sketches, those that are empty left out."""
    sketches = {name: getattr(one, name) for name in METRICS}
    return {
        "counts": dict(one.counts),
        **{name: sketch.to_json() for name, sketch in sketches.items() if sketch.count},
    }


def sketches_from(document: Mapping[str, Any]) -> dict[str, Sketch]:
    """Those of `events_json`."""
    return {name: Sketch.from_json(document[name]) if name in document else Sketch() for name in METRICS}
