"""tags, data classes and limits of variants, variants that a matrix stopped, and the versions that did their jobs"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("variants", schema=None) as batch_op:
        batch_op.add_column(sa.Column("tags", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("data_classes", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("limits", sa.JSON(), nullable=True))
    op.create_table(
        "benchmark_stopped_variants",
        sa.Column("benchmark_id", sa.String(length=400), nullable=False),
        sa.Column("variant_id", sa.String(length=400), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["benchmark_id"], ["benchmark_matrix_runs.id"], name=op.f("fk_benchmark_stopped_variants_benchmark_id")
        ),
        sa.PrimaryKeyConstraint("benchmark_id", "variant_id", name=op.f("pk_benchmark_stopped_variants")),
    )
    op.create_table(
        "variant_versions",
        sa.Column("variant_id", sa.String(length=400), nullable=False),
        sa.Column("version", sa.String(length=400), nullable=False),
        sa.Column("first_seen_at", sa.String(length=32), nullable=False),
        sa.Column("last_seen_at", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=400), nullable=False),
        sa.PrimaryKeyConstraint("variant_id", "version", name=op.f("pk_variant_versions")),
    )


def downgrade() -> None:
    op.drop_table("variant_versions")
    op.drop_table("benchmark_stopped_variants")
    with op.batch_alter_table("variants", schema=None) as batch_op:
        batch_op.drop_column("limits")
        batch_op.drop_column("data_classes")
        batch_op.drop_column("tags")
