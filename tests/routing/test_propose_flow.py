"""A matrix that has ended is judged and decided; the binding that a winner asks for waits for somebody's consent."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from prefect import Task

import flows.apply_routing
import flows.propose_routing
import tasks.proposing
import tasks.routing
from flows.propose_routing import REPEATED, ProposeRoutingRequest
from pointsman.errors import GuardRefused
from pointsman.ids import benchmark_id
from pointsman.reporting import to_markdown
from pointsman.routing import (
    FlagdFileGateway,
    RoutingRules,
    apply_binding,
    current,
    history,
    propose_binding,
    set_rules,
)
from pointsman.safety import Identity, Limits, decide_approval, list_approvals, unproven
from pointsman.settings import load_settings
from tasks.economics import Decided
from tasks.routing import Probed
from tests.routing.test_verdicts import verdict
from tests.routing.worlds import ROUTE, A, B, C

MARIA = Identity("maria", "admin", "local")


class Suspended(Exception):
    """The run waits, and starts again from the top when somebody decided."""


@pytest.fixture
def world(ws, tmp_path, monkeypatch):
    """The steps before are given: `outcome` is what the HUD decides, `reports` are what was recorded."""
    gateway = FlagdFileGateway(tmp_path / "flags.json")
    verdict(ws, "v", "WINNER", B)
    state = SimpleNamespace(ws=ws, gateway=gateway, outcome="WINNER", reports=[], asked=[], ran=(A, B))
    for module in (flows.apply_routing, flows.propose_routing):
        for name, value in list(vars(module).items()):
            if isinstance(value, Task):
                monkeypatch.setattr(module, name, value.fn)
    for module in (tasks.routing, tasks.proposing):
        monkeypatch.setattr(module, "open_workspace", lambda: ws)
    monkeypatch.setattr(
        tasks.proposing,
        "matrix_run",
        lambda _ws, bm_id: SimpleNamespace(
            variants=[SimpleNamespace(id=one) for one in state.ran], input_set_id="pictures"
        ),
    )
    monkeypatch.setattr(tasks.routing, "open_gateway", lambda *_: gateway)
    monkeypatch.setattr(tasks.routing, "requester_of", lambda _ws: unproven("flow-run:1"))
    monkeypatch.setattr(tasks.routing, "record_report", lambda key, report: state.reports.append((key, report)))
    monkeypatch.setattr(flows.apply_routing, "enter_with_change", lambda *_, **__: None)
    monkeypatch.setattr(flows.apply_routing, "probe", seen_by_all)
    monkeypatch.setattr(
        flows.propose_routing, "declare_plans", lambda bm_id, **asked: state.asked.append((bm_id, asked))
    )
    monkeypatch.setattr(flows.propose_routing.evaluate_quality, "fn", lambda asked: state.asked.append(asked) or "set")

    def decided(asked):
        state.asked.append(asked)
        return Decided(verdict_id="v", outcome=state.outcome, winner=str(B) if state.outcome == "WINNER" else None)

    def wait(admission):
        if admission.approval.decision is None:
            raise Suspended

    monkeypatch.setattr(flows.propose_routing, "check_measured", state.asked.append)
    monkeypatch.setattr(flows.propose_routing, "decide_and_show", decided)
    monkeypatch.setattr(flows.apply_routing, "await_decision", wait)
    serve_a(state)
    return state


def seen_by_all(moved, run_id, target, *_):
    assert (run_id, target) == ("run1", "relay")
    return moved.model_copy(update={"probe": Probed(passed=True, seen=moved.after, generations=(2,), why="")})


def serve_a(world):
    request = {"route_key": ROUTE, "weights": {A: 100}, "expected": None, "cause": "first", "idempotency_key": "1"}
    apply_binding(world.ws, world.gateway, **request)


def propose():
    return flows.propose_routing.propose_routing.fn(ProposeRoutingRequest(of_run="run1", target="relay"))


def decide(world, decision="approved"):
    (waits,) = list_approvals(world.ws)
    decide_approval(world.ws, waits.id, MARIA, decision, reason="", limits=Limits.of(load_settings()))
    return waits


def test_a_winner_waits_for_consent_and_serves_once_somebody_agreed(world):
    with pytest.raises(Suspended):
        propose()
    assert [one.status for one in history(world.ws, ROUTE)] == ["awaiting_approval", "active"]
    ((key, report),) = world.reports
    shown = to_markdown(report)
    (waits,) = list_approvals(world.ws)
    assert key == "routing-change"
    assert "would go to x265@lab-cpu; now it goes to x264@lab-cpu" in report.summary
    assert f"pointsman approve {waits.id} --reject" in shown
    assert f"{waits.expires_at:%F %T} UTC" in shown
    decide(world)
    done = propose()
    assert (done.change.before, done.change.after, done.change.generation) == ({str(A): 100}, {str(B): 100}, 2)
    assert done.why == ""
    assert current(world.ws, ROUTE) == world.gateway.read(ROUTE)
    assert current(world.ws, ROUTE).weights == {B: 100}


def test_the_plan_is_declared_before_anything_is_judged_and_shares_the_risk_of_a_year(world):
    with pytest.raises(Suspended):
        propose()
    (bm_id, declared), judged, checked, priced = world.asked
    assert bm_id == checked == benchmark_id("run1")
    assert declared["incumbent"] == judged.incumbent == priced.incumbent == str(A)
    assert declared["rules"] == REPEATED.model_dump()
    assert (REPEATED.alpha_per_year, REPEATED.cooldown_days) == (0.25, 14)


def test_a_rejected_change_is_not_made(world):
    with pytest.raises(Suspended):
        propose()
    decide(world, "rejected")
    with pytest.raises(GuardRefused, match="rejected by maria"):
        propose()
    assert [one.status for one in history(world.ws, ROUTE)] == ["aborted", "active"]


def test_the_same_event_for_another_run_judges_nothing_and_asks_for_nothing(world, monkeypatch):
    with pytest.raises(Suspended):
        propose()
    (waits,) = list_approvals(world.ws)
    monkeypatch.setattr(tasks.proposing, "open_workspace", lambda: replace(world.ws, actor="flow-run:2"))
    asked = len(world.asked)
    again = propose()
    assert (again.decided, again.change) == (None, None)
    assert again.why == f"It was asked for before; generation 2 waits: pointsman approve {waits.id}"
    decide(world)
    assert propose().why == "It was asked for before; generation 2 is awaiting approval."
    assert (len(world.asked), len(world.reports), len(history(world.ws, ROUTE))) == (asked, 1, 2)


def test_a_change_of_somebody_else_in_the_meantime_is_not_undone_by_consent(world):
    with pytest.raises(Suspended):
        propose()
    apply_binding(
        world.ws, world.gateway, route_key=ROUTE, weights={C: 100}, expected=1, cause="by hand", idempotency_key="hand"
    )
    with pytest.raises(GuardRefused, match=r"generation 2|overtaken") as refused:
        propose()
    assert refused.value.code == "routing_overtaken"
    assert current(world.ws, ROUTE).weights == {C: 100}


def test_what_speaks_against_a_change_is_said_and_nobody_is_asked(world):
    set_rules(world.ws, ROUTE, RoutingRules(max_shift_percent=25), MARIA)
    found = propose()
    assert "100 % of the traffic" in found.why
    assert (found.change.before, found.change.after, found.change.generation) == ({str(A): 100}, {str(B): 100}, None)
    ((_, report),) = world.reports
    shown = to_markdown(report)
    assert "100 % of the traffic" in shown
    assert "pointsman route apply --verdict v" in shown
    assert len(history(world.ws, ROUTE)) == 1
    assert list_approvals(world.ws) == []


def test_a_change_that_a_person_asked_for_is_not_overtaken(world):
    set_rules(world.ws, ROUTE, RoutingRules(approval=True), MARIA)
    by_hand = {"route_key": ROUTE, "weights": {C: 100}, "expected": 1, "cause": "by hand", "idempotency_key": "hand"}
    propose_binding(world.ws, world.gateway, **by_hand, requester=MARIA)
    assert propose().why == f"Generation 2 of {ROUTE} is under way: awaiting approval."
    with pytest.raises(GuardRefused) as refused:
        propose_binding(
            world.ws, world.gateway, **{**by_hand, "idempotency_key": "other"}, requester=MARIA, ask_first=True
        )
    assert refused.value.code == "change_under_way"
    assert [one.status for one in history(world.ws, ROUTE)] == ["awaiting_approval", "active"]
    world.ws.clock.sleep(25 * 3600)
    with pytest.raises(Suspended):
        propose()


def test_in_production_a_person_names_it(world, monkeypatch):
    monkeypatch.setattr("pointsman.routing.proposals.in_production", lambda *_: True)
    assert propose().why == "lab is production, which a person has to name."
    ((_, report),) = world.reports
    assert "pointsman route apply --verdict v --production lab" in to_markdown(report)


def test_without_a_winner_nothing_is_proposed(world):
    world.outcome = "EQUIVALENT"
    found = propose()
    assert (found.change, found.why) == (None, "The verdict is EQUIVALENT.")
    assert world.reports == []


@pytest.mark.parametrize(
    ("ran", "code", "words"),
    [((B, C), "no_incumbent", "did not run it"), ((A,), "no_challenger", "nothing but what serves")],
)
def test_a_matrix_without_the_incumbent_or_a_challenger_is_not_judged(world, ran, code, words):
    world.ran = ran
    with pytest.raises(GuardRefused, match=words) as refused:
        propose()
    assert refused.value.code == code
    assert world.asked == []


def test_a_route_that_several_variants_serve_has_no_incumbent(world):
    split = {"route_key": ROUTE, "expected": 1, "cause": "split", "idempotency_key": "2"}
    apply_binding(world.ws, world.gateway, weights={A: 50, B: 50}, **split)
    with pytest.raises(GuardRefused, match="none to compare with"):
        propose()
    assert world.asked == []
