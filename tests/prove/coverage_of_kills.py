"""What the kill tests of this session covered; `conftest.py` prints it at the end."""

from __future__ import annotations

COVERED: dict[tuple[str, str], str] = {}
"""(victim, step): what came of it."""
