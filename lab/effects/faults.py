"""Answers that go wrong on purpose, for the tests of whoever talks to the backend (only with --allow-faults).

`garbage`     the request is carried out, the answer is no JSON
`stall`       the request is carried out, the answer comes late by `seconds`
`status_500`  nothing is carried out, the answer is a bare 500
`reject`      nothing is carried out, the answer is a problem document (422)
"""

from __future__ import annotations

import asyncio

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab.effects.problems import Refused, problem
from lab.effects.requests import FaultRequest


class Faults:
    """Counts down the answers that still have to go wrong; the newest request replaces the one before."""

    def __init__(self) -> None:
        self._current: FaultRequest | None = None
        self._left = 0

    def ask(self, request: FaultRequest) -> None:
        self._current, self._left = request, request.count

    def take(self) -> FaultRequest | None:
        if self._left == 0:
            return None
        self._left -= 1
        return self._current


class FaultyAnswers:
    """ASGI middleware that applies the faults to every answer under /v1, except to /v1/faults itself."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        fault = self._faults.take() if path.startswith("/v1/") and path != "/v1/faults" else None
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind == "status_500":
            await PlainTextResponse("something broke", status_code=500)(scope, receive, send)
        elif fault.kind == "reject":
            refused = Refused(422, "fault_injected", "The lab was told to reject this request.", "Send it again.")
            await problem(refused)(scope, receive, send)
        elif fault.kind == "garbage":
            await self._app(scope, receive, _swallow)
            await PlainTextResponse("\x00<html>{not json", media_type="text/html")(scope, receive, send)
        else:
            await self._app(scope, receive, _Late(send, fault.seconds))


async def _swallow(message: Message) -> None:
    """The real answer goes nowhere."""


class _Late:
    def __init__(self, send: Send, seconds: float) -> None:
        self._send = send
        self._seconds = seconds

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(self._seconds)
        await self._send(message)
