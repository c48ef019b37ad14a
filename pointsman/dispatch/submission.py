"""Sending one dispatch: through the gate, once or as often as it is safe."""

from __future__ import annotations

from pointsman.dispatch.board import Board, Job
from pointsman.dispatch.gate import Gate, asked_to_wait
from pointsman.dispatch.hearing import Hearing
from pointsman.dispatch.planned import Planned
from pointsman.dispatch.protocol import Request
from pointsman.dispatch.transport import NoAnswer, Transport


class Submitter:
    def __init__(
        self,
        planned: Planned,
        board: Board,
        gate: Gate,
        hearing: Hearing,
        transport: Transport,
        *,
        turned_away_limit_s: float,
    ) -> None:
        self._planned = planned
        self._board = board
        self._gate = gate
        self._hearing = hearing
        self._transport = transport
        self._limit_ns = round(turned_away_limit_s * 1e9)
        self.held: dict[int, Job] = {}
        """By index: claimed dispatches that wait at the gate."""

    async def send(self, index: int) -> Job:
        """Send a dispatch for the first time. Returns when it was answered, or will not be."""
        job = self._planned.job(index)
        await self._deliver(job, self._planned.request(index))
        return job

    async def resend(self, job: Job) -> None:
        await self._deliver(job, self._planned.request(job.index))

    async def _deliver(self, job: Job, request: Request) -> None:
        board, gate = self._board, self._gate
        began_ns = board.now_ns()
        while True:
            if not gate.lets_through():
                # Stays in `held` when the wait is cancelled: whoever ends the drive must know of it.
                self.held[job.index] = job
                await gate.passage()
                del self.held[job.index]
            board.departed(job, board.now_ns())
            answer = await self._transport.send(request)
            if isinstance(answer, NoAnswer):
                gate.not_reached(left=answer.left)
                self._hearing.trouble = answer.reason
                if answer.left:
                    self._hearing.in_doubt(job, answer.reason)
                    return
                board.returned(job)
                continue
            gate.reached()
            wait_s = asked_to_wait(answer) if answer.status in (429, 503) else None
            if answer.status == 429 or wait_s is not None:
                job.refusal = f"http_{answer.status}"
                if board.now_ns() - began_ns + round((wait_s or 0.0) * 1e9) > self._limit_ns:
                    board.ended(job, "failed", reason=job.refusal)
                    return
                gate.quiet(wait_s)
                board.returned(job)
                continue
            gate.taken()
            if answer.status >= 500:
                self._hearing.in_doubt(job, f"http_{answer.status}")
            else:
                self._hearing.answered(job, request, answer)
            return
