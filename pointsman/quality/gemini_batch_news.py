"""What is told of a batch while it is awaited: whoever waits for hours sees that it goes on, and how long it may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from google.genai import types

from pointsman.quality.protocol import Batch

AGAIN = timedelta(minutes=15)
"""A state that lasts is told again after so long."""

Tell = Callable[[str], None]


@dataclass(slots=True)
class BatchNews:
    """The news of one batch; a look that shows nothing new is not told."""

    batch: Batch
    name: str
    tell: Tell
    _state: str = field(default="", init=False)
    _since: datetime = field(init=False)
    _told: datetime = field(init=False)

    def looked(self, state: types.JobState | None, now: datetime, *, until: datetime, cancelled: bool) -> None:
        """Its state at a look; `cancelled` when it took too long, and has until `until` to end."""
        shown = "of unknown state" if state is None else state.value.removeprefix("JOB_STATE_").lower()
        shown = f"being cancelled (still {shown})" if cancelled else shown
        if shown == self._state and now < self._told + AGAIN:
            return
        if shown != self._state:
            self._state, self._since = shown, now
        self._told = now
        self.tell(
            f"Gemini's {self.name} ({len(self.batch.calls)} calls, sent {_at(self.batch.sent)}) is {shown} since "
            f"{_at(self._since)}; it is waited for until {_at(until)}."
        )

    def ended(self, how: str, answered: int) -> None:
        """It is over, or took too long."""
        of = len(self.batch.calls)
        self.tell(f"Gemini's {self.name} is no longer waited for ({how}): {answered} of {of} calls have an answer.")


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
