"""The flow of a canary: its looks are routed jobs, and what they find decides by itself."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest
from prefect import Task

import flows.apply_routing
import flows.promote_routing
import flows.rollback_routing
import tasks.canary
import tasks.production
import tasks.routing
from flows.apply_routing import ApplyRoutingRequest
from flows.promote_routing import PromoteRoutingRequest
from flows.rollback_routing import RollbackRoutingRequest
from pointsman.benchmark import InputFile, register_environment, register_input_set
from pointsman.clock import SystemClock
from pointsman.dispatch import TargetSpec
from pointsman.economics import PriceBook
from pointsman.errors import GuardRefused, RunFailed
from pointsman.routing import (
    BindingRequest,
    CanaryRules,
    FlagdFileGateway,
    Freeze,
    RoutingRules,
    apply_binding,
    current,
    history,
    open_hold,
    pause,
    read_rollout,
    set_rules,
    under_way,
)
from pointsman.safety import Admission, Consent, Identity, Limits, decide_approval, list_approvals, unproven
from pointsman.scenario.production_watch import Brakes
from pointsman.scenario.readings import Brake
from pointsman.settings import Secret, load_settings
from pointsman.workspace import Workspace
from tests.routing.effects import SECRET, Effects, effects
from tests.routing.worlds import ROUTE, A, B

RULES = CanaryRules(steps=(5, 25, 100), jobs_per_step=60)


@dataclass
class World:
    ws: Workspace
    gateway: FlagdFileGateway
    effects: Effects

    def apply(self, rules=RULES, run_id="canary"):
        return flows.apply_routing.apply_routing.fn(
            ApplyRoutingRequest(
                route_key=str(ROUTE),
                variant=str(B),
                expected_generation=1,
                dry_run=False,
                input_set="pictures",
                probe_jobs=3,
                canary=rules,
                run_id=run_id,
            )
        )

    def promote(self, **more):
        return flows.promote_routing.promote_routing.fn(
            PromoteRoutingRequest(
                route_key=str(ROUTE),
                expected_generation=current(self.ws, ROUTE).generation,
                input_set="pictures",
                canary=RULES,
                probe_jobs=3,
                run_id="promoted",
                **more,
            )
        )

    def went_to(self, generation):
        """The variants that the routed jobs of a generation met."""
        return {job["variant"] for job in self.effects.jobs.values() if job["generation"] == generation}

    def states(self):
        return [(one.binding.generation, one.status) for one in history(self.ws, ROUTE)]


@pytest.fixture
def world(ws, tmp_path, monkeypatch):
    """The flows with their tasks as plain functions, a real gateway file, real drives, and a target in a thread."""
    real = Workspace(ws.database, ws.results, SystemClock(), ws.actor)
    picture = tmp_path / "picture.ppm"
    picture.write_bytes(b"P6 2 2 255\n" + bytes(12))
    register_input_set(real, "pictures", [InputFile(picture, "one", "picture")])
    gateway = FlagdFileGateway(tmp_path / "flags.json")
    apply_binding(real, gateway, BindingRequest(ROUTE, {A: 100}, None, "first", "first"))
    for module in (flows.apply_routing, flows.promote_routing, flows.rollback_routing):
        for name, value in list(vars(module).items()):
            if isinstance(value, Task):
                monkeypatch.setattr(module, name, value.fn)
    with effects(gateway) as state:
        for module in (tasks.canary, tasks.routing):
            monkeypatch.setattr(module, "open_workspace", lambda: real)
            monkeypatch.setattr(module, "open_gateway", lambda *_: gateway)
            monkeypatch.setattr(
                module, "open_target", lambda _name: TargetSpec(name="lab", preset="lab", base_url=state.url)
            )
            monkeypatch.setattr(module, "executor_secret", lambda: Secret(SECRET))
            monkeypatch.setattr(module, "cancelled", lambda: False)
        monkeypatch.setattr(tasks.production, "open_workspace", lambda: real)
        monkeypatch.setattr(tasks.production, "open_price_book", lambda _name: PriceBook.load())
        monkeypatch.setattr(tasks.production, "requester_of", lambda _ws: unproven("flow-run:1"))
        monkeypatch.setattr(tasks.routing, "record_report", lambda *_: None)
        monkeypatch.setattr(tasks.routing, "requester_of", lambda _ws: unproven("flow-run:1"))
        yield World(real, gateway, state)


@pytest.mark.prove
def test_a_canary_that_stays_good_goes_to_the_end_and_holds_what_served(world):
    moved = world.apply()
    assert (moved.generation, moved.after, moved.probe.passed) == (4, {str(B): 100}, True)
    assert world.went_to(2) == world.went_to(3) == {str(A), str(B)}
    assert world.went_to(4) == {str(B)}
    assert open_hold(world.ws, ROUTE).variants == {A: 100}
    jobs = len(world.effects.jobs)
    assert world.apply() == moved, "the same run again finds it where it is"
    assert len(world.effects.jobs) == jobs


@pytest.mark.prove
@pytest.mark.parametrize("trouble", ["fails", "slow"])
def test_a_canary_that_turns_bad_at_25_percent_is_rolled_back_by_itself(world, trouble):
    """Jobs that fail, or a provider that queues them without an error: routed jobs meet the old one again."""

    def bad(binding, variant):
        return variant == B and binding.weights.get(B) == 25

    setattr(world.effects, trouble, bad)
    with pytest.raises(RunFailed, match=r"The canary was bad at 25 %.*Generation 4 has the old content") as failed:
        world.apply()
    assert failed.value.code == "canary_aborted"
    assert world.states() == [(4, "active"), (3, "aborted"), (2, "superseded"), (1, "superseded")]
    assert current(world.ws, ROUTE) == world.gateway.read(ROUTE)
    rollout = read_rollout(world.ws, history(world.ws, ROUTE)[1].rollout_id)
    assert [one["decision"] for one in rollout.findings] == ["go", "abort"]
    assert rollout.state == "aborted"
    assert open_hold(world.ws, ROUTE) is None
    proof = tasks.routing.probe.fn(
        tasks.routing.Moved(
            route_key=str(ROUTE), before={}, before_generation=3, after={str(A): 100}, generation=4, cause="proof"
        ),
        "proof",
        "lab",
        "pictures",
        20,
        None,
    )
    assert (proof.probe.passed, proof.probe.seen) == (True, {str(A): 20})


@pytest.mark.prove
def test_a_canary_that_too_few_jobs_meet_stays_and_is_promoted_by_an_operator(world):
    with pytest.raises(GuardRefused, match="stays at 5 %") as stuck:
        world.apply(CanaryRules(steps=(5, 100), jobs_per_step=2, looks=1))
    assert stuck.value.code == "canary_stuck"
    assert under_way(world.ws, ROUTE)[0].state == "paused"
    moved = world.promote()
    assert (moved.generation, moved.probe.seen) == (3, {str(B): 3})
    assert world.states()[0] == (3, "active")


@pytest.mark.prove
def test_a_canary_that_somebody_pauses_stays_until_it_is_promoted_to_the_end(world, monkeypatch):
    look = tasks.canary.look_at_canary.fn

    def paused_meanwhile(*args):
        found = look(*args)
        pause(world.ws, ROUTE, "looking")
        return found

    monkeypatch.setattr(flows.apply_routing, "look_at_canary", paused_meanwhile)
    with pytest.raises(GuardRefused, match="is paused at 50 %"):
        world.apply(CanaryRules(steps=(50, 75, 100), jobs_per_step=16, fewest=1))
    assert world.promote(to_end=True).after == {str(B): 100}


def test_a_promotion_whose_probe_fails_puts_back_what_served_before_the_canary(world, monkeypatch):
    apply_binding(world.ws, world.gateway, BindingRequest(ROUTE, {B: 100}, 1, "test", "begun", steps=(5, 100)))
    unmet = tasks.routing.Probed(passed=False, seen={}, generations=(), why="3 jobs failed")
    monkeypatch.setattr(flows.apply_routing, "probe", lambda moved, *_: moved.model_copy(update={"probe": unmet}))
    with pytest.raises(RunFailed, match="The probe of generation 3 failed: 3 jobs failed") as failed:
        world.promote(to_end=True)
    assert failed.value.code == "probe_failed"
    assert world.states()[:2] == [(4, "active"), (3, "rolled_back")]
    assert current(world.ws, ROUTE).weights == world.gateway.read(ROUTE).weights == {A: 100}


def test_a_canary_that_somebody_else_moved_is_theirs(world, monkeypatch):
    sample = tasks.canary.routing.sample_route

    def moved_meanwhile(ws, **asked):
        found = sample(ws, **asked)
        monkeypatch.setattr(tasks.canary.routing, "sample_route", sample)
        tasks.canary.routing.advance(
            ws, world.gateway, under_way(ws, ROUTE)[0].id, after=0, why="promoted by an operator"
        )
        return found

    monkeypatch.setattr(tasks.canary.routing, "sample_route", moved_meanwhile)
    with pytest.raises(GuardRefused, match="from generation 2 to 3") as theirs:
        world.apply(CanaryRules(steps=(50, 75, 100), jobs_per_step=4))
    assert theirs.value.code == "canary_moved"


def test_a_change_that_takes_consent_ends_and_goes_on_once_somebody_agreed(world, monkeypatch):
    admin = Identity("maria", "admin", "local")
    set_rules(world.ws, ROUTE, RoutingRules(approval=True), admin)
    with pytest.raises(GuardRefused) as waiting:
        world.apply(None)
    assert waiting.value.code == "awaiting_approval"
    (asked,) = list_approvals(world.ws)
    decide_approval(world.ws, asked.id, admin, "approved", reason="", limits=Limits.of(load_settings()))
    moved = world.apply(None)
    assert (moved.generation, moved.probe.passed) == (2, True)


def test_a_freeze_that_begins_during_a_look_lets_the_canary_stay_and_nobody_is_asked_before_it_ends(world, monkeypatch):
    admin = Identity("maria", "admin", "local")
    look = flows.apply_routing.look_at_canary

    def frozen_meanwhile(*args):
        found = look(*args)
        now = world.ws.clock.now()
        until = now + timedelta(hours=1)
        set_rules(world.ws, ROUTE, RoutingRules(freezes=(Freeze(why="the sale", since=now, until=until),)), admin)
        return found

    monkeypatch.setattr(flows.apply_routing, "look_at_canary", frozen_meanwhile)
    with pytest.raises(GuardRefused, match=r"stays at 50 %: .* is not changed now: the sale") as stays:
        world.apply(CanaryRules(steps=(50, 100), jobs_per_step=16, fewest=1))
    assert stays.value.code == "routing_frozen"
    assert (world.states()[0], under_way(world.ws, ROUTE)[0].state) == ((2, "canary"), "paused")
    for module in (flows.apply_routing, flows.promote_routing):
        monkeypatch.setattr(module, "enter_with_change", lambda *_, **__: pytest.fail("somebody was asked"))
    with pytest.raises(GuardRefused) as frozen:
        world.promote()
    assert frozen.value.code == "routing_frozen"
    assert under_way(world.ws, ROUTE)[0].state == "paused"
    with pytest.raises(GuardRefused):
        world.apply(None, run_id="another")
    back = flows.rollback_routing.rollback_routing.fn(
        RollbackRoutingRequest(route_key=str(ROUTE), expected_generation=2, input_set="pictures", run_id="back")
    )
    assert back.after == {str(A): 100}, "going back is never refused"


def test_a_brake_of_production_ends_a_canary_and_puts_the_route_back(world, monkeypatch):
    rings = Brake("alarm_rings", "In ALARM: effects-5xx.")
    monkeypatch.setattr(tasks.canary.routing, "sample_route", lambda *_, **__: rings)
    with pytest.raises(RunFailed, match=r"The canary was bad at 5 %: In ALARM: effects-5xx\.") as failed:
        world.apply()
    assert failed.value.code == "canary_aborted"
    assert world.states() == [(3, "active"), (2, "aborted"), (1, "superseded")]
    assert current(world.ws, ROUTE).weights == {A: 100}


def test_in_production_one_approval_is_asked_for_before_a_change_is_proposed_and_carries_it_to_its_end(
    world, monkeypatch
):
    """The guard is a stand-in; that the engine takes no step without its consent is not."""
    register_environment(world.ws, ROUTE.environment, name="production", kind="production")
    monkeypatch.setattr("pointsman.routing.probe.brakes_of", lambda *_: Brakes(lambda: None))
    set_rules(world.ws, ROUTE, RoutingRules(approval=True), Identity("maria", "admin", "local"))
    consent = Consent("ap_1", ROUTE.environment, 1000, Decimal(1), ("effects-5xx",))
    asked = []
    answers = [Admission("change-canary", "waiting", None), Admission("change-canary", "admitted", None, consent)]

    def enter(planned, run_id, *, probe_jobs, canary, **_):
        asked.append((planned.after, run_id, probe_jobs, canary))
        assert len(history(world.ws, ROUTE)) == 1
        return answers.pop(0)

    def waits(_admission):
        raise GuardRefused("It waits.", code="awaiting_approval")

    monkeypatch.setattr(flows.apply_routing, "enter_with_change", enter)
    monkeypatch.setattr(tasks.production, "await_decision", waits)
    rules = CanaryRules(steps=(50, 100), jobs_per_step=16, fewest=1)
    with pytest.raises(GuardRefused) as waiting:
        world.apply(rules)
    assert waiting.value.code == "awaiting_approval"
    assert world.apply(rules).probe.passed
    assert asked == [({str(B): 100}, "canary", 3, rules)] * 2
    assert list_approvals(world.ws) == []
    back = flows.rollback_routing.rollback_routing.fn(
        RollbackRoutingRequest(route_key=str(ROUTE), expected_generation=3, input_set="pictures", run_id="back")
    )
    assert (back.after, back.probe) == ({str(A): 100}, None), "going back asks nobody, and sends no jobs there"


def test_a_promotion_in_production_is_agreed_to_before_the_canary_goes_on(world, monkeypatch):
    with pytest.raises(GuardRefused):
        world.apply(CanaryRules(steps=(5, 100), jobs_per_step=2, looks=1))
    refused = GuardRefused("The run breaks a rule.", code="production_refused")

    def refuse(found, *_, **__):
        assert found.rollout_id == under_way(world.ws, ROUTE)[0].id
        raise refused

    monkeypatch.setattr(flows.promote_routing, "enter_with_change", refuse)
    with pytest.raises(GuardRefused) as caught:
        world.promote()
    assert caught.value is refused
    assert (world.states()[0], under_way(world.ws, ROUTE)[0].state) == ((2, "canary"), "paused")
