"""How much a variant can take: a search by runs at constant rates, kept by variant, continued by the same call."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from pointsman.errors import Conflict, InputRefused, NotFound, RunFailed
from pointsman.ids import VariantId, check_id
from pointsman.model import Missing, Number
from pointsman.scenario.capacity_search import Bounds, Judged, Limit, next_rate
from pointsman.scenario.conditions import parse_condition
from pointsman.scenario.execution import give_up_run
from pointsman.scenario.ledger import scan_ledger
from pointsman.scenario.model import MAX_DISPATCHES, MAX_DURATION_S, ConditionText, Rate, Scenario, Stage
from pointsman.scenario.record import read_run
from pointsman.scenario.status import run_status
from pointsman.scenario.sustained import check_slos, judge_rate, judged_columns
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

_TABLE = tables.capacities
_FEWEST = 40
"""Dispatches that count in a run: with fewer a percentile says nothing."""
_WARM_UP = 0.25
_ROOM = 2.0
"""In flight at most: this many times what there is when every job takes as long as the SLO allows."""
_MOST_IN_FLIGHT = 100_000


class CapacitySearch(BaseModel):
    """What is searched for, and how far."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slos: tuple[ConditionText, ...] = Field(
        default=("p95 total_ms < 5000", "failure_rate <= 1%"),
        min_length=1,
        max_length=20,
        title="SLOs",
        description="What must hold at the rate: percentiles and failure_rate, over each run as a whole.",
        examples=[["p95 total_ms < 5000", "failure_rate <= 1%"]],
    )
    start_per_s: Rate = Field(
        default=1.0, gt=0, title="First rate", description="Per second; it doubles from there.", examples=[1]
    )
    lowest_per_s: Rate = Field(
        default=0.01, gt=0, title="Lowest rate", description="Below this the search ends.", examples=[0.01]
    )
    highest_per_s: Rate = Field(
        default=1000.0, gt=0, title="Highest rate", description="Above this nothing is tried.", examples=[50]
    )
    step_s: float = Field(
        default=30.0,
        ge=1,
        le=MAX_DURATION_S / 4,
        allow_inf_nan=False,
        title="Seconds per step",
        description=f"How long each run counts, longer where {_FEWEST} dispatches take longer; before, a quarter of it "
        "warms up.",
        examples=[30],
    )
    precision: float = Field(
        default=0.1,
        ge=0.01,
        le=1,
        allow_inf_nan=False,
        title="Precision",
        description="How far apart the ends of the interval may be, as a share.",
        examples=[0.1],
    )
    most_steps: int = Field(
        default=20,
        ge=1,
        le=100,
        title="Steps at most",
        description="Then the search says what it knows.",
        examples=[20],
    )

    @property
    def bounds(self) -> Bounds:
        start = min(max(self.start_per_s, self.lowest_per_s), self.highest_per_s)
        return Bounds(start, self.lowest_per_s, self.highest_per_s, self.precision, self.most_steps)


def check_search(search: CapacitySearch) -> None:
    """Raise `InputRefused` for settings that do not fit together."""
    check_slos([parse_condition(text) for text in search.slos])
    if search.lowest_per_s > search.highest_per_s:
        raise InputRefused("lowest_per_s", search.lowest_per_s, f"up to highest_per_s, {search.highest_per_s:g}")


