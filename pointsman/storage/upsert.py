"""Insert-if-absent on both databases, which is what makes a repeated step write its rows once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def insert_absent(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> int:
    """Insert those `rows` that break no uniqueness rule of `table`; return how many were new."""
    if not rows:
        return 0
    build = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    # Counted from what comes back, because PostgreSQL's driver tells no row count for many rows.
    statement = build(table).on_conflict_do_nothing().returning(*table.primary_key)
    return len(connection.execute(statement, list(rows)).all())
