"""which gateway shows a route"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "routing_gateways",
        sa.Column("route_key", sa.String(400), nullable=False),
        sa.Column("gateway", sa.String(200), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("set_by", sa.String(200), nullable=False),
        sa.Column("since", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("route_key", name=op.f("pk_routing_gateways")),
    )


def downgrade() -> None:
    op.drop_table("routing_gateways")
