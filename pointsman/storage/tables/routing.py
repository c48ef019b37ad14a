"""Bindings by generation, the canaries and held capacities that belong to them, and the rules of a route."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.storage.tables.columns import ID, WORD, UtcDateTime, table

_SERVING = sa.text("status in ('active','canary')")
routing_bindings = table(
    "routing_bindings",
    sa.Column("route_key", ID, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("weights", sa.JSON, nullable=False),
    sa.Column("status", WORD, nullable=False),
    sa.Column("kind", WORD, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("verdict_id", ID),
    sa.Column("rollout_id", ID),
    sa.Column("step", sa.Integer),
    sa.Column("idempotency_key", ID, unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("generation >= 1", name="generation"),
    sa.CheckConstraint("step is null or rollout_id is not null", name="step"),
    sa.CheckConstraint("kind in ('apply','rollback','restore')", name="kind"),
    sa.Index("ix_routing_bindings_serving", "route_key", unique=True, sqlite_where=_SERVING, postgresql_where=_SERVING),
)
routing_rollouts = table(
    "routing_rollouts",
    sa.Column("id", ID, primary_key=True),
    sa.Column("route_key", ID, nullable=False, index=True),
    sa.Column("steps", sa.JSON, nullable=False),
    sa.Column("weights", sa.JSON, nullable=False),
    sa.Column("base_generation", sa.Integer, nullable=False),
    sa.Column("state", WORD, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.CheckConstraint("state in ('running','paused','completed','aborted')", name="state"),
    sa.CheckConstraint("(ended_at is null) = (state in ('running','paused'))", name="ended"),
)
_HELD = sa.text("released_at is null")
routing_holds = table(
    "routing_holds",
    sa.Column("id", ID, primary_key=True),
    sa.Column("route_key", ID, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("variants", sa.JSON, nullable=False),
    sa.Column("hourly", sa.JSON, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Column("released_at", UtcDateTime),
    sa.Column("why", sa.Text),
    sa.Index("ix_routing_holds_held", "route_key", unique=True, sqlite_where=_HELD, postgresql_where=_HELD),
    sa.CheckConstraint("(released_at is null) = (why is null)", name="released"),
)
routing_gateways = table(
    "routing_gateways",
    sa.Column("route_key", ID, primary_key=True),
    sa.Column("gateway", sa.String(200), nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("set_by", sa.String(200), nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
)
routing_rules = table(
    "routing_rules",
    sa.Column("route_key", ID, primary_key=True),
    sa.Column("rules", sa.JSON, nullable=False),
    sa.Column("set_by", sa.String(200), nullable=False),
    sa.Column("set_at", UtcDateTime, nullable=False),
)
