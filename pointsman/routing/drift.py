"""Does the gateway show what the state of record says? Where it does not, that is logged as routing_drift."""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.actions import ActionLog
from pointsman.ids import RouteKey
from pointsman.model import Binding
from pointsman.routing import bindings
from pointsman.routing.gateways import Gateway, ShowsNoBinding
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Drift:
    """The two that should be one, and the difference in words."""

    route_key: RouteKey
    recorded: Binding | None
    shown: Binding | None
    why: str


def drift(ws: Workspace, gateway: Gateway, route_key: RouteKey) -> Drift | None:
    """Compare the gateway with the current binding; log and return the difference, or None when there is none.

    Raises `DependencyDown` when the gateway cannot be read.
    """
    recorded = bindings.current(ws, route_key)
    try:
        return note_drift(ws, route_key, recorded=recorded, shown=gateway.read(route_key))
    except ShowsNoBinding as error:
        return _noted(ws, Drift(route_key, recorded, None, error.message.removesuffix(".")))


def note_drift(ws: Workspace, route_key: RouteKey, *, recorded: Binding | None, shown: Binding | None) -> Drift | None:
    """The same for two bindings at hand."""
    return _noted(ws, drift_between(route_key, recorded=recorded, shown=shown))


def _noted(ws: Workspace, found: Drift | None) -> Drift | None:
    if found is not None:
        ActionLog(ws).record(
            "routing_drift",
            route_key=found.route_key,
            recorded=found.recorded.generation if found.recorded else None,
            shown=found.shown.generation if found.shown else None,
            why=found.why,
        )
    return found


def drift_between(route_key: RouteKey, *, recorded: Binding | None, shown: Binding | None) -> Drift | None:
    """The difference of two bindings, if there is one."""
    if recorded == shown or (recorded is not None and recorded.leads_as(shown)):
        return None
    if recorded is not None and shown is not None and recorded.generation == shown.generation:
        why = f"both name generation {recorded.generation}, but the gateway's content is another"
    else:
        why = f"the state of record has {_named(recorded)}, the gateway shows {_named(shown)}"
    return Drift(route_key, recorded, shown, why)


def _named(binding: Binding | None) -> str:
    return "no binding" if binding is None else f"generation {binding.generation}"
