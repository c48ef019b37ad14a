"""Whether one run was slower, failed more or sent less than another by more than chance explains.

Both ledgers are cut into twelve batches of equally many dispatches, in the order of the schedule, and compared batch by
batch (`pointsman.statistics.batches`). All intervals hold together with 95 % (Bonferroni over what is compared), and
only an interval that lies wholly beyond what matters is called a regression. What such intervals cannot know is how two
runs of the very same thing differ because of the hour or the machine: a regression that matters is one that repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from pointsman.errors import InputRefused
from pointsman.model import Missing
from pointsman.scenario.ledger import counted, scan_ledger
from pointsman.scenario.model import Scenario
from pointsman.scenario.record import RunRecord, read_run, run_scenario
from pointsman.statistics import BATCHES, Floats, Interval, paired_interval
from pointsman.workspace import Workspace

CONFIDENCE = 0.95
LATENCY_MARGIN = 0.05
"""A change of a percentile by less is not worth a call: two machines of one kind differ by as much."""
SHARE_MARGIN = 0.005
FEWEST: Mapping[str, int] = {"p50": 120, "p95": 480, "p99": 2400}
"""Completed dispatches that each run needs for a percentile: two of a batch, at least, lie beyond it."""
_QUANTILES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_NOT_LOAD = frozenset({"name", "warm_up", "fault"})
Call = Literal["regression", "improvement", "same", "not shown"]


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of both runs. Percentiles in milliseconds from the planned time, shares from 0 to 1.

    `change` is of the second against the first: relative for percentiles (0.1 = 10 % more), a difference for shares.
    """

    name: str
    unit: Literal["ms", "share"]
    first: float | Missing
    second: float | Missing
    change: Interval | Missing
    call: Call


@dataclass(frozen=True, slots=True)
class Comparison:
    """`differs` says in words what was not the same, besides the outcome."""

    first: RunRecord
    second: RunRecord
    differs: Sequence[str]
    figures: Sequence[Compared]

    @property
    def regressed(self) -> Sequence[str]:
        return [figure.name for figure in self.figures if figure.call == "regression"]


def compare_runs(ws: Workspace, first_id: str, second_id: str) -> Comparison:
    """What the second run has that the first has not.

    Raises `NotFound`, and `InputRefused` where a comparison means nothing: a run that did not complete, the same run
    twice, or another load.
    """
    if first_id == second_id:
        raise InputRefused("run", second_id, "another run than the first")
    first, second = read_run(ws, first_id), read_run(ws, second_id)
    for record in (first, second):
        if record.status != "completed":
            raise InputRefused(
                "run", f"{record.id} ({record.status})", "a completed run: others saw only part of the load"
            )
    scenarios = run_scenario(ws, first), run_scenario(ws, second)
    _same_load(*scenarios)
    figures = compare_ledgers(
        _described(scan_ledger(ws, first), scenarios[0]), _described(scan_ledger(ws, second), scenarios[1])
    )
    return Comparison(first, second, _what_differs((first, second), scenarios), figures)


@dataclass(frozen=True, slots=True)
class Described:
    """A ledger in batches: figures of the whole and `[batch]` arrays of the same names; what is unknown is absent."""

    completed: int
    whole: Mapping[str, float]
    batches: Mapping[str, Floats]


def describe(ledger: pl.LazyFrame) -> Described:
    """Cut a ledger into batches. Needs `seq`, `state` and `total_ms`; a percentile of too few is left out."""
    completed = pl.col("state") == "completed"
    # Read once, and of a row 18 bytes.
    rows = ledger.select(
        "seq",
        pl.when(completed).then(pl.col("total_ms")).alias("done_ms"),
        (~pl.col("state").is_in(["still_planned", "dropped", "cancelled_unsent"])).alias("sent"),
        completed.alias("completed"),
    ).collect(engine="streaming")
    done = pl.col("done_ms")
    figures = [
        done.count().alias("completed"),
        *(done.quantile(q, interpolation="equiprobable").alias(name) for name, q in _QUANTILES.items()),
        (pl.col("sent") & ~pl.col("completed")).mean().alias("failure rate"),
        pl.col("sent").mean().alias("sent of planned"),
    ]
    whole = rows.select(figures).row(0, named=True)
    batch = pl.int_range(pl.len()) * BATCHES // max(1, rows.height)
    batches = rows.sort("seq").group_by(batch.alias("batch"), maintain_order=True).agg(figures)
    known = [name for name in ("failure rate", "sent of planned") if batches.height == BATCHES]
    known += [
        name
        for name, fewest in FEWEST.items()
        if whole["completed"] >= fewest and batches.height == BATCHES and batches[name].null_count() == 0
    ]
    return Described(
        completed=whole["completed"],
        whole={name: value for name, value in whole.items() if value is not None},
        batches={name: batches[name].to_numpy().astype(np.float64) for name in known},
    )


