"""Rules about a running load, as people write them: `p95 total_ms < 5000 over 30s`, `failure_rate > 20% for 10m`.

A figure, a comparison, a threshold, and the window that the figure is taken over. `over` and `for` mean the same: of
what the run counts itself (percentiles, rates) it is the figure of all that happened within the window; what is read
from elsewhere (unhealthy targets, the backend's error rate) must have been so at every reading within the window.
Without a window a figure is that of the whole run so far.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pointsman.errors import InputRefused

Figure = Literal[
    "percentile", "failure_rate", "achieved_rate", "unhealthy_targets", "failed_spend", "alarms_moved", "backend_errors"
]
Metric = Literal["total_ms", "queue_ms", "run_ms", "lateness_ms"]

MAX_WINDOW_S = 86_400
_COMPARISON = re.compile(r"(.+?)\s*(<=|>=|<|>)\s*(.+)")
_WINDOW = re.compile(r"(.+?)\s+(?:over|for)\s+(.+)")
_LENGTH = re.compile(r"(\d{1,5})\s*(s|m|h)")
_NUMBER = r"(\d{1,12}(?:\.\d{1,6})?)"
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
_METRICS: tuple[Metric, ...] = ("total_ms", "queue_ms", "run_ms", "lateness_ms")
_FIGURES: Mapping[str, Figure] = {
    "failure_rate": "failure_rate",
    "achieved_rate": "achieved_rate",
    "unhealthy targets": "unhealthy_targets",
    "failed_spend": "failed_spend",
    "alarms moved": "alarms_moved",
    "backend_error_rate": "backend_errors",
}
_THRESHOLDS: Mapping[Figure, tuple[str, str]] = {
    "percentile": (rf"{_NUMBER}\s*(?:ms)?", "milliseconds, as in 5000"),
    "failure_rate": (rf"{_NUMBER}\s*%", "a percentage, as in 5%"),
    "achieved_rate": (rf"{_NUMBER}\s*%", "a percentage of what is planned, as in 95%"),
    "unhealthy_targets": (r"(\d{1,6})", "a whole number, as in 1"),
    "failed_spend": (rf"{_NUMBER}\s*USD", "money, as in 5 USD"),
    "alarms_moved": (r"(\d{1,6})", "a whole number, as in 1"),
    "backend_errors": (rf"baseline(?:\s*\+\s*{_NUMBER}\s*%)?", "baseline, or baseline + 5%"),
}
"""By figure: what its threshold looks like, and how to say so."""
_SHARES: frozenset[Figure] = frozenset({"failure_rate", "achieved_rate", "backend_errors"})
_WITHOUT_WINDOW: frozenset[Figure] = frozenset({"failed_spend", "alarms_moved"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One rule. Shares are between 0 and 1; the threshold of `backend_errors` is added to the baseline."""

    text: str
    figure: Figure
    comparison: Literal["<", "<=", ">", ">="]
    threshold: float
    window_s: int | None
    quantile: float = 0.0
    """Of a percentile, as is `metric`."""
    metric: Metric | None = None

    def holds(self, value: float, baseline: float = 0.0) -> bool:
        """Whether the figure stands in this relation to the threshold."""
        limit = self.threshold + baseline
        if self.comparison == "<":
            return value < limit
        if self.comparison == "<=":
            return value <= limit
        return value > limit if self.comparison == ">" else value >= limit

    def shown(self, value: float) -> str:
        """A value of the figure in its unit."""
        if self.figure in _SHARES:
            return f"{100 * value:.4g} %"
        if self.figure == "percentile":
            return f"{value:.6g} ms"
        return f"{value:.6g} USD" if self.figure == "failed_spend" else f"{value:g}"


def parse_condition(text: str) -> Condition:
    """The rule that a text states. Raises `InputRefused` whose field says which part of it is wrong."""
    compact = " ".join(text.split())
    compared = _COMPARISON.fullmatch(compact)
    if compared is None:
        raise InputRefused("condition", text, "FIGURE < THRESHOLD over WINDOW, as in p95 total_ms < 5000 over 30s")
    named, comparison, rest = compared.groups()
    figure, quantile, metric = _figure(named)
    windowed = _WINDOW.fullmatch(rest)
    threshold, window = (rest, None) if windowed is None else windowed.groups()
    if window is not None and figure in _WITHOUT_WINDOW:
        raise InputRefused("condition, window", window, f"none: {named} is a figure of the whole run")
    return Condition(
        text=compact,
        figure=figure,
        comparison=comparison,  # type: ignore[arg-type]  # one of the four, by the expression above
        threshold=_threshold(figure, threshold),
        window_s=None if window is None else _length_s(window),
        quantile=quantile,
        metric=metric,
    )


def _figure(named: str) -> tuple[Figure, float, Metric | None]:
    if named in _FIGURES:
        return _FIGURES[named], 0.0, None
    first, _, second = named.partition(" ")
    for metric in _METRICS:
        if first in _QUANTILES and second == metric:
            return "percentile", _QUANTILES[first], metric
    percentiles = f"one of {', '.join(_QUANTILES)} followed by one of {', '.join(_METRICS)}"
    raise InputRefused("condition, figure", named, f"{', '.join(_FIGURES)}, or {percentiles}")


def _threshold(figure: Figure, text: str) -> float:
    pattern, allowed = _THRESHOLDS[figure]
    found = re.fullmatch(pattern, text)
    if found is None:
        raise InputRefused("condition, threshold", text, allowed)
    number = float(found.group(1) or 0)
    return number / 100 if figure in _SHARES else number


def _length_s(text: str) -> int:
    found = _LENGTH.fullmatch(text)
    seconds = int(found.group(1)) * _SECONDS[found.group(2)] if found else 0
    if not 1 <= seconds <= MAX_WINDOW_S:
        raise InputRefused("condition, window", text, "1s to 24h, as in 30s, 10m or 1h")
    return seconds
