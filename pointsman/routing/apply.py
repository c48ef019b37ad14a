"""Changing where traffic goes: to new weights, back to what served before, and back to what is recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from pointsman.errors import GuardRefused, InputRefused, NotFound
from pointsman.ids import RouteKey, VariantId, derive
from pointsman.model import Binding
from pointsman.routing import bindings, rollouts
from pointsman.routing.changing import Change, foresee, make, propose
from pointsman.routing.consent import ask_for_consent, consent_to, require_guarded, waits_for_consent
from pointsman.routing.gateways import Gateway
from pointsman.routing.guards import Intended, ensure_allowed, ensure_ready
from pointsman.routing.proposals import ensure_undisturbed
from pointsman.routing.rollouts import at_percent, check_steps
from pointsman.routing.verdicts import ensure_asked_for
from pointsman.safety import Approval, Consent, Identity, unproven
from pointsman.storage import tables
from pointsman.workspace import Workspace

_NAMED = 20
"""So many generations are named where one is not known."""


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """What somebody wants to be the next generation of a route: `weights`, whole percents of registered variants.

    `expected` is the generation that they take to be current, None for a route without a binding. The same
    `idempotency_key` with the same request gives the same generation, and continues one that was interrupted.
    One that is to `ask_first` waits for consent whatever the rules of the route say, and overtakes no other change.
    With several `steps` (percents that grow to 100) it is the first step of a canary, which `advance` continues.
    """

    route_key: RouteKey
    weights: Mapping[VariantId, int]
    expected: int | None
    cause: str
    idempotency_key: str
    verdict_id: str | None = None
    steps: Sequence[int] = (100,)
    requester: Identity | None = None
    ask_first: bool = False


def apply_binding(
    ws: Workspace, gateway: Gateway, request: BindingRequest, *, consent: Consent | None = None
) -> Binding:
    """Make what is asked for the next generation of the route, and return it.

    Raises, before anything is written: `InputRefused` or `NotFound` for bad weights or unknown variants, `GuardRefused`
    when a verdict is named that does not ask for these weights, a rule of the route is broken, or the route is in
    production and has no `consent` of its guard (`production_not_guarded`), `Conflict` when another generation is
    current or the key was used for another request. Later: `GuardRefused` (`awaiting_approval`) until somebody other
    than the `requester` agreed, where that is asked for outside production; `DependencyDown` when the gateway is out of
    reach (the generation stays applying and the same call continues it), `RunFailed` when the gateway does not show it
    (the generation is failed), `Conflict` when a newer change overtook this one.
    """
    change, rules = _applying(ws, gateway, request)
    return make(ws, gateway, change, _guarded(ws, request.route_key, consent, rules))


def propose_binding(
    ws: Workspace, gateway: Gateway, request: BindingRequest, *, consent: Consent | None = None
) -> Approval | None:
    """Only record the change that the same call of `apply_binding` carries out; the consent that it waits for, if any.

    Raises as `apply_binding` does.
    """
    change, rules = _applying(ws, gateway, request)
    record = propose(ws, gateway, change, _guarded(ws, request.route_key, consent, rules))
    return consent_to(ws, record) if record.status == "awaiting_approval" else None


def ensure_may_apply(ws: Workspace, gateway: Gateway, request: BindingRequest) -> None:
    """Raise what `apply_binding` would refuse this request for now, consent apart, and write nothing.

    For before somebody is asked for consent: what breaks a rule is nobody's to agree to.
    """
    change, rules = _applying(ws, gateway, request)
    foresee(ws, gateway, change, rules)


def _guarded(
    ws: Workspace, route_key: RouteKey, consent: Consent | None, rules: Callable[[], None]
) -> Callable[[], None]:
    def check() -> None:
        rules()
        require_guarded(ws, route_key, consent, f"The change of {route_key}")

    return check


def _applying(ws: Workspace, gateway: Gateway, request: BindingRequest) -> tuple[Change, Callable[[], None]]:
    route_key, weights, cause = request.route_key, request.weights, request.cause
    percents = check_steps(request.steps)
    canary = len(percents) > 1
    rollout_id = f"canary_{derive('rollout', route_key, request.idempotency_key)}" if canary else None
    awaits_consent = waits_for_consent(ws, route_key, ask_first=request.ask_first)

    def path(serving: Binding | None) -> list[Mapping[VariantId, int]]:
        """What is to serve, one after the other."""
        if not canary:
            return [weights]
        if serving is None:
            raise GuardRefused(
                f"Nothing serves {route_key} yet, so there is nothing that a canary could be compared with.",
                instruction="Leave --canary out for the first binding of a route.",
                code="no_incumbent",
            )
        return [at_percent(serving.weights, weights, percent) for percent in percents]

    def content(
        connection: sa.Connection, serving: bindings.BindingRecord | None
    ) -> tuple[Mapping[VariantId, int], str]:
        if request.ask_first:
            ensure_undisturbed(ws, connection, route_key)
        if serving is not None and serving.step is not None:
            raise GuardRefused(
                f"{route_key} is in a canary, at generation {serving.binding.generation}.",
                instruction=f"Promote it or abort it first: pointsman route abort {route_key}",
                code="canary_under_way",
            )
        held = serving.binding if serving else None
        return path(held)[0], f"{percents[0]} % of {cause}" if canary else cause

    def also(connection: sa.Connection, serving: bindings.BindingRecord | None, new: Binding) -> None:
        if rollout_id is not None and serving is not None:
            rollouts.insert(
                connection,
                ws,
                rollout_id=rollout_id,
                route_key=route_key,
                steps=percents,
                weights=weights,
                base_generation=serving.binding.generation,
                why=cause,
            )
        if awaits_consent:
            ask_for_consent(ws, connection, new, request.requester or unproven(ws.actor))

    def rules() -> None:
        Binding(route_key, 1, weights, cause)
        if any(type(weight) is not int for weight in weights.values()):
            shown = {str(variant): weight for variant, weight in weights.items()}
            raise InputRefused("binding weights", shown, "whole percents from 0 to 100 that sum to 100")
        _check_registered(ws, route_key, weights)
        if request.verdict_id is not None:
            ensure_asked_for(ws, request.verdict_id, route_key, weights)
        serving = bindings.current(ws, route_key)
        ahead = path(serving)
        ensure_allowed(ws, Intended(route_key, weights, ahead, serving, request.verdict_id))
        for step in (ahead[0], ahead[-1])[-len(ahead) :]:  # at the first one of a canary both sides serve
            ensure_ready(gateway, route_key, step)

    details = {"weights": {str(v): w for v, w in weights.items()}, "cause": cause, "verdict_id": request.verdict_id}
    change = Change(
        kind="apply",
        route_key=route_key,
        expected=request.expected,
        idempotency_key=request.idempotency_key,
        details=details | ({"steps": list(percents)} if canary else {}),
        content=content,
        verdict_id=request.verdict_id,
        rollout_id=rollout_id,
        step=0 if canary else None,
        also=also,
        awaits_consent=awaits_consent,
    )
    return change, rules


def rollback(
    ws: Workspace,
    gateway: Gateway,
    *,
    route_key: RouteKey,
    expected: int,
    idempotency_key: str,
    reason: str,
    to_generation: int | None = None,
) -> Binding:
    """Make what served before generation `expected` the next generation of the route, and return it active.

    What served before is the generation that was active just before the current one, so rolling a rollback back puts
    its subject on the route again, and rolling a canary back aborts it; `to_generation` names another one that served.
    Raises as `apply_binding` does, `GuardRefused` when nothing served before, and `NotFound` for a named one that never
    served.
    """

    def content(
        connection: sa.Connection, serving: bindings.BindingRecord | None
    ) -> tuple[Mapping[VariantId, int], str]:
        if to_generation is None:
            before = bindings.served_before(connection, serving) if serving else None
        else:
            before = _named(connection, route_key, to_generation)
        if serving is None or before is None:
            raise GuardRefused(
                f"Nothing served {route_key} before generation {expected}, so there is nothing to go back to.",
                instruction=f"pointsman route history {route_key}",
                code="nothing_to_roll_back_to",
            )
        cause = f"rollback of generation {serving.binding.generation} to the content of generation {before.generation}"
        return before.weights, f"{cause}: {reason}"

    details = {"reason": reason} | ({} if to_generation is None else {"to": to_generation})
    change = Change("rollback", route_key, expected, idempotency_key, details, content)
    return make(ws, gateway, change, lambda: None)


def _named(connection: sa.Connection, route_key: RouteKey, number: int) -> Binding:
    found = bindings.served_as(connection, route_key, number)
    if found is None:
        known = ", ".join(map(str, bindings.served_generations(connection, route_key)[:_NAMED]))
        raise NotFound(
            "generation",
            number,
            known or "none: nothing has served it yet",
            instruction=f"pointsman route history {route_key}",
        )
    return found


def _check_registered(ws: Workspace, route_key: RouteKey, weights: Mapping[VariantId, int]) -> None:
    variants = tables.variants
    wanted = sa.select(variants.c.id).where(variants.c.route_key == str(route_key), variants.c.enabled.is_(True))
    with ws.database.connect() as connection:
        known = set(connection.execute(wanted).scalars())
    for variant in weights:
        if str(variant) not in known:
            raise NotFound("variant", str(variant), ", ".join(sorted(known)) or "none: no variant is enabled here")
