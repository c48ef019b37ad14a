"""shards that are driven elsewhere: the task that does, and why its process ended"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("load_test_shards", schema=None) as batch_op:
        batch_op.add_column(sa.Column("task_id", sa.String(400), nullable=True))
        batch_op.add_column(sa.Column("failure", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("load_test_shards", schema=None) as batch_op:
        batch_op.drop_column("failure")
        batch_op.drop_column("task_id")
