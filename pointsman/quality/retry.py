"""When to try again: what the server asks for, else exponential backoff with jitter that a seed fixes."""

from __future__ import annotations

import email.utils
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_DELAY = re.compile(r"(\d+(?:\.\d+)?)s\Z")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of trying again. Times in seconds."""

    attempts: int = 5
    """Tries of one sample in all."""
    answers: int = 3
    """Tries that end in an answer which cannot be used (blocked, truncated, off schema)."""
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    patience_s: float = 120.0
    """A server that asks to wait longer than this counts as unavailable."""
    seed: int = 0

    def backoff(self, subject: str, failures: int) -> float:
        """Seconds to wait after `failures` failed tries: doubling, between half and all of it, fixed by the seed."""
        ceiling = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (failures - 1))
        return ceiling * random.Random(f"{self.seed}:{subject}:{failures}").uniform(0.5, 1.0)


def asked_wait(headers: Mapping[str, str], body: object, now: datetime) -> float | None:
    """Seconds that a refusal asks to wait: `Retry-After` (seconds or an HTTP date, RFC 9110) or the body's RetryInfo.

    The longer of both when both are there; None when neither can be read.
    """
    found = [wait for wait in (_header_wait(headers.get("retry-after", ""), now), _body_wait(body)) if wait is not None]
    return max(found, default=None)


def _header_wait(text: str, now: datetime) -> float | None:
    text = text.strip()
    if text.isdecimal():
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def _body_wait(body: object) -> float | None:
    """`error.details[].retryDelay` as in google.rpc.RetryInfo, for example "36s"."""
    error: Any = body.get("error") if isinstance(body, dict) else None
    details: Any = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else []:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and (seconds := _DELAY.match(delay)):
            return float(seconds[1])
    return None
