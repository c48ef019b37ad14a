"""The two ways to send: open loop (each dispatch at its due time) and closed loop (as soon as there is room)."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any

from pointsman.dispatch.board import Board
from pointsman.dispatch.claiming import Claimer
from pointsman.dispatch.plan import Limits
from pointsman.dispatch.planned import Planned
from pointsman.dispatch.submission import Submitter

_BURST = 32
"""Sends in a row before answers are looked at."""
_RESUMED_AT_ONCE = 16


class OpenLoop:
    """Sends by the clock. What is due while too much is in flight is dropped: waiting would falsify the load."""

    def __init__(
        self,
        planned: Planned,
        board: Board,
        claimer: Claimer,
        submitter: Submitter,
        limits: Limits,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._planned = planned
        self._board = board
        self._claimer = claimer
        self._submitter = submitter
        self._limits = limits
        self._spawn = spawn
        self._starting: Counter[str | None] = Counter()
        """By provider: due and about to be sent, not yet on the board."""

    async def resume(self, indexes: list[int]) -> None:
        """Send what an earlier era claimed and did not send, all of it overdue."""
        for at in range(0, len(indexes), _RESUMED_AT_ONCE):
            await asyncio.gather(*(self._submitter.send(index) for index in indexes[at : at + _RESUMED_AT_ONCE]))

    async def run(self) -> None:
        """Send the schedule from the first unclaimed dispatch on."""
        due, shift, now_ns = self._planned.due_ns or [], self._planned.shift_ns, self._board.now_ns
        claimer = self._claimer
        in_a_row = 0
        claiming = self._spawn(claimer.keep_ahead(due))
        try:
            for index in range(claimer.claimed, len(due)):
                at_ns = due[index] + shift
                while (wait := at_ns - now_ns()) > 0:
                    in_a_row = 0
                    await asyncio.sleep(wait / 1e9)
                if index >= claimer.claimed:
                    await claimer.claimed_past(index)
                full = self._full(index)
                if full is None:
                    self._starting[self._planned.provider(index)] += 1
                    self._spawn(self._start(index))
                else:
                    self._board.never_sent(index, "dropped", full)
                in_a_row += 1
                if in_a_row % _BURST == 0:
                    await asyncio.sleep(0)
            # A task that was just started counts nowhere until it runs.
            await asyncio.sleep(0)
        finally:
            claiming.cancel()

    async def _start(self, index: int) -> None:
        self._starting[self._planned.provider(index)] -= 1
        await self._submitter.send(index)

    def _full(self, index: int) -> str | None:
        if len(self._board.live) + len(self._submitter.held) + self._starting.total() >= self._limits.max_in_flight:
            return "max_in_flight"
        most = self._limits.max_in_flight_per_provider
        if most is not None:
            provider = self._planned.provider(index)
            if self._board.in_flight[provider] + self._starting[provider] >= most:
                return "max_in_flight_per_provider"
        return None


class ClosedLoop:
    """Keeps a number of dispatches in flight, in all and per provider, until the plan is through."""

    def __init__(
        self,
        planned: Planned,
        board: Board,
        claimer: Claimer,
        submitter: Submitter,
        limits: Limits,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._spawn = spawn
        self._planned = planned
        self._board = board
        self._claimer = claimer
        self._submitter = submitter
        self._per_provider = limits.max_in_flight_per_provider
        self._room = asyncio.Semaphore(limits.max_in_flight)
        self._lanes: dict[str | None, deque[int]] = {}
        self._most = limits.max_in_flight
        self._queued = 0
        self._claiming = asyncio.Lock()
        self.stopped = False
        """Set to take on nothing more."""
        self._claiming_ahead = False

    async def run(self, resumed: list[int]) -> None:
        """Send `resumed` (claimed in an earlier era, not sent) first, then the rest in the order of the plan."""
        lanes = {self._lane_of(index) for index in range(len(self._planned))}
        self._lanes = {lane: deque() for lane in lanes}
        self._add(resumed)
        width = min(self._per_provider or self._most, self._most, len(self._planned))
        # One lane keeps its own bound; several share the room.
        room = self._room if len(lanes) > 1 and len(lanes) * width > self._most else None
        workers = [asyncio.create_task(self._work(queue, room)) for queue in self._lanes.values() for _ in range(width)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    def _lane_of(self, index: int) -> str | None:
        return None if self._per_provider is None else self._planned.provider(index)

    def _add(self, indexes: list[int] | range) -> None:
        for index in indexes:
            self._lanes[self._lane_of(index)].append(index)
        self._queued += len(indexes)

    async def _work(self, queue: deque[int], room: asyncio.Semaphore | None) -> None:
        while not self.stopped:
            if not queue:
                await self._refill(queue)
                if not queue:
                    return
            if room is None:
                await self._one(queue.popleft())
            else:
                async with room:
                    if queue and not self.stopped:
                        await self._one(queue.popleft())

    async def _one(self, index: int) -> None:
        self._queued -= 1
        if self._queued < self._claimer.low_water and not self._claiming_ahead:
            self._claiming_ahead = True
            self._spawn(self._claim_ahead())
        job = await self._submitter.send(index)
        if job.dispatch_id in self._board.live:
            job.ended = asyncio.Event()
            await job.ended.wait()

    async def _refill(self, queue: deque[int]) -> None:
        async with self._claiming:
            while not queue and self._claimer.claimed < len(self._planned):
                self._add(await self._claimer.claim_next())

    async def _claim_ahead(self) -> None:
        async with self._claiming:
            if self._claimer.claimed < len(self._planned):
                self._add(await self._claimer.claim_next())
        self._claiming_ahead = False
