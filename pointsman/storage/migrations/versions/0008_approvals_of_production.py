"""approvals of production: for which environment, and up to which rate"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.add_column(sa.Column("environment_id", sa.String(400), nullable=True))
        batch_op.add_column(sa.Column("limit_per_s", sa.Integer(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.drop_column("limit_per_s")
        batch_op.drop_column("environment_id")
