"""Admitting a run: what is over a limit is refused; what is dear, or of unknown cost, waits before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from pointsman.actions import ActionLog
from pointsman.errors import GuardRefused
from pointsman.model import Missing
from pointsman.safety import Admission, Forecast, Identity, Limits, decide_approval, list_approvals, spent_in_month
from pointsman.scenario import (
    CapacitySearch,
    admit_run,
    cancel_run,
    execute_run,
    next_capacity_run,
    planned_dispatches,
    read_run,
)
from pointsman.scenario.record import advance
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import PLANNED, VARIANT, FakeEngine, plan

LIMITS = Limits(dispatches=100, in_flight=2000, run_usd=Decimal(500), month_usd=Decimal(600), approval_usd=Decimal(50))
ALICE, BOB = Identity("alice", "admin", "local"), Identity("bob", "operator", "token")
MONTH = "2026-01"
A_SEARCH: dict[str, Any] = {"variant_id": str(VARIANT.id), "search": CapacitySearch(), "seed": 1, "most_in_flight": 9}


def costing(usd: str) -> Forecast:
    one = Decimal(usd)
    return Forecast(PLANNED, one, one / 2, one, one / PLANNED, "a guess")


UNKNOWN = Forecast.unknown(PLANNED, "nobody measured it")


def admit(ws: Workspace, forecast: Forecast, run_id: str = "run1", **changes: Any) -> Admission:
    usual: dict[str, Any] = {"dispatches": PLANNED, "unbilled": False, "limits": LIMITS, "requester": ALICE}
    return admit_run(ws, run_id, forecast=forecast, **{**usual, **changes})


def decide(ws: Workspace, decision: Any = "approved", reason: str = "") -> None:
    (asked,) = list_approvals(ws)
    decide_approval(ws, asked.id, BOB, decision, reason=reason, limits=LIMITS)


def test_a_cheap_run_goes_on_and_may_spend_what_needs_no_consent(ws: Workspace) -> None:
    plan(ws)
    assert admit(ws, costing("50")) == Admission("run1", "admitted", None)
    record = read_run(ws, "run1")
    cost = record.metrics_json["cost"]
    assert record.status == "created"
    assert (cost["limit_usd"], cost["forecast"]["high"], cost["missing"]) == (
        "50",
        "50",
        {"usd": "usage is priced when the run has ended"},
    )
    assert spent_in_month(ws, MONTH) == 50
    admit(ws, costing("50"))
    assert spent_in_month(ws, MONTH) == 50, "asking again sets nothing more aside"


def test_a_dear_run_waits_until_somebody_else_agrees(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    waiting = admit(ws, costing("50.001"))
    assert waiting.state == "waiting"
    record = read_run(ws, "run1")
    assert record.status == "awaiting_approval"
    (asked,) = list_approvals(ws)
    assert (asked.limit_usd, asked.requester, asked.waiter) == (Decimal("50.01"), "alice", "tester")
    assert "16 dispatches, about 50.00 USD (25.00 to 50.00; a guess)" in asked.what
    error = waiting.waiting_error()
    assert (error.code, error.exit_code, error.instruction) == ("awaiting_approval", 3, f"pointsman approve {asked.id}")
    assert admit(ws, costing("50.001")).state == "waiting"
    with pytest.raises(GuardRefused, match="not admitted"):
        execute_run(ws, "run1", secret=None)
    decide(ws)
    assert admit(ws, costing("50.001")).state == "admitted"
    assert read_run(ws, "run1").metrics_json["cost"]["limit_usd"] == "50.01"
    ended = execute_run(ws, "run1", secret=None, cancelled=lambda: False)
    assert ended.status == "completed"
    assert admit(ws, costing("1000")) == Admission("run1", "admitted", None), "what has ended is not asked again"


def test_a_run_that_nobody_held_against_the_limits_is_not_executed(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws, admitted=False)
    with pytest.raises(GuardRefused) as caught:
        execute_run(ws, "run1", secret=None)
    assert (caught.value.code, engine.drives) == ("not_admitted", 0)
    admit(ws, costing("1"))
    assert execute_run(ws, "run1", secret=None).status == "completed"


def test_an_unknown_cost_needs_consent_unless_nobody_is_paid(ws: Workspace) -> None:
    plan(ws)
    assert admit(ws, UNKNOWN, unbilled=True).state == "admitted"
    assert read_run(ws, "run1").metrics_json["cost"]["forecast"]["usd"] is None
    plan(ws, "run2")
    assert admit(ws, UNKNOWN, "run2").state == "waiting"
    (asked,) = list_approvals(ws)
    assert asked.limit_usd == LIMITS.run_usd, "of what is not known, as much as may be approved is set aside"
    assert "of unknown cost (nobody measured it)" in asked.what
    assert spent_in_month(ws, MONTH) == LIMITS.run_usd


@pytest.mark.parametrize(
    ("forecast", "changes", "code"),
    [
        (costing("1"), {"dispatches": 101}, "too_many_dispatches"),
        (costing("1"), {"dispatches": 50, "limits": replace(LIMITS, in_flight=49)}, "too_many_in_flight"),
        (costing("500.01"), {}, "over_run_budget"),
        (costing("300"), {"limits": replace(LIMITS, month_usd=Decimal(299))}, "over_month_budget"),
    ],
)
def test_over_a_hard_limit_the_run_has_failed_with_the_refusals_own_words(
    ws: Workspace, forecast: Forecast, changes: dict[str, Any], code: str
) -> None:
    plan(ws)
    with pytest.raises(GuardRefused) as refused:
        admit(ws, forecast, **changes)
    assert (refused.value.code, refused.value.exit_code) == (code, 3)
    record = read_run(ws, "run1")
    assert (record.status, record.metrics_json["failure"]) == ("failed", refused.value.as_failure())
    assert record.ended_at is not None
    assert refused.value.instruction
    events = [entry.event for entry in ActionLog(ws).read()]
    assert events == (["budget_exceeded"] if "budget" in code else [])
    assert spent_in_month(ws, MONTH) == 0


def test_the_month_holds_over_all_runs_and_a_run_cancelled_unsent_gives_its_share_back(
    ws: Workspace, engine: FakeEngine
) -> None:
    plan(ws)
    plan(ws, "run2")
    plan(ws, "run3")
    assert admit(ws, costing("400")).state == "waiting"
    with pytest.raises(GuardRefused, match=r"of 600 USD for 2026-01, 400.00 are spent or set aside"):
        admit(ws, costing("201"), "run2")
    cancel_run(ws, "run1", reason="another day")
    assert admit(ws, costing("201"), "run3").state == "waiting"


@pytest.mark.parametrize("approved", [True, False])
def test_consent_that_expired_gives_its_share_of_the_month_back_before_anybody_looks(
    ws: Workspace, approved: bool
) -> None:
    plan(ws)
    plan(ws, "run2")
    admit(ws, costing("400"))
    if approved:
        decide(ws)
    ws.clock.sleep(timedelta(hours=24).total_seconds() - 1)
    assert spent_in_month(ws, MONTH) == 400
    ws.clock.sleep(1)
    assert spent_in_month(ws, MONTH) == 0
    assert read_run(ws, "run1").status == "awaiting_approval", "nobody has touched it"
    assert admit(ws, costing("400"), "run2").state == "waiting"
    assert spent_in_month(ws, MONTH) == 400


def test_a_rejected_run_gives_its_share_back_and_a_run_that_began_in_time_keeps_its_own(
    ws: Workspace, engine: FakeEngine
) -> None:
    plan(ws)
    plan(ws, "run2")
    admit(ws, costing("100"))
    decide(ws)
    admit(ws, costing("100"))
    execute_run(ws, "run1", secret=None, cancelled=lambda: False)
    admit(ws, costing("200"), "run2")
    assert spent_in_month(ws, MONTH) == 300
    decide(ws, "rejected")
    assert spent_in_month(ws, MONTH) == 100
    ws.clock.sleep(timedelta(hours=48).total_seconds())
    assert spent_in_month(ws, MONTH) == 100, "what it cost is not known yet"


def test_less_than_the_approval_limit_may_be_left_of_the_month(ws: Workspace) -> None:
    plan(ws)
    admit(ws, costing("10"), limits=replace(LIMITS, month_usd=Decimal(30)))
    assert read_run(ws, "run1").metrics_json["cost"]["limit_usd"] == "30"


def test_a_rejected_run_has_failed_and_says_who_and_why(ws: Workspace) -> None:
    plan(ws)
    admit(ws, costing("60"))
    decide(ws, "rejected", reason="too dear")
    with pytest.raises(GuardRefused, match=r"bob rejected ap_.*: too dear") as refused:
        admit(ws, costing("60"))
    assert refused.value.code == "approval_rejected"
    assert read_run(ws, "run1").metrics_json["failure"]["code"] == "approval_rejected"


@pytest.mark.parametrize("approved", [True, False])
def test_a_request_or_consent_that_expired_fails_the_run(ws: Workspace, approved: bool) -> None:
    plan(ws)
    admit(ws, costing("60"))
    if approved:
        decide(ws)
    ws.clock.sleep(timedelta(hours=24).total_seconds())
    with pytest.raises(GuardRefused, match="until 2026-01-02 00:00:00 UTC") as refused:
        admit(ws, costing("60"))
    assert refused.value.code == "approval_expired"
    assert read_run(ws, "run1").status == "failed"


def test_consent_to_less_than_the_run_may_now_cost_is_none(ws: Workspace) -> None:
    plan(ws)
    admit(ws, costing("60"))
    decide(ws)
    with pytest.raises(GuardRefused, match=r"is for 60.00 USD; the run may now cost 60.01 USD") as refused:
        admit(ws, costing("60.001"))
    assert refused.value.code == "approval_over_limit"


def test_who_may_only_look_starts_nothing_and_fails_nobodys_run(ws: Workspace) -> None:
    plan(ws)
    with pytest.raises(GuardRefused, match="takes the role operator"):
        admit(ws, costing("1"), requester=Identity("eve", "viewer", "token"))
    assert read_run(ws, "run1").status == "created"


def test_the_size_of_a_run_is_that_of_its_schedule(ws: Workspace) -> None:
    plan(ws)
    assert planned_dispatches(ws, read_run(ws, "run1")) == PLANNED
    assert isinstance(UNKNOWN.usd, Missing)


def test_steps_of_one_parent_are_held_together_against_what_needs_no_consent(ws: Workspace) -> None:
    for number, state in enumerate(["admitted", "waiting"]):
        plan(ws, f"step{number}", parent_run_id="chain")
        assert admit(ws, costing("30"), f"step{number}").state == state
    (asked,) = list_approvals(ws)
    assert (asked.subject_id, asked.limit_usd) == ("step1", 30)
    assert "after 30.00 USD for other steps of chain" in asked.what
    plan(ws, "another", parent_run_id="chain2")
    assert admit(ws, costing("30"), "another").state == "admitted"
    decide(ws)
    admit(ws, costing("30"), "step1")
    plan(ws, "step2", parent_run_id="chain")
    assert admit(ws, costing("30"), "step2").state == "waiting", "consent was to one of them"
    plan(ws, "unpaid", parent_run_id="chain")
    assert admit(ws, UNKNOWN, "unpaid", unbilled=True).state == "admitted"


def test_what_a_step_may_spend_is_what_its_parent_has_left_without_consent(ws: Workspace) -> None:
    for name in ("step0", "step1"):
        plan(ws, name, parent_run_id="chain")
        admit(ws, costing("20"), name)
    assert read_run(ws, "step1").metrics_json["cost"]["limit_usd"] == "30.00"


def test_a_search_asks_once_and_may_cost_what_one_run_may(ws: Workspace) -> None:
    next_capacity_run(ws, "cap1", **A_SEARCH)
    states = []
    for number in range(10):
        ws.clock.sleep(60)
        plan(ws, f"cap1-{number}", parent_run_id="cap1")
        states.append(admit(ws, costing("49"), f"cap1-{number}").state)
        if states[-1] == "waiting":
            (asked,) = list_approvals(ws)
            assert asked.limit_usd == 500 - 49
            assert "and all that its search does after it" in asked.what
            decide(ws)
            assert admit(ws, costing("49"), f"cap1-{number}").state == "admitted"
            ws.clock.sleep(timedelta(hours=25).total_seconds())
        advance(ws, f"cap1-{number}", "running", reason="a test", submitted=PLANNED)
    assert states == ["admitted", "waiting", *["admitted"] * 8]
    assert read_run(ws, "cap1-9").metrics_json["cost"]["limit_usd"] == str(Decimal("451.00") - 8 * 49)
    plan(ws, "cap1-10", parent_run_id="cap1")
    with pytest.raises(GuardRefused, match=r"after 490\.00 USD for other steps of cap1 may cost 49\.00 USD") as refused:
        admit(ws, costing("49"), "cap1-10")
    assert refused.value.code == "over_run_budget"


def test_a_search_of_more_than_was_agreed_to_asks_again(ws: Workspace) -> None:
    next_capacity_run(ws, "cap1", **A_SEARCH)
    plan(ws, "cap1-0", parent_run_id="cap1")
    admit(ws, costing("60"), "cap1-0", limits=replace(LIMITS, run_usd=Decimal(100)))
    decide(ws)
    assert admit(ws, costing("60"), "cap1-0").state == "admitted"
    plan(ws, "cap1-1", parent_run_id="cap1")
    assert admit(ws, costing("60"), "cap1-1").state == "waiting"
