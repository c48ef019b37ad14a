"""The cells of a matrix as rows (run items): inserting, moving and re-planning them, each move recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.benchmark.matrix import Cell
from pointsman.ids import dispatch_id
from pointsman.states import RUN_ITEM
from pointsman.storage import tables
from pointsman.workspace import Workspace

_ITEMS = tables.benchmark_matrix_run_items


def insert_cells(
    connection: sa.Connection,
    ws: Workspace,
    benchmark_id: str,
    planned: Sequence[Cell],
    withheld: Mapping[tuple[str, str], str],
) -> None:
    """Insert one item per planned cell: pending, or skipped with the reason that `withheld` has for its variant and
    input. Its dispatch id derives from the matrix and the cell's `seq`."""
    names = {variant: str(variant) for variant in {cell.variant for cell in planned}}
    rows: list[dict[str, Any]] = [
        {
            "dispatch_id": dispatch_id(benchmark_id, cell.seq),
            "benchmark_id": benchmark_id,
            "seq": cell.seq,
            "round": cell.round,
            "variant_id": names[cell.variant],
            "input_id": cell.input_id,
            "cluster": cell.cluster,
            "repeat": cell.repeat,
            "status": "skipped" if (names[cell.variant], cell.input_id) in withheld else RUN_ITEM.initial,
            "reason": withheld.get((names[cell.variant], cell.input_id)),
        }
        for cell in planned
    ]
    connection.execute(sa.insert(_ITEMS), rows)
    record_moves(connection, ws, [(row["dispatch_id"], None, RUN_ITEM.initial, "planned") for row in rows])
    skipped = [row for row in rows if row["reason"] is not None]
    if skipped:
        moves = [(row["dispatch_id"], RUN_ITEM.initial, row["status"], row["reason"]) for row in skipped]
        record_moves(connection, ws, moves)


def unfinished_rounds(connection: sa.Connection, benchmark_id: str) -> list[int]:
    """Rounds with a cell that is not terminal, or that was cancelled and so is planned again on resuming."""
    settled = RUN_ITEM.terminal - {"cancelled"}
    chosen = sa.select(_ITEMS.c.round).where(_ITEMS.c.benchmark_id == benchmark_id, _ITEMS.c.status.not_in(settled))
    return [int(number) for number in connection.execute(chosen.distinct().order_by(_ITEMS.c.round)).scalars()]


def is_unfinished(connection: sa.Connection, benchmark_id: str, number: int) -> bool:
    """Whether this is one of the `unfinished_rounds`, without a look at the others."""
    settled = RUN_ITEM.terminal - {"cancelled"}
    own = (_ITEMS.c.benchmark_id == benchmark_id) & (_ITEMS.c.round == number)
    return (
        connection.execute(sa.select(_ITEMS.c.seq).where(own, _ITEMS.c.status.not_in(settled)).limit(1)).first()
        is not None
    )


def cells_of_round(connection: sa.Connection, benchmark_id: str, number: int) -> Sequence[sa.Row[Any]]:
    """The items of a round that are not terminal, in the order of dispatch. Until the commit nobody else moves them."""
    chosen = sa.select(_ITEMS).where(
        _ITEMS.c.benchmark_id == benchmark_id, _ITEMS.c.round == number, _ITEMS.c.status.not_in(RUN_ITEM.terminal)
    )
    return connection.execute(chosen.order_by(_ITEMS.c.seq).with_for_update()).all()


def any_running(connection: sa.Connection, benchmark_id: str) -> bool:
    """Whether a cell was begun that nobody has ended."""
    begun = sa.select(_ITEMS.c.dispatch_id).where(_ITEMS.c.benchmark_id == benchmark_id, _ITEMS.c.status == "running")
    return connection.execute(begun.limit(1)).first() is not None