@dataclass(frozen=True, slots=True)
class CapacityRun:
    """The next run of a search: an ordinary load test."""

    run_id: str
    scenario: Scenario
    seed: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a search came to. The variant sustains `per_s`; its limit lies between that and `high`."""

    id: str
    variant: VariantId
    per_s: Number
    high: Number
    slos: tuple[str, ...]
    steps: tuple[Mapping[str, Any], ...]
    why: str
    ended_at: datetime | None


def next_capacity_run(
    ws: Workspace, capacity_id: str, *, variant_id: str, search: CapacitySearch, seed: int, most_in_flight: int
) -> CapacityRun | None:
    """Judge the runs that have completed; the run to do next, or None when the search has ended and is kept.

    `most_in_flight` is what a run may have in flight at once where it is executed: one that needs more does not sustain
    its rate. Repeating it changes nothing. Raises `Conflict` when the id was used for another search, and `RunFailed`
    when a run of the search ended otherwise than completed, unless `end_lost_step` ended it.
    """
    check_id("capacity id", capacity_id)
    check_search(search)
    asked = {"variant_id": variant_id, "settings": {**search.model_dump(mode="json"), "seed": seed}}
    row = {"id": capacity_id, **asked, "steps": [], "why": "", "created_at": ws.clock.now()}
    with ws.database.begin() as connection:
        insert_absent(connection, _TABLE, [row])
    known = _read(ws, capacity_id)
    if any(known[name] != asked[name] for name in asked):
        raise Conflict(
            f"The capacity search {capacity_id} was begun for something else.",
            instruction="Use another run id.",
            code="capacity_differs",
        )
    if known["ended_at"] is not None:
        return None
    steps = _judged(ws, capacity_id, search)
    found = next_rate(search.bounds, [step for step in steps if step is not None])
    if isinstance(found, Limit):
        _keep(ws, capacity_id, found, steps)
        return None
    scenario = _scenario(search, found, most_in_flight)
    return CapacityRun(f"{capacity_id}-{len(steps)}", scenario, seed + len(steps))


def end_lost_step(ws: Workspace, run_id: str, because: Mapping[str, str]) -> bool:
    """End a run of a search in which the target went out of reach after it had completed something: it was too much.

    False, and the run as it is, when nothing had completed: then the target was away already, which says nothing of
    the rate, and the same search goes on when it is back. Raises `NotFound`, and `Conflict` while a process coordinates
    the run.
    """
    if not run_status(ws, run_id)["counts"].get("completed"):
        return False
    give_up_run(ws, run_id, because=because)
    return True


def read_capacity(ws: Workspace, capacity_id: str) -> Capacity:
    """What the search came to, or how far it is. Raises `NotFound`."""
    return _capacity(_read(ws, capacity_id))


def latest_capacities(ws: Workspace, variants: Iterable[VariantId]) -> dict[VariantId, Capacity]:
    """The newest ended search of each of the variants that has one."""
    wanted = (
        sa.select(_TABLE)
        .where(_TABLE.c.variant_id.in_([str(one) for one in variants]), _TABLE.c.ended_at.is_not(None))
        .order_by(_TABLE.c.ended_at, _TABLE.c.id)
    )
    with ws.database.connect() as connection:
        found = [_capacity(row) for row in connection.execute(wanted).mappings()]
    return {one.variant: one for one in found}


def _read(ws: Workspace, capacity_id: str) -> Mapping[str, Any]:
    with ws.database.connect() as connection:
        row = connection.execute(sa.select(_TABLE).where(_TABLE.c.id == capacity_id)).mappings().first()
    if row is None:
        raise NotFound("capacity search", capacity_id, "the id of a search that was begun")
    return dict(row)


def _capacity(row: Mapping[Any, Any]) -> Capacity:
    unknown = Missing(row["why"] or "the search has not ended")
    return Capacity(
        id=row["id"],
        variant=VariantId.parse(row["variant_id"]),
        per_s=unknown if row["per_s"] is None else row["per_s"],
        high=unknown if row["high_per_s"] is None else row["high_per_s"],
        slos=tuple(row["settings"]["slos"]),
        steps=tuple(row["steps"]),
        why=row["why"],
        ended_at=row["ended_at"],
    )


def _scenario(search: CapacitySearch, per_s: float, most_in_flight: int) -> Scenario:
    counted_s = _counted_s(search, per_s)
    limits = [slo.threshold / 1000 for slo in map(parse_condition, search.slos) if slo.metric == "total_ms"]
    room = math.ceil(_ROOM * per_s * min(limits)) + _FEWEST if limits else most_in_flight
    return Scenario(
        name="capacity",
        stages=(
            Stage(name="warm-up", rate=per_s, duration_s=_WARM_UP * counted_s, warm_up=True),
            Stage(name="counted", rate=per_s, duration_s=counted_s),
        ),
        max_in_flight=min(room, most_in_flight, _MOST_IN_FLIGHT),
        drain_limit_s=min(max(60.0, 4 * counted_s), MAX_DURATION_S),
    )


def _counted_s(search: CapacitySearch, per_s: float) -> float:
    longest = min(MAX_DURATION_S / 2, MAX_DISPATCHES / per_s / 2) if per_s else 0
    return round(min(max(search.step_s, _FEWEST / per_s), longest), 6)


def _judged(ws: Workspace, capacity_id: str, search: CapacitySearch) -> list[Judged | None]:
    """One for each completed run in order; None for one that was interrupted, which gave its target a rest."""
    slos = [parse_condition(text) for text in search.slos]
    found: list[Judged | None] = []
    while True:
        try:
            record = read_run(ws, f"{capacity_id}-{len(found)}")
        except NotFound:
            return found
        if not record.ended:
            return found
        per_s = _rate(ws, record.scenario_id)
        failure = record.metrics_json.get("failure") or {}
        if record.status == "failed" and failure.get("code") == "target_lost":
            found.append(Judged(per_s, False, 0.0, failure["message"]))
            continue
        if record.status != "completed":
            raise RunFailed(
                f"The run {record.id} of the search is {record.status}.",
                instruction=f"pointsman scenario status {record.id}",
                code="capacity_run_failed",
            )
        stage = record.metrics_json["stages"][1]
        begin = _WARM_UP * _counted_s(search, per_s)
        counted = (begin, begin + _counted_s(search, per_s))
        if stage["sent"] + stage["dropped"] < stage["planned"]:
            raise RunFailed(
                f"The run {record.id} could not offer {per_s:g} per second.",
                instruction=f"pointsman scenario status {record.id}",
                code="load_test_rate_missed",
            )
        dispatches = scan_ledger(ws, record).select(judged_columns(slos)).collect(engine="streaming")
        interrupted = record.metrics_json.get("interruptions")
        found.append(None if interrupted else judge_rate(dispatches, per_s=per_s, counted=counted, slos=slos))


def _rate(ws: Workspace, scenario_id: str) -> float:
    wanted = sa.select(tables.scenarios.c.definition).where(tables.scenarios.c.id == scenario_id)
    with ws.database.connect() as connection:
        return float(connection.execute(wanted).scalar_one()["stages"][1]["rate"])


def _keep(ws: Workspace, capacity_id: str, limit: Limit, steps: list[Judged | None]) -> None:
    documents = [
        {"run_id": f"{capacity_id}-{number}"}
        | (
            {"why": "interrupted, so it does not count"}
            if step is None
            else {
                "per_s": step.per_s,
                "sustained": step.sustained,
                "completed_per_s": round(step.completed_per_s, 6),
                "why": step.why,
            }
        )
        for number, step in enumerate(steps)
    ]
    values = {
        "per_s": None if limit.low is None else Decimal(str(limit.low)),
        "high_per_s": None if limit.high is None else Decimal(str(limit.high)),
        "steps": documents,
        "why": limit.why,
        "ended_at": ws.clock.now(),
    }
    open_one = (_TABLE.c.id == capacity_id) & _TABLE.c.ended_at.is_(None)
    with ws.database.begin() as connection:
        connection.execute(sa.update(_TABLE).where(open_one).values(**values))
