"""A quantile sketch for durations: merging sketches equals sketching the merged values, which averages cannot do.

Logarithmic buckets of relative accuracy 1 % (the scheme of DDSketch, Masson, Rim and Lee, VLDB 2019), with exact
count, smallest and largest value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from pointsman.errors import InputRefused

RELATIVE_ACCURACY = 0.01
_GAMMA = (1 + RELATIVE_ACCURACY) / (1 - RELATIVE_ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)
_SMALLEST = 1e-6
"""Values below count as zero: a millionth of the unit is below what is timed."""


class Sketch:
    """Counts of non-negative values in logarithmic buckets. A quantile is off by at most 1 % of itself."""

    __slots__ = ("_buckets", "_zeros", "count", "largest", "smallest")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._buckets: dict[int, int] = {}
        self._zeros = 0
        self.count = 0
        self.smallest = math.inf
        self.largest = -math.inf
        for value in values:
            self.add(value)

    def add(self, value: float) -> None:
        """Count one value. Raises `InputRefused` for a negative or non-finite one."""
        if not (0.0 <= value < math.inf):
            raise InputRefused("sketch value", value, "a finite number, 0 or more")
        if value < _SMALLEST:
            self._zeros += 1
        else:
            index = math.ceil(math.log(value) / _LOG_GAMMA)
            self._buckets[index] = self._buckets.get(index, 0) + 1
        self.count += 1
        self.smallest = min(self.smallest, value)
        self.largest = max(self.largest, value)

    def merge(self, other: Sketch) -> None:
        """Count everything that `other` counted."""
        for index, count in other._buckets.items():
            self._buckets[index] = self._buckets.get(index, 0) + count
        self._zeros += other._zeros
        self.count += other.count
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)

    def quantile(self, q: float) -> float | None:
        """The value of rank ceil(q x count) within 1 %, or None when nothing was counted."""
        if not 0.0 <= q <= 1.0:
            raise InputRefused("quantile", q, "0 to 1")
        if self.count == 0:
            return None
        rank = max(1, math.ceil(q * self.count))
        seen = self._zeros
        found = 0.0
        if seen < rank:
            for index in sorted(self._buckets):
                seen += self._buckets[index]
                if seen >= rank:
                    found = 2 * math.exp(index * _LOG_GAMMA) / (_GAMMA + 1)
                    break
        return min(max(found, self.smallest), self.largest)

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
