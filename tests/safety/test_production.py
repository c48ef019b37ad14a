"""One safe run against production, and every unsafe one beside it: refused by name, having changed nothing in AWS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman import safety
from pointsman.actions import ActionLog
from pointsman.errors import GuardRefused, InputRefused, NotFound
from pointsman.safety import Identity, Limits, Permit, ProductionRules, decide_approval, list_approvals
from pointsman.safety.approvals import VALID_FOR
from pointsman.safety.production import ProductionPlan
from pointsman.safety.production_rules import violations
from pointsman.scenario import CapacitySearch, Scenario, Stage, next_capacity_run, read_run
from pointsman.scenario.admission import require_admission
from pointsman.scenario.production import planned_size
from pointsman.scenario.record import advance
from pointsman.settings import load_settings
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.safety import production_world
from tests.safety.production_world import (
    DISPATCHES,
    VARIANT,
    World,
)
from tests.safety.unsafe import BEFORE_APPROVAL, UNSAFE


@pytest.fixture
def world(ws: Workspace, moto: tuple[Any, Any]) -> Iterator[World]:
    made = World(ws, *moto)
    made.register()
    yield made
    made.put_back()


def test_the_safe_run_may_be_driven_and_only_looked_at_aws(world: World) -> None:
    world.approve()
    world.begin()
    record = read_run(world.ws, "run1")
    assert record.status == "created"
    (approval,) = [one.data["approval_id"] for one in ActionLog(world.ws).read() if one.event == "approval_requested"]
    assert record.metrics_json["production"] == {
        "approval_id": approval,
        "alarms": ["effects-5xx", "effects-queue-age"],
    }
    assert record.metrics_json["cost"]["limit_usd"] == "20"
    assert world.only_looked_at_aws
    assert set(world.asked_of_aws) == {
        "GetCallerIdentity",
        "DescribeClusters",
        "DescribeAutoScalingGroups",
        "GetSafetyLever",
        "DescribeAlarms",
    }
    assert not [one for one in ActionLog(world.ws).read() if one.event == "production_run_refused"]


@pytest.mark.parametrize("what", UNSAFE)
def test_an_unsafe_run_is_refused_by_name_before_anything_is_planned(world: World, what: str) -> None:
    code, mutate = UNSAFE[what]
    world.approve()
    mutate(world)
    with pytest.raises(GuardRefused) as caught:
        world.begin()
    error = caught.value
    assert (error.code, error.exit_code) == ("production_refused", 3)
    rules: Any = error.data["rules"]
    assert code in rules, error.message
    assert all(f"[{rule}]" in error.message for rule in rules)
    assert error.instruction
    assert world.only_looked_at_aws, world.asked_of_aws
    with pytest.raises(NotFound):
        read_run(world.ws, "run1")
    (logged,) = [one for one in ActionLog(world.ws).read() if one.event == "production_run_refused"]
    assert (logged.severity, logged.run_id) == ("critical", "run1")
    assert logged.instruction == "pointsman logs --run run1 --json"
    assert [one["code"] for one in logged.data["rules"]] == rules
    assert all(one["message"] and one["instruction"] for one in logged.data["rules"])


@pytest.mark.parametrize("what", BEFORE_APPROVAL)
def test_a_run_without_an_approval_of_its_own_waits_and_asks_for_one(world: World, what: str) -> None:
    code, mutate = BEFORE_APPROVAL[what]
    mutate(world)
    with pytest.raises(GuardRefused) as caught:
        world.begin()
    assert (caught.value.code, caught.value.exit_code) == (code, 3)
    assert world.only_looked_at_aws
    assert read_run(world.ws, "run1").status == "awaiting_approval"
    assert not read_run(world.ws, "run1").metrics_json["admitted"]


def test_the_suite_is_large_and_has_every_rule() -> None:
    assert len(UNSAFE) + len(BEFORE_APPROVAL) >= 40
    text = "".join(one.read_text() for one in sorted(Path(safety.__file__).parent.glob("production*.py")))
    rules = set(re.findall(r'Refusal\(\s*"(\w+)"', text))
    for maker, ending in (("_unregistered", "not_registered"), ("_not_listed", "not_allowed"), ("_unknown", "unknown")):
        named = re.findall(rf'{maker}\((?:plan, )?"(\w+)"', text)
        rules |= {f"{what}_{ending}" for what in named}
    rules |= {f"{what}_elsewhere" for what in re.findall(r'_elsewhere\("(\w+)"', text)}
    rules |= {"too_many_dispatches", "too_many_in_flight", "over_run_budget", "over_month_budget"}
    by_lookup = {"approval_missing", "approval_undecided", "approval_of_another_kind", "approval_of_another_run"}
    assert len(rules) > 35
    assert rules - {code for code, _ in UNSAFE.values()} == by_lookup


def test_a_schedule_without_a_dispatch_is_no_error_of_the_guard(world: World) -> None:
    stage = Stage(name="quiet", rate=0.001, duration_s=1)
    world.ask(scenario=Scenario(name="quiet", stages=(stage,), arrivals="poisson"))
    assert planned_size(world.ws, world.asked) == (0, 0)


def test_all_that_is_wrong_is_said_at_once(world: World) -> None:
    world.approve()
    wrong = ["it does not say production", "its account is not allowed", "its region is not allowed"]
    wrong += ["its group has lost a machine", "an alarm rings", "the safety lever is engaged"]
    wrong += ["the approval is for another environment", "the month's money is gone", "it is over production's rate"]
    for what in wrong:
        UNSAFE[what][1](world)
    with pytest.raises(GuardRefused, match=r"breaks \d+ rules") as caught:
        world.begin()
    rules: Any = caught.value.data["rules"]
    assert {UNSAFE[what][0] for what in wrong} <= set(rules)
    assert caught.value.instruction == "What to do about each: pointsman logs --run run1 --json"


def test_it_is_asked_for_approved_by_another_and_goes_on(world: World) -> None:
    with pytest.raises(GuardRefused, match="waits for ap_"):
        world.begin()
    (asked,) = list_approvals(world.ws)
    assert (asked.scope, asked.subject_id, asked.environment_id) == ("production run", "run1", "prod")
    assert (asked.limit_usd, asked.limit_per_s, asked.requester) == (Decimal(10), 2, "alice")
    assert asked.what.endswith("; in production (prod), 2 in a second")
    assert asked.expires_at - asked.requested_at == VALID_FOR
    (told,) = [one for one in ActionLog(world.ws).read() if one.event == "production_run_requested"]
    assert (told.severity, told.instruction) == ("warn", f"pointsman approve {asked.id}")
    with pytest.raises(GuardRefused, match="waits for ap_"):
        world.begin()
    assert len([one for one in ActionLog(world.ws).read() if one.event == "production_run_requested"]) == 1
    world.decide()
    world.begin()
    assert read_run(world.ws, "run1").metrics_json["production"]["approval_id"] == asked.id


def test_a_run_that_waited_and_is_then_refused_has_failed(world: World) -> None:
    with pytest.raises(GuardRefused, match="waits for ap_"):
        world.begin()
    world.decide()
    world.lever("engaged")
    with pytest.raises(GuardRefused, match="safety_lever_engaged"):
        world.begin()
    record = read_run(world.ws, "run1")
    assert (record.status, record.metrics_json["failure"]["code"]) == ("failed", "production_refused")
    assert world.only_looked_at_aws


def test_a_run_of_another_environment_that_has_its_id_is_left_alone(world: World) -> None:
    world.another_run("awaiting_approval")
    with world.ws.database.begin() as connection:
        connection.execute(sa.update(tables.load_test_runs).values(environment_id="staging"))
    world.ask(run_id="another", production=None)
    with pytest.raises(GuardRefused, match="production_not_named"):
        world.begin()
    assert read_run(world.ws, "another").status == "awaiting_approval"


def test_a_permit_is_for_one_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits.of(load_settings({}))
    elsewhere = Permit("production-of-others", 2, limits, ())
    monkeypatch.setattr("tests.safety.production_world.guard_production", lambda *_, **__: elsewhere)
    with pytest.raises(GuardRefused) as caught:
        world.begin()
    assert caught.value.code == "production_not_guarded"


def test_a_run_that_only_waits_is_in_nobodys_way(world: World) -> None:
    world.another_run("awaiting_approval")
    world.approve()
    world.begin()


def test_of_two_that_pass_the_guard_at_once_one_is_admitted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run is admitted after this one has passed the guard, and before it is admitted itself."""
    world.approve()
    guard = production_world.guard_production

    def slowly(*given: Any, **named: Any) -> Permit | None:
        permit = guard(*given, **named)
        world.another_run("created", admitted=True)
        return permit

    monkeypatch.setattr(production_world, "guard_production", slowly)
    with pytest.raises(GuardRefused) as caught:
        world.begin()
    assert caught.value.code == "another_run_goes_on"
    assert read_run(world.ws, "run1").status == "failed"
    (told,) = [one for one in ActionLog(world.ws).read() if one.event == "production_run_refused"]
    assert [one["code"] for one in told.data["rules"]] == ["another_run_goes_on"]


