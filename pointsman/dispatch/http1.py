"""Reading HTTP/1.1 answers piece by piece (RFC 9112): just what the driver asks of a target, and no input or output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

_LONGEST_HEAD = 64 * 1024
_LARGEST_BODY = 256 * 1024 * 1024
"""Without a sink: a status answer, which is held in memory."""

Progress = Literal["more", "done", "bad"]


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and the headers of an answer."""

    status: int
    text: bytes
    """In lower case, without the empty line at its end."""
    length: int | None
    """Of the body, in bytes; None = it says so in another way."""
    chunked: bool
    until_close: bool
    keeps_open: bool
    """Whether the connection may carry another exchange."""

    def header(self, name: str) -> str | None:
        """The first header of that lower-case name, in lower case."""
        return _header(self.text, name)


@lru_cache(maxsize=64)
def parse_head(raw: bytes) -> Head | None:
    """Read the head of an answer, None = it is none. Remembered, because most answers of a second begin alike."""
    text = raw.lower()
    if not text.startswith(b"http/1.") or not text[9:12].isdigit():
        return None
    status = int(text[9:12])
    chunked, length = False, None
    if status < 200 or status in (204, 304):
        length = 0
    elif text.count(b"\r\ncontent-length:") > 1:
        return None
    elif "chunked" in (_header(text, "transfer-encoding") or ""):
        chunked = True
    elif (told := _header(text, "content-length")) is not None:
        if not (told.isascii() and told.isdigit() and len(told) < 20):
            return None
        length = int(told)
    until_close = length is None and not chunked
    connection = _header(text, "connection") or ""
    stays = "close" not in connection if text.startswith(b"http/1.1") else "keep-alive" in connection
    return Head(status, text, length, chunked, until_close, stays and not until_close)


def _header(text: bytes, name: str) -> str | None:
    at = text.find(b"\r\n" + name.encode() + b":")
    if at < 0:
        return None
    begin = at + len(name) + 3
    end = text.find(b"\r\n", begin)
    return text[begin : end if end >= 0 else len(text)].strip().decode("latin-1")


class AnswerReader:
    """One answer. `feed` it what arrives until it is `done`; then read `head` and `body`.

    With a `sink` the body of a 200 answer is passed on as it comes instead of being collected.
    """

    __slots__ = ("_buffer", "_left", "_pieces", "_sink", "_size", "body", "head")

    def __init__(self, sink: Callable[[bytes], object] | None = None) -> None:
        self.head: Head | None = None
        self.body = b""
        self._sink = sink
        self._buffer = b""
        self._pieces: list[bytes] = []
        self._size = 0
        self._left = 0
        """Of the body, or of the current chunk and the line end behind it."""

    @property
    def streams(self) -> bool:
        """Whether a body is being passed on."""
        return self._sink is not None

    @property
    def keeps_open(self) -> bool:
        """Whether the connection may carry another exchange: nothing came behind the answer, and nothing forbids it."""
        return self.head is not None and self.head.keeps_open and not self._buffer

    def feed(self, data: bytes) -> Progress:
        """Take what has arrived."""
        head = self.head
        if head is not None:
            return self._take(head, data)
        if self._buffer:
            data = self._buffer + data
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return "bad" if len(data) > _LONGEST_HEAD else "more"
            head = parse_head(data[:end])
            if head is None:
                return "bad"
            data = data[end + 4 :]
            if head.status >= 200:
                break  # what is below is a note that the answer will follow
        self.head = head
        self._buffer = b""
        if head.status != 200:
            self._sink = None
        length = head.length
        if length is None:
            return self._take(head, data)
        if length == len(data) and self._sink is None and length <= _LARGEST_BODY:
            self.body = data  # as nearly always: all of it at once
            return "done"
        self._left = length
        if not length:
            self._buffer = data  # behind an answer without a body
            return "done"
        return self._take(head, data)

    def close(self) -> Progress:
        """The connection has ended: that is the end of an answer which does not say its length, and of no other."""
        return self._done() if self.head is not None and self.head.until_close else "bad"

    def _take(self, head: Head, data: bytes) -> Progress:
        if head.chunked:
            return self._take_chunks(data)
        if head.until_close:
            return self._keep(data)
        if len(data) > self._left:
            self._buffer = data[self._left :]  # more than was announced: this connection is not used again
            data = data[: self._left]
        self._left -= len(data)
        kept = self._keep(data)
        return kept if kept == "bad" or self._left else self._done()

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
                return self._done()
            self._left = count + 2
            buffer = rest
        self._buffer = buffer
        return "more"

    def _done(self) -> Progress:
        self.body = b"".join(self._pieces)
        return "done"

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
