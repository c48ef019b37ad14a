"""second looks of judges, what people say of outputs, and whether a judge is trusted"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("evaluation_sets", sa.Column("reference", sa.String(length=400), nullable=True))
    op.add_column("evaluation_sets", sa.Column("trust", sa.JSON(), nullable=True))
    op.create_table(
        "second_looks",
        sa.Column("id", sa.String(length=400), nullable=False),
        sa.Column("evaluation_set_id", sa.String(length=400), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.CheckConstraint("kind in ('again','order')", name=op.f("ck_second_looks_kind")),
        sa.ForeignKeyConstraint(
            ["evaluation_set_id"], ["evaluation_sets.id"], name=op.f("fk_second_looks_evaluation_set_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_second_looks")),
        sa.UniqueConstraint("evaluation_set_id", "subject", name=op.f("uq_second_looks_evaluation_set_id_subject")),
    )
    op.create_table(
        "human_labels",
        sa.Column("id", sa.String(length=400), nullable=False),
        sa.Column("benchmark_id", sa.String(length=400), nullable=False),
        sa.Column("dispatch_id", sa.String(length=400), nullable=False),
        sa.Column("labeller", sa.String(length=200), nullable=False),
        sa.Column("sheet_id", sa.String(length=400), nullable=False),
        sa.Column("rubric_sha256", sa.String(length=64), nullable=False),
        sa.Column("levels", sa.JSON(), nullable=False),
        sa.Column("quality", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_human_labels")),
        sa.UniqueConstraint(
            "dispatch_id", "labeller", "rubric_sha256", name=op.f("uq_human_labels_dispatch_id_labeller_rubric_sha256")
        ),
    )
    op.create_index(op.f("ix_human_labels_benchmark_id"), "human_labels", ["benchmark_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_human_labels_benchmark_id"), table_name="human_labels")
    op.drop_table("human_labels")
    op.drop_table("second_looks")
    op.drop_column("evaluation_sets", "trust")
    op.drop_column("evaluation_sets", "reference")
