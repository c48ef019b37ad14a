"""Every billable try, and what it used."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.storage.tables.columns import ID, WORD, ExactDecimal, UtcDateTime, table

attempts = table(
    "attempts",
    sa.Column("id", ID, primary_key=True),
    sa.Column("run_id", ID, nullable=False, index=True),
    sa.Column("subject_id", ID, nullable=False),
    sa.Column("subject_kind", WORD, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("provider", sa.String(200), nullable=False),
    sa.Column("generation", sa.Integer),
    sa.Column("outcome", WORD, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.UniqueConstraint("subject_id", "number"),
    sa.CheckConstraint("outcome in ('completed','failed','refused','lost','unknown')", name="outcome"),
    sa.CheckConstraint("subject_kind in ('cell','judgement')", name="subject_kind"),
    sa.CheckConstraint("number >= 1", name="number"),
)
usage = table(
    "usage",
    sa.Column("id", ID, primary_key=True),
    sa.Column("run_id", ID, nullable=False, index=True),
    sa.Column("subject_id", ID, nullable=False, index=True),
    sa.Column("sku", sa.String(200), nullable=False),
    sa.Column("quantity", ExactDecimal),
    sa.Column("missing_reason", sa.Text),
    sa.Column("basis", WORD, nullable=False),
    sa.UniqueConstraint("subject_id", "sku"),
    sa.CheckConstraint("(quantity is null) <> (missing_reason is null)", name="known_or_why_not"),
    sa.CheckConstraint("basis in ('measured','estimated')", name="basis"),
)
