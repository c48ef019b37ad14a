"""The execution environment of a run as it is registered."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.safety.production import UNREGISTERED, Place
from pointsman.storage import tables


def registered_place(connection: sa.Connection, environment_id: str) -> Place:
    """What is registered under this id; of an environment that is not, only its name is known."""
    environments = tables.execution_environments
    row = connection.execute(sa.select(environments).where(environments.c.id == environment_id)).first()
    if row is None:
        return Place(environment_id, UNREGISTERED, None, None, None, None)
    return Place(environment_id, row.kind, row.account, row.region, row.ecs_cluster, row.asg_name)
