"""Whether a target sustained a constant rate, from the ledger of one run: its SLOs, and that no queue grew.

A provider that queues without errors is over its capacity long before its latency says so: what is in flight then
grows in a straight line. The counted stretch is cut into equal spans; the queue grew when their mean numbers in flight
rise by more than a fiftieth of the offered rate (Theil-Sen slope) and the rise is no accident (exact Mann-Kendall test,
one-sided, 5 %). Means over spans, so that neighbours in time depend little on each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from pointsman.errors import InputRefused
from pointsman.scenario.capacity_search import Judged
from pointsman.scenario.conditions import Condition
from pointsman.scenario.metrics import completed_ms, percentile
from pointsman.statistics.trend import growth_p_value, slope

_SPANS = 8
_READINGS = 50
"""Per span."""
_ALPHA = 0.05
_GROWTH = 0.02
_DRIVEN = 0.95


def check_slos(slos: Sequence[Condition]) -> None:
    """Raise `InputRefused` unless each can be judged on the ledger of a run."""
    for slo in slos:
        if slo.figure not in ("percentile", "failure_rate") or slo.window_s is not None:
            allowed = "percentiles and failure_rate without a window: each run is judged as a whole"
            raise InputRefused("slo", slo.text, allowed)


def judged_columns(slos: Sequence[Condition]) -> list[str]:
    """The columns of a ledger that `judge_rate` reads."""
    timed = {"lateness_ns" if slo.metric == "lateness_ms" else slo.metric for slo in slos if slo.metric is not None}
    return ["planned_ns", "sent_ns", "done_ns", "state", *sorted(timed)]


def judge_rate(
    dispatches: pl.DataFrame, *, per_s: float, counted: tuple[float, float], slos: Sequence[Condition]
) -> Judged:
    """Judge a run at `per_s`, of which the seconds from `counted[0]` to `counted[1]` after the epoch count."""
    begin_ns, end_ns = (round(second * 1e9) for second in counted)
    rows = dispatches.filter((pl.col("planned_ns") >= begin_ns) & (pl.col("planned_ns") < end_ns))
    done = dispatches.filter(pl.col("state") == "completed")["done_ns"].drop_nulls()
    completed = int(((done >= begin_ns) & (done < end_ns)).sum()) / (counted[1] - counted[0])
    why = _why_not(rows, dispatches, per_s, begin_ns, end_ns, slos)
    return Judged(per_s, why is None, completed, why or "every SLO held and no queue grew")


def _why_not(
    rows: pl.DataFrame, dispatches: pl.DataFrame, per_s: float, begin_ns: int, end_ns: int, slos: Sequence[Condition]
) -> str | None:
    states = dict(rows["state"].value_counts().iter_rows())
    for state, meaning in (("dropped", "found no room in flight"), ("unknown", "had not ended when the run did")):
        if states.get(state):
            return f"{states[state]} of {rows.height} dispatches {meaning}"
    for slo in slos:
        value = _figure(slo, rows, states)
        if value is None:
            return f"nothing ended by which {slo.text} could be judged"
        if not slo.holds(value):
            return f"{slo.shown(value)}, but the SLO is {slo.text}"
    levels = in_flight_levels(dispatches, begin_ns, end_ns)
    per_span_s = (end_ns - begin_ns) / 1e9 / _SPANS
    grown = slope(levels) / per_span_s
    if grown > _GROWTH * per_s and growth_p_value(levels) < _ALPHA:
        return f"what is in flight grew by {grown:.3g} per second, from {levels[0]:.3g} to {levels[-1]:.3g}"
    return None


def _figure(slo: Condition, rows: pl.DataFrame, states: dict[str, int]) -> float | None:
    if slo.metric == "lateness_ms":
        return percentile(rows["lateness_ns"].drop_nulls().to_numpy() / 1e6, slo.quantile)
    if slo.metric is not None:
        return percentile(completed_ms(rows, slo.metric), slo.quantile)
    ended = states.get("failed", 0) + states.get("completed", 0)
    return states.get("failed", 0) / ended if ended else None


def in_flight_levels(dispatches: pl.DataFrame, begin_ns: int, end_ns: int) -> list[float]:
    """The mean number of dispatches in flight in each of equal spans between two times."""
    sent = dispatches.filter(pl.col("sent_ns").is_not_null()).select("sent_ns", "done_ns")
    readings = np.linspace(begin_ns, end_ns, _SPANS * _READINGS, endpoint=False)

    def until(column: str) -> npt.NDArray[np.int64]:
        times = np.sort(sent[column].drop_nulls().to_numpy())
        found: npt.NDArray[np.int64] = np.searchsorted(times, readings, side="right")
        return found

    level = (until("sent_ns") - until("done_ns")).reshape(_SPANS, _READINGS)
    return [float(mean) for mean in level.mean(axis=1)]
