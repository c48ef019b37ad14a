"""The flow of a watch: a kept promise confirms the switch, a broken one is drift and, where allowed, goes back."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from prefect import Task

import flows.watch_routing
import tasks.production
import tasks.routing
import tasks.watch
from flows.watch_routing import WatchRoutingRequest
from pointsman.actions import ActionLog
from pointsman.benchmark import InputFile, register_input_set
from pointsman.decision import decide, store_verdict, verdict_document
from pointsman.dispatch import TargetSpec
from pointsman.economics import PriceBook
from pointsman.errors import GuardRefused, NotFound, RunFailed
from pointsman.model import Binding
from pointsman.routing import (
    FlagdFileGateway,
    RoutingRules,
    apply_binding,
    binding_for_verdict,
    current,
    open_hold,
    set_rules,
)
from pointsman.safety import Identity, unproven
from pointsman.scenario.readings import Brake
from tests.decision import comparisons
from tests.routing.test_promise import routed
from tests.routing.worlds import ROUTE, A, B

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
    request = {"route_key": ROUTE, "cause": "test"}
    apply_binding(ws, gateway, weights={A: 100}, expected=None, idempotency_key="1", **request)
    wanted = binding_for_verdict(ws, "v").weights
    apply_binding(ws, gateway, weights=wanted, expected=1, idempotency_key="2", verdict_id="v", **request)
    state = SimpleNamespace(ws=ws, gateway=gateway, jobs=routed(), cells=data)
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
    monkeypatch.setattr(tasks.watch, "record_report", lambda *_: None)
    monkeypatch.setattr(
        tasks.watch.routing,
        "sample_route",
        lambda *_, **asked: state.jobs.with_columns(generation=asked["binding"].generation),
    )
    monkeypatch.setattr(flows.watch_routing.benchmark_matrix, "fn", lambda _: "bm_2")
    monkeypatch.setattr(flows.watch_routing.evaluate_quality, "fn", lambda _: "set_2")
    monkeypatch.setattr(tasks.watch, "measurements", lambda *_, **__: state.cells)
    return state


def watch(**more):
    return flows.watch_routing.watch_routing.fn(REQUEST.model_copy(update=more))


def drifts(world):
    return [one for one in ActionLog(world.ws).read() if one.event == "routing_drift"]


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
    found = watch(mirror=False)
    assert {one["name"]: one["state"] for one in found.promises} == {
        "failures": "kept",
        "latency": "kept",
        "cost": "not measured",
        "quality": "not measured",
    }


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
    assert watch().variant is None, "what was gone back to promised nothing"


def test_a_gateway_changed_behind_our_back_is_drift_and_is_restored_where_the_rules_let_it(world):
    world.gateway.publish(Binding(ROUTE, 9, {A: 100}, "by hand"), expected=2)
    with pytest.raises(RunFailed, match="does not show what is recorded") as failed:
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
