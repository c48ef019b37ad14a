"""what a shard says while it drives, for machines that do not see its disk"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("load_test_shards", schema=None) as batch_op:
        batch_op.add_column(sa.Column("status", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("figures", sa.Text(), nullable=True))
    op.create_table(
        "load_test_shard_seconds",
        sa.Column("run_id", sa.String(400), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("second", sa.Integer(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "shard"],
            ["load_test_shards.run_id", "load_test_shards.shard"],
            name=op.f("fk_load_test_shard_seconds_run_id_shard"),
        ),
        sa.PrimaryKeyConstraint("run_id", "shard", "second", name=op.f("pk_load_test_shard_seconds")),
    )


def downgrade() -> None:
    op.drop_table("load_test_shard_seconds")
    with op.batch_alter_table("load_test_shards", schema=None) as batch_op:
        batch_op.drop_column("figures")
        batch_op.drop_column("status")
