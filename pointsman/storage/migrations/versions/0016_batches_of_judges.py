"""calls that a judge sent together, to be waited for"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "judge_batches",
        sa.Column("id", sa.String(length=400), nullable=False),
        sa.Column("evaluation_set_id", sa.String(length=400), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=400), nullable=True),
        sa.Column("calls", sa.JSON(), nullable=False),
        sa.Column("uploads", sa.JSON(), nullable=False),
        sa.Column("sent_at", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=True),
        sa.Column("answers", sa.JSON(none_as_null=True), nullable=True),
        sa.CheckConstraint("(state is null) = (answers is null)", name=op.f("ck_judge_batches_ended_or_open")),
        sa.ForeignKeyConstraint(
            ["evaluation_set_id"], ["evaluation_sets.id"], name=op.f("fk_judge_batches_evaluation_set_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judge_batches")),
        sa.UniqueConstraint("evaluation_set_id", "number", name=op.f("uq_judge_batches_evaluation_set_id_number")),
    )


def downgrade() -> None:
    op.drop_table("judge_batches")
