"""Moving traffic: append-only bindings, the gateways that show them, rollback, and the probe that proves them."""

from pointsman.routing.apply import apply_binding, rollback
from pointsman.routing.bindings import BindingRecord, current, history, resolve, routes
from pointsman.routing.capacity_gate import HEADROOM, capacity_gate, ensure_capacity
from pointsman.routing.drift import Drift, drift
from pointsman.routing.gateways import FlagdFileGateway, Gateway, GatewaySpec
from pointsman.routing.probe import PROBE_IN_FLIGHT, ProbeResult, judge_probe, probe_plan, run_probe
from pointsman.routing.reconcile import Reconciled, reconcile
from pointsman.routing.report import ProbeSeen, in_words, routing_report
from pointsman.routing.verdicts import ProposedBinding, binding_for_verdict

__all__ = [
    "HEADROOM",
    "PROBE_IN_FLIGHT",
    "BindingRecord",
    "Drift",
    "FlagdFileGateway",
    "Gateway",
    "GatewaySpec",
    "ProbeResult",
    "ProbeSeen",
    "ProposedBinding",
    "Reconciled",
    "apply_binding",
    "binding_for_verdict",
    "capacity_gate",
    "current",
    "drift",
    "ensure_capacity",
    "history",
    "in_words",
    "judge_probe",
    "probe_plan",
    "reconcile",
    "resolve",
    "rollback",
    "routes",
    "routing_report",
    "run_probe",
]
