"""When a spot provider takes a worker away: a pure function of seed, dispatch and attempt."""

from __future__ import annotations

import random

_CHANCE = {1: 0.15, 2: 0.05}
"""Chance by attempt number; a third attempt is never interrupted, so no job loses more than two."""
_EARLIEST_S, _LATEST_S = 0.02, 0.12


def interruption(seed: int, dispatch_id: str, attempt: int) -> float | None:
    """Seconds after the attempt's start at which its worker is killed, or None if it is left alone.

    The moment may lie after the end of a short encode; then nothing is killed.
    """
    seeded = random.Random(f"{seed}:{dispatch_id}:{attempt}")
    if seeded.random() >= _CHANCE.get(attempt, 0.0):
        return None
    return seeded.uniform(_EARLIEST_S, _LATEST_S)
