"""kinds of routing changes"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("routing_bindings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.String(64), nullable=True))
    bindings = sa.table("routing_bindings", sa.column("kind"), sa.column("cause"))
    op.execute(bindings.update().values(kind="apply"))
    op.execute(bindings.update().where(bindings.c.cause.like("rollback of generation %")).values(kind="rollback"))
    with op.batch_alter_table("routing_bindings", schema=None) as batch_op:
        batch_op.alter_column("kind", existing_type=sa.String(64), nullable=False)
        batch_op.create_check_constraint(op.f("ck_routing_bindings_kind"), "kind in ('apply','rollback','restore')")
    serving = sa.text("status in ('active','canary')")
    op.create_index(
        "ix_routing_bindings_serving",
        "routing_bindings",
        ["route_key"],
        unique=True,
        sqlite_where=serving,
        postgresql_where=serving,
    )


def downgrade() -> None:
    op.drop_index("ix_routing_bindings_serving", table_name="routing_bindings")
    with op.batch_alter_table("routing_bindings", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_routing_bindings_kind"), type_="check")
        batch_op.drop_column("kind")
