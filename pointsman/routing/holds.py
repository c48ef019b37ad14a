"""What served before a switch is held until the switch is confirmed: it could take everything back, and that costs.

A hold is opened by the change that lets something else serve, and released by going back, by confirming, or by the next
change. What it took in the meantime is then written down as usage, to be priced like every other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from pointsman.economics import PriceBook
from pointsman.ids import RouteKey, VariantId, derive
from pointsman.model import Missing, Number
from pointsman.routing.bindings import BindingRecord
from pointsman.routing.rules import RoutingRules
from pointsman.storage import tables
from pointsman.workspace import Workspace

_TABLE = tables.routing_holds
_HOUR = Decimal(3600)


@dataclass(frozen=True, slots=True)
class Hold:
    """One row of `routing_holds`: `variants` of `generation`, which take `hourly` `{sku: units}`."""

    id: str
    route_key: RouteKey
    generation: int
    variants: Mapping[VariantId, int]
    hourly: Mapping[str, Decimal]
    since: datetime
    due_at: datetime
    """When the watch may confirm the switch, if production keeps the promise."""
    released_at: datetime | None
    why: str | None

    def taken(self, now: datetime) -> dict[str, Decimal]:
        """Units of each sku so far."""
        seconds = Decimal(str(((self.released_at or now) - self.since).total_seconds()))
        return {sku: units * seconds / _HOUR for sku, units in self.hourly.items()}

    def usd(self, book: PriceBook, now: datetime) -> Number:
        """What holding has cost so far, at the prices of `now`."""
        if not self.hourly:
            return Missing("the rules of the route do not say what holding takes")
        total = Decimal(0)
        for sku, quantity in self.taken(now).items():
            cost = book.cost(sku, quantity, now)
            if isinstance(cost, Missing):
                return cost
            total += cost
        return total


def open_hold(ws: Workspace, route_key: RouteKey) -> Hold | None:
    """What is held for the route now, if anything is."""
    with ws.database.connect() as connection:
        return _open(connection, route_key)


def confirm(ws: Workspace, route_key: RouteKey, why: str) -> Hold | None:
    """Take the switch for good: what served before is held no longer. None when nothing was held."""
    with ws.database.begin() as connection:
        return release(connection, ws, route_key, why)


def settle(
    connection: sa.Connection, ws: Workspace, before: BindingRecord, now: BindingRecord, rules: RoutingRules
) -> None:
    """Open and release what it takes that `now` serves in the place of `before`."""
    route_key = now.binding.route_key
    if now.binding.shares == before.binding.shares or (now.kind == "apply" and before.step is not None):
        return  # the same traffic again, or the next step of a canary
    if now.kind == "rollback":
        release(connection, ws, route_key, f"generation {now.binding.generation} went back")
        return
    release(connection, ws, route_key, f"generation {now.binding.generation} changed the route again")
    held = {str(one): weight for one, weight in before.binding.weights.items() if weight}
    connection.execute(
        sa.insert(_TABLE).values(
            id=f"hold_{derive('hold', route_key, now.binding.generation)}",
            route_key=str(route_key),
            generation=before.binding.generation,
            variants=held,
            hourly={sku: format(units, "f") for sku, units in rules.held.items()},
            since=ws.clock.now(),
            due_at=ws.clock.now() + timedelta(hours=rules.hold_h),
        )
    )


def release(connection: sa.Connection, ws: Workspace, route_key: RouteKey, why: str) -> Hold | None:
    """End what is held for the route, if anything is, and write down what it took."""
    found = _open(connection, route_key)
    if found is None:
        return None
    now = ws.clock.now()
    connection.execute(sa.update(_TABLE).where(_TABLE.c.id == found.id).values(released_at=now, why=why))
    for sku, quantity in found.taken(now).items():
        connection.execute(
            sa.insert(tables.usage).values(
                id=derive("usage", found.id, sku),
                run_id=found.id,
                subject_id=found.id,
                sku=sku,
                quantity=quantity,
                basis="measured",
            )
        )
    return found


def _open(connection: sa.Connection, route_key: RouteKey) -> Hold | None:
    wanted = sa.select(_TABLE).where(_TABLE.c.route_key == str(route_key), _TABLE.c.released_at.is_(None))
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else _hold(row)


def _hold(row: Any) -> Hold:
    return Hold(
        id=row["id"],
        route_key=RouteKey.parse(row["route_key"]),
        generation=row["generation"],
        variants={VariantId.parse(text): weight for text, weight in row["variants"].items()},
        hourly={sku: Decimal(units) for sku, units in row["hourly"].items()},
        since=row["since"],
        due_at=row["due_at"],
        released_at=row["released_at"],
        why=row["why"],
    )
