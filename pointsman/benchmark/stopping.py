"""Cells that are planned and never sent, and why: their input is not for their variant, or the variant was stopped.

A variant is stopped by the rule that its matrix declared, or because its spending limit is reached, for the rest of the
matrix. Its cells that are still pending are skipped when their round would begin, each with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.data_classes import unseen
from pointsman.errors import InputRefused
from pointsman.model import InputMember, Variant
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

OWN_FAULTS = ("unknown", "target_lost", "output_fetch", "unauthorised", "chunk_lost")
"""Reasons with which a cell fails through our side or the way there, not through the variant."""
NOT_GIVEN = ("data_class", "early_stop", "spend_limit")
"""Reasons with which a cell is skipped for what was declared of its variant or of the matrix."""
_ITEMS = tables.benchmark_matrix_run_items
_STOPPED = tables.benchmark_stopped_variants
_MOST = 100_000


@dataclass(frozen=True, slots=True)
class StopRule:
    """A variant is stopped when `failures` of its first `of_first` cells have failed, in the order of dispatch.

    Failures of our own side do not count. Raises `InputRefused` for numbers out of range.
    """

    failures: int
    of_first: int

    def __post_init__(self) -> None:
        if not 1 <= self.of_first <= _MOST:
            raise InputRefused("early stop, of_first", self.of_first, f"1 to {_MOST}")
        if not 1 <= self.failures <= self.of_first:
            raise InputRefused("early stop, failures", self.failures, f"1 to of_first = {self.of_first}")

    def document(self) -> dict[str, int]:
        return asdict(self)


def withheld(variants: Iterable[Variant], members: Iterable[InputMember]) -> dict[tuple[str, str], str]:
    """By (variant id, input id): why that variant is not given that input. What is not named is given."""
    classified = [member for member in members if member.data_classes]
    found = {}
    for one in variants:
        for member in classified:
            kept_away = unseen(member.data_classes, one.data_classes)
            if kept_away:
                why = f"data_class: the input is {', '.join(kept_away)}, which the variant may not see"
                found[str(one.id), member.input_id] = why
    return found


def stop_variant(connection: sa.Connection, ws: Workspace, benchmark_id: str, variant_id: str, reason: str) -> None:
    """Send nothing more of the variant in this matrix; the first reason stays, and is an event."""
    row = {"benchmark_id": benchmark_id, "variant_id": variant_id, "reason": reason, "at": ws.clock.now()}
    if insert_absent(connection, _STOPPED, [row]):
        ActionLog(ws).record_in(
            connection,
            "benchmark_variant_stopped",
            run_id=benchmark_id,
            context=benchmark_id,
            variant=variant_id,
            reason=reason,
        )


def stopped_variants(connection: sa.Connection, benchmark_id: str) -> dict[str, str]:
    """Why each variant was stopped that was."""
    chosen = sa.select(_STOPPED.c.variant_id, _STOPPED.c.reason).where(_STOPPED.c.benchmark_id == benchmark_id)
    return {row.variant_id: row.reason for row in connection.execute(chosen.order_by(_STOPPED.c.variant_id))}


def stop_by_rule(connection: sa.Connection, ws: Workspace, benchmark_id: str, rule: StopRule) -> None:
    """Stop the variants of which so many of the first cells have failed."""
    place = sa.func.row_number().over(partition_by=_ITEMS.c.variant_id, order_by=_ITEMS.c.seq).label("place")
    own = (_ITEMS.c.benchmark_id == benchmark_id) & (_ITEMS.c.status != "skipped")
    numbered = sa.select(_ITEMS.c.variant_id, _ITEMS.c.status, _ITEMS.c.reason, place).where(own).subquery()
    failed: dict[str, list[str]] = defaultdict(list)
    first = sa.select(numbered).where(numbered.c.place <= rule.of_first, numbered.c.status.in_(("failed", "invalid")))
    for row in connection.execute(first):
        if not (row.reason or "").startswith(OWN_FAULTS):
            failed[row.variant_id].append(row.reason)
    for variant_id, reasons in sorted(failed.items()):
        if len(reasons) >= rule.failures:
            why = f"early_stop: {len(reasons)} of its first {rule.of_first} cells failed ({reasons[0]})"
            stop_variant(connection, ws, benchmark_id, variant_id, why)


def skips(
    items: Sequence[sa.Row[Any]], stopped: Mapping[str, str], withheld_pairs: Mapping[tuple[str, str], str]
) -> list[tuple[sa.Row[Any], str]]:
    """The pending items of a round that are not to be sent, each with the reason. What was begun is carried on."""
    found = []
    for item in items:
        why = withheld_pairs.get((item.variant_id, item.input_id)) or stopped.get(item.variant_id)
        if item.status == "pending" and why is not None:
            found.append((item, why))
    return found
