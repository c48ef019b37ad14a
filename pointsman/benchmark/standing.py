"""How the cells of a matrix stand, for whoever looks at it on the way: which to judge, which come next, which never."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.benchmark import cells
from pointsman.states import RUN_ITEM
from pointsman.storage import tables
from pointsman.workspace import Workspace

_ITEMS = tables.benchmark_matrix_run_items


def cells_to_look_at(ws: Workspace, benchmark_id: str) -> set[str]:
    """Dispatch ids of the rounds up to the first that is not over, whatever tasks elsewhere have done of later ones.

    Which they are depends on when somebody looks, and not on what came out. Of each input and repeat all variants are
    among them, or none.
    """
    with ws.database.begin() as connection:
        left = cells.unfinished_rounds(connection, benchmark_id)
        over = (_ITEMS.c.benchmark_id == benchmark_id) & _ITEMS.c.status.in_(RUN_ITEM.terminal)
        chosen = over & (_ITEMS.c.round < left[0]) if left else over
        return set(connection.execute(sa.select(_ITEMS.c.dispatch_id).where(chosen)).scalars())


def cells_ahead(ws: Workspace, benchmark_id: str) -> dict[str, int]:
    """By variant id: how many of its cells run now, and how many are pending in the first round that has any."""
    own = _ITEMS.c.benchmark_id == benchmark_id
    number = sa.select(sa.func.min(_ITEMS.c.round)).where(own, _ITEMS.c.status == "pending").scalar_subquery()
    soon = (_ITEMS.c.status == "running") | ((_ITEMS.c.status == "pending") & (_ITEMS.c.round == number))
    counted = sa.select(_ITEMS.c.variant_id, sa.func.count()).where(own, soon).group_by(_ITEMS.c.variant_id)
    with ws.database.begin() as connection:
        return {str(variant_id): int(count) for variant_id, count in connection.execute(counted)}


def cells_skipped(ws: Workspace, benchmark_id: str) -> dict[tuple[str, str], int]:
    """By variant id and reason: how many of its cells were planned and never sent."""
    own = (_ITEMS.c.benchmark_id == benchmark_id) & (_ITEMS.c.status == "skipped")
    named = (_ITEMS.c.variant_id, _ITEMS.c.reason)
    counted = sa.select(*named, sa.func.count()).where(own).group_by(*named).order_by(*named)
    with ws.database.begin() as connection:
        rows = connection.execute(counted).all()
    return {(str(variant_id), reason or "no reason"): int(count) for variant_id, reason, count in rows}
