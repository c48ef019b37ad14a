"""What a target answered, kept word for word, for a drive that tries out a preset."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pointsman.dispatch.protocol import Purpose, Request, Response
from pointsman.dispatch.transport import Fetched, NoAnswer, Transport

ANSWERS = "answers.jsonl"
_LONGEST = 64 * 1024
_MOST = 200


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer. `body` is text of at most 64 KiB; secrets were taken out of it where it arrived."""

    purpose: Purpose
    method: str
    path: str
    status: int
    body: str


class Transcript:
    """A transport that writes down what comes back; the same answer again is not written twice in a row."""

    def __init__(self, transport: Transport, drive_dir: Path) -> None:
        self._transport = transport
        self._path = drive_dir / ANSWERS
        self._last: Heard | None = None
        self._written = 0

    def begin(self, request: Request, heard: Callable[[Response | NoAnswer], None]) -> None:
        def note(answer: Response | NoAnswer) -> None:
            self._note(request, answer)
            heard(answer)

        self._transport.begin(request, note)

    async def send(self, request: Request) -> Response | NoAnswer:
        answer = await self._transport.send(request)
        self._note(request, answer)
        return answer

    async def fetch(self, path: str, into: Path) -> Fetched | Response | NoAnswer:
        return await self._transport.fetch(path, into)

    def _note(self, request: Request, answer: Response | NoAnswer) -> None:
        if isinstance(answer, NoAnswer):
            return
        text = answer.body[:_LONGEST].decode(errors="replace")
        heard = Heard(request.purpose, request.method, request.path, answer.status, text)
        if heard == self._last or self._written == _MOST:
            return
        self._last = heard
        self._written += 1
        with self._path.open("a") as file:
            words = (heard.purpose, heard.method, heard.path, heard.status, heard.body)
            file.write(json.dumps(words) + "\n")


def read_answers(drive_dir: Path) -> list[Heard]:
    """Oldest first; a line that is only half there is left out."""
    path = drive_dir / ANSWERS
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return [Heard(*json.loads(line)) for line in lines]
