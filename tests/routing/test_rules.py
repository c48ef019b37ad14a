"""What speaks against a change is said before anything is written; going back is never refused."""

import re
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.decision import store_verdict
from pointsman.errors import DependencyDown, GuardRefused, InputRefused, NotFound
from pointsman.routing import (
    BindingRequest,
    Freeze,
    RoutingRules,
    apply_binding,
    binding_for_verdict,
    current,
    history,
    read_gateway,
    read_rules,
    rollback,
    rules_of,
    set_rules,
)
from pointsman.safety import Identity, Limits, decide_approval, list_approvals
from pointsman.settings import load_settings
from pointsman.storage import tables
from tests.docs.pages import TEXT
from tests.routing.test_capacity_gate import known
from tests.routing.test_verdicts import b_beats_a
from tests.routing.worlds import OTHER_ROUTE, ROUTE, A, B, C, MemoryGateway, register, variant

ADMIN = Identity("maria", "admin", "local")


@pytest.fixture
def gateway(ws):
    """One that shows A since the first generation."""
    made = MemoryGateway()
    apply(ws, made, {A: 100}, None)
    return made


def apply(ws, gateway, weights, expected=1, **more):
    key = f"{weights} {expected} {more.get('verdict_id')}"
    return apply_binding(ws, gateway, BindingRequest(ROUTE, weights, expected, "test", key, **more))


def keep(ws, **rules):
    set_rules(ws, ROUTE, RoutingRules(**rules), ADMIN)


def refused(ws, gateway, weights=None, **more):
    """The codes of everything that speaks against going to B, and the first refusal's words."""
    with pytest.raises(GuardRefused) as refusal:
        apply(ws, gateway, weights or {B: 100}, **more)
    assert len(history(ws, ROUTE)) == 1, "nothing is written"
    return refusal.value.data["codes"], refusal.value.message


def test_a_route_without_rules_has_the_defaults_and_an_admin_sets_others(ws):
    assert rules_of(ws, ROUTE) == RoutingRules()
    keep(ws, min_quality=80, held={"lab.cpu_second": Decimal(2)})
    keep(ws, min_quality=90)
    assert rules_of(ws, ROUTE) == RoutingRules(min_quality=90)
    assert rules_of(ws, OTHER_ROUTE) == RoutingRules()
    entry = ActionLog(ws).read(limit=1)[0]
    assert (entry.event, entry.data["rules"]) == ("routing_rules_set", {"min_quality": 90.0})
    with pytest.raises(GuardRefused, match="takes the role admin"):
        set_rules(ws, ROUTE, RoutingRules(), Identity("otto", "operator", "token"))


