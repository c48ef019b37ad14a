"""Consent: who asked for what up to which sum, until when, and who said yes or no. One row, one decision, for ever.

The rule. Whoever decides is another than who asked, whatever proves their names. On a shared database a decision takes
a token, and everywhere one about production does; on a database file another user of the machine may decide the rest.
What nobody can be shown to have asked for, which is a run started in the Prefect UI, is decided by an admin.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import GuardRefused, InputRefused, NotFound
from pointsman.ids import derive
from pointsman.safety.guards import Limits
from pointsman.safety.identities import Identity, Proof, require, shared
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

_APPROVALS = tables.approvals
VALID_FOR = timedelta(hours=24)
"""How long a request may be decided, and what was approved may be started."""
Decision = Literal["approved", "rejected"]


@dataclass(frozen=True, slots=True)
class Approval:
    """One row of `approvals`. `waiter` is the process that waits for it."""

    id: str
    scope: str
    subject_id: str
    what: str
    limit_usd: Decimal
    environment_id: str | None
    """Of production only, as is the rate."""
    limit_per_s: int | None
    requester: str
    requester_proof: Proof
    waiter: str
    requested_at: datetime
    expires_at: datetime
    decision: Decision | None
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None

    def state(self, now: datetime) -> Literal["waiting", "approved", "rejected", "expired"]:
        """How it stands at a time, for what has not started yet: consent that was not used expires as well."""
        if self.decision == "rejected":
            return "rejected"
        if now >= self.expires_at:
            return "expired"
        return self.decision or "waiting"


def approval_id(scope: str, subject_id: str) -> str:
    """Of the one approval that there is or will be of this thing."""
    return f"ap_{derive('approval', scope, subject_id).replace('-', '')[:12]}"


def request_approval(
    ws: Workspace,
    connection: sa.Connection,
    *,
    scope: str,
    subject_id: str,
    what: str,
    limit_usd: Decimal,
    requester: Identity,
    environment_id: str | None = None,
    limit_per_s: int | None = None,
) -> Approval:
    """Ask for consent within the caller's transaction, and log it; asking again finds the same request."""
    now = ws.clock.now()
    row = {
        "id": approval_id(scope, subject_id),
        "scope": scope,
        "subject_id": subject_id,
        "what": what,
        "limit_usd": limit_usd,
        "environment_id": environment_id,
        "limit_per_s": limit_per_s,
        "requester": requester.name,
        "requester_proof": requester.proof,
        "waiter": ws.actor,
        "requested_at": now,
        "expires_at": now + VALID_FOR,
    }
    if insert_absent(connection, _APPROVALS, [row]):
        ActionLog(ws).record_in(
            connection,
            "approval_requested",
            run_id=subject_id,
            approval_id=row["id"],
            what=what,
            limit_usd=limit_usd,
            requester=requester.name,
        )
    found = approval_of(connection, scope, subject_id)
    assert found is not None
    return found


def approval_of(connection: sa.Connection, scope: str, subject_id: str) -> Approval | None:
    """The request for consent to one thing, if there is one."""
    return _one(connection, (_APPROVALS.c.scope == scope) & (_APPROVALS.c.subject_id == subject_id))


def consent_to_step(connection: sa.Connection, scope: str, parent_run_id: str) -> Approval | None:
    """The newest consent that was given to a load test which is a step of this parent."""
    steps = sa.select(tables.load_test_runs.c.id).where(tables.load_test_runs.c.parent_run_id == parent_run_id)
    given = (_APPROVALS.c.scope == scope) & (_APPROVALS.c.decision == "approved") & _APPROVALS.c.subject_id.in_(steps)
    row = connection.execute(sa.select(_APPROVALS).where(given).order_by(_APPROVALS.c.decided_at.desc()))
    found = row.mappings().first()
    return None if found is None else Approval(**found)


def read_approval(ws: Workspace, approval_id: str) -> Approval:
    """Raises `NotFound`."""
    with ws.database.connect() as connection:
        return _known(connection, approval_id)


