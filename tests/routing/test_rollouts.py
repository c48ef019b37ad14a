"""Canaries step by step: what serves at each, who may stop it, what is held, and what an abort leaves."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from pointsman.benchmark import register_environment, set_enabled
from pointsman.economics import PriceBook
from pointsman.errors import Conflict, DependencyDown, GuardRefused, InputRefused
from pointsman.ids import RouteKey
from pointsman.model import Missing
from pointsman.routing import (
    BindingRequest,
    Freeze,
    RoutingRules,
    advance,
    apply_binding,
    check_steps,
    confirm,
    current,
    ensure_may_advance,
    ensure_may_apply,
    history,
    mixed,
    open_hold,
    pause,
    propose_binding,
    read_rollout,
    reconcile,
    require_canary,
    resume,
    rollback,
    set_rules,
    under_way,
)
from pointsman.safety import Consent, Identity, Limits, decide_approval, list_approvals
from pointsman.settings import load_settings
from pointsman.storage import tables
from tests.routing.worlds import ROUTE, A, B, C, MemoryGateway, register, variant

ADMIN = Identity("maria", "admin", "local")
STEPS = (5, 25, 100)


@pytest.fixture
def door(ws):
    """A gateway that shows A since the first generation."""
    made = MemoryGateway()
    apply(ws, made, {A: 100}, None, steps=(100,))
    return made


def apply(ws, gateway, weights, expected=1, steps=STEPS, route=ROUTE, consent=None):
    asked = BindingRequest(route, weights, expected, "test", f"{weights} {expected}", steps=steps)
    return apply_binding(ws, gateway, asked, consent=consent)


def go_back(ws, gateway, expected):
    return rollback(ws, gateway, route_key=ROUTE, expected=expected, idempotency_key=f"b{expected}", reason="bad")


def states(ws):
    return [(one.binding.generation, one.status, one.step) for one in history(ws, ROUTE)]


@pytest.mark.parametrize("steps", [(), (5,), (5, 5, 100), (25, 5, 100), (0, 100), (5, 101), (5.0, 100)])
def test_steps_are_percents_that_grow_to_100(steps):
    with pytest.raises(InputRefused, match="canary steps"):
        check_steps(steps)


def test_weights_are_mixed_in_whole_percents():
    assert mixed({A: 100}, {B: 100}, 5) == {A: 95, B: 5}
    assert mixed({A: 50, C: 50}, {B: 100}, 5) == {A: 47, B: 5, C: 48}
    assert mixed({A: 100}, {A: 0, B: 100}, 100) == {A: 0, B: 100}
    for percent in range(1, 101):
        assert sum(mixed({A: 33, B: 67}, {B: 20, C: 80}, percent).values()) == 100


def test_a_canary_goes_through_its_steps_to_the_end(ws, door):
    first = apply(ws, door, {B: 100})
    assert first.weights == {A: 95, B: 5}
    assert door.read(ROUTE) == first == current(ws, ROUTE)
    rollout, serving = require_canary(ws, ROUTE)
    assert (rollout.steps, rollout.base_generation, rollout.state, serving.step) == (STEPS, 1, "running", 0)
    second = advance(ws, door, rollout.id, after=0, why="it held")
    assert second.weights == {A: 75, B: 25}
    assert advance(ws, door, rollout.id, after=0, why="it held") == second, "the same again"
    third = advance(ws, door, rollout.id, after=1, why="it held")
    assert third.weights == {B: 100}
    assert third.cause == "100 % of test: it held"
    assert states(ws) == [(4, "active", None), (3, "superseded", 1), (2, "superseded", 0), (1, "superseded", None)]
    assert read_rollout(ws, rollout.id).state == "completed"
    assert under_way(ws, ROUTE) is None
    assert apply(ws, door, {B: 100}) == first, "the same request is answered as it was first"
    back = go_back(ws, door, 4)
    assert back.weights == {A: 100}, "back to what served before the canary, not to one of its steps"


def test_an_aborted_canary_leaves_what_served_before_it(ws, door):
    apply(ws, door, {B: 100})
    rollout, _ = require_canary(ws, ROUTE)
    advance(ws, door, rollout.id, after=0, why="it held")
    assert go_back(ws, door, 3).weights == {A: 100}
    assert states(ws) == [(4, "active", None), (3, "aborted", 1), (2, "superseded", 0), (1, "superseded", None)]
    aborted = read_rollout(ws, rollout.id)
    assert (aborted.state, aborted.ended_at) == ("aborted", ws.clock.now())
    with pytest.raises(Conflict):
        advance(ws, door, rollout.id, after=1, why="too late")
    assert go_back(ws, door, 4).weights == {A: 100}, "nothing else ever served whole"


def test_a_paused_canary_stays_where_it_is_until_it_is_resumed(ws, door):
    apply(ws, door, {B: 100})
    rollout = pause(ws, ROUTE, "looking")
    with pytest.raises(GuardRefused, match="paused at 5 %") as refused:
        advance(ws, door, rollout.id, after=0, why="it held")
    assert refused.value.code == "canary_paused"
    resume(ws, rollout.id, "go")
    assert advance(ws, door, rollout.id, after=0, why="it held").weights == {A: 75, B: 25}
    assert [one["decision"] for one in read_rollout(ws, rollout.id).findings] == ["paused", "running"]


def test_whoever_pauses_while_the_next_step_is_asked_for_is_heard(ws, door, monkeypatch):
    apply(ws, door, {B: 100})
    rollout, _ = require_canary(ws, ROUTE)

    def meanwhile(*_):
        pause(ws, ROUTE, "looking")
        return ""

    monkeypatch.setattr(door, "unready", meanwhile)
    with pytest.raises(GuardRefused, match="paused at 5 %"):
        advance(ws, door, rollout.id, after=0, why="it held")
    assert states(ws)[0] == (2, "canary", 0)
    go_back(ws, door, 2)
    resume(ws, rollout.id, "too late")
    assert read_rollout(ws, rollout.id).state == "aborted"


def test_every_step_is_held_to_the_rules_as_they_are_then_and_going_back_to_none(ws, door):
    """A freeze that begins, a rule that gets stricter, a way back that is gone: the canary stays where it is."""
    apply(ws, door, {B: 100})
    rollout, _ = require_canary(ws, ROUTE)
    now = ws.clock.now()
    freeze = Freeze(why="the sale", since=now, until=now + timedelta(hours=1))
    for rules, code in (
        (RoutingRules(freezes=(freeze,)), "routing_frozen"),
        (RoutingRules(max_shift_percent=19), "too_much_at_once"),
        (RoutingRules(min_success_rate=0.9), "below_success_rate_limit"),
        (RoutingRules(peak_per_s=4), "capacity_not_shown"),
    ):
        set_rules(ws, ROUTE, rules, ADMIN)
        for change in (
            lambda: ensure_may_advance(ws, door, rollout.id, after=0),
            lambda: advance(ws, door, rollout.id, after=0, why="it held"),
        ):
            with pytest.raises(GuardRefused) as refused:
                change()
            assert refused.value.code == code
    assert states(ws)[0] == (2, "canary", 0)
    set_rules(ws, ROUTE, RoutingRules(freezes=(freeze,), max_shift_percent=20, max_changes_per_day=1), ADMIN)
    assert go_back(ws, door, 2).weights == {A: 100}


def test_newcomers_that_are_disabled_in_the_middle_of_a_canary_get_no_more(ws, door):
    apply(ws, door, {B: 100})
    rollout, _ = require_canary(ws, ROUTE)
    set_enabled(ws, B, enabled=False)
    with pytest.raises(GuardRefused, match=r"x265@lab-cpu is disabled\.") as refused:
        advance(ws, door, rollout.id, after=0, why="it held")
    assert refused.value.data["codes"] == ["variant_disabled"]


def test_a_canary_counts_as_one_change_and_its_verdicts_age_when_it_begins(ws, door):
    apply(ws, door, {B: 100})
    rollout, _ = require_canary(ws, ROUTE)
    set_rules(ws, ROUTE, RoutingRules(max_changes_per_day=1), ADMIN)
    ensure_may_advance(ws, door, rollout.id, after=0)
    assert advance(ws, door, rollout.id, after=0, why="it held").weights == {A: 75, B: 25}


def test_a_canary_may_go_to_its_end_at_once_but_not_around_the_largest_shift(ws, door):
    apply(ws, door, {B: 100})
    rollout, _ = require_canary(ws, ROUTE)
    set_rules(ws, ROUTE, RoutingRules(max_shift_percent=75), ADMIN)
    with pytest.raises(GuardRefused, match="95 % of the traffic"):
        advance(ws, door, rollout.id, after=0, why="hurry", to_end=True)
    set_rules(ws, ROUTE, RoutingRules(), ADMIN)
    assert advance(ws, door, rollout.id, after=0, why="hurry", to_end=True).weights == {B: 100}
    assert states(ws)[0] == (3, "active", None)
    assert read_rollout(ws, rollout.id).state == "completed"


def test_a_canary_whose_later_steps_move_too_much_does_not_begin(ws, door):
    set_rules(ws, ROUTE, RoutingRules(max_shift_percent=25), ADMIN)
    with pytest.raises(GuardRefused, match="75 % of the traffic"):
        apply(ws, door, {B: 100})
    assert apply(ws, door, {B: 100}, steps=(25, 50, 75, 100)).weights == {A: 75, B: 25}


def test_what_would_be_refused_is_said_before_anybody_is_asked_and_writes_nothing(ws, door):
    register_environment(ws, "lab", name="production", kind="production")
    change = BindingRequest(ROUTE, {B: 100}, 1, "test", "k")
    ensure_may_apply(ws, door, change)
    with pytest.raises(Conflict, match="is generation 1"):
        ensure_may_apply(ws, door, replace(change, expected=2))
    set_rules(ws, ROUTE, RoutingRules(max_shift_percent=5), ADMIN)
    with pytest.raises(GuardRefused, match="at most 5 % may"):
        ensure_may_apply(ws, door, change)
    assert states(ws) == [(1, "active", None)]
    set_rules(ws, ROUTE, RoutingRules(), ADMIN)
    by_steps = replace(change, steps=STEPS)
    assert apply_binding(ws, door, by_steps, consent=replace(CONSENT, environment_id="lab")).generation == 2
    ensure_may_apply(ws, door, by_steps)
    with pytest.raises(GuardRefused, match="is in a canary"):
        ensure_may_apply(ws, door, replace(change, idempotency_key="another", expected=2))


def test_going_back_after_a_restore_goes_to_what_served_before_what_was_restored(ws, door):
    apply(ws, door, {B: 100}, steps=(100,))
    for generation in (2, 3):
        door.shown[ROUTE] = type(door.shown[ROUTE])(ROUTE, generation, {C: 100}, "by hand")
        assert reconcile(ws, door, ROUTE).serves.weights == {B: 100}
    assert go_back(ws, door, 4).weights == {A: 100}


def test_the_same_applied_twice_keeps_what_is_held_and_the_way_back(ws, door):
    apply(ws, door, {B: 100}, steps=(100,))
    held = open_hold(ws, ROUTE)
    apply(ws, door, {B: 100}, 2, steps=(100,))
    assert open_hold(ws, ROUTE) == held
    assert held.variants == {A: 100}
    assert go_back(ws, door, 3).weights == {A: 100}
    assert open_hold(ws, ROUTE) is None


def test_a_canary_needs_something_that_serves_and_is_the_only_change_under_way(ws, door):
    other = RouteKey("postcard-2", "lab", "demo")
    lonely = variant("x264", route=other)
    register(ws, lonely)
    with pytest.raises(GuardRefused, match="nothing that a canary could be compared with"):
        apply(ws, door, {lonely: 100}, None, route=other)
    with pytest.raises(GuardRefused, match="is not in a canary"):
        pause(ws, ROUTE, "none")
    apply(ws, door, {B: 100})
    for steps in (STEPS, (100,)):
        with pytest.raises(GuardRefused, match="is in a canary, at generation 2"):
            apply(ws, door, {C: 100}, 2, steps)


def test_a_canary_whose_steps_the_gateway_could_not_show_does_not_begin(ws, door, monkeypatch):
    """Whole, either side could be shown; but not both beside each other."""
    monkeypatch.setattr(door, "unready", lambda _key, weights: "too many variants" if len(weights) > 1 else "")
    with pytest.raises(GuardRefused, match="too many variants") as refused:
        apply(ws, door, {B: 100})
    assert refused.value.code == "gateway_not_ready"
    assert states(ws) == [(1, "active", None)]
    assert apply(ws, door, {B: 100}, steps=(100,)).generation == 2


def test_a_gateway_that_drifts_in_the_middle_of_a_canary_is_restored_to_its_step(ws, door):
    apply(ws, door, {B: 100})
    rollout, _ = require_canary(ws, ROUTE)
    door.shown[ROUTE] = type(door.shown[ROUTE])(ROUTE, 2, {B: 100}, "by hand")
    restored = reconcile(ws, door, ROUTE).serves
    assert (restored.generation, restored.weights) == (3, {A: 95, B: 5})
    assert under_way(ws, ROUTE)[1].binding == restored
    assert advance(ws, door, rollout.id, after=0, why="it held").weights == {A: 75, B: 25}
    assert open_hold(ws, ROUTE).variants == {A: 100}


def test_a_step_that_was_cut_short_and_reconciled_away_can_be_taken_again(ws, door):
    apply(ws, door, {B: 100})
    rollout, _ = require_canary(ws, ROUTE)
    publish, door.publish = door.publish, lambda *_, **__: (_ for _ in ()).throw(DependencyDown("out of reach"))
    with pytest.raises(DependencyDown):
        advance(ws, door, rollout.id, after=0, why="it held")
    door.publish = publish
    assert reconcile(ws, door, ROUTE).serves.weights == {A: 95, B: 5}
    assert advance(ws, door, rollout.id, after=0, why="it held").weights == {A: 75, B: 25}


def test_what_served_before_is_held_until_the_switch_is_confirmed_and_priced(ws, door):
    set_rules(ws, ROUTE, RoutingRules(held={"lab-cpu:vcpu-second": Decimal(7200)}, hold_h=2), ADMIN)
    book = PriceBook.load()
    assert open_hold(ws, ROUTE) is None
    apply(ws, door, {B: 100})
    rollout, _ = require_canary(ws, ROUTE)
    ws.clock.sleep(1800)
    for step in (0, 1):
        advance(ws, door, rollout.id, after=step, why="it held")
    held = open_hold(ws, ROUTE)
    assert (held.generation, held.variants) == (1, {A: 100})
    assert (held.due_at - held.since).total_seconds() == 7200
    assert held.taken(ws.clock.now()) == {"lab-cpu:vcpu-second": Decimal(3600)}
    assert held.usd(book, ws.clock.now()) == book.cost("lab-cpu:vcpu-second", Decimal(3600), ws.clock.now())
    with pytest.raises(GuardRefused, match="is held") as refused:
        set_enabled(ws, A, False)
    assert refused.value.code == "variant_held"
    confirmed = confirm(ws, ROUTE, "maria looked at it")
    assert open_hold(ws, ROUTE) is None
    with ws.database.connect() as connection:
        (used,) = connection.execute(sa.select(tables.usage)).all()
    assert (used.subject_id, used.sku, used.quantity) == (confirmed.id, "lab-cpu:vcpu-second", Decimal(3600))
    assert set_enabled(ws, A, False).enabled is False
    assert confirm(ws, ROUTE, "again") is None


def test_what_holding_costs_is_not_known_where_no_rule_says_what_it_takes(ws, door):
    apply(ws, door, {B: 100}, steps=(100,))
    assert isinstance(open_hold(ws, ROUTE).usd(PriceBook.load(), ws.clock.now()), Missing)
    set_rules(ws, ROUTE, RoutingRules(held={"no.such": Decimal(1)}), ADMIN)
    apply(ws, door, {C: 100}, 2, steps=(100,))
    held = open_hold(ws, ROUTE)
    assert held.variants == {B: 100}, "the next change holds what it replaced"
    assert isinstance(held.usd(PriceBook.load(), ws.clock.now()), Missing)
    go_back(ws, door, 3)
    assert open_hold(ws, ROUTE) is None


LIMITS = Limits.of(load_settings())
WHO = Identity("otto", "operator", "token")


def test_a_change_that_takes_consent_waits_for_it_and_is_carried_out_by_the_same_call(ws, door):
    set_rules(ws, ROUTE, RoutingRules(approval=True), ADMIN)
    request = BindingRequest(ROUTE, {B: 100}, 1, "test", "k", requester=WHO)
    waits = propose_binding(ws, door, request)
    assert "100 % x265@lab-cpu; test" in waits.what
    assert states(ws)[0] == (2, "awaiting_approval", None)
    with pytest.raises(GuardRefused) as waiting:
        apply_binding(ws, door, request)
    assert (waiting.value.code, waiting.value.instruction) == ("awaiting_approval", f"pointsman approve {waits.id}")
    assert current(ws, ROUTE).generation == 1 == door.read(ROUTE).generation
    with pytest.raises(GuardRefused, match="cannot decide it"):
        decide_approval(ws, waits.id, WHO, "approved", reason="", limits=LIMITS)
    decide_approval(ws, waits.id, ADMIN, "approved", reason="", limits=LIMITS)
    assert propose_binding(ws, door, request) is not None, "consent is given, not yet used"
    assert apply_binding(ws, door, request) == current(ws, ROUTE) == door.read(ROUTE)
    assert propose_binding(ws, door, request) is None
    assert states(ws)[0] == (2, "active", None)


@pytest.mark.parametrize("how", ["rejected", "expired"])
def test_a_change_that_did_not_get_consent_is_over(ws, door, how):
    set_rules(ws, ROUTE, RoutingRules(approval=True), ADMIN)
    request = BindingRequest(ROUTE, {B: 100}, 1, "test", "k", requester=WHO)
    waits = propose_binding(ws, door, request)
    if how == "rejected":
        decide_approval(ws, waits.id, ADMIN, "rejected", reason="no", limits=LIMITS)
    else:
        ws.clock.sleep(24 * 3600 + 1)
    with pytest.raises(GuardRefused) as over:
        apply_binding(ws, door, request)
    assert over.value.code == f"approval_{how}"
    assert states(ws)[0] == (2, "aborted", None)


def test_a_newer_change_overtakes_what_waits(ws, door):
    set_rules(ws, ROUTE, RoutingRules(approval=True), ADMIN)
    request = BindingRequest(ROUTE, {B: 100}, 1, "test", "k1", requester=WHO)
    propose_binding(ws, door, request)
    propose_binding(ws, door, replace(request, idempotency_key="k2"))
    with pytest.raises(Conflict, match="the newest is generation 3"):
        apply_binding(ws, door, request)


CONSENT = Consent("ap_1", "prod", 5, Decimal(1), ("effects-5xx",))


def test_in_production_every_step_takes_the_consent_of_its_guard_and_no_second_one(ws, door):
    register_environment(ws, "prod", name="production", kind="production")
    route = RouteKey("postcard-1", "prod", "live")
    one, other = variant("x264", route=route), variant("x265", route=route)
    register(ws, one)
    register(ws, other)
    set_rules(ws, route, RoutingRules(approval=True), ADMIN)
    first = BindingRequest(route, {one: 100}, None, "test", "k1", requester=WHO)
    for change in (propose_binding, apply_binding):
        for consent in (None, replace(CONSENT, environment_id="another")):
            with pytest.raises(GuardRefused) as refused:
                change(ws, door, first, consent=consent)
            assert refused.value.code == "production_not_guarded"
    assert history(ws, route) == []
    assert propose_binding(ws, door, first, consent=CONSENT) is None
    assert apply_binding(ws, door, first, consent=CONSENT).generation == 1
    apply(ws, door, {other: 100}, 1, (25, 100), route, consent=CONSENT)
    rollout, _ = require_canary(ws, route)
    with pytest.raises(GuardRefused) as step:
        advance(ws, door, rollout.id, after=0, why="it held")
    assert step.value.code == "production_not_guarded"
    assert advance(ws, door, rollout.id, after=0, why="it held", consent=CONSENT).weights == {other: 100}
    back = rollback(ws, door, route_key=route, expected=3, idempotency_key="b", reason="bad")
    assert back.weights == {one: 100}, "going back takes nobody's consent"
    assert list_approvals(ws) == []
