"""Reading HTTP/1.1 answers piece by piece (RFC 9112): just what the driver asks of a target, and no input or output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

_LONGEST_HEAD = 64 * 1024
_LARGEST_BODY = 256 * 1024 * 1024
"""Without a sink: a status answer, which is held in memory."""

Progress = Literal["more", "done", "bad"]


class AnswerReader:
    """One answer. `feed` it what arrives until it is `done`; then read `status`, `body` and `header`.

    With a `sink` the body of a 200 answer is passed on as it comes instead of being collected.
    """

    __slots__ = ("_buffer", "_chunked", "_head", "_left", "_pieces", "_sink", "_size", "_until_close", "status")

    def __init__(self, sink: Callable[[bytes], object] | None = None) -> None:
        self.status = 0
        self._sink = sink
        self._buffer = b""
        self._head: bytes | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._left = 0
        """Of the body, or of the current chunk and the line end behind it."""
        self._chunked = False
        self._until_close = False

    @property
    def body(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    @property
    def streams(self) -> bool:
        """Whether a body is being passed on."""
        return self._sink is not None

    @property
    def keeps_open(self) -> bool:
        """Whether the connection may carry another exchange."""
        head = self._head or b""
        if self._until_close or self._buffer:
            return False
        if head.startswith(b"http/1.1"):
            return b"close" not in head or "close" not in (self.header("connection") or "")
        return "keep-alive" in (self.header("connection") or "")

    def header(self, name: str) -> str | None:
        """The first header of that lower-case name, in lower case."""
        head = self._head or b""
        at = head.find(b"\r\n" + name.encode() + b":")
        if at < 0:
            return None
        begin = at + len(name) + 3
        end = head.find(b"\r\n", begin)
        return head[begin : end if end >= 0 else len(head)].strip().decode("latin-1")

    def feed(self, data: bytes) -> Progress:
        """Take what has arrived."""
        if self._head is None:
            buffer = self._buffer + data if self._buffer else data
            while True:
                end = buffer.find(b"\r\n\r\n")
                if end < 0:
                    self._buffer = buffer
                    return "bad" if len(buffer) > _LONGEST_HEAD else "more"
                head = buffer[:end].lower()
                if not head.startswith(b"http/1.") or not head[9:12].isdigit():
                    return "bad"
                buffer = buffer[end + 4 :]
                self.status = int(head[9:12])
                if self.status >= 200:
                    break  # what is below is a note that the answer will follow
            self._head = head
            self._buffer = b""
            progress = self._begin_body()
            if progress == "more":
                return self._take(buffer)
            self._buffer = buffer  # behind an answer without a body
            return progress
        return self._take(data)

    def close(self) -> Progress:
        """The connection has ended: that is the end of an answer which does not say its length, and of no other."""
        return "done" if self._until_close else "bad"

    def _begin_body(self) -> Progress:
        if self.status != 200:
            self._sink = None
        if self.status in (204, 304):
            return "done"
        head = self._head or b""
        if head.count(b"\r\ncontent-length:") > 1:
            return "bad"
        if b"chunked" in head and "chunked" in (self.header("transfer-encoding") or ""):
            self._chunked = True
            return "more"
        length = self.header("content-length")
        if length is None:
            self._until_close = True
            return "more"
        if not (length.isascii() and length.isdigit()):
            return "bad"
        self._left = int(length)
        return "more" if self._left else "done"

    def _take(self, data: bytes) -> Progress:
        if self._chunked:
            return self._take_chunks(data)
        if self._until_close:
            return self._keep(data)
        if len(data) > self._left:
            self._buffer = data[self._left :]  # more than was announced: this connection is not used again
            data = data[: self._left]
        self._left -= len(data)
        kept = self._keep(data)
        return kept if kept == "bad" or self._left else "done"

    def _take_chunks(self, data: bytes) -> Progress:
        buffer = self._buffer + data if self._buffer else data
        while True:
            if self._left > 2:
                piece = buffer[: self._left - 2]
                if self._keep(piece) == "bad":
                    return "bad"
                self._left -= len(piece)
                buffer = buffer[len(piece) :]
            if self._left > 2:
                break
            if self._left:
                if not b"\r\n".startswith(buffer[:2]):
                    return "bad"
                if len(buffer) < 2:
                    break
                buffer = buffer[2:]
                self._left = 0
            line, found, rest = buffer.partition(b"\r\n")
            if not found:
                if len(buffer) > _LONGEST_HEAD:
                    return "bad"
                break
            size = line.partition(b";")[0].strip()
            if not size or size.strip(b"0123456789abcdefABCDEF"):
                return "bad"
            count = int(size, 16)
            if count == 0:
                _, ended, behind = (b"\r\n" + rest).partition(b"\r\n\r\n")
                if not ended:
                    if len(rest) > _LONGEST_HEAD:
                        return "bad"
                    break  # trailers are still to come
                self._buffer = behind
                return "done"
            self._left = count + 2
            buffer = rest
        self._buffer = buffer
        return "more"

    def _keep(self, piece: bytes) -> Progress:
        if not piece:
            return "more"
        if self._sink is not None:
            self._sink(piece)
            return "more"
        self._size += len(piece)
        if self._size > _LARGEST_BODY:
            return "bad"
        self._pieces.append(piece)
        return "more"
