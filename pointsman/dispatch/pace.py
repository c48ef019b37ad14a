"""Keeping a rate limit: turns at even distances, so that no second ever holds more than are allowed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


def share_of(per_s: float | None, share: float) -> float | None:
    """The part of a rate limit that is one shard's, in whole requests a second where that is at least one.

    So shards that know nothing of each other keep within it together, second by second.
    """
    if per_s is None or share == 1:
        return per_s
    part = per_s * share
    return math.floor(part + 1e-9) if part >= 1 else part


def lower_of(one: float | None, other: float | None) -> float | None:
    """The rate limit that holds of two, either of which may be none."""
    return min((limit for limit in (one, other) if limit is not None), default=None)


class Pace:
    """A token bucket of one token over an injected clock. Without a limit every turn is free."""

    def __init__(self, now_ns: Callable[[], int], per_s: float | None) -> None:
        self._now_ns = now_ns
        self._every_ns = math.ceil(1e9 / per_s) if per_s else 0
        self._next_ns = -(10**18)

    def take(self) -> bool:
        """A turn now, if one is free."""
        if not self._every_ns:
            return True
        now = self._now_ns()
        if now < self._next_ns:
            return False
        self._next_ns = now + self._every_ns
        return True

    @property
    def next_ns(self) -> int:
        """When a turn is free."""
        return self._next_ns

    def begin(self) -> None:
        """Let the first turn be free only after one distance: somebody else may have had the last turn just now."""
        self._next_ns = self._now_ns() + self._every_ns

    async def turn(self) -> None:
        """Return when it is the caller's turn, in the order of asking. A cancelled wait loses its own."""
        if self.take():
            return
        at_ns = self._next_ns
        self._next_ns += self._every_ns
        while (wait := at_ns - self._now_ns()) > 0:
            await asyncio.sleep(wait / 1e9)
