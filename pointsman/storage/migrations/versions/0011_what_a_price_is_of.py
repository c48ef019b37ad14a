"""what a price is of, the rate it was converted at, and how self-hosted capacity is paid"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_COLUMNS = {
    "modality": sa.String(64),
    "resolution": sa.String(64),
    "tier": sa.String(64),
    "currency": sa.String(3),
    "amount": sa.String(64),
    "fx_rate": sa.String(64),
    "fx_date": sa.String(10),
}


def upgrade() -> None:
    with op.batch_alter_table("price_book", schema=None) as batch_op:
        for name, kind in _COLUMNS.items():
            batch_op.add_column(sa.Column(name, kind, nullable=True))
        batch_op.create_check_constraint(op.f("ck_price_book_dated_rate"), "(fx_rate is null) = (fx_date is null)")
    op.create_table(
        "price_book_hosting",
        sa.Column("book_sha256", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=200), nullable=False),
        sa.Column("hosting", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("book_sha256", "provider", name=op.f("pk_price_book_hosting")),
    )


def downgrade() -> None:
    op.drop_table("price_book_hosting")
    with op.batch_alter_table("price_book", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_price_book_dated_rate"), type_="check")
        for name in reversed(_COLUMNS):
            batch_op.drop_column(name)
