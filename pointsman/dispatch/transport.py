"""The only place where the driver touches the network: one pool of HTTP/1.1 connections to one origin.

It works on the event loop's own thread. A client with threads hands over every answer through the interpreter's lock:
measured on two shared cores, 64 requests in flight, that costs 85 to 150 us of CPU per request against 40 here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from pointsman.dispatch.http1 import AnswerReader
from pointsman.dispatch.masking import Mask
from pointsman.dispatch.protocol import Request, Response
from pointsman.settings import Secret

_LONGEST_CONNECT_S = 5.0
_LONGEST_IDLE_S = 4.0
"""Servers close idle connections after five seconds or more; one that closes while a request is on its way loses it."""
_LOOKS_PER_TIMEOUT = 10


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing came back. `left` = the request may have reached the target."""

    reason: str
    left: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    sha256: str
    bytes: int


class Transport(Protocol):
    async def send(self, request: Request) -> Response | NoAnswer: ...

    async def fetch(self, path: str, into: Path) -> Fetched | Response | NoAnswer:
        """Download to the file `into`, made durable. A `Response` is an answer other than success."""
        ...


_UNREACHABLE = NoAnswer("unreachable", left=False)
_LOST = NoAnswer("connection_lost", left=True)
_TIMEOUT = NoAnswer("timeout", left=True)


class HttpTransport:
    """No redirects, no proxies, no cookies: what goes to `base_url`, its headers above all, goes nowhere else.

    `headers` go with every request; `mask` takes secrets out of answers.
    """

    def __init__(self, base_url: str, *, headers: Mapping[str, Secret], mask: Mask, timeout_s: float) -> None:
        origin = urlsplit(base_url)
        self._host = origin.hostname or ""
        self._tls = ssl.create_default_context() if origin.scheme == "https" else None
        self._port = origin.port or (443 if self._tls else 80)
        self._prefix = origin.path.rstrip("/")
        head = f" HTTP/1.1\r\nHost: {origin.netloc}\r\nUser-Agent: pointsman\r\nAccept: */*\r\n"
        self._head = head + "".join(f"{name}: {value.reveal()}\r\n" for name, value in headers.items())
        self._mask = mask
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._looking: asyncio.TimerHandle | None = None

    async def send(self, request: Request) -> Response | NoAnswer:
        lines = self._head
        for name, value in request.headers.items():
            lines += f"{name}: {value}\r\n"
        body = request.body
        if body is not None:
            lines += f"Content-Length: {len(body)}\r\n"
        head = f"{request.method} {self._prefix}{request.path}{lines}\r\n".encode("ascii")
        got = await self._exchange(head if body is None else head + body, AnswerReader())
        if isinstance(got, NoAnswer):
            return got
        body = self._mask.hide(got.body)
        if got.status < 400:
            return Response(got.status, {}, body)
        retry_after = got.header("retry-after")
        return Response(got.status, {} if retry_after is None else {"retry-after": retry_after}, body)

    async def fetch(self, path: str, into: Path) -> Fetched | Response | NoAnswer:
        digest = hashlib.sha256()
        head = f"GET {self._prefix}{path}{self._head}\r\n".encode("ascii")
        with into.open("wb") as file:

            def keep(piece: bytes) -> None:
                digest.update(piece)
                file.write(piece)

            got = await self._exchange(head, AnswerReader(keep))
            if isinstance(got, NoAnswer):
                return got
            if got.status != 200:
                return Response(got.status, {}, b"")
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
            return Fetched(digest.hexdigest(), file.tell())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for connection in (*self._idle, *self._busy):
            connection.transport.abort()
        await asyncio.sleep(0)

    async def _exchange(self, payload: bytes, reader: AnswerReader) -> AnswerReader | NoAnswer:
        connection = self._take_idle()
        if connection is None:
            try:
                async with asyncio.timeout(min(self._timeout_s, _LONGEST_CONNECT_S)):
                    _, connection = await self._loop.create_connection(
                        lambda: _Connection(self._loop), self._host, self._port, ssl=self._tls
                    )
            except (OSError, TimeoutError):
                return _UNREACHABLE
        waiter: asyncio.Future[AnswerReader | NoAnswer] = self._loop.create_future()
        connection.begin(waiter, reader, self._loop.time() + self._timeout_s, self._timeout_s)
        self._busy.add(connection)
        if self._looking is None:
            self._look_again()
        connection.transport.write(payload)
        try:
            got = await waiter
        except asyncio.CancelledError:
            connection.transport.abort()  # its answer must not meet another request
            raise
        finally:
            self._busy.discard(connection)
        if not isinstance(got, NoAnswer) and reader.keeps_open:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
        else:
            connection.transport.abort()
        return got

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            fresh = self._loop.time() - connection.idle_since < _LONGEST_IDLE_S
            if fresh and not connection.transport.is_closing():
                return connection
            connection.transport.abort()
        return None

    def _look_again(self) -> None:
        self._looking = self._loop.call_later(self._timeout_s / _LOOKS_PER_TIMEOUT, self._look)

    def _look(self) -> None:
        """End exchanges that have had their time. One look at all of them costs less than a timer for each."""
        now = self._loop.time()
        for connection in [connection for connection in self._busy if connection.deadline <= now]:
            connection.end(_TIMEOUT)
        self._looking = None
        if self._busy:
            self._look_again()


class _Connection(asyncio.Protocol):
    """One connection, which carries one exchange at a time."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.idle_since = 0.0
        self.deadline = 0.0
        self._patience_s = 0.0
        self._waiter: asyncio.Future[AnswerReader | NoAnswer] | None = None
        self._reader = AnswerReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def begin(
        self, waiter: asyncio.Future[AnswerReader | NoAnswer], reader: AnswerReader, deadline: float, patience_s: float
    ) -> None:
        self._waiter = waiter
        self._reader = reader
        self.deadline = deadline
        self._patience_s = patience_s

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.transport.abort()  # nobody asked
            return
        progress = self._reader.feed(data)
        if progress == "done":
            self.end(self._reader)
        elif progress == "bad":
            self.end(_LOST)
        elif self._reader.streams:
            # A large output may take longer than one answer: what is limited is the wait for each piece of it.
            self.deadline = self._loop.time() + self._patience_s

    def connection_lost(self, error: Exception | None) -> None:
        self.end(self._reader if error is None and self._reader.close() == "done" else _LOST)

    def end(self, got: AnswerReader | NoAnswer) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(got)
