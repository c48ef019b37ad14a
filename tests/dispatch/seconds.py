"""Adding up what the feed of seconds says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pointsman.dispatch import read_figures, read_seconds


def counted(drive_dir: Path) -> dict[str, int]:
    """Events of all seconds. Checks on the way that they ascend, that each is there once, and that the sums agree."""
    seconds = read_seconds(drive_dir)
    keys = [(one.second, one.stage) for one in seconds]
    assert keys == sorted(set(keys))
    found: Counter[str] = Counter()
    for one in seconds:
        found.update(one.counts)
    assert read_figures(drive_dir).overall().counts == found
    return {name: number for name, number in found.items() if number}
