"""Sending one dispatch: through the gate, once or as often as it is safe."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from pointsman.dispatch.board import Board, Job
from pointsman.dispatch.gate import Gate, asked_to_wait
from pointsman.dispatch.hearing import Hearing
from pointsman.dispatch.planned import Planned
from pointsman.dispatch.protocol import Request, Response
from pointsman.dispatch.transport import NoAnswer, Transport


class Submitter:
    """While the gate is open a submission is a request and a call back; only what has to wait costs a task."""

    def __init__(
        self,
        planned: Planned,
        board: Board,
        gate: Gate,
        hearing: Hearing,
        transport: Transport,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        failed: Callable[[Exception], None],
        turned_away_limit_s: float,
    ) -> None:
        self._planned = planned
        self._board = board
        self._gate = gate
        self._hearing = hearing
        self._transport = transport
        self._spawn = spawn
        self._failed = failed
        self._limit_ns = round(turned_away_limit_s * 1e9)
        self.held: dict[int, Job] = {}
        """By index: claimed dispatches that wait at the gate."""
        self.unanswered = 0
        """Requests on their way that nobody awaits."""
        self.deaf = False
        """Set when the drive is being ended: answers to submissions come too late."""

    def send(self, index: int) -> None:
        """Send a dispatch for the first time."""
        self._offer(self._planned.job(index))

    def resend(self, job: Job) -> None:
        self._offer(job)

    async def deliver(self, index: int) -> None:
        """Send a dispatch for the first time. Returns when it was answered, or will not be."""
        job = self._planned.job(index)
        job.offered_ns = self._board.now_ns()
        self.held[index] = job
        await self._deliver(job, self._planned.request(job))

    def _offer(self, job: Job) -> None:
        request = self._planned.request(job)
        job.offered_ns = now_ns = self._board.now_ns()
        if not self._gate.lets_through():
            self._hold(job, request)
            return
        self._board.departed(job, now_ns)
        self.unanswered += 1
        self._transport.begin(request, partial(self._answered, job, request))

    def _answered(self, job: Job, request: Request, answer: Response | NoAnswer) -> None:
        self.unanswered -= 1
        if self.deaf:
            return
        try:
            if not self._settled(job, request, answer):
                self._hold(job, request)
        except Exception as error:  # noqa: BLE001  # the caller is the connection, which could only write it to a log
            self._failed(error)

    def _hold(self, job: Job, request: Request) -> None:
        self.held[job.index] = job
        self._spawn(self._deliver(job, request))

    async def _deliver(self, job: Job, request: Request) -> None:
        while True:
            # Stays in `held` when the wait is cancelled: whoever ends the drive must know of it.
            await self._gate.passage()
            del self.held[job.index]
            self._board.departed(job, self._board.now_ns())
            if self._settled(job, request, await self._transport.send(request)):
                return
            self.held[job.index] = job

    def _settled(self, job: Job, request: Request, answer: Response | NoAnswer) -> bool:
        """Make of an answer what can be made of it; False = the request is to be sent again."""
        board, gate = self._board, self._gate
        if isinstance(answer, NoAnswer):
            gate.not_reached(left=answer.left)
            self._hearing.trouble = answer.reason
            if answer.left:
                self._hearing.in_doubt(job, answer.reason)
                return True
            board.returned(job)
            return False
        gate.reached()
        status = answer.status
        if status >= 400:
            reason, final = self._hearing.rejection(answer)
            if final:
                gate.taken()
                self._hearing.rejected(job, reason)
                return True
            wait_s = asked_to_wait(answer) if status in (429, 503) else None
            if status == 429 or wait_s is not None:
                job.refusal = reason
                if board.now_ns() - job.offered_ns + round((wait_s or 0.0) * 1e9) > self._limit_ns:
                    board.ended(job, "failed", reason=job.refusal)
                    return True
                gate.quiet(wait_s)
                board.returned(job)
                return False
            if status >= 500:
                gate.taken()
                self._hearing.in_doubt(job, reason)
                return True
        gate.taken()
        self._hearing.answered(job, request, answer)
        return True
