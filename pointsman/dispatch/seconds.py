"""What a drive did, second by second: the feed on which live figures and rules about a running load are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pointsman.statistics.sketch import Sketch


@dataclass(frozen=True, slots=True)
class Second:
    """What happened within one second of one stage. Seconds of several shards add up: counts and sketches merge."""

    second: int
    """Whole seconds after the run's epoch, in which the events below happened."""
    stage: int
    """Index of the stage that the dispatches belong to."""
    counts: Mapping[str, int]
    """Events: `sent`, `dropped`, `completed`, `failed`, `refused` (of `failed`, those that the target would not take),
    `unknown`, `cancelled_sent`, `cancelled_unsent`. Absent = 0."""
    in_flight: int
    """Sent and not ended, at the end of this second, over all stages."""
    queued: int
    """Of `in_flight`, those that the target says wait in its queue."""
    total_ms: Sketch
    """Of dispatches that completed in this second, from their planned time."""
    queue_ms: Sketch
    run_ms: Sketch
    lateness_ms: Sketch
    """Of dispatches sent in this second."""
