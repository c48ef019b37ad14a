"""How long a matrix takes: played through as its rounds would be driven, each job as long as its variant's mean."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from heapq import heapreplace
from itertools import groupby

from pointsman.benchmark.matrix import Cell
from pointsman.ids import VariantId
from pointsman.model import VariantLimits


def matrix_seconds(
    cells: Sequence[Cell],
    took_s: Mapping[VariantId, float],
    limits: Mapping[VariantId, VariantLimits],
    per_provider: int,
) -> float:
    """Seconds of the rounds one after the other; what it takes to start each is not in it.

    In a round providers work side by side, each on `per_provider` jobs at a time, in the order of the plan. A variant
    with limits of its own waits for them, and lets others pass.
    """
    return sum(
        max(_provider_seconds(own, took_s, limits, per_provider) for own in _by_provider(list(round_cells)))
        for _, round_cells in groupby(cells, key=lambda cell: cell.round)
    )


def _by_provider(cells: Sequence[Cell]) -> list[list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.variant.provider, []).append(cell)
    return list(found.values())


class _Lane:
    """Jobs that wait for the same bounds: those of one limited variant, or all others at a provider."""

    def __init__(self, limits: VariantLimits | None) -> None:
        self.jobs: deque[float] = deque()
        self._room = [0.0] * (limits.in_flight if limits is not None and limits.in_flight is not None else 0)
        self._every_s = 1 / limits.per_s if limits is not None and limits.per_s is not None else 0.0
        self._turn_s = self._every_s  # a drive's first turn comes after one distance

    @property
    def free_s(self) -> float:
        return max(self._turn_s, self._room[0]) if self._room else self._turn_s

    def start(self, at_s: float) -> float:
        """When the job ends that starts then."""
        ends_s = at_s + self.jobs.popleft()
        self._turn_s = at_s + self._every_s if self._every_s else 0.0
        if self._room:
            heapreplace(self._room, ends_s)
        return ends_s


def _provider_seconds(
    cells: Sequence[Cell],
    took_s: Mapping[VariantId, float],
    limits: Mapping[VariantId, VariantLimits],
    per_provider: int,
) -> float:
    lanes: dict[VariantId | None, _Lane] = {}
    for cell in cells:
        own = limits[cell.variant]
        limited = own.per_s is not None or own.in_flight is not None
        key = cell.variant if limited else None
        if key not in lanes:
            lanes[key] = _Lane(own if limited else None)
        lanes[key].jobs.append(took_s[cell.variant])
    slots = [0.0] * per_provider
    waiting = list(lanes.values())
    while waiting:
        lane = min(waiting, key=lambda one: max(one.free_s, slots[0]))
        heapreplace(slots, lane.start(max(lane.free_s, slots[0])))
        waiting.remove(lane)
        if lane.jobs:
            waiting.append(lane)  # lanes take turns
    return max(slots)
