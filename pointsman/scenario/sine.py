"""A rate that swings around a mean, and the exact inverse of its integral.

With mean m and amplitude a (millionths of an arrival per second, 0 < a <= m) and period P (us), the rate t ns after the
stage began is m + a sin(2 pi t / N), N = 1000 P, and its integral in parts of an arrival is

    L(t) = m t / 500 + (2 a P / pi) sin^2(pi t / N).

L(kN) = 2 m P k is a whole number. Anywhere else L at a whole nanosecond is irrational: there sin^2 is a positive
algebraic number (Niven), a, P are whole and pi is transcendental. So L(t) is never equal to the whole number of parts
that it is compared with, and a value with a proven error decides the comparison once it is precise enough: that is how
`_Exactly` decides it, in whole numbers. Floating point only proposes: a proposal whose error bound leaves no doubt that
it is the last nanosecond before the arrival is taken, every other is replaced by an exact search.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Int64s: TypeAlias = npt.NDArray[np.int64]

_BITS = 160
_MOST_KNOTS = 1024
"""Per period, from which floating point starts: the shorter the way, the smaller its error in nanoseconds."""
_NEWTON_STEPS = 4
# About sixty roundings of 2^-53 on terms that sum to at most (m + a) u / 500; 2^-46 bounds them twice over.
_FLOAT_ERROR = 2.0**-46
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True)
class Sine:
    """`mean` and `amplitude` in millionths of an arrival per second, `period_us` and length `us` in microseconds."""

    mean: int
    amplitude: int
    period_us: int
    us: int

    @cached_property
    def parts(self) -> int:
        """The integral of the rate, in parts of an arrival, rounded down: by less than 10^-12 of an arrival."""
        periods, rest_us = divmod(self.us, self.period_us)
        return periods * self.period_parts + _Exactly(self).floor(rest_us * 1000)

    @property
    def period_parts(self) -> int:
        return 2 * self.mean * self.period_us

    @property
    def end(self) -> int:
        """The final rate, rounded to the millionth."""
        at = 2 * (self.us % self.period_us)
        sine = _sine(at % self.period_us, self.period_us, _BITS)
        swing = (2 * self.amplitude * sine + (1 << _BITS)) >> (_BITS + 1)
        return self.mean - swing if at >= self.period_us else self.mean + swing

    def invert(self, parts: Int64s) -> Int64s:
        """For each of `parts` (0 <= part < self.parts) the last nanosecond at which the integral is at most that."""
        period_ns = 1000 * self.period_us
        if self.period_parts > _INT64_MAX:
            periods, within = np.zeros_like(parts), parts
        else:
            periods, within = np.divmod(parts, self.period_parts)
        exactly = _Exactly(self)
        count = min(_MOST_KNOTS, 1 + len(parts) // 4)
        knots, reached = self._table(exactly, count)
        knot = np.searchsorted(reached, within, side="right") - 1
        began = knots[knot]
        moved, sure = self._propose(began, (within - reached[knot]).astype(np.float64), count)
        due: Int64s = began + moved
        for index in np.flatnonzero(~sure):
            due[index] = exactly.search(int(within[index]), int(due[index]))
        return periods * period_ns + due

    def _table(self, exactly: _Exactly, count: int) -> tuple[Int64s, Int64s]:
        """Nanoseconds within a period, and the least whole number of parts that the integral there does not pass."""
        knots: list[int] = []
        reached: list[int] = []
        for knot in range(count):
            at = knot * 1000 * self.period_us // count
            value = exactly.floor(at) + (1 if at else 0)
            if value > _INT64_MAX:
                break
            knots.append(at)
            reached.append(value)
        return np.array(knots, dtype=np.int64), np.array(reached, dtype=np.int64)

    def _propose(
        self, began: Int64s, ahead: npt.NDArray[np.float64], count: int
    ) -> tuple[Int64s, npt.NDArray[np.bool_]]:
        """Whole nanoseconds after `began` until `ahead` more parts are reached, and whether that is beyond doubt.

        At most as long as it is to the next of `count` knots. `ahead` is less than one part too small, because the
        table rounds up.
        """
        mean, amplitude = float(self.mean), float(self.amplitude)
        per_ns = np.pi / (1000.0 * self.period_us)
        angle = 2 * per_ns * began.astype(np.float64)
        width = 1000.0 * self.period_us / count + 1

        def integral(passed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            turned = per_ns * passed
            wave = np.sin(angle + turned) * np.sin(turned)
            found: npt.NDArray[np.float64] = mean / 500 * passed + amplitude / (500 * per_ns) * wave
            return found

        passed = np.full_like(ahead, width / 2)
        for _ in range(_NEWTON_STEPS):
            rate = np.maximum((mean + amplitude * np.sin(angle + 2 * per_ns * passed)) / 500, mean * 1e-9)
            passed = np.clip(passed - (integral(passed) - ahead) / rate, 0.0, width)
        low = np.floor(passed)
        error = _FLOAT_ERROR * (mean + amplitude) / 500 * (low + 1)
        sure = (integral(low) <= ahead - error) & (integral(low + 1) >= ahead + 1 + error)
        return low.astype(np.int64), sure


class _Exactly:
    """The integral within one period in whole numbers, as precise as a question needs."""

    def __init__(self, sine: Sine) -> None:
        self._slope = sine.mean
        self._swing = 1000 * sine.amplitude * sine.period_us
        self._period_ns = 1000 * sine.period_us

    def floor(self, at_ns: int) -> int:
        """The integral at `at_ns` in whole parts, rounded down."""
        if at_ns in (0, self._period_ns):
            return self._slope * at_ns // 500
        bits = _BITS
        while True:
            low, high = self._bounds(at_ns, bits)
            found = low // (500 << bits)
            if found == high // (500 << bits):
                return found
            bits *= 2

    def search(self, part: int, near_ns: int) -> int:
        """The last nanosecond of the period at which the integral is at most `part`, looked for from `near_ns`."""
        low = min(near_ns, self._period_ns - 1)
        high, step = low + 1, 1
        while self._passed(low, part):  # not at 0, where the integral is 0
            low, high, step = max(0, low - step), low, 2 * step
        while not self._passed(high, part):  # but at the end of the period, beyond which `part` would lie
            low, high, step = high, min(self._period_ns, high + step), 2 * step
        while high - low > 1:
            middle = (low + high) // 2
            if self._passed(middle, part):
                high = middle
            else:
                low = middle
        return low

    def _passed(self, at_ns: int, part: int) -> bool:
        """Whether the integral at `at_ns` is above `part`: where it is no whole number, not being below is above."""
        whole = at_ns in (0, self._period_ns)
        return self.floor(at_ns) > part if whole else self.floor(at_ns) >= part

    def _bounds(self, at_ns: int, bits: int) -> tuple[int, int]:
        """500 x the integral x 2^bits lies between these.

        The error: pi and the angle are off by at most 2 units of 2^-bits, each of the at most 100 terms of the series
        by 2 more, so the sine by less than 2^8, its square by less than 2^10, and dividing by pi makes it smaller.
        """
        sine = _sine(at_ns, self._period_ns, bits)
        square = sine * sine >> bits
        value = (self._slope * at_ns << bits) + (self._swing * square << bits) // _pi(bits)
        error = self._swing << 10
        return value - error, value + error


def _sine(at: int, half: int, bits: int) -> int:
    """sin(pi x at / half) x 2^bits for 0 <= at <= half, by the Taylor series of the angle's distance to 0 or pi."""
    angle = _pi(bits) * min(at, half - at) // half
    square = angle * angle >> bits
    term = total = angle
    number = 1
    while term:
        term = (term * square >> bits) // ((number + 1) * (number + 2))
        number += 2
        total += -term if number % 4 == 3 else term
    return total


@cache
def _pi(bits: int) -> int:
    """pi x 2^bits, rounded down: 16 arctan(1/5) - 4 arctan(1/239) (Machin 1706) with 32 bits to spare."""

    def arctan(inverse: int) -> int:
        power = total = (1 << (bits + 32)) // inverse
        number = 1
        while power:
            power //= inverse * inverse
            number += 2
            total += -(power // number) if number % 4 == 3 else power // number
        return total

    return (16 * arctan(5) - 4 * arctan(239)) >> 32
