"""Asking the target about jobs: in batches, at intervals, until each has ended; and cancelling them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pointsman.dispatch.board import Board, Job
from pointsman.dispatch.gate import Gate, asked_to_wait
from pointsman.dispatch.hearing import Hearing
from pointsman.dispatch.protocol import DispatchTarget, Request
from pointsman.dispatch.transport import NoAnswer, Transport

_LARGEST_BATCH = 200
"""Reading one answer holds up the sending loop: 200 job documents take about a millisecond."""
_AT_ONCE = 8
_LONGEST_PAUSE_S = 30.0


class Poller:
    def __init__(
        self,
        target: DispatchTarget,
        board: Board,
        gate: Gate,
        hearing: Hearing,
        transport: Transport,
        *,
        interval_s: float,
    ) -> None:
        self._target = target
        self._board = board
        self._gate = gate
        self._hearing = hearing
        self._transport = transport
        self._interval_s = interval_s
        self._batch = min(target.capabilities.batch_status, _LARGEST_BATCH)
        self._pause_s = 0.0

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await asyncio.sleep(max(self._interval_s, self._pause_s))
            await self.ask_all()

    async def ask_all(self) -> None:
        """Ask once about every job that there is something to ask about."""
        self._pause_s = 0.0
        jobs = [job for job in self._board.live.values() if self._is_due(job)]
        batches = [jobs[at : at + self._batch] for at in range(0, len(jobs), self._batch)] if self._batch else []
        for at in range(0, len(batches), _AT_ONCE):
            await asyncio.gather(*(self._ask(batch) for batch in batches[at : at + _AT_ONCE]))
            if self._pause_s:
                return

    def _is_due(self, job: Job) -> bool:
        if job.sending or job.fetching:
            return False
        return (job.acked or job.doubt is not None) and self._hearing.can_ask(job)

    async def _ask(self, jobs: Sequence[Job]) -> None:
        await self._gate.polls.turn()
        await self._exchange(self._target.poll([(job.dispatch_id, job.job_id) for job in jobs]))

    async def cancel_all(self) -> None:
        """Ask the target to end every job in flight. Answers are heard like any other."""
        if self._target.capabilities.cancel:
            jobs = [job for job in self._board.live.values() if not job.fetching and self._hearing.can_ask(job)]
            for at in range(0, len(jobs), _AT_ONCE):
                await asyncio.gather(*(self._cancel(job) for job in jobs[at : at + _AT_ONCE]))

    async def _cancel(self, job: Job) -> None:
        await self._exchange(self._target.cancel(job.dispatch_id, job.job_id))

    async def _exchange(self, request: Request) -> None:
        answer = await self._transport.send(request)
        if isinstance(answer, NoAnswer):
            self._hearing.trouble = answer.reason
            # A status request that found nobody says nothing about where a submission got to.
            self._gate.not_answered()
            return
        self._gate.reached()
        if answer.status in (429, 503):
            asked = asked_to_wait(answer)
            self._pause_s = max(self._pause_s, min(asked if asked is not None else 1.0, _LONGEST_PAUSE_S))
            self._hearing.trouble = f"http_{answer.status}"
            return
        self._hearing.polled(request, answer)
