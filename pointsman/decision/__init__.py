"""The decision: a plan declared before data is read, the verdict it leads to, and the document that proves it."""

from pointsman.decision.audit import Audit, Check, audit, audit_document
from pointsman.decision.conclude import conclude, load_tests_of, read_hud, verdicts_of
from pointsman.decision.decide import decide
from pointsman.decision.declared import (
    declare_plans,
    declared_plans,
    draw_up_plans,
    plans_for_benchmark,
    require_sequential,
)
from pointsman.decision.detectable import minimum_detectable_saving
from pointsman.decision.document import VerdictDocument, read_document, verdict_document, verify
from pointsman.decision.estimates import Estimate, estimates
from pointsman.decision.figures import VariantFigures, cost_per_success, mean_quality, p95_of, variant_figures
from pointsman.decision.hud_report import hud_report, hud_table
from pointsman.decision.over_time import left_for, share_risk
from pointsman.decision.plan import PlannedInput, VerdictPlan
from pointsman.decision.planner import Assumptions, PlanSize, inputs_needed
from pointsman.decision.store import StoredVerdict, document_path, load_verdict, store_verdict

__all__ = [
    "Assumptions",
    "Audit",
    "Check",
    "Estimate",
    "PlanSize",
    "PlannedInput",
    "StoredVerdict",
    "VariantFigures",
    "VerdictDocument",
    "VerdictPlan",
    "audit",
    "audit_document",
    "conclude",
    "cost_per_success",
    "decide",
    "declare_plans",
    "declared_plans",
    "document_path",
    "draw_up_plans",
    "estimates",
    "hud_report",
    "hud_table",
    "inputs_needed",
    "left_for",
    "load_tests_of",
    "load_verdict",
    "mean_quality",
    "minimum_detectable_saving",
    "p95_of",
    "plans_for_benchmark",
    "read_document",
    "read_hud",
    "require_sequential",
    "share_risk",
    "store_verdict",
    "variant_figures",
    "verdict_document",
    "verdicts_of",
    "verify",
]
