"""The figures of one run, for `metrics_json`: counts, rates and percentiles per stage, latency from the planned time.

A figure that is not known is null, and `missing` beside it says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pointsman.scenario.arrivals import Int64s
from pointsman.scenario.ledger import counted
from pointsman.scenario.model import Scenario

UNSENT = ("still_planned", "dropped", "cancelled_unsent")
NOT_PRICED = "usage is priced when the run has ended"


def stage_figures(scenario: Scenario, planned_stages: Int64s, dispatches: pl.DataFrame) -> list[dict[str, Any]]:
    """One document per stage. `planned` is counted from the schedule, everything else from the dispatches.

    `achieved_rate` is what was sent per second, over the stage's length or, where sending lagged, until its last send.
    Percentiles are nearest rank, over the completed dispatches.
    """
    found: list[dict[str, Any]] = []
    start_ns = 0
    for index, (stage, segment) in enumerate(zip(scenario.stages, scenario.segments, strict=True)):
        rows = dispatches.filter(pl.col("stage") == index)
        # When a dispatch left may be unknown (its process died), that it left is not.
        sent = rows.filter(~pl.col("state").is_in(UNSENT))
        length_ns = segment.us * 1000
        lasted_ns = max(length_ns, (sent.select(pl.col("sent_ns").max()).item() or 0) - start_ns)
        figures = {
            "name": stage.name,
            "planned": int((planned_stages == index).sum()),
            "sent": sent.height,
            **{state: rows.filter(pl.col("state") == state).height for state in ("completed", "failed", "dropped")},
            "achieved_rate": round(sent.height / (lasted_ns / 1e9), 6),
        }
        latencies = completed_ms(rows, "total_ms")
        quantiles = {f"p{percent}_ms": percentile(latencies, percent / 100) for percent in (50, 95, 99)}
        found.append(with_missing({**figures, **quantiles}, "no dispatch of this stage completed with a known time"))
        start_ns += length_ns
    return found


def run_figures(scenario: Scenario, dispatches: pl.DataFrame) -> dict[str, Any]:
    """`p95` (without warm-up stages), `lateness_ms` and `cost` of a whole run."""
    rows = dispatches.filter(counted(scenario))
    late = dispatches["lateness_ns"].drop_nulls().to_numpy() / 1e6
    return {
        "p95": with_missing(
            {name: percentile(completed_ms(rows, name), 0.95) for name in ("queue_ms", "run_ms", "total_ms")},
            "no dispatch completed with a known time",
        ),
        "lateness_ms": with_missing(
            {"p50": percentile(late, 0.5), "p99": percentile(late, 0.99), "max": percentile(late, 1.0)},
            "no dispatch was sent",
        ),
        "cost": with_missing({"usd": None}, NOT_PRICED),
    }


def completed_ms(rows: pl.DataFrame, column: str) -> npt.NDArray[np.float64]:
    """The known values of a time column among the completed dispatches."""
    known = rows.filter(pl.col("state") == "completed")[column].drop_nulls()
    values: npt.NDArray[np.float64] = known.to_numpy().astype(np.float64)
    return values


def percentile(values: npt.NDArray[np.float64], q: float) -> float | None:
    """Nearest-rank quantile to the microsecond of a millisecond value, None of no values."""
    return round(float(np.quantile(values, q, method="inverted_cdf")), 3) if values.size else None


def with_missing(figures: Mapping[str, Any], why: str | Mapping[str, str]) -> dict[str, Any]:
    """`figures`, and beside its nulls the reason for each."""
    nulls: Sequence[str] = [name for name, value in figures.items() if value is None]
    reasons = {name: why if isinstance(why, str) else why[name] for name in nulls}
    return {**figures, "missing": reasons} if reasons else dict(figures)
