"""the shards of a load test"""

import sqlalchemy as sa
from alembic import op

import pointsman.storage.tables

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "load_test_shards",
        sa.Column("run_id", sa.String(length=400), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("planned", sa.Integer(), nullable=False),
        sa.Column("processes", sa.Integer(), nullable=False),
        sa.Column("process_id", sa.String(length=400), nullable=True),
        sa.Column("heartbeat_at", pointsman.storage.tables.UtcDateTime(length=32), nullable=True),
        sa.CheckConstraint("state in ('planned','waiting','running','ended')", name=op.f("ck_load_test_shards_state")),
        sa.ForeignKeyConstraint(["run_id"], ["load_test_runs.id"], name=op.f("fk_load_test_shards_run_id")),
        sa.PrimaryKeyConstraint("run_id", "shard", name=op.f("pk_load_test_shards")),
    )


def downgrade() -> None:
    op.drop_table("load_test_shards")
