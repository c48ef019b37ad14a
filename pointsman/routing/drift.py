"""Does the gateway show what the state of record says? Where it does not, that is logged as routing_drift.

What goes on is logged once a day and not at every look; when it is over, that is logged as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.ids import RouteKey
from pointsman.model import Binding
from pointsman.routing import bindings
from pointsman.routing.gateways import Gateway, ShowsNoBinding
from pointsman.storage import tables
from pointsman.workspace import Workspace

_AGAIN_AFTER = timedelta(hours=24)
_CHANGES = ("routing_applied", "routing_rolled_back", "routing_restored")
About = Literal["gateway", "jobs", "promises"]
"""What drifted: what the gateway shows, where routed jobs went, or what production does."""


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
    found = _between(ws, gateway, route_key)
    if found is not None and found.recorded != bindings.current(ws, route_key):
        found = _between(ws, gateway, route_key)  # somebody changed the route after the record was read
    if found is None:
        over(ws, route_key, "gateway")
    return _noted(ws, found)


def _between(ws: Workspace, gateway: Gateway, route_key: RouteKey) -> Drift | None:
    recorded = bindings.current(ws, route_key)
    try:
        return drift_between(route_key, recorded=recorded, shown=gateway.read(route_key))
    except ShowsNoBinding as error:
        return Drift(route_key, recorded, None, error.message.removesuffix("."))


def note_drift(ws: Workspace, route_key: RouteKey, *, recorded: Binding | None, shown: Binding | None) -> Drift | None:
    """Log and return the difference of two bindings at hand, or None when there is none."""
    return _noted(ws, drift_between(route_key, recorded=recorded, shown=shown))


def _noted(ws: Workspace, found: Drift | None) -> Drift | None:
    if found is not None:
        note(
            ws,
            found.route_key,
            "gateway",
            what=found.why,
            why=found.why,
            recorded=found.recorded.generation if found.recorded else None,
            shown=found.shown.generation if found.shown else None,
        )
    return found


def note(
    ws: Workspace, route_key: RouteKey, about: About, *, what: str, why: str, recorded: int | None, shown: int | None
) -> None:
    """Log drift, unless it was logged in the last 24 hours and has gone on since: `what` says which one it is."""
    last = _last(ws, route_key, about)
    before = None if last is None or last.event != "routing_drift" else last.data.get("what")
    if last is not None and before == what and last.at > ws.clock.now() - _AGAIN_AFTER:
        return
    ActionLog(ws).record(
        "routing_drift", route_key=route_key, about=about, what=what, why=why, recorded=recorded, shown=shown
    )


def over(ws: Workspace, route_key: RouteKey, about: About) -> None:
    """Log that what drifted does no longer, where that is news."""
    last = _last(ws, route_key, about)
    if last is not None and last.event == "routing_drift":
        ActionLog(ws).record("routing_drift_ended", route_key=route_key, about=about, why=last.data["why"])


def _last(ws: Workspace, route_key: RouteKey, about: About) -> sa.Row[Any] | None:
    """The last that was logged of it, or that changed the route, which is no longer the same drift after it."""
    log = tables.action_logs
    told = log.c.event.in_(("routing_drift", "routing_drift_ended")) & (log.c.data["about"].as_string() == about)
    wanted = sa.select(log.c.event, log.c.at, log.c.data).where(
        told | log.c.event.in_(_CHANGES), log.c.data["route_key"].as_string() == str(route_key)
    )
    with ws.database.connect() as connection:
        return connection.execute(wanted.order_by(log.c.id.desc()).limit(1)).one_or_none()


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