def test_what_has_begun_is_held_by_its_watcher_and_not_refused_again(world: World) -> None:
    world.approve()
    world.begin()
    advance(world.ws, "run1", "running", reason="a test")
    world.ring("ALARM")
    world.begin()


def known_of(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[ProductionPlan, ProductionRules]:
    """The plan of the safe run as the guard sees it, and the rules."""
    kept: list[tuple[ProductionPlan, ProductionRules]] = []
    monkeypatch.setattr("pointsman.scenario.production.violations", lambda *seen: kept.append(seen) or ())
    world.approve()
    world.begin()
    return kept[0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"scope": "load-test run"}, "approval_of_another_kind"),
        ({"subject_id": "run2"}, "approval_of_another_run"),
        ({"subject_id": "cap1-0"}, "approval_of_another_run"),
        ({"decision": None, "decided_by": None, "decided_at": None}, "approval_undecided"),
        ({"decided_by": "alice"}, "own_approval"),
        (None, "approval_missing"),
    ],
)
def test_an_approval_that_no_lookup_would_find_is_refused_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any] | None, code: str
) -> None:
    plan, rules = known_of(world, monkeypatch)
    assert violations(plan, rules) == ()
    assert plan.approval is not None
    approval = None if changes is None else replace(plan.approval, **changes)
    assert [one.code for one in violations(replace(plan, approval=approval), rules)] == [code]


