"""Which model, or version of one, did a variant's jobs: noted as targets name it; a change expires verdicts.

A target that names none leaves nothing to compare, so nothing expires.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import GuardRefused
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

_SEEN = tables.variant_versions


@dataclass(frozen=True, slots=True)
class SeenVersion:
    """A version that did jobs of a variant, from the first time to the last that it was heard of."""

    version: str
    first_seen_at: datetime
    last_seen_at: datetime


def note_versions(
    connection: sa.Connection, ws: Workspace, run_id: str, seen: Iterable[tuple[str, str, datetime]]
) -> None:
    """Keep (variant id, version, when a job of it ended). One that is new beside others is an event."""
    times: dict[tuple[str, str], list[datetime]] = {}
    for variant_id, version, at in seen:
        times.setdefault((variant_id, version), []).append(at)
    for (variant_id, version), at_times in sorted(times.items()):
        own = _SEEN.c.variant_id == variant_id
        others = connection.execute(sa.select(_SEEN.c.version).where(own)).scalars().all()
        row = {
            "variant_id": variant_id,
            "version": version,
            "first_seen_at": min(at_times),
            "last_seen_at": max(at_times),
            "run_id": run_id,
        }
        if not insert_absent(connection, _SEEN, [row]):
            later = own & (_SEEN.c.version == version) & (_SEEN.c.last_seen_at < max(at_times))
            connection.execute(sa.update(_SEEN).where(later).values(last_seen_at=max(at_times), run_id=run_id))
        elif others:
            ActionLog(ws).record_in(
                connection,
                "variant_version_changed",
                run_id=run_id,
                variant=variant_id,
                version=version,
                before=sorted(others),
            )


def versions_of(ws: Workspace, variant_id: str) -> list[SeenVersion]:
    """What did the variant's jobs, the one that was heard of last first."""
    chosen = sa.select(_SEEN.c.version, _SEEN.c.first_seen_at, _SEEN.c.last_seen_at).where(
        _SEEN.c.variant_id == variant_id
    )
    with ws.database.connect() as connection:
        rows = connection.execute(chosen.order_by(_SEEN.c.last_seen_at.desc(), _SEEN.c.version)).all()
    return [SeenVersion(*row) for row in rows]


def versions_in(ws: Workspace, benchmark_id: str) -> dict[str, tuple[str, ...]]:
    """By variant id: the versions that made the outputs of a matrix, of those that name one."""
    items, attempts = tables.benchmark_matrix_run_items, tables.attempts
    version = attempts.c.detail["version"].as_string()
    chosen = (
        sa.select(items.c.variant_id, version)
        .join(attempts, attempts.c.subject_id == items.c.dispatch_id)
        .where(items.c.benchmark_id == benchmark_id, attempts.c.outcome == "completed", version.is_not(None))
        .distinct()
    )
    found: dict[str, list[str]] = {}
    with ws.database.connect() as connection:
        for variant_id, named in connection.execute(chosen):
            found.setdefault(variant_id, []).append(named)
    return {variant_id: tuple(sorted(named)) for variant_id, named in sorted(found.items())}


def changed_since(ws: Workspace, benchmark_id: str) -> dict[str, str]:
    """By variant id: why what was measured of it in a matrix is not what runs now. Empty = no change is known."""
    changed = {}
    for variant_id, measured in versions_in(ws, benchmark_id).items():
        newest = next(iter(versions_of(ws, variant_id)), None)
        if len(measured) > 1:
            changed[variant_id] = f"its outputs were made by {' and '.join(measured)}"
        elif newest is not None and newest.version not in measured:
            changed[variant_id] = (
                f"{measured[0]} was measured, and {newest.last_seen_at:%F %T} UTC it was {newest.version}"
            )
    return changed


def require_unchanged(ws: Workspace, benchmark_id: str) -> None:
    """Raise `GuardRefused` (`verdict_expired`) when a variant of the matrix is not the model that was measured."""
    changed = changed_since(ws, benchmark_id)
    if changed:
        told = "; ".join(f"{variant_id}: {why}" for variant_id, why in changed.items())
        raise GuardRefused(
            f"Verdicts on {benchmark_id} have expired, because a model or its version has changed: {told}.",
            instruction=f"Measure again: pointsman benchmark run --again {benchmark_id}",
            code="verdict_expired",
            changed=sorted(changed),
        )
