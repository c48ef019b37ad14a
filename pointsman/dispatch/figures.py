"""Live percentiles of a drive, kept as sketches so that they cost little and can be merged."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.dispatch.status import Percentiles
from pointsman.statistics.sketch import Sketch


class Figures:
    def __init__(self) -> None:
        self._total, self._queue, self._run, self._lateness = Sketch(), Sketch(), Sketch(), Sketch()

    def count(self, finished: Iterable[tuple[float, float | None, float | None]], lateness_ms: Iterable[float]) -> None:
        """Take in (total, queue, run) milliseconds of completed dispatches and the lateness of sent ones."""
        for total, queue, run in finished:
            self._total.add(total)
            if queue is not None:
                self._queue.add(queue)
            if run is not None:
                self._run.add(run)
        for late in lateness_ms:
            self._lateness.add(late)

    def percentiles(self) -> dict[str, Percentiles]:
        """By the names of DriveStatus's fields."""
        return {
            "queue_ms": _percentiles(self._queue),
            "run_ms": _percentiles(self._run),
            "total_ms": _percentiles(self._total),
            "lateness_ms": _percentiles(self._lateness),
        }


def _percentiles(sketch: Sketch) -> Percentiles:
    if sketch.count == 0:
        return Percentiles()
    p50, p95, p99, p999 = (sketch.quantile(q) for q in (0.5, 0.95, 0.99, 0.999))
    return Percentiles(count=sketch.count, p50=p50, p95=p95, p99=p99, p999=p999, max=sketch.largest)
