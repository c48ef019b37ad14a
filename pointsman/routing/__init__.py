"""Moving traffic: append-only bindings, the gateways that show them, rollback, and the probe that proves them."""

from pointsman.routing.apply import BindingRequest, apply_binding, ensure_may_apply, propose_binding, rollback
from pointsman.routing.bindings import BindingRecord, asked_for_with, current, history, resolve, routes
from pointsman.routing.canary import CanaryRules, Finding, arrived, judge_canary, stopped_canary
from pointsman.routing.capacity_gate import HEADROOM, capacity_gate, ensure_capacity
from pointsman.routing.consent import consent_to, in_production
from pointsman.routing.drift import About, Drift, drift, note, over
from pointsman.routing.evidence import Evidence, evidence_in, evidence_of
from pointsman.routing.gateways import (
    AlbGateway,
    AlbSpec,
    AppConfigGateway,
    AppConfigSpec,
    FlagdFileGateway,
    Gateway,
    GatewaySpec,
    read_gateway,
)
from pointsman.routing.holds import Hold, confirm, open_hold
from pointsman.routing.litellm import litellm_config, litellm_yaml
from pointsman.routing.probe import (
    PROBE_IN_FLIGHT,
    PROBES_AT_MOST,
    ProbeResult,
    judge_probe,
    probe_plan,
    run_probe,
    sample_route,
)
from pointsman.routing.promise import Kept, Mirrored, astray, broken, hold_to_promise
from pointsman.routing.promised import Promised, expired, may_go_back, promised
from pointsman.routing.proposals import proposal_report, speaks_against
from pointsman.routing.reconcile import Reconciled, reconcile
from pointsman.routing.report import ProbeSeen, in_words, routing_report
from pointsman.routing.resolver import Resolved, Resolver
from pointsman.routing.rollouts import (
    Rollout,
    advance,
    check_steps,
    ensure_may_advance,
    mixed,
    note_finding,
    pause,
    read_rollout,
    require_canary,
    resume,
    under_way,
)
from pointsman.routing.rules import Freeze, RoutingRules, read_rules, rules_of, set_rules
from pointsman.routing.shown_by import MovedRoute, ShownBy, gateway_of, move_route, routes_shown_by, shown_by
from pointsman.routing.verdicts import ProposedBinding, binding_for_verdict

__all__ = [
    "HEADROOM",
    "PROBES_AT_MOST",
    "PROBE_IN_FLIGHT",
    "About",
    "AlbGateway",
    "AlbSpec",
    "AppConfigGateway",
    "AppConfigSpec",
    "BindingRecord",
    "BindingRequest",
    "CanaryRules",
    "Drift",
    "Evidence",
    "Finding",
    "FlagdFileGateway",
    "Freeze",
    "Gateway",
    "GatewaySpec",
    "Hold",
    "Kept",
    "Mirrored",
    "MovedRoute",
    "ProbeResult",
    "ProbeSeen",
    "Promised",
    "ProposedBinding",
    "Reconciled",
    "Resolved",
    "Resolver",
    "Rollout",
    "RoutingRules",
    "ShownBy",
    "advance",
    "apply_binding",
    "arrived",
    "asked_for_with",
    "astray",
    "binding_for_verdict",
    "broken",
    "capacity_gate",
    "check_steps",
    "confirm",
    "consent_to",
    "current",
    "drift",
    "ensure_capacity",
    "ensure_may_advance",
    "ensure_may_apply",
    "evidence_in",
    "evidence_of",
    "expired",
    "gateway_of",
    "history",
    "hold_to_promise",
    "in_production",
    "in_words",
    "judge_canary",
    "judge_probe",
    "litellm_config",
    "litellm_yaml",
    "may_go_back",
    "mixed",
    "move_route",
    "note",
    "note_finding",
    "open_hold",
    "over",
    "pause",
    "probe_plan",
    "promised",
    "proposal_report",
    "propose_binding",
    "read_gateway",
    "read_rollout",
    "read_rules",
    "reconcile",
    "require_canary",
    "resolve",
    "resume",
    "rollback",
    "routes",
    "routes_shown_by",
    "routing_report",
    "rules_of",
    "run_probe",
    "sample_route",
    "set_rules",
    "shown_by",
    "speaks_against",
    "stopped_canary",
    "under_way",
]
