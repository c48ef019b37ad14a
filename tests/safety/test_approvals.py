"""Consent: another identity decides, once, in time, within the limits; each refusal has its name."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import GuardRefused, InputRefused, NotFound
from pointsman.safety import Approval, Identity, Limits, decide_approval, list_approvals, read_approval, unproven
from pointsman.safety.approvals import VALID_FOR, request_approval
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.safety.conftest import ALICE, BOB

LIMITS = Limits(dispatches=100, in_flight=10, run_usd=Decimal(500), month_usd=Decimal(2000), approval_usd=Decimal(50))


def ask(ws: Workspace, requester: Identity = ALICE, usd: str = "80.00", subject: str = "run1") -> Approval:
    with ws.database.begin() as connection:
        return request_approval(
            ws,
            connection,
            scope="load-test run",
            subject_id=subject,
            what="A load test",
            limit_usd=Decimal(usd),
            requester=requester,
        )


def decide(ws: Workspace, asked: Approval, by: Identity = BOB, decision: Any = "approved", **more: Any) -> Approval:
    return decide_approval(ws, asked.id, by, decision, **{"reason": "", "limits": LIMITS, **more})


def test_somebody_else_approves_and_the_row_says_who_and_when(ws: Workspace) -> None:
    asked = ask(ws)
    assert list_approvals(ws) == [asked]
    ws.clock.sleep(60)
    approved = decide(ws, asked, reason="looks fine")
    assert approved.state(ws.clock.now()) == "approved"
    assert (approved.decided_by, approved.reason, approved.limit_usd) == ("bob", "looks fine", Decimal("80.00"))
    assert approved.decided_at == asked.requested_at + timedelta(minutes=1)
    assert list_approvals(ws) == []


def test_asking_twice_is_asking_once(ws: Workspace) -> None:
    assert ask(ws) == ask(ws, requester=BOB, usd="1")
    (entry,) = ActionLog(ws).read()
    assert (entry.event, entry.severity, entry.run_id) == ("approval_requested", "warn", "run1")
    assert entry.instruction == f"pointsman approve {ask(ws).id}"


@pytest.mark.parametrize("decision", ["approved", "rejected"])
def test_the_same_decision_again_answers_as_it_did_and_another_is_refused(ws: Workspace, decision: str) -> None:
    asked = ask(ws)
    first = decide(ws, asked, decision=decision)
    ws.clock.sleep(5)
    assert decide(ws, asked, decision=decision) == first
    for by, other in ((BOB, {"approved": "rejected", "rejected": "approved"}[decision]), (CAROL, decision)):
        with pytest.raises(GuardRefused, match=f"was {decision} by bob") as refused:
            decide(ws, asked, by, other)
        assert refused.value.code == "approval_decided"
    assert read_approval(ws, asked.id) == first


CAROL = Identity("carol", "admin", "token")


@pytest.mark.parametrize(
    ("requester", "by"),
    [
        (ALICE, ALICE),
        (ALICE, Identity("alice", "admin", "token")),
        (Identity("bob", "operator", "token"), Identity("bob", "admin", "local")),
    ],
)
@pytest.mark.parametrize("decision", ["approved", "rejected"])
def test_who_asked_does_not_decide_whatever_proves_the_name(
    ws: Workspace, requester: Identity, by: Identity, decision: str
) -> None:
    with pytest.raises(GuardRefused) as refused:
        decide(ws, ask(ws, requester), by, decision)
    assert refused.value.code == "approval_by_requester"


def test_the_database_itself_refuses_that_who_asked_decides(ws: Workspace) -> None:
    asked = ask(ws)
    changed = sa.update(tables.approvals).values(decision="approved", decided_by="alice", decided_at=ws.clock.now())
    with pytest.raises(sa.exc.IntegrityError), ws.database.begin() as connection:
        connection.execute(changed)
    assert read_approval(ws, asked.id) == asked


def test_another_user_of_the_machine_decides_on_a_database_file_only(
    ws: Workspace, request: pytest.FixtureRequest
) -> None:
    other = Identity("dave", "admin", "local")
    assert decide(ws, ask(ws), other).decided_by == "dave"
    request.getfixturevalue("on_a_shared_database")
    with pytest.raises(GuardRefused) as refused:
        decide(ws, ask(ws, subject="run2"), other)
    assert refused.value.code == "approval_needs_token"


def test_a_viewer_decides_nothing_and_what_nobody_provably_asked_for_takes_an_admin(ws: Workspace) -> None:
    viewer = Identity("eve", "viewer", "token")
    asked_in_the_ui = ask(ws, unproven("flow-run:1"), subject="run2")
    for asked, by in ((ask(ws), viewer), (asked_in_the_ui, BOB)):
        with pytest.raises(GuardRefused) as refused:
            decide(ws, asked, by)
        assert refused.value.code == "role_too_low"
    assert decide(ws, asked_in_the_ui, CAROL).decision == "approved"


def test_a_request_expires_undecided_and_an_unused_consent_expires_too(ws: Workspace) -> None:
    asked, used_late = ask(ws), decide(ws, ask(ws, subject="run2"))
    ws.clock.sleep(VALID_FOR.total_seconds() - 1)
    assert (asked.state(ws.clock.now()), used_late.state(ws.clock.now())) == ("waiting", "approved")
    ws.clock.sleep(1)
    assert (asked.state(ws.clock.now()), used_late.state(ws.clock.now())) == ("expired", "expired")
    assert list_approvals(ws) == []
    with pytest.raises(GuardRefused, match="until 2026-01-02 00:00:00 UTC") as refused:
        decide(ws, asked)
    assert refused.value.code == "approval_expired"


def test_no_consent_goes_beyond_the_hard_limit_but_a_rejection_may(ws: Workspace) -> None:
    asked = ask(ws, usd="500.01")
    with pytest.raises(GuardRefused, match="at most 500 USD") as refused:
        decide(ws, asked)
    assert refused.value.code == "approval_over_limit"
    assert decide(ws, asked, decision="rejected").decision == "rejected"


def test_what_is_no_request_or_no_reason_is_refused(ws: Workspace) -> None:
    with pytest.raises(NotFound, match="pointsman approve"):
        decide_approval(ws, "ap_nothing", BOB, "approved", reason="", limits=LIMITS)
    with pytest.raises(InputRefused, match="500 characters"):
        decide(ws, ask(ws), reason="x" * 501)