def compare_ledgers(first: Described, second: Described) -> list[Compared]:
    """Every figure of both, the ones that can be compared with intervals that hold together."""
    both = [name for name in first.batches if name in second.batches]
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(both))
    found = []
    for name in (*FEWEST, "failure rate", "sent of planned"):
        change: Interval | Missing
        call: Call = "not shown"
        if name not in both:
            fewest, had = FEWEST.get(name, BATCHES), min(first.completed, second.completed)
            change = Missing(f"each run needs {fewest} completed dispatches; one has {had}")
        elif name in FEWEST:
            logs = [np.log(np.maximum(one.batches[name], 1e-3)) for one in (first, second)]
            of_logs = paired_interval(logs[1] - logs[0], confidence=confidence)
            change = Interval(*(float(np.expm1(part)) for part in (of_logs.value, of_logs.low, of_logs.high)))
            call = _call(change, LATENCY_MARGIN, more_is_worse=True)
        else:
            change = paired_interval(second.batches[name] - first.batches[name], confidence=confidence)
            call = _call(change, SHARE_MARGIN, more_is_worse=name == "failure rate")
        unit: Literal["ms", "share"] = "ms" if name in FEWEST else "share"
        found.append(Compared(name, unit, _value(first, name), _value(second, name), change, call))
    return found


def _value(described: Described, name: str) -> float | Missing:
    value = described.whole.get(name)
    return Missing("no dispatch completed") if value is None else value


def _call(change: Interval, margin: float, *, more_is_worse: bool) -> Call:
    if change.low > margin:
        return "regression" if more_is_worse else "improvement"
    if change.high < -margin:
        return "improvement" if more_is_worse else "regression"
    return "same" if -margin <= change.low and change.high <= margin else "not shown"


def _described(ledger: pl.LazyFrame, scenario: Scenario) -> Described:
    """Without warm-up stages, as everywhere else."""
    return describe(ledger.filter(counted(scenario)))


def _same_load(first: Scenario, second: Scenario) -> None:
    """Refuse runs that offered another load: their latencies answer different questions."""
    for name, one, other in _pairs(_load(first), _load(second)):
        if one != other:
            raise InputRefused(
                f"runs with another load; {name}",
                f"{one} and {other}",
                "the same stages and arrivals in both: latency depends on the load",
                instruction="Run the one scenario again with the other's variant, then compare those runs.",
            )


def _load(scenario: Scenario) -> dict[str, Any]:
    document = scenario.model_dump(mode="json")
    load = {"arrivals": document["arrivals"], "number of stages": len(document["stages"])}
    for index, stage in enumerate(document["stages"]):
        trace = stage.pop("trace") or {}  # by its content: the same file may lie elsewhere
        load |= {f"stages.{index}.{name}": value for name, value in stage.items() if name not in _NOT_LOAD}
        load[f"stages.{index}.trace.sha256"] = trace.get("sha256")
    return load


def _pairs(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, first.get(name), second.get(name)) for name in {**first, **second}]


def _what_differs(records: tuple[RunRecord, RunRecord], scenarios: tuple[Scenario, Scenario]) -> list[str]:
    first, second = records
    found = [
        f"{title}: {getattr(first, name)} and {getattr(second, name)}"
        for title, name in (("variant", "variant_id"), ("environment", "environment_id"), ("seed", "seed"))
        if getattr(first, name) != getattr(second, name)
    ]
    documents = [scenario.model_dump(mode="json") for scenario in scenarios]
    stages = [document.pop("stages") for document in documents]
    for index, (one, other) in enumerate(zip(*stages, strict=True)):
        found += [f"scenario, stages.{index}.{name}" for name, a, b in _pairs(one, other) if a != b]
    found += [f"scenario, {name}: {a} and {b}" for name, a, b in _pairs(*documents) if a != b]
    for record in records:
        if record.metrics_json.get("interruptions"):
            found.append(f"run {record.id} was interrupted {len(record.metrics_json['interruptions'])} times")
    return found
