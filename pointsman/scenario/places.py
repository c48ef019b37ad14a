"""The execution environment of a run as it is registered, and whether it is production."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.safety.production import Place
from pointsman.storage import tables

_UNREGISTERED = "unregistered"
_NAMED_SO = frozenset({"prod", "production"})


def registered_place(connection: sa.Connection, environment_id: str) -> Place:
    """What is registered under this id; of an environment that is not, only its name is known."""
    environments = tables.execution_environments
    row = connection.execute(sa.select(environments).where(environments.c.id == environment_id)).first()
    if row is None:
        return Place(environment_id, _UNREGISTERED, None, None, None, None)
    return Place(environment_id, row.kind, row.account, row.region, row.ecs_cluster, row.asg_name)


def is_production(place: Place) -> bool:
    """Also of one that nobody registered and that is called so: forgetting to register it opens no door."""
    return place.kind == "production" or (place.kind == _UNREGISTERED and place.id.lower() in _NAMED_SO)
