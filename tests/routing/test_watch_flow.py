"""The flow of a watch: a kept promise confirms the switch, a broken one is drift and, where allowed, goes back."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest
from prefect import Task

import flows.watch_routing
import tasks.production
import tasks.routing
import tasks.watch
import tasks.watched
from flows.watch_routing import WatchRoutingRequest
from pointsman.actions import ActionLog
from pointsman.benchmark import InputFile, register_input_set, set_enabled
from pointsman.decision import decide, store_verdict, verdict_document
from pointsman.dispatch import TargetSpec
from pointsman.economics import PriceBook
from pointsman.errors import Cancelled, GuardRefused, InputRefused, NotFound, RunFailed
from pointsman.model import Binding, Missing
from pointsman.quality import JudgeIdentity
from pointsman.reporting import to_markdown
from pointsman.routing import (
    BindingRequest,
    FlagdFileGateway,
    RoutingRules,
    apply_binding,
    binding_for_verdict,
    confirm,
    current,
    open_hold,
    rollback,
    set_rules,
)
from pointsman.safety import Identity, unproven
from pointsman.scenario.readings import Brake
from tests.decision import comparisons
from tests.routing.test_promise import routed
from tests.routing.worlds import ROUTE, A, B, C

ADMIN = Identity("maria", "admin", "local")
REQUEST = WatchRoutingRequest(route_key=str(ROUTE), input_set="pictures", run_id="look")


@pytest.fixture
def world(ws, tmp_path, monkeypatch):
    """B serves by a verdict, A is held; `jobs` are what routed jobs would have met, `cells` the mirrored ones."""
    gateway = FlagdFileGateway(tmp_path / "flags.json")
    picture = tmp_path / "picture.ppm"
    picture.write_bytes(b"P6 2 2 255\n" + bytes(12))
    register_input_set(ws, "pictures", [InputFile(picture, "one", "picture")])
    plan = replace(comparisons.plan(1, 10), incumbent=A, challengers=(B,))
    data = comparisons.measured(plan, cost=lambda cell: "0.01" if cell[0] == 0 else "0.005")
    found = decide(plan, data)
    store_verdict(
        ws,
        verdict_id="v",
        benchmark_id="bm_1",
        evaluation_set_id="set_1",
        route_key=ROUTE,
        plan=plan,
        verdict=found,
        document=verdict_document(plan, data, found),
    )
    apply_binding(ws, gateway, BindingRequest(ROUTE, {A: 100}, None, "test", "1"))
    wanted = binding_for_verdict(ws, "v").weights
    apply_binding(ws, gateway, BindingRequest(ROUTE, wanted, 1, "test", "2", verdict_id="v"))
    state = SimpleNamespace(ws=ws, gateway=gateway, jobs=routed(), cells=data, reports=[])
    state.meanwhile, state.mirrors = lambda: None, lambda: "bm_2"
    for name, value in list(vars(flows.watch_routing).items()):
        if isinstance(value, Task):
            monkeypatch.setattr(flows.watch_routing, name, value.fn)
    for module in (tasks.watch, tasks.routing, tasks.production):
        monkeypatch.setattr(module, "open_workspace", lambda: ws)
    for module in (tasks.watch, tasks.routing):
        monkeypatch.setattr(module, "open_gateway", lambda *_: gateway)
    monkeypatch.setattr(tasks.production, "requester_of", lambda _ws: unproven("flow-run:1"))
    lab = TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:1")
    monkeypatch.setattr(tasks.watch, "open_target", lambda _name: lab)
    monkeypatch.setattr(tasks.watch, "open_price_book", lambda _name: PriceBook.load())
    monkeypatch.setattr(tasks.watch, "executor_secret", lambda: None)
    monkeypatch.setattr(tasks.watch, "record_report", lambda key, report: state.reports.append((key, report)))
    monkeypatch.setattr(tasks.watched, "open_price_book", lambda _name: PriceBook.load())

    def sent(*_, binding, **__):
        state.meanwhile()
        return state.jobs.with_columns(generation=pl.lit(binding.generation))

    monkeypatch.setattr(tasks.watch.routing, "sample_route", sent)
    monkeypatch.setattr(flows.watch_routing.benchmark_matrix, "fn", lambda _: state.mirrors())
    monkeypatch.setattr(flows.watch_routing.evaluate_quality, "fn", lambda _: "set_2")
    monkeypatch.setattr(tasks.watch, "measurements", lambda *_, **__: state.cells)
    judged = SimpleNamespace(identity=JudgeIdentity(**plan.judge))
    state.judged = judged
    monkeypatch.setattr(tasks.watch, "evaluation_set", lambda *_: state.judged)
    return state


def watch(**more):
    return flows.watch_routing.watch_routing.fn(REQUEST.model_copy(update=more))


def drifts(world, event="routing_drift"):
    return [one for one in ActionLog(world.ws).read() if one.event == event]


def states(found):
    return {one["name"]: one["state"] for one in found.promises}


def shown(world):
    """The artifact of the last look."""
    key, report = world.reports[-1]
    assert key == "routing-change"
    return to_markdown(report)


def test_a_promise_that_is_kept_confirms_the_switch_once_its_time_is_over(world):
    found = watch()
    assert {one["name"]: one["state"] for one in found.promises} == dict.fromkeys(
        ("failures", "latency", "cost", "quality"), "kept"
    )
    assert (found.gateway, found.broken, found.confirmed) == ("agrees", "", False)
    assert open_hold(world.ws, ROUTE).variants == {A: 100}
    world.ws.clock.sleep(24 * 3600)
    assert watch().confirmed
    assert open_hold(world.ws, ROUTE) is None
    assert drifts(world) == []


def test_without_mirrored_jobs_cost_and_quality_are_not_measured(world):
    world.ws.clock.sleep(25 * 3600)
    found = watch(mirror=False)
    assert states(found) == {
        "failures": "kept",
        "latency": "kept",
        "cost": "not measured",
        "quality": "not measured",
    }
    assert not found.confirmed, "half of the promise is no reason to let go of what served before"
    assert "too little is known of cost, quality" in shown(world)
    assert "no mirrored jobs were asked for" in shown(world)
    assert "to be confirmed from" in shown(world)


def test_a_broken_promise_is_drift_that_names_it_and_what_to_do(world):
    world.jobs = routed(20, 20)
    with pytest.raises(RunFailed, match=r"promised 100\.0% succeed") as failed:
        watch()
    assert failed.value.code == "routing_drift"
    assert failed.value.instruction == f"pointsman route rollback {ROUTE}"
    (drift,) = drifts(world)
    assert "failures: promised" in drift.data["why"]
    assert current(world.ws, ROUTE).weights == {B: 100}, "nothing let it go back by itself"


def test_where_the_rules_let_it_a_broken_promise_goes_back_by_itself(world):
    set_rules(world.ws, ROUTE, RoutingRules(auto_rollback=True), ADMIN)
    world.cells = [replace(cell, cost_usd=cell.cost_usd * 3) for cell in world.cells]
    with pytest.raises(RunFailed, match=r"cost: promised .*Generation 3 has the old content again"):
        watch()
    assert current(world.ws, ROUTE) == world.gateway.read(ROUTE)
    assert current(world.ws, ROUTE).weights == {A: 100}
    assert [one.event for one in ActionLog(world.ws).read(limit=2)] == ["routing_rolled_back", "routing_drift"]
    assert "Generation 3 has the old content again" in shown(world)
    assert "pointsman route rollback" not in shown(world)
    assert watch().variant is None, "what was gone back to promised nothing"
    assert "no verdict promised anything of it" in shown(world)
    assert current(world.ws, ROUTE).generation == 3


def test_nothing_goes_back_by_itself_to_what_was_disabled(world):
    set_rules(world.ws, ROUTE, RoutingRules(auto_rollback=True), ADMIN)
    confirm(world.ws, ROUTE, "by hand")
    set_enabled(world.ws, A, enabled=False)
    world.jobs = routed(20, 20)
    with pytest.raises(RunFailed, match="promised") as failed:
        watch()
    assert failed.value.instruction == f"pointsman route rollback {ROUTE}"
    assert current(world.ws, ROUTE).weights == {B: 100}


def test_nothing_goes_back_by_itself_to_where_nobody_could_serve(world, monkeypatch):
    set_rules(world.ws, ROUTE, RoutingRules(auto_rollback=True), ADMIN)
    monkeypatch.setattr(world.gateway, "unready", lambda _key, weights: "has no targets" if weights.get(A) else "")
    world.jobs = routed(20, 20)
    with pytest.raises(RunFailed, match="promised"):
        watch()
    assert current(world.ws, ROUTE).weights == {B: 100}


def test_a_gateway_changed_behind_our_back_is_drift_and_is_restored_where_the_rules_let_it(world):
    world.gateway.publish(Binding(ROUTE, 9, {A: 100}, "by hand"), expected=2)
    with pytest.raises(
        RunFailed,
        match="does not agree: the state of record has generation 2, the gateway shows gen",
    ) as failed:
        watch()
    assert failed.value.instruction == f"pointsman route show {ROUTE} --drift --restore"
    set_rules(world.ws, ROUTE, RoutingRules(auto_restore=True), ADMIN)
    assert watch().gateway == "restored"
    assert world.gateway.read(ROUTE) == current(world.ws, ROUTE)
    assert current(world.ws, ROUTE).weights == {B: 100}


def test_a_route_without_a_binding_cannot_be_watched(world):
    with pytest.raises(NotFound):
        watch(route_key="er:postcard-2:env:lab:stage:demo")


def test_the_jobs_of_a_watch_pass_the_guard_of_production_and_its_brakes_stop_them(world, monkeypatch):
    refused = GuardRefused("The run breaks a rule.", code="production_refused")

    def refuse(route_key, variant, run_id, *, jobs, production, **_):
        assert (route_key, variant, run_id, jobs, production) == (str(ROUTE), str(B), "look", 20, "prod")
        raise refused

    rings = Brake("alarm_rings", "In ALARM: effects-5xx.")
    monkeypatch.setattr(tasks.watch.routing, "sample_route", lambda *_, **__: rings)
    with pytest.raises(RunFailed, match="was stopped in production: In ALARM") as stopped:
        watch()
    assert stopped.value.code == "alarm_rings"
    monkeypatch.setattr(flows.watch_routing, "enter_with_watch", refuse)
    with pytest.raises(GuardRefused) as caught:
        watch(production="prod")
    assert caught.value is refused
    assert drifts(world) == []


def test_the_same_drift_is_told_once_a_day_and_its_end_as_well(world):
    good, world.jobs = world.jobs, routed(20, 20)
    for _ in range(8):
        world.ws.clock.sleep(900)
        with pytest.raises(RunFailed):
            watch()
    assert len(drifts(world)) == 1
    world.cells = [replace(cell, cost_usd=cell.cost_usd * 3) for cell in world.cells]
    with pytest.raises(RunFailed):
        watch()
    assert len(drifts(world)) == 2, "another promise is broken as well"
    world.ws.clock.sleep(24 * 3600)
    with pytest.raises(RunFailed):
        watch()
    assert len(drifts(world)) == 3
    world.jobs, world.cells = good, [replace(cell, cost_usd=cell.cost_usd / 3) for cell in world.cells]
    watch()
    watch()
    (ended,) = drifts(world, "routing_drift_ended")
    assert "failures: promised" in ended.data["why"]
    world.jobs = routed(20, 20)
    with pytest.raises(RunFailed):
        watch()
    assert len(drifts(world)) == 4, "it came back"


def test_a_gateway_that_stays_changed_is_told_once(world):
    world.gateway.publish(Binding(ROUTE, 9, {A: 100}, "by hand"), expected=2)
    for _ in range(3):
        with pytest.raises(RunFailed):
            watch()
    assert [one.data["about"] for one in drifts(world)] == ["gateway"]
    assert "--drift --restore" in shown(world)


def test_routed_jobs_that_ran_on_what_has_no_share_are_drift_and_no_reason_to_go_back(world):
    set_rules(world.ws, ROUTE, RoutingRules(auto_rollback=True), ADMIN)
    world.jobs = routed(15, elsewhere=5)
    with pytest.raises(RunFailed, match=r"5 of 20 routed jobs did not follow generation 2: 5 on x264@lab-cpu"):
        watch()
    assert [one.data["about"] for one in drifts(world)] == ["jobs"]
    assert current(world.ws, ROUTE).generation == 2


def test_a_route_that_changes_in_the_middle_of_a_look_has_not_drifted(world):
    set_rules(world.ws, ROUTE, RoutingRules(auto_rollback=True), ADMIN)
    world.jobs = routed(0, refused=20)
    new = BindingRequest(ROUTE, {C: 100}, 2, "by hand", "3")
    world.meanwhile = lambda: apply_binding(world.ws, world.gateway, new)
    found = watch()
    assert (found.overtaken_by, found.rolled_back_to, found.confirmed) == (3, None, False)
    assert drifts(world) == []
    assert current(world.ws, ROUTE).weights == {C: 100}
    assert "Generation 3 took over from 2 in the middle of the look" in shown(world)


def test_whoever_changes_the_route_just_before_a_watch_goes_back_wins(world, monkeypatch):
    set_rules(world.ws, ROUTE, RoutingRules(auto_rollback=True), ADMIN)
    world.jobs = routed(20, 20)
    go_back = flows.watch_routing.roll_back

    def too_late(*args):
        apply_binding(world.ws, world.gateway, BindingRequest(ROUTE, {C: 100}, 2, "by hand", "3"))
        return go_back(*args)

    monkeypatch.setattr(flows.watch_routing, "roll_back", too_late)
    found = watch()
    assert (found.overtaken_by, found.rolled_back_to) == (3, None)
    assert current(world.ws, ROUTE).weights == world.gateway.read(ROUTE).weights == {C: 100}
    assert "Generation 3 took over from 2" in shown(world)


def test_a_promise_of_a_model_that_has_changed_is_held_but_confirms_nothing(world, monkeypatch):
    world.ws.clock.sleep(25 * 3600)
    why = "v1 was measured, and 2026-01-02 it was v2"
    changed = {str(B): why, str(A): "another one"}
    monkeypatch.setattr(sys.modules["pointsman.routing.promised"], "changed_since", lambda *_: changed)
    found = watch()
    assert (found.expired, found.confirmed) == (why, False)
    assert why in shown(world)
    world.jobs = routed(20, 20)
    with pytest.raises(RunFailed, match="failures: promised"):
        watch()


def test_qualities_of_another_judge_are_not_held_against_the_verdict(world):
    world.cells = [replace(cell, quality=cell.quality - 50) for cell in world.cells]
    world.judged = SimpleNamespace(identity=JudgeIdentity("gemini", "flash", "d" * 64))
    found = watch()
    assert states(found)["quality"] == "not measured"
    assert "the verdict rests on local (vmaf, rubric cccccccc), and these were judged by gemini (flash" in shown(world)


def test_a_cost_that_is_not_known_yet_is_said_so(world):
    world.cells = [replace(cell, cost_usd=Missing("the bill of lab-spot comes tomorrow")) for cell in world.cells]
    assert states(watch())["cost"] == "not measured"
    assert "the bill of lab-spot comes tomorrow" in shown(world)


def test_what_ends_the_mirrored_jobs_is_no_drift_and_hides_none(world):
    def over():
        raise RunFailed("The benchmark has cost 3 USD; 2 USD may be spent.", code="budget_exceeded")

    world.mirrors = over
    with pytest.raises(RunFailed) as failed:
        watch()
    assert failed.value.code == "budget_exceeded"
    assert drifts(world) == []
    assert "The benchmark has cost 3 USD" in shown(world)
    world.jobs = routed(20, 20)
    with pytest.raises(RunFailed) as failed:
        watch()
    assert failed.value.code == "routing_drift"

    def stopped():
        raise Cancelled("Somebody stopped it.")

    world.mirrors, before = stopped, len(world.reports)
    with pytest.raises(Cancelled):
        watch()
    assert len(world.reports) == before


def test_a_variant_that_was_disabled_is_given_no_mirrored_jobs_and_its_routed_ones_still_count(world):
    def disabled():
        raise InputRefused("variant", str(B), "an enabled one")

    world.mirrors, world.jobs = disabled, routed(20, 20)
    with pytest.raises(RunFailed, match="failures: promised"):
        watch()
    world.jobs = routed()
    with pytest.raises(InputRefused, match="an enabled one"):
        watch()


def test_a_canary_and_a_split_have_no_promise_and_say_why(world):
    apply_binding(world.ws, world.gateway, BindingRequest(ROUTE, {A: 50, B: 50}, 2, "split", "3"))
    world.ws.clock.sleep(25 * 3600)
    found = watch()
    assert (found.variant, found.confirmed, found.promises) == (None, False, ())
    assert "as several variants share the traffic; the gateway agrees" in shown(world)
    apply_binding(world.ws, world.gateway, BindingRequest(ROUTE, {C: 100}, 3, "go", "4", steps=(5, 100)))
    assert watch().nothing_promised == "a canary is under way, which is looked at by itself"


def test_what_was_gone_back_to_keeps_its_promise_and_is_not_taken_back_by_itself(world):
    set_rules(world.ws, ROUTE, RoutingRules(auto_rollback=True), ADMIN)
    apply_binding(world.ws, world.gateway, BindingRequest(ROUTE, {C: 100}, 2, "by hand", "3"))
    back = {"route_key": ROUTE, "expected": 3, "idempotency_key": "4", "reason": "worse"}
    rollback(world.ws, world.gateway, **back)
    assert (watch().generation, watch().variant) == (4, str(B))
    world.jobs = routed(20, 20)
    with pytest.raises(RunFailed, match="failures: promised") as failed:
        watch()
    assert failed.value.instruction == f"pointsman route rollback {ROUTE}"
    assert current(world.ws, ROUTE).generation == 4, "C and B would take turns"


def test_going_back_after_a_restore_goes_to_what_served_before_it(world):
    set_rules(world.ws, ROUTE, RoutingRules(auto_rollback=True, auto_restore=True), ADMIN)
    world.gateway.publish(Binding(ROUTE, 9, {A: 100}, "by hand"), expected=2)
    assert watch().gateway == "restored"
    world.jobs = routed(20, 20)
    with pytest.raises(RunFailed, match="has the old content again"):
        watch(run_id="later")
    assert current(world.ws, ROUTE).weights == {A: 100}
