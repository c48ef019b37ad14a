"""Changing where traffic goes: to new weights, back to what served before, and back to what is recorded."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from pointsman.errors import GuardRefused, InputRefused, NotFound
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.routing import bindings
from pointsman.routing.changing import Change, make
from pointsman.routing.gateways import Gateway
from pointsman.routing.verdicts import binding_for_verdict
from pointsman.storage import tables
from pointsman.workspace import Workspace


def apply_binding(
    ws: Workspace,
    gateway: Gateway,
    *,
    route_key: RouteKey,
    weights: Mapping[VariantId, int],
    expected: int | None,
    cause: str,
    idempotency_key: str,
    verdict_id: str | None = None,
) -> Binding:
    """Make `weights` (whole percents of registered variants) the next generation of the route, and return it active.

    `expected` is the generation that the caller takes to be current, None for a route without a binding. The same
    `idempotency_key` with the same request gives the same generation, and continues one that was interrupted.

    Raises, before anything is written: `InputRefused` or `NotFound` for bad weights or unknown variants, `GuardRefused`
    when a verdict is named that does not ask for these weights, `Conflict` when another generation is current or the
    key was used for another request. Later: `DependencyDown` when the gateway is out of reach (the generation stays
    applying and the same call continues it), `RunFailed` when the gateway does not show it (the generation is failed),
    `Conflict` when a newer change overtook this one.
    """
    change = Change(
        kind="apply",
        route_key=route_key,
        expected=expected,
        idempotency_key=idempotency_key,
        details={"weights": {str(v): w for v, w in weights.items()}, "cause": cause, "verdict_id": verdict_id},
        content=lambda _connection, _serving: (weights, cause),
        verdict_id=verdict_id,
    )

    def check() -> None:
        Binding(route_key, 1, weights, cause)
        if any(type(weight) is not int for weight in weights.values()):
            shown = {str(variant): weight for variant, weight in weights.items()}
            raise InputRefused("binding weights", shown, "whole percents from 0 to 100 that sum to 100")
        _check_registered(ws, route_key, weights)
        if verdict_id is not None:
            _check_verdict(ws, verdict_id, route_key, weights)

    return make(ws, gateway, change, check)


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
    its subject on the route again; `to_generation` names another one that served. Raises as `apply_binding` does,
    `GuardRefused` when nothing served before, and `NotFound` for a named one that never served.
    """

    def content(
        connection: sa.Connection, serving: bindings.BindingRecord | None
    ) -> tuple[Mapping[VariantId, int], str]:
        if to_generation is None:
            before = bindings.served_before(connection, serving.binding) if serving else None
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
    served = {one.generation: one for one in bindings.served(connection, route_key)}
    if number not in served:
        known = ", ".join(map(str, sorted(served))) or "none: nothing has served it yet"
        raise NotFound("generation", number, known, instruction=f"pointsman route history {route_key}")
    return served[number]


def _check_registered(ws: Workspace, route_key: RouteKey, weights: Mapping[VariantId, int]) -> None:
    variants = tables.variants
    wanted = sa.select(variants.c.id).where(variants.c.route_key == str(route_key), variants.c.enabled.is_(True))
    with ws.database.connect() as connection:
        known = set(connection.execute(wanted).scalars())
    for variant in weights:
        if str(variant) not in known:
            raise NotFound("variant", str(variant), ", ".join(sorted(known)) or "none: no variant is enabled here")


def _check_verdict(ws: Workspace, verdict_id: str, route_key: RouteKey, weights: Mapping[VariantId, int]) -> None:
    proposed = binding_for_verdict(ws, verdict_id)
    if proposed.route_key != route_key or dict(proposed.weights) != dict(weights):
        raise GuardRefused(
            f"The verdict {verdict_id} does not ask for these weights on {route_key}.",
            instruction=f"pointsman route apply --verdict {verdict_id}",
            code="not_what_the_verdict_asks",
            verdict_id=verdict_id,
        )
