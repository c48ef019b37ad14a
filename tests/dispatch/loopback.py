"""A tiny real HTTP server on loopback whose answers a test writes byte by byte, bad manners included."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Say:
    """What to answer. `reset` cuts the connection after `raw`; `after_s` waits before. After the first `at_once` bytes
    comes one every `trickle_s`."""

    raw: bytes = b""
    reset: bool = False
    after_s: float = 0.0
    at_once: int = 0
    trickle_s: float = 0.0


def http(status: int, body: bytes = b"", **headers: str) -> Say:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Say("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


@dataclass
class Loopback:
    answer: Callable[[Asked], Say]
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                asked = Asked(method, path, headers, body)
                self.asked.append(asked)
                say = self.answer(asked)
                await asyncio.sleep(say.after_s)
                whole = say.at_once if say.trickle_s else len(say.raw)
                writer.write(say.raw[:whole])
                await writer.drain()
                for at in range(whole, len(say.raw)):
                    await asyncio.sleep(say.trickle_s)
                    writer.write(say.raw[at : at + 1])
                    await writer.drain()
                if say.reset:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client or the test has had enough
        finally:
            writer.transport.abort()


@contextmanager
def listening(answer: Callable[[Asked], Say], port: int = 0) -> Iterator[Loopback]:
    """Serve in a thread until the end of the block; then the port is closed."""
    loopback = Loopback(answer)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(loopback.serve, "127.0.0.1", port)
        loopback.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert ready.wait(5)
    try:
        yield loopback
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