def sizes_of_rounds(connection: sa.Connection, benchmark_id: str) -> dict[int, int]:
    """Cells of each round, whatever became of them, in order."""
    own = _ITEMS.c.benchmark_id == benchmark_id
    counted = sa.select(_ITEMS.c.round, sa.func.count()).where(own).group_by(_ITEMS.c.round).order_by(_ITEMS.c.round)
    return {int(number): int(count) for number, count in connection.execute(counted)}


def move_cells(
    connection: sa.Connection, ws: Workspace, moves: Sequence[tuple[sa.Row[Any], str, str, Mapping[str, Any]]]
) -> None:
    """Move items (row, new state, reason, further columns) at once; every mapping has the same keys.

    One that fails or is found invalid is an event as well.

    Raises `IllegalMove`, writing nothing, when one of the moves is not legal.
    """
    changed = [move for move in moves if move[0].status != move[1]]
    if not changed:
        return
    for row, new, _, _ in changed:
        RUN_ITEM.check(row.status, new)
    columns: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in changed[0][3]}
    update = (
        sa.update(_ITEMS)
        .where(_ITEMS.c.dispatch_id == sa.bindparam("moved"))
        .values(status=sa.bindparam("new_status"), **columns)
    )
    connection.execute(
        update,
        [
            {"moved": row.dispatch_id, "new_status": new, **{f"new_{name}": value for name, value in values.items()}}
            for row, new, _, values in changed
        ],
    )
    record_moves(connection, ws, [(row.dispatch_id, row.status, new, reason) for row, new, reason, _ in changed])
    log = ActionLog(ws)
    for row, new, reason, _ in changed:
        if new in ("failed", "invalid"):
            log.record_in(
                connection,
                "benchmark_item_failed",
                run_id=row.benchmark_id,
                context=row.benchmark_id,
                dispatch_id=row.dispatch_id,
                variant=row.variant_id,
                input_id=row.input_id,
                reason=reason,
            )


def plan_cancelled_again(
    connection: sa.Connection, ws: Workspace, benchmark_id: str, *, number: int | None = None
) -> None:
    """Give every cancelled cell, or those of one round, a new dispatch in its round, in their old order.

    They are numbered after all others. The cancelled dispatches keep their attempts and their recorded moves.
    """
    own = _ITEMS.c.benchmark_id == benchmark_id
    chosen = own if number is None else own & (_ITEMS.c.round == number)
    cancelled = connection.execute(
        sa.select(_ITEMS).where(chosen, _ITEMS.c.status == "cancelled").order_by(_ITEMS.c.seq)
    ).all()
    if not cancelled:
        return
    last_seq = connection.execute(sa.select(sa.func.max(_ITEMS.c.seq)).where(own)).scalar_one()
    emptied = dict.fromkeys(("reason", "job_id", "queue_ms", "run_ms", "total_ms", "started_at", "ended_at"))
    recorded = []
    for place, row in enumerate(cancelled):
        seq = last_seq + 1 + place
        renewed = dispatch_id(benchmark_id, seq)
        connection.execute(
            sa.update(_ITEMS)
            .where(_ITEMS.c.dispatch_id == row.dispatch_id)
            .values(
                dispatch_id=renewed,
                seq=seq,
                status=RUN_ITEM.initial,
                **emptied,
            )
        )
        recorded.append((renewed, None, RUN_ITEM.initial, f"planned again: {row.dispatch_id} was cancelled"))
    record_moves(connection, ws, recorded)


def record_moves(connection: sa.Connection, ws: Workspace, moves: Sequence[tuple[str, str | None, str, str]]) -> None:
    """Record (dispatch id, old state, new state, reason) of items in `state_transitions`."""
    now = ws.clock.now()
    rows = [
        {
            "entity": RUN_ITEM.name,
            "entity_id": moved,
            "from_state": old,
            "to_state": new,
            "at": now,
            "reason": reason,
            "actor": ws.actor,
        }
        for moved, old, new, reason in moves
    ]
    connection.execute(sa.insert(tables.state_transitions), rows)
