"""Asking what came of a completed job, where a target tells that apart from its state; it may have failed after all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pointsman.dispatch.board import Job
from pointsman.dispatch.gate import Gate, asked_to_wait
from pointsman.dispatch.protocol import DispatchTarget, Update
from pointsman.dispatch.transport import NoAnswer, Transport
from pointsman.errors import RunFailed

_TRIES = 3
_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 30.0


class ResultAsker:
    def __init__(self, target: DispatchTarget, gate: Gate, transport: Transport) -> None:
        self._target = target
        self._gate = gate
        self._transport = transport

    async def ask(self, job: Job, told: Update) -> Update:
        """`told` and what its result adds, or a failure: of the job, or to learn its result."""
        tries = 0
        while True:
            await self._gate.polls.turn()
            request = self._target.result(job.dispatch_id, told.job_id or job.job_id)
            answer = await self._transport.send(request)
            pause_s = _PAUSE_S * 2**tries
            if isinstance(answer, NoAnswer):
                self._gate.not_answered()
                reason = answer.reason
                tries += 1 if answer.left else 0
            else:
                self._gate.reached()
                reason = f"http_{answer.status}"
                final = answer.status >= 400 and self._target.rejection(answer).final
                if answer.status == 429 and not final:
                    pause_s = min(asked_to_wait(answer) or 1.0, _LONGEST_PAUSE_S)
                else:
                    tries += 1
                    try:
                        (update,) = self._target.parse(request, answer)
                    except RunFailed as error:
                        reason = error.message
                    else:
                        # A server error may be of the way to the result and not of the job: look again.
                        if answer.status < 500 or final or tries == _TRIES:
                            return _both(told, update)
            if tries == _TRIES:
                return replace(told, state="failed", wants_result=False, reason=f"result_unavailable: {reason}")
            await asyncio.sleep(pause_s)


def _both(told: Update, result: Update) -> Update:
    outcome = result.state if result.state in ("failed", "refused") else "completed"
    return replace(
        told,
        state=result.state,
        wants_result=False,
        # The one attempt that a job document tells of has the outcome of the job.
        attempts=tuple(replace(one, outcome=outcome) if one.provider is None else one for one in told.attempts),
        reason=result.reason or told.reason,
        version=result.version or told.version,
        output_path=result.output_path,
        output_url=result.output_url,
        output_inline=result.output_inline,
        output_sha256=result.output_sha256 or told.output_sha256,
        output_bytes=result.output_bytes if result.output_bytes is not None else told.output_bytes,
    )
