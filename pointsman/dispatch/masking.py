"""Taking secrets out of what a target answers: one that repeats its key must not get it into a row or a file."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.settings import Secret

_MASK = b"***"
_SHORTEST = 6
"""Shorter ones would also be found where they are no secret."""


class Mask:
    def __init__(self, secrets: Iterable[Secret]) -> None:
        values = {secret.reveal() for secret in secrets}
        self._values = [value.encode() for value in sorted(values, key=len, reverse=True) if len(value) >= _SHORTEST]

    def hide(self, body: bytes) -> bytes:
        for value in self._values:
            if value in body:
                body = body.replace(value, _MASK)
        return body
