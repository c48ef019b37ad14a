"""The only place where the driver touches the network: one pool of HTTP/1.1 connections to one origin.

It works on the event loop's own thread. A client with threads hands over every answer through the interpreter's lock:
measured on two shared cores, 64 requests in flight, that costs 85 to 150 us of CPU per request against 25 here, the
whole drive with its journal included.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol
from urllib.parse import urlsplit

from pointsman.dispatch.http1 import AnswerReader
from pointsman.dispatch.masking import Mask
from pointsman.dispatch.protocol import NO_HEADERS, Request, Response
from pointsman.settings import Secret

_LONGEST_CONNECT_S = 5.0
LONGEST_FETCH_S = 600.0
"""Of one output, so that one that trickles does not keep others from being fetched: enough for 4 GiB at 7 MB/s."""
_LONGEST_IDLE_S = 4.0
"""Servers close idle connections after five seconds or more; one that closes while a request is on its way loses it."""
_LOOKS_PER_TIMEOUT = 10
_MOST_HEADS = 64


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
    def begin(self, request: Request, heard: Callable[[Response | NoAnswer], None]) -> None:
        """Send without waiting; `heard` is called with what came back, from the event loop and never from here."""
        ...

    async def send(self, request: Request) -> Response | NoAnswer: ...

    async def fetch(self, path: str, into: Path) -> Fetched | Response | NoAnswer:
        """Download to the file `into`, made durable. A `Response` is an answer other than success."""
        ...


_UNREACHABLE = NoAnswer("unreachable", left=False)
_LOST = NoAnswer("connection_lost", left=True)
_TIMEOUT = NoAnswer("timeout", left=True)
TOO_SLOW = NoAnswer("too_slow", left=True)


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
        self.hide = mask.hide
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._idle: list[_Connection] = []
        self.busy: set[_Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._heads: dict[tuple[str, str, int, int], tuple[Mapping[str, str], bytes]] = {}
        """Most submissions differ in nothing but their body."""
        self._looking: asyncio.TimerHandle | None = None

    def begin(self, request: Request, heard: Callable[[Response | NoAnswer], None]) -> None:
        payload = self._payload(request)
        connection = self._take_idle()
        if connection is not None:
            self._start(connection, payload, heard, None)
            return
        connecting = self._loop.create_task(self._begin_anew(payload, heard))
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connecting.discard)

    async def _begin_anew(self, payload: bytes, heard: Callable[[Response | NoAnswer], None]) -> None:
        connection = await self._connect()
        if isinstance(connection, NoAnswer):
            heard(connection)
        else:
            self._start(connection, payload, heard, None)

    async def send(self, request: Request) -> Response | NoAnswer:
        return await self._exchange(self._payload(request), None)

    async def fetch(self, path: str, into: Path) -> Fetched | Response | NoAnswer:
        digest = hashlib.sha256()
        with into.open("wb") as file:

            def keep(piece: bytes) -> None:
                digest.update(piece)
                file.write(piece)

            try:
                async with asyncio.timeout(LONGEST_FETCH_S):
                    got = await self._exchange(self._payload(Request("GET", path, ())), keep)
            except TimeoutError:
                return TOO_SLOW
            if isinstance(got, NoAnswer) or got.status != 200:
                return got
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
            return Fetched(digest.hexdigest(), file.tell())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for connecting in self._connecting:
            connecting.cancel()
        for connection in (*self._idle, *self.busy):
            connection.transport.abort()
        await asyncio.sleep(0)

    def _payload(self, request: Request) -> bytes:
        body = request.body
        key = (request.method, request.path, id(request.headers), -1 if body is None else len(body))
        head = self._heads.get(key)
        if head is None or head[0] is not request.headers:
            lines = self._head
            for name, value in request.headers.items():
                lines += f"{name}: {value}\r\n"
            if body is not None:
                lines += f"Content-Length: {len(body)}\r\n"
            head = request.headers, f"{request.method} {self._prefix}{request.path}{lines}\r\n".encode("ascii")
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            self._heads[key] = head
        return head[1] if body is None else head[1] + body

    async def _exchange(self, payload: bytes, sink: Callable[[bytes], object] | None) -> Response | NoAnswer:
        connection = self._take_idle() or await self._connect()
        if isinstance(connection, NoAnswer):
            return connection
        waiter: asyncio.Future[Response | NoAnswer] = self._loop.create_future()
        self._start(connection, payload, lambda got: None if waiter.done() else waiter.set_result(got), sink)
        try:
            return await waiter
        except asyncio.CancelledError:
            connection.transport.abort()  # its answer must not meet another request
            raise

    async def _connect(self) -> _Connection | NoAnswer:
        try:
            async with asyncio.timeout(min(self._timeout_s, _LONGEST_CONNECT_S)):
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self), self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError):
            return _UNREACHABLE
        return connection

    def _start(
        self,
        connection: _Connection,
        payload: bytes,
        heard: Callable[[Response | NoAnswer], None],
        sink: Callable[[bytes], object] | None,
    ) -> None:
        connection.begin(heard, sink, monotonic() + self._timeout_s, self._timeout_s)
        self.busy.add(connection)
        if self._looking is None:
            self._look_again()
        connection.transport.write(payload)

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            fresh = monotonic() - connection.idle_since < _LONGEST_IDLE_S
            if fresh and not connection.transport.is_closing():
                return connection
            connection.transport.abort()
        return None

    def released(self, connection: _Connection, *, usable: bool) -> None:
        """Its exchange is over."""
        self.busy.discard(connection)
        if usable:
            connection.idle_since = monotonic()
            self._idle.append(connection)
        else:
            connection.transport.abort()

    def _look_again(self) -> None:
        self._looking = self._loop.call_later(self._timeout_s / _LOOKS_PER_TIMEOUT, self._look)

    def _look(self) -> None:
        """End exchanges that have had their time. One look at all of them costs less than a timer for each."""
        now = monotonic()
        for connection in [connection for connection in self.busy if connection.deadline <= now]:
            connection.end(_TIMEOUT)
        self._looking = None
        if self.busy:
            self._look_again()


class _Connection(asyncio.Protocol):
    """One connection, which carries one exchange at a time."""

    transport: asyncio.Transport

    def __init__(self, pool: HttpTransport) -> None:
        self._pool = pool
        self.idle_since = 0.0
        self.deadline = 0.0
        self._patience_s = 0.0
        self._heard: Callable[[Response | NoAnswer], None] | None = None
        self._reader = AnswerReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def begin(
        self,
        heard: Callable[[Response | NoAnswer], None],
        sink: Callable[[bytes], object] | None,
        deadline: float,
        patience_s: float,
    ) -> None:
        self._heard = heard
        self._reader = AnswerReader(sink)
        self.deadline = deadline
        self._patience_s = patience_s

    def data_received(self, data: bytes) -> None:
        if self._heard is None:
            self.transport.abort()  # nobody asked
            return
        progress = self._reader.feed(data)
        if progress == "done":
            self._answered()
        elif progress == "bad":
            self.end(_LOST)
        elif self._reader.streams:
            # A large output may take longer than one answer: what is limited is the wait for each piece of it.
            self.deadline = monotonic() + self._patience_s

    def connection_lost(self, error: Exception | None) -> None:
        if error is None and self._reader.close() == "done":
            self._answered()
        else:
            self.end(_LOST)

    def _answered(self) -> None:
        reader = self._reader
        head = reader.head
        assert head is not None
        retry_after = head.header("retry-after") if head.status >= 400 else None
        headers = NO_HEADERS if retry_after is None else {"retry-after": retry_after}
        self.end(Response(head.status, headers, self._pool.hide(reader.body)), usable=reader.keeps_open)

    def end(self, got: Response | NoAnswer, *, usable: bool = False) -> None:
        """The exchange is over. The connection is free before that is told, for what is told may use it again."""
        heard, self._heard = self._heard, None
        if heard is not None:
            self._pool.released(self, usable=usable)
            heard(got)
