"""The action log, who gets told of it, and what is still to be told."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.storage.tables.columns import ID, WORD, UtcDateTime, table

action_logs = table(
    "action_logs",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("event", sa.String(100), nullable=False),
    sa.Column("severity", WORD, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("run_id", ID, index=True),
    sa.Column("context", ID),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("instruction", sa.Text, nullable=False),
    sa.CheckConstraint("severity in ('info','warn','critical')", name="severity"),
)
observability_sinks = table(
    "observability_sinks",
    sa.Column("name", WORD, primary_key=True),
    sa.Column("spec", sa.JSON, nullable=False),
)
outbox = table(
    "outbox",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("sink", WORD, sa.ForeignKey("observability_sinks.name"), nullable=False, index=True),
    sa.Column("action_log_id", sa.Integer, sa.ForeignKey("action_logs.id"), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", UtcDateTime, nullable=False),
    sa.Column("last_error", sa.Text),
    sa.UniqueConstraint("sink", "action_log_id"),
)