def test_rules_are_read_from_a_file_and_what_is_wrong_is_named(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text('max_shift_percent = 25\n[[freezes]]\nwhy = "sale"\nbegins = 18:00:00\nends = 06:00:00\n')
    rules = read_rules(path)
    assert rules.freezes == (Freeze(why="sale", begins=time(18), ends=time(6)),)
    for text, field in (
        ("max_shift_percent = 0", "rules, max_shift_percent"),
        ("colour = 1", "rules, colour"),
        ("max_usd_per_month = 4", "takes jobs_per_month"),
        ('[[freezes]]\nwhy = "x"', "either begins and ends, or since and until"),
        ('[[freezes]]\nwhy = "x"\nbegins = "22:00+02:00"\nends = "06:00Z"', "UTC and name no time zone"),
        ('[[freezes]]\nwhy = "x"\ndays = []\nbegins = 18:00:00\nends = 06:00:00', "freezes.0.days"),
        (
            '[[freezes]]\nwhy = "x"\ndays = ["mon"]\nsince = 2026-11-20T00:00:00Z\nuntil = 2026-12-01T00:00:00Z',
            "days go with begins and ends",
        ),
        ("[", "TOML"),
    ):
        path.write_text(text)
        with pytest.raises(InputRefused, match=field):
            read_rules(path)
    with pytest.raises(NotFound):
        read_rules(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("at", "frozen"),
    [
        (datetime(2026, 11, 20, 17, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 20, 18, 0, tzinfo=UTC), True),
        (datetime(2026, 11, 21, 5, 59, tzinfo=UTC), True),
        (datetime(2026, 11, 21, 6, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 21, 18, 0, tzinfo=UTC), False),
    ],
)
def test_a_freeze_of_a_friday_evening_lasts_into_saturday_morning(at, frozen):
    assert Freeze(why="x", days=("fri",), begins=time(18), ends=time(6)).holds(at) is frozen


def test_in_a_freeze_nothing_is_changed_but_going_back_is(ws, gateway):
    apply(ws, gateway, {B: 100})
    now = ws.clock.now()
    keep(ws, freezes=(Freeze(why="the sale", since=now, until=now + timedelta(hours=1)),))
    with pytest.raises(GuardRefused, match="not changed now: the sale"):
        apply(ws, gateway, {C: 100}, 2)
    assert rollback(ws, gateway, route_key=ROUTE, expected=2, idempotency_key="b", reason="r").weights == {A: 100}
    ws.clock.sleep(3600)
    assert apply(ws, gateway, {C: 100}, 3).generation == 4


def test_a_change_that_was_cut_short_before_the_gateway_is_held_to_the_rules_of_now(ws, gateway, monkeypatch):
    ws.clock.sleep(24 * 3600 + 1)

    def away(*_, **__):
        raise DependencyDown("The gateway is out of reach.")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(gateway, "publish", away)
        with pytest.raises(DependencyDown):
            apply(ws, gateway, {B: 100})
    now = ws.clock.now()
    freeze = Freeze(why="the sale", since=now, until=now + timedelta(hours=1))
    keep(ws, freezes=(freeze,), max_changes_per_day=1)
    with pytest.raises(GuardRefused, match="not changed now: the sale") as refused:
        apply(ws, gateway, {B: 100})
    assert refused.value.data["codes"] == ["routing_frozen"], "it is not its own second change of the day"
    assert current(ws, ROUTE).weights == {A: 100}
    ws.clock.sleep(3600)
    assert apply(ws, gateway, {B: 100}).generation == 2


def test_so_much_of_the_traffic_moves_at_once_and_no_more(ws, gateway):
    keep(ws, max_shift_percent=25)
    assert refused(ws, gateway)[0] == ["too_much_at_once"]
    assert apply(ws, gateway, {A: 75, B: 25}).generation == 2


def test_so_many_routes_of_an_environment_are_changed_in_a_day(ws, gateway):
    keep(ws, max_changes_per_day=1)
    assert refused(ws, gateway)[0] == ["too_many_changes"]
    ws.clock.sleep(24 * 3600 + 1)
    assert apply(ws, gateway, {B: 100}).generation == 2
    other = variant("x264", route=OTHER_ROUTE)
    register(ws, other)
    set_rules(ws, OTHER_ROUTE, RoutingRules(max_changes_per_day=1), ADMIN)
    with pytest.raises(GuardRefused, match="1 changes of routes of lab"):
        apply_binding(ws, gateway, BindingRequest(OTHER_ROUTE, {other: 100}, None, "test", "other"))


def test_what_waits_for_consent_and_what_did_not_get_it_is_no_change_of_the_day(ws, gateway):
    """Else the one change of a day would keep itself from being made."""
    ws.clock.sleep(24 * 3600 + 1)
    keep(ws, max_changes_per_day=1, approval=True)
    asked = {}
    for one, decision in ((C, "rejected"), (B, "approved")):
        with pytest.raises(GuardRefused, match="waits for ap_"):
            apply(ws, gateway, {one: 100})
        (asked[one],) = list_approvals(ws)
        decide_approval(ws, asked[one].id, ADMIN, decision, reason="", limits=Limits.of(load_settings()))
    assert apply(ws, gateway, {B: 100}).generation == 3
    with pytest.raises(GuardRefused, match="1 changes of routes of lab"):
        apply(ws, gateway, {C: 100}, 3)


@pytest.fixture
def verdict(ws):
    """A WINNER for B: success 100 %, and its evidence; the verdict's id."""
    plan, _, found, document = b_beats_a()
    store_verdict(
        ws,
        verdict_id="v",
        benchmark_id="bm_1",
        evaluation_set_id="set_1",
        route_key=ROUTE,
        plan=plan,
        verdict=found,
        document=document,
    )
    return "v"


def by_verdict(ws, gateway, verdict, expected=1):
    return apply(ws, gateway, binding_for_verdict(ws, verdict).weights, expected, verdict_id=verdict)


def test_a_verdict_that_keeps_every_floor_changes_the_route(ws, gateway, verdict):
    keep(
        ws,
        verdict_required=True,
        min_success_rate=0.9,
        min_quality=50,
        max_p95_ms=1e6,
        jobs_per_month=1000,
        max_usd_per_month=Decimal(10**6),
    )
    assert by_verdict(ws, gateway, verdict).generation == 2


def test_what_beats_another_variant_does_not_take_the_place_of_what_serves(ws, gateway, verdict):
    apply(ws, gateway, {C: 100}, 1)
    with pytest.raises(GuardRefused, match=r"vp9.* serves .* the verdict v did not compare it") as refusal:
        by_verdict(ws, gateway, verdict, 2)
    assert refusal.value.data["codes"] == ["serving_not_compared"]
    assert apply(ws, gateway, {A: 100}, 2).generation == 3
    assert by_verdict(ws, gateway, verdict, 3).generation == 4


def test_everything_that_speaks_against_a_change_is_said_at_once(ws, gateway, verdict):
    keep(
        ws,
        verdict_max_age_h=1,
        min_success_rate=1,
        min_quality=100,
        max_p95_ms=0.001,
        jobs_per_month=10**9,
        max_usd_per_month=Decimal("0.01"),
    )
    ws.clock.sleep(3601)
    codes, message = refused(ws, gateway, verdict_id=verdict)
    assert codes == ["verdict_too_old", "below_quality_limit", "above_p95_ms_limit", "over_route_budget"]
    assert "at most 0.01 USD are allowed" in message


def test_without_a_verdict_nothing_shows_that_a_floor_is_kept(ws, gateway):
    keep(ws, verdict_required=True, min_quality=50, jobs_per_month=1, max_usd_per_month=Decimal(1))
    codes, message = refused(ws, gateway)
    assert codes == ["verdict_required", "below_quality_limit", "over_route_budget"]
    assert "not measured (no verdict is named)" in message


def test_a_floor_is_asked_of_whatever_gets_more_also_where_it_had_a_little(ws, gateway):
    apply(ws, gateway, {A: 99, B: 1})
    keep(ws, min_quality=50)
    with pytest.raises(GuardRefused, match="The quality of x265@lab-cpu is not measured"):
        apply(ws, gateway, {B: 100}, 2)


def test_a_verdict_of_a_judge_that_is_not_trusted_changes_nothing(ws, gateway, verdict):
    ActionLog(ws).record("judge_untrusted", context="bm_1", evaluation_set_id="another set")
    ActionLog(ws).record("judge_untrusted", context="bm_2", evaluation_set_id="set_1")
    apply_is_allowed = history(ws, ROUTE)
    ActionLog(ws).record("judge_untrusted", context="bm_1", evaluation_set_id="set_1")
    assert refused(ws, gateway, verdict_id=verdict)[0] == ["verdict_of_untrusted_judge"]
    assert history(ws, ROUTE) == apply_is_allowed


def test_who_is_to_serve_and_who_would_have_to_take_back_were_shown_to_sustain_the_peak(ws, gateway):
    keep(ws, peak_per_s=4, headroom=1.5)
    known(ws, B, Decimal(6))
    codes, message = refused(ws, gateway)
    assert codes == ["no_way_back"]
    assert "x264@lab-cpu could not take back 100 % of a peak of 4.0 per second" in message
    known(ws, A, Decimal(6))
    known(ws, B, Decimal(5))
    assert refused(ws, gateway)[0] == ["capacity_not_shown"]
    known(ws, B, Decimal(6))
    assert apply(ws, gateway, {B: 100}).generation == 2


def test_nothing_replaces_what_could_not_come_back(ws, gateway):
    with ws.database.begin() as connection:
        connection.execute(sa.update(tables.variants).where(tables.variants.c.id == str(A)).values(enabled=False))
    codes, message = refused(ws, gateway)
    assert codes == ["no_way_back"]
    assert "is disabled, so there would be nothing to go back to" in message


def test_the_rules_of_the_readme_are_rules_and_its_gateway_is_one(tmp_path):
    blocks = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    kept = {text.splitlines()[0].removeprefix("# "): text for text in blocks}
    for name, read in (("rules.toml", read_rules), ("gateway.toml", read_gateway)):
        (tmp_path / name).write_text(kept[name])
        assert read(tmp_path / name)
    assert read_rules(tmp_path / "rules.toml").auto_rollback
