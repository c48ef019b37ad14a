"""the hash of each verdict's document"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("verdicts") as table:
        table.add_column(sa.Column("document_sha256", sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("verdicts") as table:
        table.drop_column("document_sha256")
