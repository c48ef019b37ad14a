"""The SQL tables of CONTRACTS as SQLAlchemy Core tables, a file per room. Migrations create them; nothing else does."""

from pointsman.storage.tables.actions import action_logs, observability_sinks, outbox
from pointsman.storage.tables.benchmark import (
    benchmark_chunks,
    benchmark_matrix_run_items,
    benchmark_matrix_runs,
    benchmark_stopped_variants,
    effect_revisions,
    input_sets,
    variant_versions,
    variants,
)
from pointsman.storage.tables.columns import ExactDecimal, UtcDateTime, metadata
from pointsman.storage.tables.decision import alpha_draws, verdicts
from pointsman.storage.tables.dispatch import attempts, usage
from pointsman.storage.tables.economics import price_book, price_book_hosting
from pointsman.storage.tables.quality import (
    evaluation_sets,
    human_labels,
    judge_batches,
    quality_evaluations,
    second_looks,
)
from pointsman.storage.tables.records import idempotency_keys, run_artifacts, state_transitions
from pointsman.storage.tables.routing import (
    routing_bindings,
    routing_gateways,
    routing_holds,
    routing_rollouts,
    routing_rules,
)
from pointsman.storage.tables.safety import approvals, execution_environments, identities, identity_tokens, spending
from pointsman.storage.tables.scenario import (
    capacities,
    load_test_runs,
    load_test_shard_seconds,
    load_test_shards,
    scenarios,
)

__all__ = [
    "ExactDecimal",
    "UtcDateTime",
    "action_logs",
    "alpha_draws",
    "approvals",
    "attempts",
    "benchmark_chunks",
    "benchmark_matrix_run_items",
    "benchmark_matrix_runs",
    "benchmark_stopped_variants",
    "capacities",
    "effect_revisions",
    "evaluation_sets",
    "execution_environments",
    "human_labels",
    "idempotency_keys",
    "identities",
    "identity_tokens",
    "input_sets",
    "judge_batches",
    "load_test_runs",
    "load_test_shard_seconds",
    "load_test_shards",
    "metadata",
    "observability_sinks",
    "outbox",
    "price_book",
    "price_book_hosting",
    "quality_evaluations",
    "routing_bindings",
    "routing_gateways",
    "routing_holds",
    "routing_rollouts",
    "routing_rules",
    "run_artifacts",
    "scenarios",
    "second_looks",
    "spending",
    "state_transitions",
    "usage",
    "variant_versions",
    "variants",
    "verdicts",
]
