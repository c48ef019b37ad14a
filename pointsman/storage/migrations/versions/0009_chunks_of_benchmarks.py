"""the chunks of a benchmark that run elsewhere"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "benchmark_chunks",
        sa.Column("id", sa.String(length=400), nullable=False),
        sa.Column("benchmark_id", sa.String(length=400), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.String(length=400), nullable=True),
        sa.Column("failure", sa.JSON(), nullable=True),
        sa.CheckConstraint("turn >= 1", name=op.f("ck_benchmark_chunks_turn")),
        sa.ForeignKeyConstraint(
            ["benchmark_id"], ["benchmark_matrix_runs.id"], name=op.f("fk_benchmark_chunks_benchmark_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_benchmark_chunks")),
    )
    op.create_index(op.f("ix_benchmark_chunks_benchmark_id"), "benchmark_chunks", ["benchmark_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_benchmark_chunks_benchmark_id"), table_name="benchmark_chunks")
    op.drop_table("benchmark_chunks")
