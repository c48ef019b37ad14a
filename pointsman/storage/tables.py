"""The SQL tables of CONTRACTS as SQLAlchemy Core tables. Migrations create them; nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator


class ExactDecimal(TypeDecorator[Decimal]):
    """A Decimal kept as text, so that SQLite does not turn money into floats."""

    impl = sa.String(64)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Any) -> str | None:
        if value is not None and not value.is_finite():
            raise ValueError(f"decimals in the database are finite; got {value}")
        return None if value is None else format(value, "f")

    def process_result_value(self, value: str | None, dialect: Any) -> Decimal | None:
        return None if value is None else Decimal(value)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time kept as fixed-width ISO text, which sorts as time does on every database."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> str | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times in the database are aware; got a naive one")
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def process_result_value(self, value: str | None, dialect: Any) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

_ID = sa.String(400)
_WORD = sa.String(64)


def _table(name: str, *columns: sa.Column[Any] | sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, *columns)


effect_revisions = _table(
    "effect_revisions",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("media", _WORD, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
input_sets = _table(
    "input_sets",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("members", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
execution_environments = _table(
    "execution_environments",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("kind", _WORD, nullable=False),
    sa.Column("aliases", sa.JSON, nullable=False),
    sa.Column("account", _WORD),
    sa.Column("region", _WORD),
    sa.Column("asg_name", sa.String(255)),
    sa.Column("ecs_cluster", sa.String(255)),
    sa.Column("pool", sa.String(255)),
    sa.CheckConstraint("kind in ('local','test_asg','staging','production')", name="kind"),
)
scenarios = _table(
    "scenarios",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("definition", sa.JSON, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
load_test_runs = _table(
    "load_test_runs",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("context", _ID, nullable=False),
    sa.Column("parent_run_id", _ID, index=True),
    sa.Column("scenario_id", _ID, nullable=False),
    sa.Column("environment_id", _ID, nullable=False),
    sa.Column("variant_id", _ID, nullable=False),
    sa.Column("status", _WORD, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("results_path", _ID, nullable=False),
    sa.Column("submitted_count", sa.Integer, nullable=False, default=0),
    sa.Column("metrics_json", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
)
capacities = _table(
    "capacities",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("variant_id", _ID, nullable=False, index=True),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("steps", sa.JSON, nullable=False),
    sa.Column("per_s", ExactDecimal),
    sa.Column("high_per_s", ExactDecimal),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
)
load_test_shards = _table(
    "load_test_shards",
    sa.Column("run_id", _ID, sa.ForeignKey("load_test_runs.id"), primary_key=True),
    sa.Column("shard", sa.Integer, primary_key=True),
    sa.Column("state", _WORD, nullable=False),
    sa.Column("planned", sa.Integer, nullable=False),
    sa.Column("processes", sa.Integer, nullable=False),
    sa.Column("process_id", sa.String(400)),
    sa.Column("task_id", sa.String(400)),
    sa.Column("failure", sa.JSON),
    sa.Column("heartbeat_at", UtcDateTime),
    sa.Column("status", sa.Text),
    sa.Column("figures", sa.Text),
    sa.CheckConstraint("state in ('planned','waiting','running','ended')", name="state"),
)
load_test_shard_seconds = _table(
    "load_test_shard_seconds",
    sa.Column("run_id", _ID, primary_key=True),
    sa.Column("shard", sa.Integer, primary_key=True),
    sa.Column("second", sa.Integer, primary_key=True),
    sa.Column("line", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["run_id", "shard"], ["load_test_shards.run_id", "load_test_shards.shard"]),
)
variants = _table(
    "variants",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("route_key", _ID, nullable=False, index=True),
    sa.Column("target", _ID, nullable=False),
    sa.Column("params", sa.JSON, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("tags", sa.JSON),
    sa.Column("data_classes", sa.JSON),
    sa.Column("limits", sa.JSON),
)
variant_versions = _table(
    "variant_versions",
    sa.Column("variant_id", _ID, primary_key=True),
    sa.Column("version", _ID, primary_key=True),
    sa.Column("first_seen_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    sa.Column("run_id", _ID, nullable=False),
)
benchmark_matrix_runs = _table(
    "benchmark_matrix_runs",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("parent_run_id", _ID, index=True),
    sa.Column("status", _WORD, nullable=False),
    sa.Column("input_set_id", _ID, nullable=False),
    sa.Column("environment_id", _ID, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("plan_sha256", sa.String(64), nullable=False),
    sa.Column("results_path", _ID, nullable=False),
    sa.Column("failure", sa.JSON),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
)
benchmark_matrix_run_items = _table(
    "benchmark_matrix_run_items",
    sa.Column("dispatch_id", _ID, primary_key=True),
    sa.Column("benchmark_id", _ID, sa.ForeignKey("benchmark_matrix_runs.id"), nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("variant_id", _ID, nullable=False),
    sa.Column("input_id", _ID, nullable=False),
    sa.Column("cluster", _ID, nullable=False),
    sa.Column("repeat", sa.Integer, nullable=False),
    sa.Column("status", _WORD, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("job_id", _ID),
    sa.Column("queue_ms", sa.Float),
    sa.Column("run_ms", sa.Float),
    sa.Column("total_ms", sa.Float),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.UniqueConstraint("benchmark_id", "seq"),
    sa.UniqueConstraint("benchmark_id", "variant_id", "input_id", "repeat"),
    sa.Index("ix_items_round", "benchmark_id", "round", "status"),
    sa.CheckConstraint(
        "status in ('pending','running','completed','failed','invalid','skipped','cancelled')", name="status"
    ),
)
benchmark_stopped_variants = _table(
    "benchmark_stopped_variants",
    sa.Column("benchmark_id", _ID, sa.ForeignKey("benchmark_matrix_runs.id"), primary_key=True),
    sa.Column("variant_id", _ID, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
benchmark_chunks = _table(
    "benchmark_chunks",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("benchmark_id", _ID, sa.ForeignKey("benchmark_matrix_runs.id"), nullable=False, index=True),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("task_id", sa.String(400)),
    sa.Column("failure", sa.JSON),
    sa.CheckConstraint("turn >= 1", name="turn"),
)
run_artifacts = _table(
    "run_artifacts",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("run_id", _ID, nullable=False, index=True),
    sa.Column("subject_id", _ID, nullable=False, index=True),
    sa.Column("artifact_type", sa.String(100), nullable=False),
    sa.Column("uri", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("run_id", "subject_id", "artifact_type"),
    sa.CheckConstraint("bytes >= 0", name="bytes"),
)
attempts = _table(
    "attempts",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("run_id", _ID, nullable=False, index=True),
    sa.Column("subject_id", _ID, nullable=False),
    sa.Column("subject_kind", _WORD, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("provider", sa.String(200), nullable=False),
    sa.Column("generation", sa.Integer),
    sa.Column("outcome", _WORD, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.UniqueConstraint("subject_id", "number"),
    sa.CheckConstraint("outcome in ('completed','failed','refused','lost','unknown')", name="outcome"),
    sa.CheckConstraint("subject_kind in ('cell','judgement')", name="subject_kind"),
    sa.CheckConstraint("number >= 1", name="number"),
)
usage = _table(
    "usage",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("run_id", _ID, nullable=False, index=True),
    sa.Column("subject_id", _ID, nullable=False, index=True),
    sa.Column("sku", sa.String(200), nullable=False),
    sa.Column("quantity", ExactDecimal),
    sa.Column("missing_reason", sa.Text),
    sa.Column("basis", _WORD, nullable=False),
    sa.UniqueConstraint("subject_id", "sku"),
    sa.CheckConstraint("(quantity is null) <> (missing_reason is null)", name="known_or_why_not"),
    sa.CheckConstraint("basis in ('measured','estimated')", name="basis"),
)
evaluation_sets = _table(
    "evaluation_sets",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("benchmark_id", _ID, nullable=False, index=True),
    sa.Column("judge", sa.String(200), nullable=False),
    sa.Column("identity", sa.JSON, nullable=False),
    sa.Column("status", _WORD, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("reference", _ID),
    sa.Column("trust", sa.JSON),
    sa.CheckConstraint("status in ('running','complete','abandoned')", name="status"),
)
quality_evaluations = _table(
    "quality_evaluations",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("evaluation_set_id", _ID, sa.ForeignKey("evaluation_sets.id"), nullable=False),
    sa.Column("benchmark_id", _ID, nullable=False, index=True),
    sa.Column("dispatch_id", _ID, nullable=False),
    sa.Column("quality", ExactDecimal),
    sa.Column("missing_reason", sa.Text),
    sa.Column("scores", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("evaluation_set_id", "dispatch_id"),
    sa.CheckConstraint("(quality is null) <> (missing_reason is null)", name="known_or_why_not"),
)
second_looks = _table(
    "second_looks",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("evaluation_set_id", _ID, sa.ForeignKey("evaluation_sets.id"), nullable=False),
    sa.Column("kind", _WORD, nullable=False),
    sa.Column("subject", _ID, nullable=False),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("evaluation_set_id", "subject"),
    sa.CheckConstraint("kind in ('again','order')", name="kind"),
)
human_labels = _table(
    "human_labels",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("benchmark_id", _ID, nullable=False, index=True),
    sa.Column("dispatch_id", _ID, nullable=False),
    sa.Column("labeller", sa.String(200), nullable=False),
    sa.Column("sheet_id", _ID, nullable=False),
    sa.Column("rubric_sha256", sa.String(64), nullable=False),
    sa.Column("levels", sa.JSON, nullable=False),
    sa.Column("quality", ExactDecimal, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("dispatch_id", "labeller", "rubric_sha256"),
)
price_book = _table(
    "price_book",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("book_sha256", sa.String(64), nullable=False, index=True),
    sa.Column("sku", sa.String(200), nullable=False),
    sa.Column("unit", sa.String(100), nullable=False),
    sa.Column("usd", ExactDecimal, nullable=False),
    sa.Column("valid_from", UtcDateTime, nullable=False),
    sa.Column("valid_to", UtcDateTime),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("modality", _WORD),
    sa.Column("resolution", _WORD),
    sa.Column("tier", _WORD),
    sa.Column("currency", sa.String(3)),
    sa.Column("amount", ExactDecimal),
    sa.Column("fx_rate", ExactDecimal),
    sa.Column("fx_date", sa.String(10)),
    sa.CheckConstraint("(fx_rate is null) = (fx_date is null)", name="dated_rate"),
)
price_book_hosting = _table(
    "price_book_hosting",
    sa.Column("book_sha256", sa.String(64), primary_key=True),
    sa.Column("provider", sa.String(200), primary_key=True),
    sa.Column("hosting", sa.JSON, nullable=False),
)
verdicts = _table(
    "verdicts",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("benchmark_id", _ID, nullable=False, index=True),
    sa.Column("evaluation_set_id", _ID, nullable=False),
    sa.Column("route_key", _ID, nullable=False),
    sa.Column("outcome", _WORD, nullable=False),
    sa.Column("winner", _ID),
    sa.Column("plan_sha256", sa.String(64), nullable=False),
    sa.Column("data_sha256", sa.String(64), nullable=False),
    sa.Column("code_version", sa.String(100), nullable=False),
    sa.Column("document_uri", sa.Text, nullable=False),
    sa.Column("document_sha256", sa.String(64)),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("(outcome = 'WINNER') = (winner is not null)", name="winner"),
)
alpha_draws = _table(
    "alpha_draws",
    sa.Column("route_key", _ID, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("benchmark_id", _ID, nullable=False, unique=True),
    sa.Column("alpha", sa.Float, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.CheckConstraint("number >= 1", name="number"),
    sa.CheckConstraint("alpha > 0", name="alpha"),
)
_SERVING = sa.text("status in ('active','canary')")
routing_bindings = _table(
    "routing_bindings",
    sa.Column("route_key", _ID, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("weights", sa.JSON, nullable=False),
    sa.Column("status", _WORD, nullable=False),
    sa.Column("kind", _WORD, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("verdict_id", _ID),
    sa.Column("rollout_id", _ID),
    sa.Column("step", sa.Integer),
    sa.Column("idempotency_key", _ID, unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("generation >= 1", name="generation"),
    sa.CheckConstraint("step is null or rollout_id is not null", name="step"),
    sa.CheckConstraint("kind in ('apply','rollback','restore')", name="kind"),
    sa.Index("ix_routing_bindings_serving", "route_key", unique=True, sqlite_where=_SERVING, postgresql_where=_SERVING),
)
routing_rollouts = _table(
    "routing_rollouts",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("route_key", _ID, nullable=False, index=True),
    sa.Column("steps", sa.JSON, nullable=False),
    sa.Column("weights", sa.JSON, nullable=False),
    sa.Column("base_generation", sa.Integer, nullable=False),
    sa.Column("state", _WORD, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.CheckConstraint("state in ('running','paused','completed','aborted')", name="state"),
    sa.CheckConstraint("(ended_at is null) = (state in ('running','paused'))", name="ended"),
)
_HELD = sa.text("released_at is null")
routing_holds = _table(
    "routing_holds",
    sa.Column("id", _ID, primary_key=True),
    sa.Column("route_key", _ID, nullable=False),
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
routing_rules = _table(
    "routing_rules",
    sa.Column("route_key", _ID, primary_key=True),
    sa.Column("rules", sa.JSON, nullable=False),
    sa.Column("set_by", sa.String(200), nullable=False),
    sa.Column("set_at", UtcDateTime, nullable=False),
)
state_transitions = _table(
    "state_transitions",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("entity", _WORD, nullable=False),
    sa.Column("entity_id", _ID, nullable=False),
    sa.Column("from_state", _WORD),
    sa.Column("to_state", _WORD, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Index("ix_state_transitions_entity", "entity", "entity_id"),
)
idempotency_keys = _table(
    "idempotency_keys",
    sa.Column("key", _ID, primary_key=True),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("answer", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
action_logs = _table(
    "action_logs",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("event", sa.String(100), nullable=False),
    sa.Column("severity", _WORD, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("run_id", _ID, index=True),
    sa.Column("context", _ID),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("instruction", sa.Text, nullable=False),
    sa.CheckConstraint("severity in ('info','warn','critical')", name="severity"),
)
identities = _table(
    "identities",
    sa.Column("name", _WORD, primary_key=True),
    sa.Column("role", _WORD, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.CheckConstraint("role in ('viewer','operator','admin')", name="role"),
)
identity_tokens = _table(
    "identity_tokens",
    sa.Column("id", _WORD, primary_key=True),
    sa.Column("identity", _WORD, sa.ForeignKey("identities.name"), nullable=False),
    sa.Column("hash", sa.String(400), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("revoked_at", UtcDateTime),
    sa.Column("revoked_by", sa.String(200)),
    sa.CheckConstraint("(revoked_at is null) = (revoked_by is null)", name="revoked"),
)
approvals = _table(
    "approvals",
    sa.Column("id", _WORD, primary_key=True),
    sa.Column("scope", _WORD, nullable=False),
    sa.Column("subject_id", _ID, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("limit_usd", ExactDecimal, nullable=False),
    sa.Column("environment_id", _ID),
    sa.Column("limit_per_s", sa.Integer),
    sa.Column("requester", sa.String(200), nullable=False),
    sa.Column("requester_proof", _WORD, nullable=False),
    sa.Column("waiter", sa.String(200), nullable=False),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("decision", _WORD),
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
spending = _table(
    "spending",
    sa.Column("run_id", _ID, primary_key=True),
    sa.Column("month", sa.String(7), nullable=False, index=True),
    sa.Column("reserved_usd", ExactDecimal, nullable=False),
    sa.Column("measured_usd", ExactDecimal),
    sa.Column("missing_reason", sa.Text),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.CheckConstraint("measured_usd is null or missing_reason is null", name="known_or_why_not"),
)
observability_sinks = _table(
    "observability_sinks",
    sa.Column("name", _WORD, primary_key=True),
    sa.Column("spec", sa.JSON, nullable=False),
)
outbox = _table(
    "outbox",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("sink", _WORD, sa.ForeignKey("observability_sinks.name"), nullable=False, index=True),
    sa.Column("action_log_id", sa.Integer, sa.ForeignKey("action_logs.id"), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", UtcDateTime, nullable=False),
    sa.Column("last_error", sa.Text),
    sa.UniqueConstraint("sink", "action_log_id"),
)
