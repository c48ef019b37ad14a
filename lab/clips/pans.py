"""Camera paths: which part of a photograph each frame of a clip shows."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels of the photograph; fractions of a pixel make the movement smooth."""


@dataclass(frozen=True, slots=True)
class View:
    """A camera position: `x` and `y` in 0..1 of the room that the window leaves free, `zoom` = share of the largest
    16:9 window that fits into the photograph."""

    x: float
    y: float
    zoom: float


@dataclass(frozen=True, slots=True)
class Pan:
    start: View
    end: View

    def boxes(self, size: tuple[int, int], frames: int, aspect: float) -> Iterator[Box]:
        """One box per frame, eased at both ends, always inside a photograph of `size` (width, height)."""
        width, height = size
        largest = min(float(width), height * aspect)
        for frame in range(frames):
            share = 0.5 - 0.5 * math.cos(math.pi * frame / max(1, frames - 1))
            window = largest * _between(self.start.zoom, self.end.zoom, share)
            left = (width - window) * _between(self.start.x, self.end.x, share)
            top = (height - window / aspect) * _between(self.start.y, self.end.y, share)
            yield left, top, left + window, top + window / aspect


_DRAWN = (
    Pan(View(0.05, 0.35, 0.70), View(0.95, 0.55, 0.70)),
    Pan(View(0.85, 0.90, 0.90), View(0.30, 0.15, 0.55)),
    Pan(View(0.15, 0.80, 0.50), View(0.60, 0.20, 0.80)),
)


def pan(cluster: str, number: int) -> Pan:
    """The path of the `number`-th clip of a photograph: three drawn ones, then seeded ones."""
    if number < len(_DRAWN):
        return _DRAWN[number]
    seeded = random.Random(f"{cluster}:{number}")
    return Pan(*(View(seeded.random(), seeded.random(), seeded.uniform(0.5, 0.9)) for _ in range(2)))


def _between(start: float, end: float, share: float) -> float:
    return start + (end - start) * share
