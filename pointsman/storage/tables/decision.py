"""Verdicts, and what each decision of a schedule drew from its route's budget of error."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.storage.tables.columns import ID, WORD, UtcDateTime, table

verdicts = table(
    "verdicts",
    sa.Column("id", ID, primary_key=True),
    sa.Column("benchmark_id", ID, nullable=False, index=True),
    sa.Column("evaluation_set_id", ID, nullable=False),
    sa.Column("route_key", ID, nullable=False),
    sa.Column("outcome", WORD, nullable=False),
    sa.Column("winner", ID),
    sa.Column("plan_sha256", sa.String(64), nullable=False),
    sa.Column("data_sha256", sa.String(64), nullable=False),
    sa.Column("code_version", sa.String(100), nullable=False),
    sa.Column("document_uri", sa.Text, nullable=False),
    sa.Column("document_sha256", sa.String(64)),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("(outcome = 'WINNER') = (winner is not null)", name="winner"),
)
alpha_draws = table(
    "alpha_draws",
    sa.Column("route_key", ID, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("benchmark_id", ID, nullable=False, unique=True),
    sa.Column("alpha", sa.Float, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.CheckConstraint("number >= 1", name="number"),
    sa.CheckConstraint("alpha > 0", name="alpha"),
)
