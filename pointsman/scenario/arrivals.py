"""The schedule of a scenario: when each dispatch is due, to the nanosecond, a pure function of (scenario, seed).

Let L(t) be the integral of the rate. Uniform arrival i (from 0) is due at inf{t: L(t) > i}, Poisson arrival i where L
passes the sum of i + 1 unit-rate exponentials (time rescaling; Cinlar 1975, "Introduction to Stochastic Processes",
ch. 4). Both are rounded down to whole nanoseconds. Rates and durations are whole millionths, so L is a whole number
of parts of an arrival and the inverse is found without rounding: in constant stages by integer division, in
ramps by a square root in floating point, replaced by an exact integer one wherever its error could cross a nanosecond,
in sines as `sine` says. A trace has its own spacing; what is rated around it goes on as if it were not there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pointsman.errors import InputRefused
from pointsman.scenario.model import MAX_SHARDS, Scenario
from pointsman.scenario.segments import ARRIVAL, Line, Recorded
from pointsman.scenario.sine import Sine
from pointsman.scenario.trace import NO_TRACES, Traces

Int64s: TypeAlias = npt.NDArray[np.int64]

_NS_PER_US = 1_000
# The formula below adds up to seven roundings of 2^-53 on positive terms; 2^-49 bounds their sum twice over.
_FLOAT_ERROR = 2.0**-49


def schedule(scenario: Scenario, seed: int, traces: Traces = NO_TRACES) -> Int64s:
    """When each dispatch is due, in nanoseconds after the run's epoch, in order. `seed` matters for Poisson only.

    `traces` holds what the scenario's trace stages replay.
    """
    return plan_arrivals(scenario, seed, traces)[0]


def plan_arrivals(scenario: Scenario, seed: int, traces: Traces = NO_TRACES) -> tuple[Int64s, Int64s]:
    """`schedule`, and for each dispatch the index of the stage that it belongs to."""
    pieces = [(index, piece) for index, segment in enumerate(scenario.segments) for piece in segment.pieces]
    bounds = list(accumulate((piece.parts for _, piece in pieces), initial=0))
    if scenario.arrivals == "uniform":
        count = -(-bounds[-1] // ARRIVAL)
        positions = np.arange(count, dtype=np.int64) * ARRIVAL
    else:
        positions = _poisson_positions(bounds[-1], seed)
    # Arrivals on a bound belong to the piece in which the rate integral grows on from there.
    edges = np.searchsorted(positions, np.asarray(bounds, dtype=np.int64))
    due: list[Int64s] = []
    stages: list[Int64s] = []
    start_ns = 0
    for place, (stage, piece) in enumerate(pieces):
        within = positions[edges[place] : edges[place + 1]] - bounds[place]
        if isinstance(piece, Recorded):
            inside = traces[piece.sha256].at_ns
        else:
            inside = piece.invert(within) if isinstance(piece, Sine) else _invert(piece, within)
        due.append(start_ns + inside)
        stages.append(np.full(inside.size, stage, dtype=np.int64))
        start_ns += piece.us * _NS_PER_US
    return np.concatenate(due), np.concatenate(stages)


@dataclass(frozen=True, slots=True)
class ShardSchedule:
    """The part of a schedule that one shard sends: three columns of one length, in order."""

    index: Int64s
    """The arrival's place in the whole schedule, from 0: its sequence number."""
    due_ns: Int64s
    stage: Int64s


def shard_of(index: int, shards: int) -> int:
    """Which of `shards` sends arrival `index`: they take turns, so each has its share of every stage."""
    return index % shards


def shard_schedule(
    scenario: Scenario, seed: int, *, shard: int, shards: int, traces: Traces = NO_TRACES
) -> ShardSchedule:
    """The arrivals of one shard. Those of all shards together are the whole schedule, each arrival in one of them.

    Raises `InputRefused` for a shard that does not exist.
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise InputRefused("shards", shards, f"1 to {MAX_SHARDS}")
    if not 0 <= shard < shards:
        raise InputRefused("shard", shard, f"0 to {shards - 1} of {shards} shards")
    due, stages = plan_arrivals(scenario, seed, traces)
    return ShardSchedule(np.arange(shard, due.size, shards, dtype=np.int64), due[shard::shards], stages[shard::shards])


def _poisson_positions(end: int, seed: int) -> Int64s:
    """Sums of unit-rate exponentials below `end`, in parts of an arrival."""
    random = np.random.Generator(np.random.PCG64(seed))
    chunks: list[Int64s] = []
    reached = 0
    while reached < end:
        expected = (end - reached) / ARRIVAL
        gaps = random.standard_exponential(int(expected + 4 * math.sqrt(expected)) + 16)
        sums: Int64s = reached + np.cumsum(np.rint(gaps * ARRIVAL).astype(np.int64))
        chunks.append(sums[sums < end])
        reached = int(sums[-1])
    return np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int64)


def _invert(line: Line, parts: Int64s) -> Int64s:
    """For each of `parts` (0 <= part < line.parts) the last nanosecond at which the integral is at most that."""
    if line.start == line.end:
        # t = parts / (2 x rate) in us; the whole part and the rest apart, because the product would pass 64 bits.
        whole, rest = np.divmod(parts, line.start)
        passed: Int64s = whole * (_NS_PER_US // 2) + rest * (_NS_PER_US // 2) // line.start
        return passed
    length_ns = float(line.us * _NS_PER_US)
    rising = line.end > line.start
    # Falling ramps are read backwards from their end: both ways all terms are positive, so nothing cancels.
    low, area = (line.start, parts) if rising else (line.end, line.parts - parts)
    slope = float(abs(line.end - line.start)) / line.us
    area_float = area.astype(np.float64)
    divisor = low + np.sqrt(float(low) * float(low) + slope * area_float)
    moved = np.divide(area_float * _NS_PER_US, divisor, out=np.zeros_like(area_float), where=divisor > 0)
    estimate = moved if rising else length_ns - moved
    due: Int64s = np.floor(estimate).astype(np.int64)
    unsure = np.flatnonzero(np.abs(estimate - np.rint(estimate)) <= moved * _FLOAT_ERROR + length_ns * 2.0**-53)
    for index in unsure:
        due[index] = _invert_exactly(line, int(parts[index]))
    return due


def _invert_exactly(line: Line, parts: int) -> int:
    """The same for one arrival of a ramp by integer arithmetic: the floor of the smaller root of a t^2 + b t = c."""
    a = line.end - line.start
    b = 2 * line.start * line.us * _NS_PER_US
    c = parts * line.us * _NS_PER_US**2
    square = b * b + 4 * a * c
    if a > 0:
        return (math.isqrt(square) - b) // (2 * a)
    root = math.isqrt(square)
    ceiling = root if root * root == square else root + 1
    return (b - ceiling) // (-2 * a)
