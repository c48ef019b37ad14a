"""what variants can take: the search for the highest sustained rate and its result"""

import sqlalchemy as sa
from alembic import op

import pointsman.storage.tables

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "capacities",
        sa.Column("id", sa.String(length=400), nullable=False),
        sa.Column("variant_id", sa.String(length=400), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("per_s", pointsman.storage.tables.ExactDecimal(length=64), nullable=True),
        sa.Column("high_per_s", pointsman.storage.tables.ExactDecimal(length=64), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("created_at", pointsman.storage.tables.UtcDateTime(length=32), nullable=False),
        sa.Column("ended_at", pointsman.storage.tables.UtcDateTime(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_capacities")),
    )
    with op.batch_alter_table("capacities", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_capacities_variant_id"), ["variant_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("capacities", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_capacities_variant_id"))

    op.drop_table("capacities")
