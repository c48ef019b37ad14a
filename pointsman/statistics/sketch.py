"""A quantile sketch for durations: merging sketches equals sketching the merged values, which averages cannot do.

Logarithmic buckets of relative accuracy 1 % (the scheme of DDSketch, Masson, Rim and Lee, VLDB 2019), with exact
count, smallest and largest value.

Why our own: measured on 200,000 log-normal values in batches of 2,500, it takes 19 ns a value; `ddsketch` (pure Python,
the same scheme) takes 507, and the KLL and REQ sketches of `datasketches` 33 and 44. Those two bound the error of the
rank and not of the value (KLL was off by 3.9 % at p99.9), and what they keep is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.errors import InputRefused

RELATIVE_ACCURACY = 0.01
_GAMMA = (1 + RELATIVE_ACCURACY) / (1 - RELATIVE_ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)
_SMALLEST = 1e-6
"""Values below count as zero: a millionth of the unit is below what is timed."""
_LARGEST = 1e12
"""Values above count as this one. Together the two bound a sketch to some two thousand buckets."""


class Sketch:
    """Counts of non-negative values in logarithmic buckets. A quantile is off by at most 1 % of itself."""

    __slots__ = ("_buckets", "_zeros", "count", "largest", "smallest")

    def __init__(self, values: Sequence[float] | npt.NDArray[np.float64] = ()) -> None:
        self._buckets: dict[int, int] = {}
        self._zeros = 0
        self.count = 0
        self.smallest = math.inf
        self.largest = -math.inf
        self.add(values)

    def add(self, values: Sequence[float] | npt.NDArray[np.float64]) -> None:
        """Count values, many at once. Raises `InputRefused` when one is negative or not finite, and counts none."""
        array = np.asarray(values, dtype=np.float64)
        if array.size == 0:
            return
        smallest, largest = float(array.min()), float(array.max())
        if not (smallest >= 0.0 and largest < math.inf):
            raise InputRefused("sketch values", [smallest, largest], "finite numbers, 0 or more")
        positive = array[array >= _SMALLEST]
        if positive.size:
            index = np.ceil(np.log(np.minimum(positive, _LARGEST)) / _LOG_GAMMA).astype(np.int64)
            lowest = int(index.min())
            counts = np.bincount(index - lowest)
            found = counts.nonzero()[0]
            self._count(zip((found + lowest).tolist(), counts[found].tolist(), strict=True))
        self._zeros += array.size - positive.size
        self.count += array.size
        self.smallest = min(self.smallest, smallest)
        self.largest = max(self.largest, largest)

    def merge(self, other: Sketch) -> None:
        """Count everything that `other` counted."""
        self._count(other._buckets.items())
        self._zeros += other._zeros
        self.count += other.count
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)

    def _count(self, found: Iterable[tuple[int, int]]) -> None:
        buckets = self._buckets
        for index, count in found:
            buckets[index] = buckets.get(index, 0) + count

    def quantile(self, q: float) -> float | None:
        """The value of rank ceil(q x count) within 1 %, or None when nothing was counted."""
        if not 0.0 <= q <= 1.0:
            raise InputRefused("quantile", q, "0 to 1")
        if self.count == 0:
            return None
        rank = max(1, math.ceil(q * self.count))
        if rank == self.count:
            return self.largest
        seen = self._zeros
        found = 0.0
        if seen < rank:
            for index in sorted(self._buckets):
                seen += self._buckets[index]
                if seen >= rank:
                    found = 2 * math.exp(index * _LOG_GAMMA) / (_GAMMA + 1)
                    break
        return min(max(found, self.smallest), self.largest)

    def buckets(self) -> list[tuple[float, int]]:
        """Each value within 1 %, ascending, and how many there are of it."""
        found = [(0.0, self._zeros)] if self._zeros else []
        for index in sorted(self._buckets):
            value = 2 * math.exp(index * _LOG_GAMMA) / (_GAMMA + 1)
            found.append((min(max(value, self.smallest), self.largest), self._buckets[index]))
        return found

    def to_json(self) -> dict[str, Any]:
        """A JSON document that `from_json` reads back without loss."""
        if self.count == 0:
            return {"count": 0}
        return {
            "count": self.count,
            "zeros": self._zeros,
            "smallest": self.smallest,
            "largest": self.largest,
            "buckets": sorted([index, count] for index, count in self._buckets.items()),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Sketch:
        """Read what `to_json` wrote. Raises `InputRefused` for anything else."""
        sketch = cls()
        try:
            if document["count"]:
                sketch._buckets = {int(index): int(count) for index, count in document["buckets"]}
                sketch._zeros = int(document["zeros"])
                sketch.count = int(document["count"])
                sketch.smallest = float(document["smallest"])
                sketch.largest = float(document["largest"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputRefused("sketch", document, "a document that a sketch wrote") from error
        if sketch.count != sketch._zeros + sum(sketch._buckets.values()):
            raise InputRefused("sketch count", sketch.count, "the sum of its buckets")
        return sketch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # it changes
