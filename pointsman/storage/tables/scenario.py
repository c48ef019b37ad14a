"""Load tests, their shards and the capacity searches they belong to."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.storage.tables.columns import ID, WORD, ExactDecimal, UtcDateTime, table

scenarios = table(
    "scenarios",
    sa.Column("id", ID, primary_key=True),
    sa.Column("definition", sa.JSON, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
load_test_runs = table(
    "load_test_runs",
    sa.Column("id", ID, primary_key=True),
    sa.Column("context", ID, nullable=False),
    sa.Column("parent_run_id", ID, index=True),
    sa.Column("scenario_id", ID, nullable=False),
    sa.Column("environment_id", ID, nullable=False),
    sa.Column("variant_id", ID, nullable=False),
    sa.Column("status", WORD, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("results_path", ID, nullable=False),
    sa.Column("submitted_count", sa.Integer, nullable=False, default=0),
    sa.Column("metrics_json", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
)
load_test_shards = table(
    "load_test_shards",
    sa.Column("run_id", ID, sa.ForeignKey("load_test_runs.id"), primary_key=True),
    sa.Column("shard", sa.Integer, primary_key=True),
    sa.Column("state", WORD, nullable=False),
    sa.Column("planned", sa.Integer, nullable=False),
    sa.Column("processes", sa.Integer, nullable=False),
    sa.Column("process_id", sa.String(400)),
    sa.Column("task_id", sa.String(400)),
    sa.Column("failure", sa.JSON),
    sa.Column("heartbeat_at", UtcDateTime),
    sa.Column("status", sa.Text),
    sa.Column("figures", sa.Text),
    sa.CheckConstraint("state in ('planned','waiting','running','ended')", name="state"),
)
load_test_shard_seconds = table(
    "load_test_shard_seconds",
    sa.Column("run_id", ID, primary_key=True),
    sa.Column("shard", sa.Integer, primary_key=True),
    sa.Column("second", sa.Integer, primary_key=True),
    sa.Column("line", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["run_id", "shard"], ["load_test_shards.run_id", "load_test_shards.shard"]),
)
capacities = table(
    "capacities",
    sa.Column("id", ID, primary_key=True),
    sa.Column("variant_id", ID, nullable=False, index=True),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("steps", sa.JSON, nullable=False),
    sa.Column("per_s", ExactDecimal),
    sa.Column("high_per_s", ExactDecimal),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
)
