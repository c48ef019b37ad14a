"""What a drive has come to: the terms of the conservation law, live figures, and the summary of a closed drive."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

PLANNED_TERMS = ("still_planned", "dropped", "cancelled_unsent", "sent")
"""planned = their sum"""
SENT_TERMS = (
    "awaiting_ack",
    "submitted",
    "queued",
    "leased",
    "completed",
    "failed",
    "cancelled_sent",
    "unknown",
)
"""sent = their sum"""
TERMINAL_SENT = ("completed", "failed", "cancelled_sent", "unknown")
TERMINAL = frozenset({*TERMINAL_SENT, "dropped", "cancelled_unsent"})
ANSWERED = ("accepted", "completed", "failed", "refused", "cancelled")
"""What is counted where the target's answers are heard: dispatches it took, and how it says they ended."""


class Percentiles(BaseModel):
    """Of durations in milliseconds; None while nothing was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None


class Interruption(BaseModel):
    """A gap in a drive: its process ended and another continued. Times in seconds after the drive's epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after_s: float
    """The last thing that the journal knows before the gap."""
    resumed_s: float
    first_seq: int | None
    """The first dispatch of the schedule that was left; None = all had been claimed."""
    unsettled: int
    """Dispatches claimed before the gap whose end was not known."""

    @property
    def gap_s(self) -> float:
        return self.resumed_s - self.after_s


Phase = Literal["waiting", "reconciling", "sending", "draining", "closing", "closed", "interrupted"]


class DriveStatus(BaseModel):
    """A drive at one moment. Every term of the conservation law is in `counts`, `planned` included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phase: Phase
    at: datetime
    elapsed_s: float
    """Since the drive's epoch."""
    counts: Mapping[str, int]
    sent_per_s: float = 0.0
    queue_ms: Percentiles = Percentiles()
    run_ms: Percentiles = Percentiles()
    total_ms: Percentiles = Percentiles()
    lateness_ms: Percentiles = Percentiles()
    interruptions: int = 0

    @property
    def terminal(self) -> int:
        """Dispatches whose state will not change any more."""
        return sum(self.counts.get(term, 0) for term in TERMINAL)


class DriveSummary(BaseModel):
    """`summary.json` of a closed drive; its presence is what closed means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outcome: Literal["completed", "cancelled", "settled"]
    """`settled` = given up after an interruption; states are final all the same."""
    epoch: datetime
    wall_s: float
    """From the epoch to the last thing learnt."""
    counts: Mapping[str, int]
    answered: Mapping[str, int]
    """What the target's answers say, counted where they are heard."""
    achieved_per_s: float
    """Sent dispatches over the time from the first to the last send; 0 for fewer than two."""
    queue_ms: Percentiles
    run_ms: Percentiles
    total_ms: Percentiles
    raw_total_ms: Percentiles
    lateness_ms: Percentiles
    interruptions: tuple[Interruption, ...]
