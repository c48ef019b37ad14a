"""Claiming ahead of sending: large enough not to wait for the disk, small enough that a crash leaves few doubts."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

from pointsman.dispatch.board import Board
from pointsman.dispatch.claims import Claim, write_claim
from pointsman.dispatch.edges import Disk
from pointsman.dispatch.planned import Planned, Texts

MOST_CLAIMED = 5000
"""Dispatches in one claim."""
_WINDOW_NS = 500_000_000
"""Open loop: one claim covers this much of the schedule."""
_AHEAD_NS = 250_000_000
"""Open loop: and is made this long before."""
_SHORT_NS = 250_000_000
"""Closed loop: a claim used up faster than this doubles the next one."""
_LONG_NS = 1_000_000_000
"""Closed loop: one that lasted longer halves it."""
_AHEAD_CONFIRMED_NS = 2_000_000_000
"""Open loop, where somebody brings each claim to another machine first."""
_LOOK_EVERY_S = 0.02
"""For their word that a claim is there."""


class Claimer:
    """`confirmed` says up to which sequence number claims may be used, and is asked until it says so; None = all."""

    def __init__(
        self,
        drive_dir: Path,
        era: int,
        planned: Planned,
        board: Board,
        disk: Disk,
        *,
        claimed: int,
        first_size: int,
        confirmed: Callable[[], int] | None,
    ) -> None:
        self._drive_dir = drive_dir
        self._era = era
        self._planned = planned
        self._board = board
        self._disk = disk
        self._confirmed = confirmed
        self._ahead_ns = _AHEAD_NS if confirmed is None else _AHEAD_CONFIRMED_NS
        self.claimed = claimed
        """Indexes below are claimed."""
        self._size = max(1, min(first_size, MOST_CLAIMED))
        self._last_ns: int | None = None
        self._fast = False
        self._more = asyncio.Event()

    async def _claim(self, until: int) -> range:
        planned, first = self._planned, self.claimed
        claim = Claim(self._era, planned.seqs[first], planned.seqs[until - 1], planned.shift_ns)

        def promise() -> Texts:
            write_claim(self._drive_dir, claim)
            return planned.read_texts(first, until - first)

        texts = await self._disk.run(promise)
        while self._confirmed is not None and self._confirmed() < claim.first:
            await asyncio.sleep(_LOOK_EVERY_S)
        planned.keep_texts(first, texts)
        self.claimed = until
        return range(first, until)

    async def keep_ahead(self, due_ns: Sequence[int]) -> None:
        """Open loop: claim window after window, each shortly before its first dispatch is due."""
        while self.claimed < len(due_ns):
            first = due_ns[self.claimed]
            wait = first + self._planned.shift_ns - self._ahead_ns - self._board.now_ns()
            if wait > 0:
                await asyncio.sleep(wait / 1e9)
            until = bisect_right(due_ns, first + _WINDOW_NS, lo=self.claimed)
            await self._claim(min(until, self.claimed + MOST_CLAIMED))
            self._more.set()
            self._more = asyncio.Event()

    async def claimed_past(self, index: int) -> None:
        """Open loop: return when the index is claimed."""
        while index >= self.claimed:
            await self._more.wait()

    @property
    def low_water(self) -> int:
        """Closed loop: with fewer left than this the next claim is due; 0 while claims last long anyway."""
        return self._size // 2 if self._fast else 0

    async def claim_next(self) -> range:
        """Closed loop: claim the next indexes, as many as the pace asks for."""
        now = self._board.now_ns()
        if self._last_ns is not None:
            self._fast = now - self._last_ns < _LONG_NS
            if now - self._last_ns < _SHORT_NS:
                self._size = min(self._size * 2, MOST_CLAIMED)
            elif not self._fast:
                self._size = max(self._size // 2, 1)
        found = await self._claim(min(self.claimed + self._size, len(self._planned)))
        self._last_ns = now
        return found
