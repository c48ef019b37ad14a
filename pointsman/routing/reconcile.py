"""Making record and gateway agree again: after a crash in the middle of a change, or a change behind our back.

The record is the truth. A generation that was under way and that the gateway shows already is finished, and so is one
that goes back; another that it does not show is aborted by a newer generation with what is to serve, which every
gateway prefers, so that whoever still carries the aborted one out comes too late. A gateway that is behind is shown the
recorded generation again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pointsman.actions import ActionLog
from pointsman.errors import GuardRefused
from pointsman.ids import RouteKey, derive
from pointsman.model import Binding
from pointsman.routing import bindings
from pointsman.routing.changing import Change, carry_out, make, shares
from pointsman.routing.drift import drift_between
from pointsman.routing.gateways import Gateway, shown_binding
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What serves now (None: the route has no binding), what had to be done for it, and why."""

    route_key: RouteKey
    done: Literal["nothing", "finished", "restored"]
    serves: Binding | None
    why: str


def reconcile(ws: Workspace, gateway: Gateway, route_key: RouteKey) -> Reconciled:
    """Let exactly one generation serve the route, in the record and in the gateway.

    Raises `DependencyDown` when the gateway is out of reach, `GuardRefused` when it shows a binding of which nothing is
    recorded: that may be the only thing that still knows where traffic should go.
    """
    with ws.database.connect() as connection:
        left = bindings.under_way(connection, route_key, ("applying",))
        found = bindings.serving(connection, route_key)
        newest = bindings.newest_generation(connection, route_key)
    shown = shown_binding(gateway, route_key)
    if left and (found is None or left[-1].kind == "rollback" or left[-1].binding.leads_as(shown)):
        under_way = left[-1].binding
        served = carry_out(ws, gateway, route_key, under_way.generation)
        return Reconciled(route_key, "finished", served, f"generation {under_way.generation} was under way")
    if found is None:
        if shown is None:
            return Reconciled(route_key, "nothing", None, "nothing was ever bound")
        raise GuardRefused(
            f"The gateway shows generation {shown.generation} of {route_key}, and no binding is recorded.",
            instruction="Record what is to serve: pointsman route apply --help",
            code="nothing_recorded",
            route_key=str(route_key),
            shown=shown.generation,
        )
    recorded = found.binding
    different = drift_between(route_key, recorded=recorded, shown=shown)
    if different is None and not left:
        return Reconciled(route_key, "nothing", recorded, "record and gateway agree")
    why = different.why if different else f"generation {left[-1].binding.generation} never reached the gateway"
    if not left and (shown is None or shown.generation < recorded.generation):
        gateway.publish(recorded, expected=shown.generation if shown else None, at_once=True)
        ActionLog(ws).record(
            "routing_restored",
            route_key=route_key,
            generation=recorded.generation,
            before=shares(shown) if shown else None,
            after=shares(recorded),
            cause=why,
        )
        return Reconciled(route_key, "restored", recorded, why)
    cause = f"restore of generation {recorded.generation}: {why}"
    change = Change(
        kind="restore",
        route_key=route_key,
        expected=recorded.generation,
        idempotency_key=derive("restore", route_key, newest, shown.generation if shown else 0),
        details={"why": why},
        content=lambda _connection, _serving: (recorded.weights, cause),
        verdict_id=found.verdict_id,
        rollout_id=found.rollout_id,
        step=found.step,
    )
    return Reconciled(route_key, "restored", make(ws, gateway, change, lambda: None), why)
