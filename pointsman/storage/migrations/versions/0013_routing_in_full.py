"""routing in full: kinds of changes, canaries, capacity that is held, and the rules of a route"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("routing_bindings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.String(64), nullable=True))
        batch_op.add_column(sa.Column("rollout_id", sa.String(400), nullable=True))
        batch_op.add_column(sa.Column("step", sa.Integer(), nullable=True))
    bindings = sa.table("routing_bindings", sa.column("kind"), sa.column("cause"))
    op.execute(bindings.update().values(kind="apply"))
    op.execute(bindings.update().where(bindings.c.cause.like("rollback of generation %")).values(kind="rollback"))
    with op.batch_alter_table("routing_bindings", schema=None) as batch_op:
        batch_op.alter_column("kind", existing_type=sa.String(64), nullable=False)
        batch_op.create_check_constraint(op.f("ck_routing_bindings_kind"), "kind in ('apply','rollback','restore')")
        batch_op.create_check_constraint(op.f("ck_routing_bindings_step"), "step is null or rollout_id is not null")
    serving = sa.text("status in ('active','canary')")
    op.create_index(
        "ix_routing_bindings_serving",
        "routing_bindings",
        ["route_key"],
        unique=True,
        sqlite_where=serving,
        postgresql_where=serving,
    )
    op.create_table(
        "routing_rollouts",
        sa.Column("id", sa.String(400), nullable=False),
        sa.Column("route_key", sa.String(400), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("weights", sa.JSON(), nullable=False),
        sa.Column("base_generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(64), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("ended_at", sa.String(32), nullable=True),
        sa.CheckConstraint(
            "state in ('running','paused','completed','aborted')", name=op.f("ck_routing_rollouts_state")
        ),
        sa.CheckConstraint(
            "(ended_at is null) = (state in ('running','paused'))", name=op.f("ck_routing_rollouts_ended")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_routing_rollouts")),
    )
    op.create_index(op.f("ix_routing_rollouts_route_key"), "routing_rollouts", ["route_key"])
    op.create_table(
        "routing_holds",
        sa.Column("id", sa.String(400), nullable=False),
        sa.Column("route_key", sa.String(400), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("variants", sa.JSON(), nullable=False),
        sa.Column("hourly", sa.JSON(), nullable=False),
        sa.Column("since", sa.String(32), nullable=False),
        sa.Column("due_at", sa.String(32), nullable=False),
        sa.Column("released_at", sa.String(32), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.CheckConstraint("(released_at is null) = (why is null)", name=op.f("ck_routing_holds_released")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_routing_holds")),
    )
    held = sa.text("released_at is null")
    op.create_index(
        "ix_routing_holds_held",
        "routing_holds",
        ["route_key"],
        unique=True,
        sqlite_where=held,
        postgresql_where=held,
    )
    op.create_table(
        "routing_rules",
        sa.Column("route_key", sa.String(400), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("set_by", sa.String(200), nullable=False),
        sa.Column("set_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("route_key", name=op.f("pk_routing_rules")),
    )


def downgrade() -> None:
    op.drop_table("routing_rules")
    op.drop_table("routing_holds")
    op.drop_table("routing_rollouts")
    op.drop_index("ix_routing_bindings_serving", table_name="routing_bindings")
    with op.batch_alter_table("routing_bindings", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_routing_bindings_step"), type_="check")
        batch_op.drop_constraint(op.f("ck_routing_bindings_kind"), type_="check")
        batch_op.drop_column("step")
        batch_op.drop_column("rollout_id")
        batch_op.drop_column("kind")
