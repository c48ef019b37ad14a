"""Which gateway shows a route: the one that its first binding was given to, until an admin moves the route.

A change that went to another gateway would leave traffic where it is and the record wrong. So the gateway's name is
kept with the route, and the place that the name stood for: a name that is given to another place is refused as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import Conflict, GuardRefused
from pointsman.ids import RouteKey, derive
from pointsman.model import Binding
from pointsman.routing import bindings
from pointsman.routing.changing import Change, make
from pointsman.routing.gateways import Gateway, GatewaySpec, shown_binding
from pointsman.safety import Identity, require
from pointsman.storage import tables
from pointsman.workspace import Workspace

_TABLE = tables.routing_gateways
FIRST_GATEWAY = "default"
"""The name of the gateway that a route is given to where nobody names one."""
SpecOf = Callable[[str], GatewaySpec]


@dataclass(frozen=True, slots=True)
class ShownBy:
    """One row of `routing_gateways`: the gateway's name, and the place where it shows the route."""

    route_key: RouteKey
    gateway: str
    place: str
    set_by: str
    since: datetime


def shown_by(ws: Workspace, route_key: RouteKey) -> ShownBy | None:
    """The gateway that shows the route, or None for a route that was never given to one."""
    with ws.database.connect() as connection:
        return _read(connection, route_key)


def routes_shown_by(ws: Workspace, gateway: str) -> list[ShownBy]:
    """What the gateway of this name shows."""
    wanted = sa.select(_TABLE.c.route_key).where(_TABLE.c.gateway == gateway).order_by(_TABLE.c.route_key)
    with ws.database.connect() as connection:
        keys = connection.execute(wanted).scalars().all()
        found = [_read(connection, RouteKey.parse(key)) for key in keys]
    return [one for one in found if one is not None]


def gateway_of(ws: Workspace, route_key: RouteKey, named: str | None, spec_of: SpecOf) -> Gateway:
    """The gateway that shows the route, opened. A route without a binding is given to the `named` one.

    Raises `Conflict` (`other_gateway`) where another one is named, or its name stands for another place by now, and
    `GuardRefused` (`gateway_not_known`) where a route that is bound was never given to one and this one shows nothing
    of it.
    """
    with ws.database.connect() as connection:
        known, bound = _read(connection, route_key), bindings.newest_generation(connection, route_key) > 0
    held = known if bound else None
    name = named or (held.gateway if held else FIRST_GATEWAY)
    if held is not None and held.gateway != name:
        raise _another(held, name, "")
    spec = spec_of(name)
    place = spec.place(route_key)
    if held is not None and held.place != place:
        raise _another(held, name, place)
    gateway = spec.build()
    if bound and held is None and gateway.read(route_key) is None:
        raise GuardRefused(
            f"It is not recorded which gateway shows {route_key}, and {name} shows nothing of it.",
            instruction=f"pointsman route move {route_key} --to {name}",
            code="gateway_not_known",
            route_key=str(route_key),
        )
    if known is None or (known.gateway, known.place) != (name, place):
        with ws.database.begin() as connection:
            _write(connection, ws, route_key, name, place, ws.actor)
    return gateway


@dataclass(frozen=True, slots=True)
class MovedRoute:
    """Where a route was shown before and is now, and what serves it (None: it has no binding yet)."""

    before: ShownBy | None
    now: ShownBy
    serves: Binding | None


def move_route(ws: Workspace, route_key: RouteKey, name: str, spec_of: SpecOf, by: Identity) -> MovedRoute:
    """Let the gateway `name` show the route from now on, beginning with what serves, as a new generation.

    The gateway before is not asked and not changed: it may be gone. Only what the new one shows is recorded. Raises
    `GuardRefused` unless `by` is an admin, and as a change does; the same call again ends one that was cut short.
    """
    require(by, "admin", "moving a route to another gateway")
    spec = spec_of(name)
    place, gateway = spec.place(route_key), spec.build()
    before = shown_by(ws, route_key)
    with ws.database.connect() as connection:
        serving = bindings.serving(connection, route_key)
        newest = bindings.newest_generation(connection, route_key)
    serves = serving.binding if serving else None
    if serving is not None and (before is None or before.place != place):
        recorded = serving
        held = shown_binding(gateway, route_key)
        change = Change(
            kind="restore",
            route_key=route_key,
            expected=recorded.binding.generation,
            idempotency_key=derive("move", route_key, newest, held.generation if held else 0, place),
            details={"place": place},
            content=lambda _connection, _serving: (recorded.binding.weights, f"moved to the gateway {name}"),
            verdict_id=recorded.verdict_id,
            rollout_id=recorded.rollout_id,
            step=recorded.step,
        )
        serves = make(ws, gateway, change, lambda: None)
    with ws.database.begin() as connection:
        bindings.take_turn(connection, route_key)
        found = bindings.serving(connection, route_key)
        if (found.binding if found else None) != serves:
            raise Conflict(
                f"Somebody else changed {route_key} while it was moved to the gateway {name}.",
                instruction=f"pointsman route move {route_key} --to {name}",
                code="routing_overtaken",
                route_key=str(route_key),
            )
        _write(connection, ws, route_key, name, place, by.name)
        now = _read(connection, route_key)
        assert now is not None
        ActionLog(ws).record_in(
            connection,
            "routing_gateway_moved",
            route_key=route_key,
            generation=serves.generation if serves else None,
            before={"gateway": before.gateway, "place": before.place} if before else None,
            after={"gateway": name, "place": place},
            by=by.name,
        )
    return MovedRoute(before, now, serves)


def _another(held: ShownBy, name: str, place: str) -> Conflict:
    shown = f"{name} ({place})" if place else name
    return Conflict(
        f"{held.route_key} is shown by the gateway {held.gateway} ({held.place}), and not by {shown}.",
        instruction=f"Leave the gateway out, or let an admin move the route there: pointsman route move "
        f"{held.route_key} --to {name}",
        code="other_gateway",
        route_key=str(held.route_key),
        gateway=held.gateway,
        place=held.place,
    )


def _read(connection: sa.Connection, route_key: RouteKey) -> ShownBy | None:
    wanted = sa.select(_TABLE).where(_TABLE.c.route_key == str(route_key))
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else ShownBy(route_key, row["gateway"], row["place"], row["set_by"], row["since"])


def _write(connection: sa.Connection, ws: Workspace, route_key: RouteKey, name: str, place: str, by: str) -> None:
    connection.execute(sa.delete(_TABLE).where(_TABLE.c.route_key == str(route_key)))
    values = {"route_key": str(route_key), "gateway": name, "place": place, "set_by": by, "since": ws.clock.now()}
    connection.execute(sa.insert(_TABLE).values(values))
