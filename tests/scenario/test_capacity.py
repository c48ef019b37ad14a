"""A capacity search over simulated runs: continued by the same call, kept by variant."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from pointsman.errors import Conflict, DependencyDown, InputRefused, NotFound, RunFailed
from pointsman.model import Missing
from pointsman.reporting import to_markdown
from pointsman.scenario import (
    CapacitySearch,
    capacity_report,
    end_lost_step,
    execute_run,
    latest_capacities,
    next_capacity_run,
    read_capacity,
    read_run,
)
from pointsman.scenario.capacity import CapacityRun
from pointsman.scenario.record import advance
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import VARIANT, FakeEngine, plan
from tests.scenario.test_sustained import ledger

SEARCH = CapacitySearch(step_s=20, slos=("p95 total_ms < 60000",))


class Target:
    """Completes what runs send with a known number of workers; the ledger is what `ledger` simulates."""

    def __init__(self, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ws = ws
        self.ledgers: dict[str, pl.DataFrame] = {}
        monkeypatch.setattr("pointsman.scenario.capacity.scan_ledger", lambda _, record: self.ledgers[record.id].lazy())
        self.ran: list[CapacityRun] = []
        self.interrupted: set[int] = set()

    def run(self, asked: CapacityRun, *, status: str = "completed", sent: int = 100) -> None:
        plan(self._ws, run_id=asked.run_id, scenario=asked.scenario, seed=asked.seed)
        stages = asked.scenario.stages
        rate, seconds = stages[1].rate, sum(stage.duration_s for stage in stages)
        assert rate is not None
        self.ledgers[asked.run_id] = ledger(rate, seconds=seconds, seed=asked.seed)
        counts = {"planned": 100, "sent": sent, "dropped": 0}
        gaps = [{"after_s": 1}] if len(self.ran) in self.interrupted else []
        failure = {"code": "made_up", "message": "It failed.", "instruction": "pointsman doctor"}
        metrics = {"stages": [{}, counts], "interruptions": gaps, "failure": failure if status == "failed" else None}
        for state in ("starting", "running", "draining", status):
            advance(self._ws, asked.run_id, state, reason="a test", metrics=metrics)
        self.ran.append(asked)


@pytest.fixture
def target(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Target:
    return Target(ws, monkeypatch)


def following(ws: Workspace, search: CapacitySearch = SEARCH, **changes: Any) -> CapacityRun | None:
    asked: dict[str, Any] = {
        "variant_id": str(VARIANT.id),
        "search": search,
        "seed": 7,
        "most_in_flight": 10_000,
        **changes,
    }
    return next_capacity_run(ws, asked.pop("id", "cap1"), **asked)


def test_a_search_finds_the_limit_set_by_the_workers_and_keeps_it_by_variant(ws: Workspace, target: Target) -> None:
    while (asked := following(ws)) is not None:
        assert following(ws) == asked, "asking again changes nothing"
        target.run(asked)
        ws.clock.sleep(30)
    found = read_capacity(ws, "cap1")
    # Two workers at 0.4 s a job.
    assert 4.5 <= found.per_s <= 5.5  # type: ignore[operator]
    assert found.per_s <= found.high <= found.per_s * Decimal("1.11")  # type: ignore[operator]
    assert len(found.steps) == len(target.ran) <= 10
    assert found.steps[0] == {
        "run_id": "cap1-0",
        "per_s": 1.0,
        "sustained": True,
        "completed_per_s": pytest.approx(1, rel=0.1),
        "why": "every SLO held and no queue grew",
    }
    assert {one.run_id for one in target.ran} == {f"cap1-{number}" for number in range(len(target.ran))}
    assert latest_capacities(ws, [VARIANT.id]) == {VARIANT.id: found}
    assert following(ws) is None
    page = to_markdown(capacity_report(ws, "cap1"))
    assert f"sustains {found.per_s} per second" in page
    assert "what is in flight grew" in page


def test_each_run_is_a_constant_rate_with_warm_up_and_bounded_in_flight(ws: Workspace, target: Target) -> None:
    asked = following(ws, SEARCH.model_copy(update={"slos": ("p95 total_ms < 3000",)}))
    assert asked is not None
    warm_up, counted = asked.scenario.stages
    assert (warm_up.warm_up, warm_up.rate, counted.rate) == (True, 1.0, 1.0)
    assert (warm_up.duration_s, counted.duration_s) == (10, 40), "forty dispatches at least"
    assert asked.scenario.max_in_flight == 2 * 3 + 40
    assert asked.seed == 7
    fast = {"start_per_s": 1000.0}
    for slos in (("p95 total_ms < 5000",), ("failure_rate <= 1%",)):
        asked = following(ws, SEARCH.model_copy(update={**fast, "slos": slos}), most_in_flight=9000, id=slos[0][:3])
        assert asked is not None
        assert asked.scenario.max_in_flight == 9000, "no run of a search is refused for what it asks to have in flight"


def test_a_run_that_was_interrupted_does_not_count_and_is_done_again(ws: Workspace, target: Target) -> None:
    target.interrupted = {1}
    for _ in range(3):
        asked = following(ws)
        assert asked is not None
        target.run(asked)
    rates = [run.scenario.stages[1].rate for run in target.ran]
    assert rates == [1, 2, 2]


def test_a_search_that_has_not_ended_has_no_result_yet(ws: Workspace, target: Target) -> None:
    following(ws)
    found = read_capacity(ws, "cap1")
    assert found.per_s == found.high == Missing("the search has not ended")
    assert latest_capacities(ws, [VARIANT.id]) == {}
    with pytest.raises(NotFound, match="cap2"):
        read_capacity(ws, "cap2")


def test_a_variant_that_sustains_nothing_has_no_capacity_and_the_reason(ws: Workspace, target: Target) -> None:
    search = SEARCH.model_copy(update={"start_per_s": 8.0, "lowest_per_s": 8.0})
    for _ in range(1):
        asked = following(ws, search)
        assert asked is not None
        target.run(asked)
    assert following(ws, search) is None
    found = read_capacity(ws, "cap1")
    assert isinstance(found.per_s, Missing)
    assert "8 per second, the lowest rate of the search, is not sustained" in found.per_s.reason
    assert "sustains no rate" in to_markdown(capacity_report(ws, "cap1"))
    assert found.high == 8


@pytest.mark.parametrize(
    "changes", [{"seed": 8}, {"variant_id": "er:e1:wf:b:env:lab:stage:demo:provider:cpu:exp:base"}]
)
def test_an_id_of_another_search_is_a_conflict(ws: Workspace, changes: dict[str, Any]) -> None:
    following(ws)
    with pytest.raises(Conflict, match="something else"):
        following(ws, **changes)


def test_a_run_that_did_not_complete_or_missed_its_rate_ends_the_search_with_the_reason(
    ws: Workspace, target: Target
) -> None:
    asked = following(ws)
    assert asked is not None
    target.run(asked, sent=99)
    with pytest.raises(RunFailed, match="could not offer 1 per second"):
        following(ws)
    other = next_capacity_run(ws, "cap9", variant_id=str(VARIANT.id), search=SEARCH, seed=1, most_in_flight=9)
    assert other is not None
    target.run(other, status="failed")
    with pytest.raises(RunFailed, match="cap9-0 of the search is failed"):
        next_capacity_run(ws, "cap9", variant_id=str(VARIANT.id), search=SEARCH, seed=1, most_in_flight=9)


@pytest.mark.parametrize("completed", [0, 3])
def test_a_target_that_goes_down_under_a_rate_does_not_sustain_it_and_one_that_was_away_tells_nothing(
    ws: Workspace, engine: FakeEngine, target: Target, completed: int
) -> None:
    asked = following(ws)
    assert asked is not None
    plan(ws, run_id=asked.run_id, scenario=asked.scenario, seed=asked.seed)
    engine.lose_target_in = {completed}
    with pytest.raises(DependencyDown) as lost:
        execute_run(ws, asked.run_id, secret=None)
    assert end_lost_step(ws, asked.run_id, lost.value.as_failure()) is (completed > 0)
    again = following(ws)
    assert again is not None
    if completed:
        assert read_run(ws, asked.run_id).status == "failed"
        assert (again.run_id, again.scenario.stages[1].rate) == ("cap1-1", 0.5), "it tries less"
    else:
        assert again == asked, "the same search goes on when the target is back"


def test_settings_that_do_not_fit_together_are_refused(ws: Workspace) -> None:
    with pytest.raises(InputRefused, match="lowest_per_s"):
        following(ws, SEARCH.model_copy(update={"lowest_per_s": 2000.0}))
    with pytest.raises(InputRefused, match="percentiles and failure_rate"):
        following(ws, SEARCH.model_copy(update={"slos": ("alarms moved < 1",)}))
