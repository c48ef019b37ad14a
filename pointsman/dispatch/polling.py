"""Asking the target about jobs, in batches if it can, until each has ended; and cancelling them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from pointsman.dispatch.board import Board, Job
from pointsman.dispatch.gate import Gate, asked_to_wait
from pointsman.dispatch.hearing import Hearing
from pointsman.dispatch.plan import CANCELS_AT_ONCE
from pointsman.dispatch.planned import Planned
from pointsman.dispatch.protocol import DispatchTarget, Request, Response
from pointsman.dispatch.run_times import Floats, RunTimes
from pointsman.dispatch.transport import NoAnswer, Transport

_LARGEST_BATCH = 200
"""Of a target that declares no limit. Reading an answer holds up the sending loop: 200 jobs take a millisecond."""
UNDECLARED_PER_S = 50.0
"""Status requests to a target that declares no limit. Of the providers that publish one, this is the lowest."""
_AT_ONCE = 8
_RANKED_PER_S = 5000
"""Jobs that are put into order in a second, lest that take the time of the sending loop."""
_LONGEST_PAUSE_S = 30.0
_NOBODY_THERE_S = 5.0
_CANCEL_AGAIN_S = 0.25
_LAST_LOOKS = 10
_LOOK_AGAIN_S = 0.1


class Poller:
    """Asks about those jobs whose answer is overdue, as many as the target allows.

    A target that takes many ids at once and declares no limit is asked about all, the more rarely the more there are:
    to find out which are overdue would take longer than to ask.
    """

    def __init__(
        self,
        target: DispatchTarget,
        planned: Planned,
        board: Board,
        gate: Gate,
        hearing: Hearing,
        transport: Transport,
        *,
        interval_s: float,
        most_per_s: float,
    ) -> None:
        self._target = target
        self._planned = planned
        self._board = board
        self._gate = gate
        self._hearing = hearing
        self._transport = transport
        self._interval_s = interval_s
        self._most_per_s = most_per_s
        declared, batch = target.capabilities.polls_per_s is not None, target.capabilities.batch_status
        self._ranks = declared or batch == 1
        self._batch = batch if declared else min(batch, _LARGEST_BATCH)
        self._pause_s = 0.0
        self._cancelling = False
        self.run_times: dict[int, RunTimes] = defaultdict(RunTimes)
        """By route."""

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            live = len(self._board.live)
            least_s = live / _RANKED_PER_S if self._ranks else live / self._batch / self._most_per_s
            wait_s = max(self._interval_s, 1 / self._most_per_s, least_s)
            await asyncio.sleep(max(wait_s, self._pause_s))
            if self._cancelling:
                continue  # what the target allows to ask is needed for that
            if self._ranks:
                most = max(1, round(wait_s * self._most_per_s)) * self._batch
                await self._ask_about(self._likeliest(most, wait_s / 2))
            else:
                await self.ask_all()

    async def ask_all(self) -> None:
        """Ask once about every job that there is something to ask about."""
        await self._ask_about([job for job in self._board.live.values() if self._is_due(job)])

    async def _ask_about(self, jobs: Sequence[Job]) -> None:
        self._pause_s = 0.0
        batches = [jobs[at : at + self._batch] for at in range(0, len(jobs), self._batch)] if self._batch else []
        for at in range(0, len(batches), _AT_ONCE):
            await asyncio.gather(*(self._ask(batch) for batch in batches[at : at + _AT_ONCE]))
            if self._pause_s:
                return

    def _is_due(self, job: Job) -> bool:
        if job.sending or job.fetching:
            return False
        return (job.acked or job.doubt is not None) and self._hearing.can_ask(job)

    def _likeliest(self, most: int, ahead_s: float) -> list[Job]:
        """At most that many jobs: those in doubt, then those expected to be done for longest `ahead_s` from now."""
        doubtful: list[Job] = []
        by_route: dict[int, list[Job]] = defaultdict(list)
        for job in self._board.live.values():
            if self._is_due(job):
                if job.doubt is not None or job.ack_ns is None:
                    doubtful.append(job)
                else:
                    by_route[self._planned.route_number(job.index)].append(job)
        jobs = [job for same in by_route.values() for job in same]
        if len(doubtful) + len(jobs) > most and jobs:
            now = self._board.now_ns() / 1e9 + ahead_s
            overdue_s = np.concatenate([self._overdue_s(route, same, now) for route, same in by_route.items()])
            order = np.argsort(-overdue_s, kind="stable")[: max(0, most - len(doubtful))]
            jobs = [jobs[at] for at in order]
        return [*doubtful[:most], *jobs]

    def _overdue_s(self, route: int, jobs: Sequence[Job], now_s: float) -> Floats:
        taken = np.array([job.ack_ns for job in jobs], dtype=np.float64) / 1e9
        since = np.array([job.asked_ns or job.ack_ns for job in jobs], dtype=np.float64) / 1e9 - taken
        return self.run_times[route].overdue_s(since, now_s - taken)

    async def _ask(self, jobs: Sequence[Job]) -> None:
        await self._gate.polls.turn()
        asked_ns = self._board.now_ns()
        answer = await self._exchange(self._target.poll([(job.dispatch_id, job.job_id) for job in jobs]))
        if answer is None or answer.status >= 300:
            return
        for job in jobs:
            self._learn(job, asked_ns)

    def _learn(self, job: Job, asked_ns: int) -> None:
        """What the answer to a question of that time says about how long jobs run."""
        ended = job.fetching or job.dispatch_id not in self._board.live
        if job.ack_ns is not None and self._ranks:
            since_ns = (job.asked_ns or job.ack_ns) - job.ack_ns
            until_ns = max(since_ns, asked_ns - job.ack_ns)
            if ended:
                # By the target's own clock if it tells, else somewhere in between.
                until_ns = job.done_ns - job.ack_ns if job.done_ns is not None else (since_ns + until_ns) // 2
            times = self.run_times[self._planned.route_number(job.index)]
            times.seen(max(0, min(since_ns, until_ns)) / 1e9, max(0, until_ns) / 1e9, ended=ended)
        job.asked_ns = asked_ns

    async def end_all(self) -> None:
        """Ask the target to end every job in flight, and what became of them; returns early where nobody is there."""
        self._cancelling = True
        if self._target.capabilities.cancel:
            await self._cancel_all()
        for _ in range(_LAST_LOOKS):
            if not self._board.live or self._gate.silent_s() >= _NOBODY_THERE_S:
                return
            await self.ask_all()
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _cancel_all(self) -> None:
        """Within the target's limit, and again where nobody answered or the target wanted quiet."""
        left = [job for job in self._board.live.values() if not job.fetching and self._hearing.can_ask(job)]
        while left and self._gate.silent_s() < _NOBODY_THERE_S:
            self._pause_s = 0.0
            now, later = left[:CANCELS_AT_ONCE], left[CANCELS_AT_ONCE:]
            answered = await asyncio.gather(*(self._cancel(job) for job in now))
            again = [job for job, done in zip(now, answered, strict=True) if not done]
            if again:
                await asyncio.sleep(max(self._pause_s, _CANCEL_AGAIN_S))
            left = [*later, *(job for job in again if job.dispatch_id in self._board.live)]

    async def _cancel(self, job: Job) -> bool:
        """Whether the target answered, be it that there is nothing to end any more."""
        for request in self._target.cancel(job.dispatch_id, job.job_id):
            await self._gate.polls.turn()
            if await self._exchange(request) is None:
                return False
        return True

    async def _exchange(self, request: Request) -> Response | None:
        """The answer, which was heard; None when nobody answered or the target wants to be asked later."""
        answer = await self._transport.send(request)
        if isinstance(answer, NoAnswer):
            self._hearing.trouble = answer.reason
            # A status request that found nobody says nothing about where a submission got to.
            self._gate.not_answered()
            return None
        self._gate.reached()
        if answer.status in (429, 503):
            asked = asked_to_wait(answer)
            self._pause_s = max(self._pause_s, min(asked if asked is not None else 1.0, _LONGEST_PAUSE_S))
            self._hearing.trouble = self._hearing.rejection(answer).reason
            return None
        self._hearing.polled(request, answer)
        return answer
