"""Reading answers other than success: why, and whether it was the provider's moderation."""

from __future__ import annotations

import json
from typing import Any

from pointsman.dispatch.protocol import Rejection, Response
from pointsman.dispatch.targets.answers import ErrorsSection
from pointsman.dispatch.targets.reading import Read, compile_path
from pointsman.errors import RunFailed

MODERATION = "moderation"
LONGEST_REASON = 200
_USUAL = ("detail", "title", "message", "error", "code")


class ErrorReader:
    """Compiled expressions of an [errors] section."""

    def __init__(self, section: ErrorsSection) -> None:
        self._reason = compile_path(section.reason)
        self._refused = compile_path(section.refused)
        self._final = compile_path(section.final)

    def read(self, got: Response) -> Rejection:
        """`http_<status>` and the provider's words, `moderation` before it where that is why, which is final."""
        document = _document(got)
        refused = _is(self._refused, document)
        reason = f"http_{got.status}"
        words = _text(self._reason, document) or _usual_words(document)
        if words:
            reason = f"{reason}: {words}"
        if refused:
            reason = f"{MODERATION}: {reason}"
        return Rejection(reason[:LONGEST_REASON], refused or _is(self._final, document))

    def reason(self, got: Response) -> str:
        return self.read(got).reason

    def is_refusal(self, got: Response) -> bool:
        return _is(self._refused, _document(got))


def _is(read: Read, document: Any) -> bool:
    try:
        return bool(read(document))
    except RunFailed:
        return False  # errors come in more shapes than a preset can know


def _document(got: Response) -> Any:
    try:
        return json.loads(got.body)
    except (ValueError, RecursionError):
        return None


def _text(read: Read, document: Any) -> str | None:
    try:
        found = read(document)
    except RunFailed:
        return None
    return found if isinstance(found, str) and found else None


def _usual_words(document: Any) -> str | None:
    """Of a problem document (RFC 9457), or of what most APIs answer."""
    if isinstance(document, dict):
        for name in _USUAL:
            words = document.get(name)
            if isinstance(words, dict):
                words = words.get("message")
            if isinstance(words, str) and words:
                return words
    return None