def search(world: World, highest: float) -> None:
    """A search that may go up to `highest` per second is begun; the next begin is of its first step."""
    asked = CapacitySearch(highest_per_s=highest)
    next_capacity_run(world.ws, "cap1", variant_id=str(VARIANT.id), search=asked, seed=1, most_in_flight=9)
    world.ask(run_id="cap1-0", parent_run_id="cap1")


def test_a_search_asks_once_for_the_highest_rate_that_it_may_try(world: World) -> None:
    search(world, highest=4)
    with pytest.raises(GuardRefused, match="waits for ap_"):
        world.begin()
    (asked,) = list_approvals(world.ws)
    assert (asked.limit_per_s, asked.limit_usd) == (4, Decimal(50))
    world.decide("cap1-0")
    first_step_ended(world)
    world.rate(4)
    world.ask(run_id="cap1-1")
    world.begin()
    assert read_run(world.ws, "cap1-1").metrics_json["production"]["approval_id"] == asked.id
    advance(world.ws, "cap1-1", "completed", reason="a test")
    world.ask(run_id="cap1-2")
    world.ws.clock.sleep(24 * 3600)
    with pytest.raises(GuardRefused, match=r"\[approval_expired\]"):
        world.begin()


def test_what_a_search_was_approved_for_is_for_its_own_steps(world: World) -> None:
    search(world, highest=4)
    world.approve("cap1-0", limit_per_s=4)
    first_step_ended(world)
    world.ask(run_id="smuggled")
    with pytest.raises(GuardRefused, match=r"breaks a rule\. \[approval_of_another_run\]"):
        world.begin()


def first_step_ended(world: World) -> None:
    """The first step of the search is begun and has ended."""
    world.begin()
    advance(world.ws, "cap1-0", "running", reason="a test", submitted=DISPATCHES)
    advance(world.ws, "cap1-0", "completed", reason="a test")


def test_a_search_beyond_the_cap_is_refused_before_it_asks(world: World) -> None:
    search(world, highest=1000)
    with pytest.raises(GuardRefused, match=r"\[over_production_rate\] It sends 1000 dispatches"):
        world.begin()


def test_the_database_itself_takes_no_own_approval(world: World) -> None:
    world.approve()
    with pytest.raises(sa.exc.IntegrityError):
        world.approval(decided_by="alice")


def test_only_a_token_approves_production(world: World) -> None:
    with pytest.raises(GuardRefused, match="waits for ap_"):
        world.begin()
    (asked,) = list_approvals(world.ws)
    somebody = Identity("bob", "admin", "local")
    with pytest.raises(GuardRefused) as caught:
        decide_approval(world.ws, asked.id, somebody, "approved", reason="", limits=Limits.of(load_settings({})))
    assert caught.value.code == "approval_needs_token"
    world.decide()
    with pytest.raises(GuardRefused) as decided:
        decide_approval(world.ws, asked.id, somebody, "rejected", reason="", limits=Limits.of(load_settings({})))
    assert decided.value.instruction.endswith(f"pointsman logs --run {asked.subject_id}")


def test_naming_production_where_there_is_none_is_refused(world: World) -> None:
    world.environment(kind="staging")
    with pytest.raises(InputRefused, match="production: 'prod' is not allowed; allowed: nothing, as prod is staging"):
        world.begin()
    assert world.asked_of_aws == []


def test_a_run_elsewhere_is_not_held_against_it(world: World) -> None:
    world.environment(kind="staging")
    world.ask(production=None)
    world.begin()
    assert world.asked_of_aws == []
    assert "production" not in read_run(world.ws, "run1").metrics_json


def test_whoever_leaves_the_guard_out_does_not_get_further(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.safety.production_world.guard_production", lambda *_, **__: None)
    with pytest.raises(GuardRefused) as caught:
        world.begin()
    assert caught.value.code == "production_not_guarded"
    with pytest.raises(GuardRefused, match="not admitted"):
        require_admission(read_run(world.ws, "run1"))
