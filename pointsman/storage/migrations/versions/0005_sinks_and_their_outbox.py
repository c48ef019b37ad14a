"""where events go besides the action log, and what waits to go there"""

import sqlalchemy as sa
from alembic import op

from pointsman.storage.tables import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sinks = op.create_table(
        "observability_sinks",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_observability_sinks")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("sink", sa.String(64), nullable=False),
        sa.Column("action_log_id", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime(32), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.ForeignKeyConstraint(["action_log_id"], ["action_logs.id"], name=op.f("fk_outbox_action_log_id")),
        sa.ForeignKeyConstraint(["sink"], ["observability_sinks.name"], name=op.f("fk_outbox_sink")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("sink", "action_log_id", name=op.f("uq_outbox_sink_action_log_id")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_outbox_sink"), ["sink"], unique=False)
    op.bulk_insert(sinks, [{"name": "prefect", "spec": {"name": "prefect", "kind": "prefect", "severity": "critical"}}])


def downgrade() -> None:
    op.drop_table("outbox")
    op.drop_table("observability_sinks")
