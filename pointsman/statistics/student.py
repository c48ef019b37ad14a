"""Student's t: how many standard errors an interval of a mean of few values reaches."""

from __future__ import annotations

from math import cos, expm1, pi, sin, sqrt
from statistics import NormalDist


def t_reach(degrees: int, *, confidence: float = 0.95) -> float:
    """The t with P(|T| <= t) = confidence, for 1 or more degrees of freedom; right to four digits.

    Source: Hill, Algorithm 396, CACM 13 (1970).
    """
    tails = 1 - confidence
    if degrees == 1:
        return cos(tails * pi / 2) / sin(tails * pi / 2)
    if degrees == 2:
        return sqrt(2 / (tails * (2 - tails)) - 2)
    n = degrees
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * sqrt(a * pi / 2) * n
    y = (d * tails) ** (2 / n)
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(tails / 2)
        y = x * x
        if n < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        return sqrt(n * expm1(a * y * y))
    y = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1) / (
        n + 2
    ) + 1 / y
    return sqrt(n * y)
