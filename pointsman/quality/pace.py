"""How many calls a judge makes at once: as many as it was told, fewer while the service refuses some.

Additive increase, multiplicative decrease (Chiu and Jain 1989): a refusal halves the number, each answer that comes
adds its share of one, so that a whole round of answers adds one.
"""

from __future__ import annotations

import threading

from pointsman.clock import Clock

_SLICE_S = 0.5


class Pace:
    """Room for at most `most` calls at once, never less than one. Thread-safe."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._room = float(most)
        self._in_flight = 0
        self._cuts = 0
        self._not_before = clock.monotonic()
        self._changed = threading.Condition()

    @property
    def room(self) -> int:
        """How many calls may be in flight now."""
        return int(self._room)

    def enter(self, stop: threading.Event) -> int | None:
        """Wait for room; return what `leave` wants to know, or None when `stop` was set meanwhile."""
        while not stop.is_set():
            with self._changed:
                held = self._not_before - self._clock.monotonic()
                if held <= 0:
                    if self._in_flight < int(self._room):
                        self._in_flight += 1
                        return self._cuts
                    self._changed.wait(_SLICE_S)
                    continue
            self._clock.sleep(min(_SLICE_S, held))
        return None

    def leave(self, entered: int, *, refused: bool = False, hold_s: float | None = None) -> None:
        """Give the room back. `refused`: the service had no room; `hold_s`: it asks everybody to wait so long.

        Several refusals of one round are one piece of news: only calls that began after the last cut cut again.
        """
        with self._changed:
            self._in_flight -= 1
            if hold_s is not None:
                self._not_before = max(self._not_before, self._clock.monotonic() + hold_s)
            if not refused:
                self._room = min(float(self._most), self._room + 1 / self._room)
            elif entered == self._cuts:
                self._room = max(1.0, self._room / 2)
                self._cuts += 1
            self._changed.notify_all()