def list_approvals(ws: Workspace) -> list[Approval]:
    """What waits for a decision and has not expired, oldest first."""
    waiting = (_APPROVALS.c.decision.is_(None)) & (_APPROVALS.c.expires_at > ws.clock.now())
    with ws.database.connect() as connection:
        rows = connection.execute(sa.select(_APPROVALS).where(waiting).order_by(_APPROVALS.c.requested_at)).mappings()
        return [Approval(**row) for row in rows]


def decide_approval(
    ws: Workspace, approval_id: str, by: Identity, decision: Decision, *, reason: str, limits: Limits
) -> Approval:
    """Write the decision; the same one by the same identity again changes nothing.

    Raises `NotFound`, and `GuardRefused` by name: `approval_decided`, `approval_by_requester`, `approval_needs_token`,
    `role_too_low`, `approval_expired`, `approval_over_limit`.
    """
    if len(reason) > 500:
        raise InputRefused("reason", reason, "at most 500 characters")
    now = ws.clock.now()
    with ws.database.begin() as connection:
        found = _known(connection, approval_id)
        if (found.decision, found.decided_by) == (decision, by.name):
            return found
        _refuse(found, by, now, decision, limits, is_shared=shared(ws))
        connection.execute(
            sa.update(_APPROVALS)
            .where(_APPROVALS.c.id == approval_id)
            .values(decision=decision, decided_by=by.name, decided_at=now, reason=reason or None)
        )
        return _known(connection, approval_id)


def wait_instead(ws: Workspace, approval: Approval) -> bool:
    """Let this process wait in the place of the one that did; False where another one took its place before."""
    mine = (_APPROVALS.c.id == approval.id) & (_APPROVALS.c.waiter == approval.waiter)
    with ws.database.begin() as connection:
        return connection.execute(sa.update(_APPROVALS).where(mine).values(waiter=ws.actor)).rowcount == 1


def _refuse(
    found: Approval, by: Identity, now: datetime, decision: Decision, limits: Limits, *, is_shared: bool
) -> None:
    def refused(code: str, message: str, instruction: str) -> GuardRefused:
        return GuardRefused(message, instruction=instruction, code=code, approval_id=found.id)

    if found.decision is not None:
        raise refused(
            "approval_decided",
            f"{found.id} was {found.decision} by {found.decided_by} at {found.decided_at:%F %T} UTC.",
            f"See what became of it: {_look_at(found)}",
        )
    if by.name == found.requester:
        raise refused(
            "approval_by_requester",
            f"{by.name} asked for {found.id} and cannot decide it.",
            "Let somebody else decide, with a token of their own name in POINTSMAN_TOKEN.",
        )
    if (is_shared or found.environment_id is not None) and by.proof != "token":
        raise refused(
            "approval_needs_token",
            f"Nothing proves to others that it is {by.name} who decides.",
            "Set POINTSMAN_TOKEN; an admin makes one: `pointsman token create`.",
        )
    require(by, "admin" if found.requester_proof == "none" else "operator", f"deciding {found.id}")
    if now >= found.expires_at:
        raise refused(
            "approval_expired",
            f"{found.id} could be decided until {found.expires_at:%F %T} UTC.",
            "Ask again: start the same scenario, or ask for the same change, as a new run.",
        )
    if decision == "approved" and found.limit_usd > limits.run_usd:
        raise refused(
            "approval_over_limit",
            f"{found.id} asks for {found.limit_usd} USD; at most {limits.run_usd} USD are allowed for one run.",
            f"Reject it, or raise POINTSMAN_MAX_RUN_USD: pointsman approve {found.id} --reject",
        )


def _look_at(found: Approval) -> str:
    if found.environment_id is not None:
        return f"pointsman logs --run {found.subject_id}"
    route_key, _, generation = found.subject_id.partition("#")
    return f"pointsman route history {route_key}" if generation else f"pointsman scenario status {found.subject_id}"


def _known(connection: sa.Connection, approval_id: str) -> Approval:
    found = _one(connection, _APPROVALS.c.id == approval_id)
    if found is None:
        raise NotFound("approval", approval_id, "an id that `pointsman approve` lists")
    return found


def _one(connection: sa.Connection, which: sa.ColumnElement[bool]) -> Approval | None:
    row = connection.execute(sa.select(_APPROVALS).where(which).with_for_update()).mappings().first()
    return None if row is None else Approval(**row)
