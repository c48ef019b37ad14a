"""What the run counted within a condition's window: seconds of the feed, added up in at most sixty buckets.

A window of up to a minute is kept to the second, a longer one to a sixtieth of itself: so what a coordinator keeps for
the next one stays small however long the window is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pointsman.dispatch.seconds import Second
from pointsman.scenario.conditions import Condition
from pointsman.statistics.sketch import RELATIVE_ACCURACY, Sketch

_MOST_BUCKETS = 60
_ENDED = ("completed", "failed", "unknown", "cancelled_sent")


@dataclass(slots=True)
class Tally:
    """What happened in one bucket. `failed` includes what is unknown."""

    sent: int = 0
    completed: int = 0
    failed: int = 0
    times: Sketch = field(default_factory=Sketch)


class Window:
    """The events that one condition is judged by."""

    def __init__(self, condition: Condition, planned: Sequence[int]) -> None:
        """`planned` = dispatches that are due in each second of the run, without those of warm-up stages."""
        self._condition = condition
        self._planned = planned
        self._width = 1 if condition.window_s is None else math.ceil(condition.window_s / _MOST_BUCKETS)
        self._buckets: dict[int, Tally] = {}
        self._reach_s = condition.threshold / 1000 if condition.metric == "total_ms" else 0.0
        span_s = self._reach_s + (condition.window_s or 0)
        self._open_width = max(1, math.ceil(span_s / _MOST_BUCKETS))
        self._open: dict[int, int] = {}
        """By the time when they were sent: dispatches that have not ended. A window of the whole run keeps all that is
        older than the threshold as one."""
        self._latest = (-1, 0)
        """The newest second, and what was sent in it."""

    def add(self, second: Second) -> None:
        """Count one item of the feed; the caller leaves out warm-up stages."""
        bucket = 0 if self._condition.window_s is None else second.second // self._width
        tally = self._buckets.setdefault(bucket, Tally())
        counts = second.counts
        sent = counts.get("sent", 0)
        tally.sent += sent
        if second.second >= self._latest[0]:
            self._latest = (second.second, sent + (self._latest[1] if second.second == self._latest[0] else 0))
        tally.completed += counts.get("completed", 0)
        tally.failed += counts.get("failed", 0) + counts.get("unknown", 0)
        if self._condition.figure == "failed_spend":  # what the target did not take cost nothing
            tally.failed += counts.get("cancelled_sent", 0) - counts.get("refused", 0)
        if self._condition.metric is not None:
            tally.times.merge(getattr(second, self._condition.metric))
        if self._condition.metric == "total_ms":
            self._add_open(second, sent)
        self._forget(second.second + 1)

    def _add_open(self, second: Second, sent: int) -> None:
        """What ended was sent so much earlier as it took, or later: its time counts from when it was planned.

        Where that is not known for sure the older one has ended: nothing is late that may not be.
        """
        oldest = min(self._open, default=0)
        bucket = max(oldest, second.second // self._open_width)
        self._open[bucket] = self._open.get(bucket, 0) + sent
        for ms, count in second.total_ms.buckets():
            at_s = math.floor(second.second - ms * (1 + RELATIVE_ACCURACY) / 1000)
            if at_s // self._open_width >= oldest:
                self._take_open(at_s // self._open_width, count)
            elif self._condition.window_s is None or oldest == 0:
                self._take_open(oldest, count)
        untimed = sum(second.counts.get(name, 0) for name in _ENDED) - second.total_ms.count
        self._take_open(oldest, untimed)

    def _take_open(self, first: int, number: int) -> None:
        for bucket in sorted(self._open):
            if bucket >= first and number > 0:
                taken = min(number, self._open[bucket])
                self._open[bucket] -= taken
                number -= taken

    def _forget(self, end_s: int) -> None:
        """Drop what no window that ends with second `end_s` - 1 or later looks at."""
        window = self._condition.window_s
        if window is not None:
            first = (end_s - window) // self._width
            self._buckets = {bucket: tally for bucket, tally in self._buckets.items() if bucket >= first}
        oldest = math.floor(end_s - self._reach_s - (window or 1)) // self._open_width
        old = [bucket for bucket in self._open if bucket < oldest]
        gone = sum(self._open.pop(bucket) for bucket in old)
        if old and window is None:
            self._open[oldest] = self._open.get(oldest, 0) + gone

    def value(self, end_s: int) -> float | None:
        """The figure over the window that ends with second `end_s` - 1; None when nothing happened that tells."""
        window = self._condition.window_s
        first = 0 if window is None else (end_s - window) // self._width
        self._forget(end_s)
        tallies = list(self._buckets.values())
        if self._condition.figure == "percentile":
            return self._percentile(tallies, end_s)
        if self._condition.figure == "achieved_rate":
            return self._achieved(tallies, first * self._width, end_s)
        failed = sum(tally.failed for tally in tallies)
        if self._condition.figure == "failed_spend":
            return float(failed)
        ended = failed + sum(tally.completed for tally in tallies)
        return failed / ended if ended else None

    def _percentile(self, tallies: Sequence[Tally], end_s: int) -> float | None:
        """What became older than the threshold within the window, and is still in flight, counts as above it: a target
        that hangs is not fast. What had done so before was counted by the windows of then.
        """
        times = Sketch()
        for tally in tallies:
            times.merge(tally.times)
        late = self._late(end_s)
        if times.count + late == 0:
            return None
        rank = math.ceil(self._condition.quantile * (times.count + late))
        if rank > times.count:
            return max(self._condition.threshold, times.largest)
        return times.quantile(min(1.0, max(rank, 1) / times.count))

    def _late(self, end_s: int) -> int:
        """In flight, and older than the threshold since some moment of the window."""
        to_s = end_s - self._reach_s
        window = self._condition.window_s
        from_s = 0.0 if window is None else max(0.0, to_s - window)
        width = self._open_width
        return sum(number for bucket, number in self._open.items() if from_s < (bucket + 1) * width <= to_s)

    def _achieved(self, tallies: Sequence[Tally], begin_s: int, end_s: int) -> float | None:
        """What is due in the last second may be sent a moment after its end, so that one is not asked for yet.

        What was sent in it counts as far as it may have been due before: a twentieth of a second's dispatches, or one.
        """
        planned = sum(self._planned[max(begin_s, 0) : end_s - 1])
        # When nothing is planned any more, a window says more and more about less and less.
        if planned == 0 or end_s > len(self._planned) + 1:
            return None
        newest = self._latest[1]
        overdue = min(newest, max(1.0, planned / (end_s - 1 - max(begin_s, 0)) / 20))
        return min(1.0, (sum(tally.sent for tally in tallies) - newest + overdue) / planned)

    def state(self) -> dict[str, Any]:
        return {
            "buckets": [
                [bucket, tally.sent, tally.completed, tally.failed, tally.times.to_json()]
                for bucket, tally in self._buckets.items()
            ],
            "open": list(self._open.items()),
            "latest": self._latest,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._buckets = {
            bucket: Tally(sent, completed, failed, Sketch.from_json(times))
            for bucket, sent, completed, failed, times in state["buckets"]
        }
        self._open = dict(state["open"])
        self._latest = (state["latest"][0], state["latest"][1])
