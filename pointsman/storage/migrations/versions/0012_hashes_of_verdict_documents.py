"""the hash of each verdict's document, and what repeated decisions take of their route's risk"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("verdicts") as table:
        table.add_column(sa.Column("document_sha256", sa.String(length=64), nullable=True))
    op.create_table(
        "alpha_draws",
        sa.Column("route_key", sa.String(length=400), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("benchmark_id", sa.String(length=400), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.CheckConstraint("number >= 1", name=op.f("ck_alpha_draws_number")),
        sa.CheckConstraint("alpha > 0", name=op.f("ck_alpha_draws_alpha")),
        sa.PrimaryKeyConstraint("route_key", "number", name=op.f("pk_alpha_draws")),
        sa.UniqueConstraint("benchmark_id", name=op.f("uq_alpha_draws_benchmark_id")),
    )


def downgrade() -> None:
    op.drop_table("alpha_draws")
    with op.batch_alter_table("verdicts") as table:
        table.drop_column("document_sha256")
