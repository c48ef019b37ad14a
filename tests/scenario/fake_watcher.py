"""A watcher that writes down what it was told, and says what the test wants it to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pointsman.dispatch import Second
from pointsman.errors import DependencyDown
from pointsman.scenario.watching import Stop

STOP = Stop(
    event="load_test_rate_missed",
    code="too_slow",
    message="It was too slow.",
    instruction="pointsman doctor",
    data={"rate": 0.5},
)


@dataclass
class FakeWatcher:
    name: str = "fake"
    stop_at: int | None = None
    """After so many seconds were seen, over all coordinators."""
    ends: Mapping[str, Any] = field(default_factory=dict)
    cannot_end: int = 0
    """How often `end` fails before it works."""
    begun: list[tuple[datetime, Mapping[str, Any]]] = field(default_factory=list)
    looked: list[float] = field(default_factory=list)
    seconds: list[Second] = field(default_factory=list)
    at_halt: Callable[[], None] = lambda: None
    halted: int = 0
    ended: int = 0
    count: int = 0

    def begin(self, epoch: datetime, state: Mapping[str, Any]) -> None:
        self.begun.append((epoch, state))
        self.count = state.get("count", 0)

    def look(self, now_s: float, seconds: Sequence[Second]) -> Stop | None:
        self.looked.append(now_s)
        self.seconds.extend(seconds)
        self.count += len(seconds)
        return STOP if self.stop_at is not None and self.count >= self.stop_at else None

    def state(self) -> Mapping[str, Any]:
        return {"count": self.count}

    def halt(self) -> None:
        self.at_halt()
        self.halted += 1

    def end(self) -> Mapping[str, Any]:
        if self.cannot_end:
            self.cannot_end -= 1
            raise DependencyDown("The cloud does not answer.", instruction="wait")
        self.ended += 1
        return self.ends
