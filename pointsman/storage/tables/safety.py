"""Where runs may go, who may let them, and what they spent."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.storage.tables.columns import ID, WORD, ExactDecimal, UtcDateTime, table

execution_environments = table(
    "execution_environments",
    sa.Column("id", ID, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("kind", WORD, nullable=False),
    sa.Column("aliases", sa.JSON, nullable=False),
    sa.Column("account", WORD),
    sa.Column("region", WORD),
    sa.Column("asg_name", sa.String(255)),
    sa.Column("ecs_cluster", sa.String(255)),
    sa.Column("pool", sa.String(255)),
    sa.CheckConstraint("kind in ('local','test_asg','staging','production')", name="kind"),
)
identities = table(
    "identities",
    sa.Column("name", WORD, primary_key=True),
    sa.Column("role", WORD, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.CheckConstraint("role in ('viewer','operator','admin')", name="role"),
)
identity_tokens = table(
    "identity_tokens",
    sa.Column("id", WORD, primary_key=True),
    sa.Column("identity", WORD, sa.ForeignKey("identities.name"), nullable=False),
    sa.Column("hash", sa.String(400), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("revoked_at", UtcDateTime),
    sa.Column("revoked_by", sa.String(200)),
    sa.CheckConstraint("(revoked_at is null) = (revoked_by is null)", name="revoked"),
)
approvals = table(
    "approvals",
    sa.Column("id", WORD, primary_key=True),
    sa.Column("scope", WORD, nullable=False),
    sa.Column("subject_id", ID, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("limit_usd", ExactDecimal, nullable=False),
    sa.Column("environment_id", ID),
    sa.Column("limit_per_s", sa.Integer),
    sa.Column("requester", sa.String(200), nullable=False),
    sa.Column("requester_proof", WORD, nullable=False),
    sa.Column("waiter", sa.String(200), nullable=False),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("decision", WORD),
    sa.Column("decided_by", sa.String(200)),
    sa.Column("decided_at", UtcDateTime),
    sa.Column("reason", sa.Text),
    sa.UniqueConstraint("scope", "subject_id"),
    sa.CheckConstraint("decision in ('approved','rejected')", name="decision"),
    sa.CheckConstraint("decided_by <> requester", name="another"),
    sa.CheckConstraint("requester_proof in ('token','local','none')", name="requester_proof"),
    sa.CheckConstraint(
        "(decision is null) = (decided_by is null) and (decision is null) = (decided_at is null)", name="decided"
    ),
)
spending = table(
    "spending",
    sa.Column("run_id", ID, primary_key=True),
    sa.Column("month", sa.String(7), nullable=False, index=True),
    sa.Column("reserved_usd", ExactDecimal, nullable=False),
    sa.Column("measured_usd", ExactDecimal),
    sa.Column("missing_reason", sa.Text),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.CheckConstraint("measured_usd is null or missing_reason is null", name="known_or_why_not"),
)
