"""Stages with their rates resolved: lines and sines, in whole millionths per second over whole microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from pointsman.scenario.sine import Sine

ARRIVAL = 2_000_000_000_000
"""Parts of one arrival: a rate in millionths per second over whole microseconds sums to whole parts, also in a ramp."""


@dataclass(frozen=True, slots=True)
class Line:
    """From `start` to `end` millionths of an arrival per second, in `us`."""

    start: int
    end: int
    us: int

    @property
    def parts(self) -> int:
        """The integral of the rate, in parts of an arrival (see `ARRIVAL`)."""
        return (self.start + self.end) * self.us


@dataclass(frozen=True, slots=True)
class Recorded:
    """A trace: as many arrivals as were recorded, when they were. It has no rate, so a rate after it starts at 0."""

    sha256: str
    arrivals: int
    us: int
    end: int = 0

    @property
    def parts(self) -> int:
        return 0


Piece: TypeAlias = "Line | Sine | Recorded"


@dataclass(frozen=True)
class Segment:
    """A stage: its pieces, which follow each other."""

    pieces: tuple[Piece, ...]

    @cached_property
    def us(self) -> int:
        return sum(piece.us for piece in self.pieces)

    @cached_property
    def parts(self) -> int:
        return sum(piece.parts for piece in self.pieces)

    @property
    def expected_parts(self) -> int:
        """What is planned, in parts of an arrival, recorded arrivals included."""
        return self.parts + ARRIVAL * sum(piece.arrivals for piece in self.pieces if isinstance(piece, Recorded))

    @property
    def end(self) -> int:
        """The final rate, in millionths of an arrival per second."""
        return self.pieces[-1].end

    @classmethod
    def line(cls, start: int, end: int, us: int) -> Segment:
        return cls((Line(start, end, us),))

    @classmethod
    def steps(cls, start: int, end: int, us: int, steps: int) -> Segment:
        """`steps` plateaus of one length, the first at `start` and the last at `end`, evenly apart.

        Rates are rounded to the millionth and times to the microsecond; what is planned follows the rounded ones.
        """
        rates = [start + round((end - start) * step / (steps - 1)) for step in range(steps)]
        edges = [us * step // steps for step in range(steps + 1)]
        return cls(tuple(Line(rate, rate, edges[step + 1] - edges[step]) for step, rate in enumerate(rates)))
