"""identities, their tokens, approvals, and what runs may spend"""

import sqlalchemy as sa
from alembic import op

from pointsman.storage.tables import ExactDecimal, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime(32), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.CheckConstraint("role in ('viewer','operator','admin')", name=op.f("ck_identities_role")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_identities")),
    )
    op.create_table(
        "identity_tokens",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("identity", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(400), nullable=False),
        sa.Column("created_at", UtcDateTime(32), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("revoked_at", UtcDateTime(32)),
        sa.Column("revoked_by", sa.String(200)),
        sa.CheckConstraint("(revoked_at is null) = (revoked_by is null)", name=op.f("ck_identity_tokens_revoked")),
        sa.ForeignKeyConstraint(["identity"], ["identities.name"], name=op.f("fk_identity_tokens_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_tokens")),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(64), nullable=False),
        sa.Column("subject_id", sa.String(400), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("limit_usd", ExactDecimal(64), nullable=False),
        sa.Column("requester", sa.String(200), nullable=False),
        sa.Column("requester_proof", sa.String(64), nullable=False),
        sa.Column("waiter", sa.String(200), nullable=False),
        sa.Column("requested_at", UtcDateTime(32), nullable=False),
        sa.Column("expires_at", UtcDateTime(32), nullable=False),
        sa.Column("decision", sa.String(64)),
        sa.Column("decided_by", sa.String(200)),
        sa.Column("decided_at", UtcDateTime(32)),
        sa.Column("reason", sa.Text()),
        sa.CheckConstraint("decision in ('approved','rejected')", name=op.f("ck_approvals_decision")),
        sa.CheckConstraint("decided_by <> requester", name=op.f("ck_approvals_another")),
        sa.CheckConstraint("requester_proof in ('token','local','none')", name=op.f("ck_approvals_requester_proof")),
        sa.CheckConstraint(
            "(decision is null) = (decided_by is null) and (decision is null) = (decided_at is null)",
            name=op.f("ck_approvals_decided"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("scope", "subject_id", name=op.f("uq_approvals_scope_subject_id")),
    )
    op.create_table(
        "spending",
        sa.Column("run_id", sa.String(400), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("reserved_usd", ExactDecimal(64), nullable=False),
        sa.Column("measured_usd", ExactDecimal(64)),
        sa.Column("missing_reason", sa.Text()),
        sa.Column("at", UtcDateTime(32), nullable=False),
        sa.CheckConstraint("measured_usd is null or missing_reason is null", name=op.f("ck_spending_known_or_why_not")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_spending")),
    )
    op.create_index(op.f("ix_spending_month"), "spending", ["month"])


def downgrade() -> None:
    op.drop_index(op.f("ix_spending_month"), "spending")
    for table in ("spending", "approvals", "identity_tokens", "identities"):
        op.drop_table(table)
