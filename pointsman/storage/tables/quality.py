"""What judges and people said of outputs."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.storage.tables.columns import ID, WORD, ExactDecimal, UtcDateTime, table

evaluation_sets = table(
    "evaluation_sets",
    sa.Column("id", ID, primary_key=True),
    sa.Column("benchmark_id", ID, nullable=False, index=True),
    sa.Column("judge", sa.String(200), nullable=False),
    sa.Column("identity", sa.JSON, nullable=False),
    sa.Column("status", WORD, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("reference", ID),
    sa.Column("trust", sa.JSON),
    sa.CheckConstraint("status in ('running','complete','abandoned')", name="status"),
)
quality_evaluations = table(
    "quality_evaluations",
    sa.Column("id", ID, primary_key=True),
    sa.Column("evaluation_set_id", ID, sa.ForeignKey("evaluation_sets.id"), nullable=False),
    sa.Column("benchmark_id", ID, nullable=False, index=True),
    sa.Column("dispatch_id", ID, nullable=False),
    sa.Column("quality", ExactDecimal),
    sa.Column("missing_reason", sa.Text),
    sa.Column("scores", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("evaluation_set_id", "dispatch_id"),
    sa.CheckConstraint("(quality is null) <> (missing_reason is null)", name="known_or_why_not"),
)
second_looks = table(
    "second_looks",
    sa.Column("id", ID, primary_key=True),
    sa.Column("evaluation_set_id", ID, sa.ForeignKey("evaluation_sets.id"), nullable=False),
    sa.Column("kind", WORD, nullable=False),
    sa.Column("subject", ID, nullable=False),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("evaluation_set_id", "subject"),
    sa.CheckConstraint("kind in ('again','order')", name="kind"),
)
judge_batches = table(
    "judge_batches",
    sa.Column("id", ID, primary_key=True),
    sa.Column("evaluation_set_id", ID, sa.ForeignKey("evaluation_sets.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("name", ID),
    sa.Column("calls", sa.JSON, nullable=False),
    sa.Column("uploads", sa.JSON, nullable=False),
    sa.Column("sent_at", UtcDateTime, nullable=False),
    sa.Column("state", WORD),
    sa.Column("answers", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("evaluation_set_id", "number"),
    sa.CheckConstraint("(state is null) = (answers is null)", name="ended_or_open"),
)
human_labels = table(
    "human_labels",
    sa.Column("id", ID, primary_key=True),
    sa.Column("benchmark_id", ID, nullable=False, index=True),
    sa.Column("dispatch_id", ID, nullable=False),
    sa.Column("labeller", sa.String(200), nullable=False),
    sa.Column("sheet_id", ID, nullable=False),
    sa.Column("rubric_sha256", sa.String(64), nullable=False),
    sa.Column("levels", sa.JSON, nullable=False),
    sa.Column("quality", ExactDecimal, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("dispatch_id", "labeller", "rubric_sha256"),
)
