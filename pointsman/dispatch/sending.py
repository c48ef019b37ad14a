"""The two ways to send: open loop (each dispatch at its due time) and closed loop (as soon as there is room)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pointsman.dispatch.board import Board, Job
from pointsman.dispatch.claiming import Claimer
from pointsman.dispatch.pace import Pace
from pointsman.dispatch.plan import Limits, VariantBound
from pointsman.dispatch.planned import Planned
from pointsman.dispatch.submission import Submitter

_BURST = 32
"""Sends in a row before answers are looked at."""
_RESUMED_AT_ONCE = 16


class _Room:
    """How many dispatches may be in flight, in all and per provider. What waits at the gate counts as well."""

    def __init__(self, board: Board, submitter: Submitter, limits: Limits) -> None:
        self._live = board.live
        self._in_flight = board.in_flight
        self._held = submitter.held
        self._most = limits.max_in_flight
        self.per_provider = limits.max_in_flight_per_provider

    @property
    def full_in_all(self) -> bool:
        return len(self._live) + len(self._held) >= self._most

    def full(self, provider: str | None) -> str | None:
        """The limit that is reached for this provider, if one is."""
        if self.full_in_all:
            return "max_in_flight"
        if self.per_provider is not None:
            held = sum(job.provider == provider for job in self._held.values())
            if self._in_flight[provider] + held >= self.per_provider:
                return "max_in_flight_per_provider"
        return None


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
        self._spawn = spawn
        self._room = _Room(board, submitter, limits)

    async def resume(self, indexes: list[int]) -> None:
        """Send what an earlier era claimed and did not send, all of it overdue."""
        for at in range(0, len(indexes), _RESUMED_AT_ONCE):
            await asyncio.gather(*(self._submitter.deliver(index) for index in indexes[at : at + _RESUMED_AT_ONCE]))

    async def run(self) -> None:
        """Send the schedule from the first unclaimed dispatch on."""
        due: Sequence[int] = self._planned.due_ns or ()
        shift, now_ns = self._planned.shift_ns, self._board.now_ns
        claimer, full, send = self._claimer, self._room.full, self._submitter.send
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
                reason = full(self._planned.provider(index))
                if reason is None:
                    send(index)
                else:
                    self._planned.skip(index)
                    self._board.never_sent(index, "dropped", reason)
                in_a_row += 1
                if in_a_row % _BURST == 0:
                    await asyncio.sleep(0)
        finally:
            claiming.cancel()


class _Lane:
    """Claimed dispatches that wait for the same bounds: those of a provider, and of a variant that has its own."""

    def __init__(self, provider: str | None, bound: VariantBound | None, now_ns: Callable[[], int]) -> None:
        self.provider = provider
        self.queue: deque[int] = deque()
        self.in_flight = 0
        """Of a variant that has a bound: sent, or waiting at the gate, and not ended."""
        self._most = None if bound is None else bound.max_in_flight
        self.pace = Pace(now_ns, None if bound is None else bound.per_s)
        self.pace.begin()
        self.waits = False
        """Somebody will look again when a turn is free."""

    @property
    def full(self) -> bool:
        return self._most is not None and self.in_flight >= self._most


class ClosedLoop:
    """Keeps a number of dispatches in flight, in all, per provider and per variant, until the plan is through."""

    def __init__(self, planned: Planned, board: Board, claimer: Claimer, submitter: Submitter, limits: Limits) -> None:
        self._planned = planned
        self._board = board
        self._claimer = claimer
        self._submitter = submitter
        self._room = _Room(board, submitter, limits)
        self._bounds = limits.variants
        self._lanes: deque[_Lane] = deque()
        """Claimed and not sent. The first lane has its turn next."""
        self._lane_of: dict[tuple[str | None, int | None], _Lane] = {}
        self._queued = 0
        self._claiming = False
        self._awake = asyncio.Event()

    async def run(self, resumed: list[int]) -> None:
        """Send `resumed` (claimed in an earlier era, not sent) first, then the rest in the order of the plan.

        Returns when all of it has ended.
        """
        if self._bounds:
            for job in self._board.live.values():
                self._lane(job.index).in_flight += 1
        self._add(resumed)
        self._board.on_ended = self._ended
        try:
            while True:
                self._awake.clear()
                self._fill()
                if self._more and self._wants_more:
                    self._claiming = True
                    self._add(await self._claimer.claim_next())
                    self._claiming = False
                elif not (self._more or self._queued or self._board.live or self._submitter.held):
                    return
                else:
                    await self._awake.wait()
        finally:
            self._board.on_ended = None

    @property
    def _more(self) -> bool:
        return self._claimer.claimed < len(self._planned)

    @property
    def _wants_more(self) -> bool:
        """Few are left, or those that are wait for their variants while there is room for others."""
        return self._queued <= self._claimer.low_water or (bool(self._bounds) and not self._room.full_in_all)

    def _lane(self, index: int) -> _Lane:
        number = self._planned.route_number(index)
        bound = self._bounds.get(self._planned.route(number)) if self._bounds else None
        provider = None if self._room.per_provider is None else self._planned.provider(index)
        key = (provider, None if bound is None else number)
        lane = self._lane_of.get(key)
        if lane is None:
            lane = self._lane_of[key] = _Lane(provider, bound, self._board.now_ns)
            self._lanes.append(lane)
        return lane

    def _add(self, indexes: list[int] | range) -> None:
        for index in indexes:
            self._lane(index).queue.append(index)
        self._queued += len(indexes)

    def _ended(self, job: Job) -> None:
        if self._bounds:
            self._lane(job.index).in_flight -= 1
        self._fill()
        if self._wants_more and not self._claiming:
            self._awake.set()

    def _fill(self) -> None:
        """Send while there is room, a dispatch from each lane in turn."""
        lanes, full, send = self._lanes, self._room.full, self._submitter.send
        blocked = 0
        while self._queued and blocked < len(lanes):
            lane = lanes[0]
            lanes.rotate(-1)
            if not lane.queue or lane.full or full(lane.provider) is not None or not self._has_turn(lane):
                blocked += 1
                continue
            blocked = 0
            self._queued -= 1
            if self._bounds:
                lane.in_flight += 1
            send(lane.queue.popleft())

    def _has_turn(self, lane: _Lane) -> bool:
        """Whether its rate lets the lane send now; if not, it is looked at again when it does."""
        if lane.pace.take():
            return True
        if not lane.waits:
            lane.waits = True
            wait_s = (lane.pace.next_ns - self._board.now_ns()) / 1e9
            asyncio.get_running_loop().call_later(wait_s, self._look_again, lane)
        return False

    def _look_again(self, lane: _Lane) -> None:
        lane.waits = False
        if self._board.on_ended is not None:  # else the loop has ended meanwhile
            self._fill()
