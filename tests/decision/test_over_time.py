"""Repeated decisions of a route: what they share, when they are refused, and that nothing is taken twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from pointsman.clock import ManualClock
from pointsman.decision import share_risk
from pointsman.decision.over_time import Draw, held, least_useful
from pointsman.errors import Conflict, GuardRefused, InputRefused
from pointsman.storage import LocalResults, open_database, tables
from pointsman.workspace import Workspace
from tests.decision.comparisons import plan, variant
from tests.decision.judged import BENCHMARK, Judged

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROUTE = str(variant(0).route_key)


@pytest.fixture
def ws(migrated: Path, tmp_path: Path) -> Workspace:
    (tmp_path / "state.db").write_bytes(migrated.read_bytes())
    database = open_database(f"sqlite:///{tmp_path}/state.db", migrate=False)
    return Workspace(database, LocalResults(tmp_path / "results"), ManualClock(START), "somebody")


def repeated(clusters: int = 20, **changes: Any) -> Any:
    return plan(clusters=clusters, **{"alpha_per_year": 0.25, "cooldown_days": 14.0, **changes})


def bind(ws: Workspace, generation: int, status: str = "active") -> None:
    row = {"route_key": ROUTE, "generation": generation, "weights": {}, "status": status, "cause": "a test"}
    row |= {"kind": "apply", "actor": "somebody", "created_at": ws.clock.now()}
    with ws.database.begin() as connection:
        connection.execute(sa.insert(tables.routing_bindings), [row])


def test_the_first_decision_has_the_whole_alpha_and_the_next_day_what_came_in_since(ws: Workspace) -> None:
    first = share_risk(ws, "bm_1", [repeated(), repeated(seed=8)])
    assert [one.alpha for one in first] == [0.05, 0.05]
    ws.clock.sleep(86_400)
    (second,) = share_risk(ws, "bm_2", [repeated()])
    assert second.alpha == pytest.approx(0.2 / 365)
    ws.clock.sleep(7 * 86_400)
    (third,) = share_risk(ws, "bm_3", [repeated()])
    assert third.alpha == pytest.approx(7 * 0.2 / 365)
    ws.clock.sleep(400 * 86_400)
    assert share_risk(ws, "bm_4", [repeated()])[0].alpha == pytest.approx(0.05), "never more than one decision's"


def test_asking_again_for_the_same_benchmark_takes_nothing_more(ws: Workspace) -> None:
    first = share_risk(ws, "bm_1", [repeated()])
    bind(ws, 2)
    ws.clock.sleep(3600)
    assert share_risk(ws, "bm_1", [repeated()]) == first, "not even while the route rests"
    with ws.database.connect() as connection:
        assert len(connection.execute(sa.select(tables.alpha_draws)).all()) == 1


def test_without_a_budget_each_decision_stands_by_itself(ws: Workspace) -> None:
    for number in range(3):
        assert share_risk(ws, f"bm_{number}", [plan()]) == [plan()]
    with ws.database.connect() as connection:
        assert connection.execute(sa.select(tables.alpha_draws)).all() == []


def test_what_could_never_decide_anything_is_refused_before_it_is_measured_and_takes_nothing(ws: Workspace) -> None:
    few = repeated(clusters=8)
    share_risk(ws, "bm_1", [few])
    ws.clock.sleep(86_400)
    with pytest.raises(GuardRefused, match="There is enough from 2026-01-08 03:05 UTC") as refused:
        share_risk(ws, "bm_2", [few])
    assert refused.value.code == "alpha_spent"
    ws.clock.sleep(7 * 86_400)
    (later,) = share_risk(ws, "bm_2", [few])
    assert later.alpha == pytest.approx(8 * 0.2 / 365)
    assert later.alpha >= 2**-8
    nothing_left = repeated(clusters=8, alpha_per_year=0.05)
    with pytest.raises(GuardRefused, match="never again"):
        share_risk(ws, "bm_3", [nothing_left])


def test_too_few_inputs_for_any_decision_are_left_to_the_verdict(ws: Workspace) -> None:
    assert share_risk(ws, "bm_1", [repeated(clusters=3)])[0].alpha == 0.05


def test_other_routes_have_budgets_of_their_own(ws: Workspace) -> None:
    share_risk(ws, "bm_1", [repeated()])
    with ws.database.begin() as connection:
        connection.execute(sa.update(tables.alpha_draws).values(route_key="er:other:env:lab:stage:demo"))
    assert share_risk(ws, "bm_2", [repeated()])[0].alpha == 0.05


@pytest.mark.parametrize(
    ("generation", "status", "rests"),
    [(1, "active", False), (2, "active", True), (3, "rolled_back", True), (2, "failed", False)],
)
def test_a_route_rests_after_a_switch_and_not_after_its_first_binding(
    ws: Workspace, generation: int, status: str, rests: bool
) -> None:
    bind(ws, generation, status)
    ws.clock.sleep(13 * 86_400)
    if not rests:
        assert share_risk(ws, "bm_1", [repeated()])
        return
    with pytest.raises(GuardRefused, match="Decide again from 2026-01-15 00:00 UTC") as refused:
        share_risk(ws, "bm_1", [repeated()])
    assert refused.value.code == "route_resting"
    with pytest.raises(GuardRefused):
        share_risk(ws, "bm_1", [plan(cooldown_days=14.0)])
    ws.clock.sleep(86_400)
    assert share_risk(ws, "bm_1", [repeated()])[0].alpha == 0.05, "and took nothing meanwhile"


def test_a_route_rests_from_when_its_traffic_moved_and_not_from_when_that_was_asked_for(ws: Workspace) -> None:
    bind(ws, 2)
    ws.clock.sleep(13 * 86_400)
    moved = {"entity": "binding", "entity_id": f"{ROUTE}#2", "from_state": "canary", "to_state": "active"}
    with ws.database.begin() as connection:
        kept = {**moved, "at": ws.clock.now(), "reason": "its canary went well", "actor": "somebody"}
        connection.execute(sa.insert(tables.state_transitions), [kept])
    ws.clock.sleep(13 * 86_400)
    with pytest.raises(GuardRefused, match="switched on 2026-01-14 00:00 UTC"):
        share_risk(ws, "bm_1", [repeated()])


def test_a_benchmark_that_another_judge_decided_is_not_decided_again(tmp_path: Path, migrated: Path) -> None:
    judged = Judged(tmp_path, migrated=migrated, rules={"deliveries_per_output": 0, "alpha_per_year": 0.25})
    stored = judged.conclude()
    assert judged.conclude() == stored
    judged.change(tables.verdicts, {"evaluation_set_id": "es_other"}, id=stored.id)
    with pytest.raises(Conflict, match=f"decided about by another judge, {stored.outcome} by {stored.id}") as refused:
        judged.conclude()
    assert refused.value.code == "decided_by_another_judge"


def test_two_that_are_declared_in_one_moment_do_not_both_take_it(ws: Workspace, monkeypatch: Any) -> None:
    share_risk(ws, "bm_1", [repeated()])
    ws.clock.sleep(86_400)

    def other_first(*_: Any) -> float:
        # As if another process had read the same rows and written before.
        return 0.001

    with ws.database.begin() as connection:
        row = {"route_key": ROUTE, "number": 3, "benchmark_id": "bm_other", "alpha": 0.001, "at": ws.clock.now()}
        connection.execute(sa.insert(tables.alpha_draws), [row])
    monkeypatch.setattr("pointsman.decision.over_time.allowance", other_first)
    with pytest.raises(Conflict, match="in this moment"):
        share_risk(ws, "bm_2", [repeated()])


@given(st.floats(0.001, 0.1), st.floats(1, 10), st.lists(st.floats(0, 30), min_size=1, max_size=60), st.integers(0, 60))
def test_any_year_takes_no_more_than_its_budget_however_decisions_are_spaced(
    alpha: float, times: float, gaps: list[float], first: int
) -> None:
    per_year = min(1.0, alpha * times)
    now, draws = START, list[Draw]()
    for gap in gaps:
        now += timedelta(days=gap)
        found = held(alpha, per_year, draws, now)
        assert 0 <= found <= alpha
        draws.append(Draw(now, found))
    begin = draws[min(first, len(draws) - 1)].at
    within = sum(draw.alpha for draw in draws if begin <= draw.at < begin + 365 * DAY)
    assert within <= per_year * (1 + 1e-9)


def test_the_least_useful_alpha_is_what_clusters_and_swaps_can_reach() -> None:
    assert least_useful(repeated(clusters=8)) == 2**-8
    assert least_useful(repeated(clusters=40)) == 1 / 10_001
    assert least_useful(repeated(clusters=40, sequential=True)) == 1e-6, "a plan's least alpha"
    assert least_useful(repeated(clusters=4, sequential=True)) == 1
    assert 0.04 < least_useful(repeated(clusters=6, sequential=True)) < 0.05


def test_what_is_left_for_looks_within_a_minute_is_refused_and_not_taken(ws: Workspace) -> None:
    looks = repeated(clusters=40, sequential=True)
    share_risk(ws, "bm_1", [looks])
    ws.clock.sleep(60)
    with pytest.raises(GuardRefused, match="have taken their share"):
        share_risk(ws, "bm_2", [looks])
    ws.clock.sleep(600)
    assert share_risk(ws, "bm_2", [looks])[0].alpha == pytest.approx(660 * 0.2 / 365 / 86_400)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"alpha_per_year": 0.01}, "alpha_per_year"),
        ({"alpha_per_year": 2}, "alpha_per_year"),
        ({"min_saving": 0.0}, "min_saving"),
        ({"cooldown_days": -1}, "cooldown_days"),
    ],
)
def test_rules_that_make_no_sense_over_time_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputRefused) as refused:
        repeated(**changes)
    assert field in refused.value.field


def test_a_declared_benchmark_decides_with_what_its_route_left_it(migrated: Path, tmp_path: Path) -> None:
    judged = Judged(tmp_path, inputs=12, rules={"alpha_per_year": 0.25, "alpha": 0.02}, migrated=migrated)
    assert judged.plan.alpha == 0.02
    with judged.ws.database.connect() as connection:
        (row,) = connection.execute(sa.select(tables.alpha_draws)).all()
    assert (row.benchmark_id, row.route_key, row.alpha, row.number) == (BENCHMARK, ROUTE, 0.02, 1)
    assert judged.conclude().outcome == "WINNER"
