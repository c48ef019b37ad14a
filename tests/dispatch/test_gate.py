"""What a `Retry-After` header may say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pointsman.dispatch.gate import asked_to_wait
from pointsman.dispatch.protocol import Response

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 2026 00:01:30 GMT", 90.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("9" * 400, 86_400.0),
        ("-3", None),
        ("soon", None),
        ("²", None),
        ("", None),
    ],
)
def test_seconds_and_dates_are_understood_and_nothing_else(text: str, seconds: float | None) -> None:
    assert asked_to_wait(Response(429, {"retry-after": text}, b""), NOW) == seconds
