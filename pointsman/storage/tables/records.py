"""What several rooms write: a row's moves, a run's stored files, and answers that are given again."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.storage.tables.columns import ID, WORD, UtcDateTime, table

state_transitions = table(
    "state_transitions",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("entity", WORD, nullable=False),
    sa.Column("entity_id", ID, nullable=False),
    sa.Column("from_state", WORD),
    sa.Column("to_state", WORD, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Index("ix_state_transitions_entity", "entity", "entity_id"),
)
run_artifacts = table(
    "run_artifacts",
    sa.Column("id", ID, primary_key=True),
    sa.Column("run_id", ID, nullable=False, index=True),
    sa.Column("subject_id", ID, nullable=False, index=True),
    sa.Column("artifact_type", sa.String(100), nullable=False),
    sa.Column("uri", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("run_id", "subject_id", "artifact_type"),
    sa.CheckConstraint("bytes >= 0", name="bytes"),
)
idempotency_keys = table(
    "idempotency_keys",
    sa.Column("key", ID, primary_key=True),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("answer", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
