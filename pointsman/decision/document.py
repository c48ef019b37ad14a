"""The verdict document: plan, measurements, evidence and what was decided, in one file.

Anyone can recompute it byte for byte, and see from its evidence alone what the measurements rest on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import InvalidOperation
from functools import lru_cache
from typing import Any

from pointsman.canonical import canonical_json
from pointsman.decision.cells import MEASUREMENT_COLUMNS, canonical_rows, faults
from pointsman.decision.decide import NO_SERVICES, decide
from pointsman.decision.estimates import Estimate, estimates
from pointsman.decision.looking import seen
from pointsman.decision.plan import VerdictPlan
from pointsman.decision.service import Services, services_document, services_from
from pointsman.economics.plain import number_of
from pointsman.errors import DataCheckFailed, InputRefused
from pointsman.ids import VariantId
from pointsman.model import Gate, Measurement, Verdict
from pointsman.version import code_version

_FORMAT = "pointsman-verdict-2"
_VARIANT = MEASUREMENT_COLUMNS.index("variant")
_OUTCOMES = ("success", "failure", "refused", "infrastructure")


@dataclass(frozen=True, slots=True)
class VerdictDocument:
    """What a document says. `evidence` is empty where a verdict was drawn from measurements alone."""

    plan: VerdictPlan
    data: tuple[Measurement, ...]
    services: Services
    verdict: Verdict
    evidence: Mapping[str, Any]


def verdict_document(
    plan: VerdictPlan,
    data: Sequence[Measurement],
    verdict: Verdict,
    *,
    services: Services = NO_SERVICES,
    evidence: Mapping[str, Any] | None = None,
) -> bytes:
    """Canonical JSON. Computed figures are texts of 10 significant digits, so that equal input gives equal bytes."""
    looked = seen(plan, data)
    found = () if faults(*looked) else estimates(*looked)
    document = {
        "format": _FORMAT,
        "plan": plan.as_document(),
        "measurements": {"columns": list(MEASUREMENT_COLUMNS), "rows": canonical_rows(data)},
        "services": services_document(services),
        "evidence": evidence or {},
        "estimates": [_estimate(estimate) for estimate in found],
        "verdict": {
            "outcome": verdict.outcome,
            "winner": None if verdict.winner is None else str(verdict.winner),
            "why": verdict.why,
            "gates": [_gate(gate) for gate in verdict.gates],
            "plan_sha256": verdict.plan_sha256,
            "data_sha256": verdict.data_sha256,
            "code_version": verdict.code_version,
        },
    }
    return canonical_json(document) + b"\n"


def read_document(document: bytes, *, only: VariantId | None = None) -> VerdictDocument:
    """What a document says, without checking that it is true; of the measurements, where wanted, `only` a variant's.

    Raises `InputRefused` when it is no verdict document.
    """
    try:
        plain = json.loads(document)
        if plain["format"] != _FORMAT or tuple(plain["measurements"]["columns"]) != MEASUREMENT_COLUMNS:
            raise InputRefused("verdict document, format", plain["format"], _FORMAT)
        plan = VerdictPlan.from_document(plain["plan"])
        rows, name = plain["measurements"]["rows"], str(only)
        data = tuple(_measurement(*row) for row in rows if only is None or row[_VARIANT] == name)
        services = services_from(plain["services"])
        return VerdictDocument(plan, data, services, _verdict(plain["verdict"]), dict(plain["evidence"]))
    except (ValueError, KeyError, TypeError, IndexError, InvalidOperation) as error:
        raise InputRefused("verdict document", str(error), "a document written by verdict_document") from error


def verify(document: bytes) -> Verdict:
    """Recompute the verdict from the plan and the measurements inside the document and compare every byte.

    Returns the verdict. Raises `DataCheckFailed` naming the parts that differ, `InputRefused` for anything that is no
    verdict document.
    """
    said = read_document(document)
    verdict = decide(said.plan, said.data, said.services)
    again = verdict_document(said.plan, said.data, verdict, services=said.services, evidence=said.evidence)
    if again != document:
        parts = differing_parts(document, again)
        decided_by, now = said.verdict.code_version, code_version()
        rules = f" It was decided by {decided_by} and computed again by {now}, whose rules or words may be others."
        raise DataCheckFailed(
            f"The verdict document does not follow from its own plan and measurements: {', '.join(parts)} differ."
            f"{rules if decided_by != now else ''}",
            instruction="Do not act on it: verify it with the version that decided it, or measure again.",
            parts=parts,
        )
    return verdict


def differing_parts(document: bytes, other: bytes) -> list[str]:
    """The names of the parts in which two documents differ; `layout` when only the bytes around them do."""
    one, two = json.loads(document), json.loads(other)
    return [name for name in sorted({*one, *two}) if one.get(name) != two.get(name)] or ["layout"]


def _figure(value: float | None) -> str | None:
    return None if value is None else format(value + 0.0, ".10g")


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "variant": str(estimate.variant),
        "success_rate": _figure(estimate.success_rate),
        "quality": _figure(estimate.quality),
        "usd_per_success": _figure(estimate.usd_per_success),
        "usd_low": _figure(estimate.usd_low),
        "usd_high": _figure(estimate.usd_high),
        "why": estimate.why,
    }


def _gate(gate: Gate) -> dict[str, Any]:
    return {
        "name": gate.name,
        "challenger": str(gate.challenger),
        "estimate": _figure(gate.estimate),
        "margin": _figure(gate.margin),
        "p_value": _figure(gate.p_value),
        "passed": gate.passed,
        "why": gate.why,
        "asked": gate.asked,
    }


@lru_cache(maxsize=1000)
def _variant(text: str) -> VariantId:
    """One is named by many rows."""
    return VariantId.parse(text)


def _measurement(
    dispatch_id: str,
    variant: str,
    input_id: str,
    cluster: str,
    repeat: int,
    outcome: Any,
    quality: Any,
    cost_usd: Any,
    total_ms: Any,
    scores: Any,
) -> Measurement:
    if outcome not in _OUTCOMES:
        raise InputRefused("verdict document, outcome", outcome, ", ".join(_OUTCOMES))
    return Measurement(
        dispatch_id=dispatch_id,
        variant=_variant(variant),
        input_id=input_id,
        cluster=cluster,
        repeat=repeat,
        outcome=outcome,
        quality=number_of(quality),
        cost_usd=number_of(cost_usd),
        total_ms=number_of(total_ms),
        scores=tuple((name, number_of(score)) for name, score in scores),
    )


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _verdict(plain: Any) -> Verdict:
    gates = tuple(
        Gate(
            name=gate["name"],
            challenger=VariantId.parse(gate["challenger"]),
            estimate=_float(gate["estimate"]),
            margin=float(gate["margin"]),
            p_value=_float(gate["p_value"]),
            passed=gate["passed"],
            why=gate["why"],
            asked=gate["asked"],
        )
        for gate in plain["gates"]
    )
    winner = None if plain["winner"] is None else VariantId.parse(plain["winner"])
    return Verdict(
        plain["outcome"],
        winner,
        gates,
        plain["plan_sha256"],
        plain["data_sha256"],
        plain["code_version"],
        plain["why"],
    )
