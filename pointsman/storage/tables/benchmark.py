"""Variants, their versions, sets of inputs, and matrices with a row per cell."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.storage.tables.columns import ID, WORD, UtcDateTime, table

effect_revisions = table(
    "effect_revisions",
    sa.Column("id", ID, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("media", WORD, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
input_sets = table(
    "input_sets",
    sa.Column("id", ID, primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("members", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
variants = table(
    "variants",
    sa.Column("id", ID, primary_key=True),
    sa.Column("route_key", ID, nullable=False, index=True),
    sa.Column("target", ID, nullable=False),
    sa.Column("params", sa.JSON, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("tags", sa.JSON),
    sa.Column("data_classes", sa.JSON),
    sa.Column("limits", sa.JSON),
)
variant_versions = table(
    "variant_versions",
    sa.Column("variant_id", ID, primary_key=True),
    sa.Column("version", ID, primary_key=True),
    sa.Column("first_seen_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    sa.Column("run_id", ID, nullable=False),
)
benchmark_matrix_runs = table(
    "benchmark_matrix_runs",
    sa.Column("id", ID, primary_key=True),
    sa.Column("parent_run_id", ID, index=True),
    sa.Column("status", WORD, nullable=False),
    sa.Column("input_set_id", ID, nullable=False),
    sa.Column("environment_id", ID, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("plan_sha256", sa.String(64), nullable=False),
    sa.Column("results_path", ID, nullable=False),
    sa.Column("failure", sa.JSON),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
)
benchmark_matrix_run_items = table(
    "benchmark_matrix_run_items",
    sa.Column("dispatch_id", ID, primary_key=True),
    sa.Column("benchmark_id", ID, sa.ForeignKey("benchmark_matrix_runs.id"), nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("variant_id", ID, nullable=False),
    sa.Column("input_id", ID, nullable=False),
    sa.Column("cluster", ID, nullable=False),
    sa.Column("repeat", sa.Integer, nullable=False),
    sa.Column("status", WORD, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("job_id", ID),
    sa.Column("queue_ms", sa.Float),
    sa.Column("run_ms", sa.Float),
    sa.Column("total_ms", sa.Float),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.UniqueConstraint("benchmark_id", "seq"),
    sa.UniqueConstraint("benchmark_id", "variant_id", "input_id", "repeat"),
    sa.Index("ix_items_round", "benchmark_id", "round", "seq", "status"),
    sa.CheckConstraint(
        "status in ('pending','running','completed','failed','invalid','skipped','cancelled')", name="status"
    ),
)
benchmark_stopped_variants = table(
    "benchmark_stopped_variants",
    sa.Column("benchmark_id", ID, sa.ForeignKey("benchmark_matrix_runs.id"), primary_key=True),
    sa.Column("variant_id", ID, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
benchmark_chunks = table(
    "benchmark_chunks",
    sa.Column("id", ID, primary_key=True),
    sa.Column("benchmark_id", ID, sa.ForeignKey("benchmark_matrix_runs.id"), nullable=False, index=True),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("task_id", sa.String(400)),
    sa.Column("failure", sa.JSON),
    sa.CheckConstraint("turn >= 1", name="turn"),
)
