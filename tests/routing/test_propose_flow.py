"""A matrix that has ended is judged and decided; the binding that a winner asks for waits for somebody's consent."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID

import pytest
from prefect import Task
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Paused, Running

import flows.apply_routing
import flows.propose_routing
import tasks.proposing
import tasks.routing
from flows.propose_routing import REPEATED, ProposeRoutingRequest
from pointsman.actions import ActionLog
from pointsman.errors import DependencyDown, GuardRefused
from pointsman.ids import benchmark_id
from pointsman.reporting import to_markdown
from pointsman.routing import (
    BindingRequest,
    FlagdFileGateway,
    RoutingRules,
    apply_binding,
    current,
    history,
    propose_binding,
    set_rules,
)
from pointsman.safety import Identity, Limits, decide_approval, list_approvals, read_approval, unproven
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


@pytest.fixture
def runs(world, monkeypatch):
    """`runs.at_work(who)` lets that flow run act from now on; `runs.states` is how the Prefect server has them."""
    found = SimpleNamespace(states={}, at_work=None, meanwhile=lambda: None)

    def at_work(who):
        found.states.setdefault(who, Running())
        world.ws = replace(world.ws, actor=f"flow-run:{who}")
        for module in (tasks.routing, tasks.proposing):
            monkeypatch.setattr(module, "open_workspace", lambda ws=world.ws: ws)

    def read_flow_run(who):
        if who not in found.states:
            raise ObjectNotFound(Exception("404"))
        state = found.states[who]
        found.meanwhile()
        return SimpleNamespace(state=state)

    server = SimpleNamespace(read_flow_run=read_flow_run)
    monkeypatch.setattr(tasks.proposing, "get_client", lambda sync_client: nullcontext(server))
    found.at_work = at_work
    return found


def seen_by_all(moved, run_id, target, *_):
    assert (run_id, target) == ("run1", "relay")
    return moved.model_copy(update={"probe": Probed(passed=True, seen=moved.after, generations=(2,), why="")})


def serve_a(world):
    apply_binding(world.ws, world.gateway, BindingRequest(ROUTE, {A: 100}, None, "first", "1"))


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


FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))


def asked_by_the_first(runs):
    runs.at_work(FIRST)
    with pytest.raises(Suspended):
        propose()


@pytest.mark.parametrize("state", [Paused(), Running(), Cancelling(), Completed()])
def test_the_same_event_for_another_run_judges_nothing_and_asks_for_nothing(world, runs, state):
    asked_by_the_first(runs)
    (waits,) = list_approvals(world.ws)
    asked = len(world.asked)
    runs.states[FIRST] = state
    runs.at_work(SECOND)
    again = propose()
    assert (again.decided, again.change) == (None, None)
    assert again.why == f"It was asked for before; generation 2 waits: pointsman approve {waits.id}"
    decide(world)
    assert propose().why == "It was asked for before; generation 2 is approved; another run makes it."
    assert (len(world.asked), len(world.reports), len(history(world.ws, ROUTE))) == (asked, 1, 2)


DEAD = [Crashed(), Failed(), Cancelled(), None]


@pytest.mark.parametrize("state", DEAD, ids=["crashed", "failed", "cancelled", "deleted"])
def test_what_was_approved_is_made_by_another_run_when_the_one_that_asked_has_died(world, runs, state):
    asked_by_the_first(runs)
    approved = decide(world)
    runs.states[FIRST] = state
    if state is None:
        del runs.states[FIRST]
    runs.at_work(SECOND)
    done = propose()
    assert (done.change.after, done.change.generation, done.change.probe.passed) == ({str(B): 100}, 2, True)
    assert [(one.status, one.actor) for one in history(world.ws, ROUTE)] == [
        ("active", f"flow-run:{FIRST}"),
        ("superseded", "tester"),
    ]
    now = read_approval(world.ws, approved.id)
    assert (now.requester, now.decided_by, now.waiter) == ("flow-run:1", "maria", f"flow-run:{SECOND}")
    assert current(world.ws, ROUTE) == world.gateway.read(ROUTE)
    runs.states[SECOND] = Completed()
    runs.at_work(THIRD)
    assert propose().why == "It was asked for before; generation 2 is active."


def test_whoever_takes_the_place_of_a_run_that_died_waits_for_the_same_consent(world, runs):
    asked_by_the_first(runs)
    runs.states[FIRST] = Crashed()
    runs.at_work(SECOND)
    with pytest.raises(Suspended):
        propose()
    waits = decide(world)
    assert waits.waiter == f"flow-run:{SECOND}", "who decides wakes the run that waits now"
    runs.at_work(FIRST)
    assert propose().why == "It was asked for before; generation 2 is approved; another run makes it."
    runs.at_work(SECOND)
    assert propose().change.generation == 2


def test_of_two_runs_that_find_the_same_one_dead_one_goes_on(world, runs):
    asked_by_the_first(runs)
    decide(world)
    runs.states[FIRST] = Crashed()
    made = []

    def the_other_is_faster():
        runs.meanwhile = lambda: None
        runs.at_work(SECOND)
        made.append(propose())

    runs.meanwhile = the_other_is_faster
    runs.at_work(THIRD)
    again = propose()
    assert made[0].change.generation == 2
    assert (again.change, again.why) == (
        None,
        "It was asked for before; generation 2 is approved; another run makes it.",
    )
    told = [one for one in ActionLog(world.ws).read() if one.event == "routing_applied"]
    assert [one.data["generation"] for one in told] == [2, 1]


@pytest.mark.parametrize(
    ("where", "left"), [((FlagdFileGateway, "publish"), "applying"), ((flows.apply_routing, "probe"), "active")]
)
def test_what_a_run_began_to_make_and_left_is_made_and_proved(world, runs, monkeypatch, where, left):
    asked_by_the_first(runs)
    decide(world)
    with monkeypatch.context() as patch:
        patch.setattr(*where, gone)
        with pytest.raises(DependencyDown):
            propose()
    assert history(world.ws, ROUTE)[0].status == left
    runs.states[FIRST] = Crashed()
    runs.at_work(SECOND)
    assert propose().change.probe.passed
    assert [one.status for one in history(world.ws, ROUTE)] == ["active", "superseded"]


@pytest.mark.parametrize("how", ["rejected", "expired"])
def test_what_did_not_get_consent_is_made_by_nobody(world, runs, how):
    asked_by_the_first(runs)
    (waits,) = list_approvals(world.ws)
    if how == "rejected":
        decide(world, how)
    else:
        world.ws.clock.sleep(25 * 3600)
    runs.states[FIRST] = Crashed()
    runs.at_work(SECOND)
    assert propose().why == f"It was asked for before; generation 2 was not made: {waits.id} is {how}."
    runs.at_work(FIRST)
    with pytest.raises(GuardRefused, match=f"is {how}") as refused:
        propose()
    assert refused.value.code == f"approval_{how}"
    runs.at_work(SECOND)
    assert propose().why == "It was asked for before; generation 2 is aborted."
    assert current(world.ws, ROUTE).weights == {A: 100}


def gone(*_args, **_more):
    raise DependencyDown("Nobody answers.", instruction="pointsman doctor")


def test_a_change_of_somebody_else_in_the_meantime_is_not_undone_by_consent(world):
    with pytest.raises(Suspended):
        propose()
    apply_binding(world.ws, world.gateway, BindingRequest(ROUTE, {C: 100}, 1, "by hand", "hand"))
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
    by_hand = BindingRequest(ROUTE, {C: 100}, 1, "by hand", "hand", requester=MARIA)
    propose_binding(world.ws, world.gateway, by_hand)
    assert propose().why == f"Generation 2 of {ROUTE} is under way: awaiting approval."
    with pytest.raises(GuardRefused) as refused:
        propose_binding(world.ws, world.gateway, replace(by_hand, idempotency_key="other", ask_first=True))
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
    apply_binding(world.ws, world.gateway, BindingRequest(ROUTE, {A: 50, B: 50}, 1, "split", "2"))
    with pytest.raises(GuardRefused, match="none to compare with"):
        propose()
    assert world.asked == []
