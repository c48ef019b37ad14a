"""Consent to a change of routing: one approval of somebody else, or none where none is asked for.

In production it is the guard's, given before the change is proposed: it names the routed jobs that look at the change
and prove it. Elsewhere it is that of the proposed generation, where the rules of the route ask for it.
"""

from __future__ import annotations

from decimal import Decimal

import sqlalchemy as sa

from pointsman.errors import GuardRefused
from pointsman.ids import RouteKey
from pointsman.model import Binding
from pointsman.routing import bindings
from pointsman.routing.rules import rules_of
from pointsman.safety import Admission, Approval, Consent, Identity
from pointsman.safety.approvals import approval_of, request_approval
from pointsman.safety.places import registered_place
from pointsman.safety.production import Place, is_production, require_consent
from pointsman.workspace import Workspace

SCOPE = "routing change"
_FREE = Decimal(0)
"""The change itself costs nothing; what the route may cost is a rule of its own."""


def in_production(ws: Workspace, route_key: RouteKey) -> bool:
    """Whether changes of the route, and routed jobs, have to pass the guard of production."""
    return is_production(_place(ws, route_key))


def require_guarded(ws: Workspace, route_key: RouteKey, consent: Consent | None, what: str) -> None:
    """Raise `GuardRefused` (`production_not_guarded`) for what touches production and was not admitted there."""
    require_consent(_place(ws, route_key), consent, what)


def waits_for_consent(ws: Workspace, route_key: RouteKey, *, ask_first: bool) -> bool:
    """Whether a change waits, once it is proposed, for somebody to agree."""
    return not in_production(ws, route_key) and (ask_first or rules_of(ws, route_key).approval)


def ask_for_consent(ws: Workspace, connection: sa.Connection, new: Binding, requester: Identity) -> None:
    """Ask within the transaction that records the generation."""
    shares = ", ".join(f"{weight} % {one.label}" for one, weight in sorted(new.weights.items()) if weight)
    request_approval(
        ws,
        connection,
        scope=SCOPE,
        subject_id=bindings.entity(new),
        what=f"Generation {new.generation} of {new.route_key}: {shares}; {new.cause}",
        limit_usd=_FREE,
        requester=requester,
    )


def _place(ws: Workspace, route_key: RouteKey) -> Place:
    with ws.database.connect() as connection:
        return registered_place(connection, route_key.environment)


def consent_to(ws: Workspace, record: bindings.BindingRecord) -> Approval | None:
    """The request for consent to a generation, if there is one."""
    with ws.database.connect() as connection:
        return approval_of(connection, SCOPE, bindings.entity(record.binding))


def waits_for_somebody(ws: Workspace, connection: sa.Connection, record: bindings.BindingRecord) -> bool:
    """Whether a generation waits for consent that may still be given, or was and is not used yet."""
    approval = approval_of(connection, SCOPE, bindings.entity(record.binding))
    return approval is not None and approval.state(ws.clock.now()) in ("waiting", "approved")


def go_on_with_consent(ws: Workspace, record: bindings.BindingRecord) -> bindings.BindingRecord:
    """The generation as it stands once somebody agreed.

    Raises `GuardRefused`: while nobody has (`awaiting_approval`), and, when it was rejected or its time is over, after
    the generation was aborted.
    """
    binding = record.binding
    with ws.database.begin() as connection:
        bindings.take_turn(connection, binding.route_key)
        record = bindings.generation(connection, binding.route_key, binding.generation)
        if record.status != "awaiting_approval":
            return record
        approval = approval_of(connection, SCOPE, bindings.entity(binding))
        assert approval is not None
        state = approval.state(ws.clock.now())
        if state == "approved":
            bindings.move(connection, ws, binding, record.status, "applying", f"approved by {approval.decided_by}")
            return bindings.generation(connection, binding.route_key, binding.generation)
        if state != "waiting":
            bindings.move(connection, ws, binding, record.status, "aborted", f"{approval.id} is {state}")
    if state == "waiting":
        raise Admission(bindings.entity(binding), "waiting", approval).waiting_error()
    raise GuardRefused(
        f"{approval.what}: {approval.id} is {state}" + (f" by {approval.decided_by}." if approval.decided_by else "."),
        instruction=f"pointsman route history {binding.route_key}",
        code=f"approval_{state}",
        approval_id=approval.id,
    )
