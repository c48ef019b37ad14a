"""What a verdict measured of a variant: what a change of routing rests on, and what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from pointsman.decision import (
    VerdictPlan,
    cost_per_success,
    document_path,
    load_verdict,
    mean_quality,
    p95_of,
    read_document,
)
from pointsman.ids import VariantId
from pointsman.model import Measurement, Missing, Number
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one variant: `success_rate` 0..1, `quality` 0..100 with failed jobs counting 0, `p95_ms` of successes."""

    variant: VariantId
    plan: VerdictPlan
    measurements: Sequence[Measurement]
    success_rate: Number
    quality: Number
    usd_per_success: Number
    p95_ms: Number


def evidence_of(ws: Workspace, verdict_id: str, variant: VariantId) -> Evidence:
    """What the verdict's own document says of the variant. Raises `NotFound` for an unknown verdict."""
    load_verdict(ws, verdict_id)
    document = read_document(ws.results.read(document_path(verdict_id)), only=variant)
    return evidence_in(document.plan, document.data, variant)


def evidence_in(plan: VerdictPlan, data: Sequence[Measurement], variant: VariantId) -> Evidence:
    """The same of measurements at hand."""
    mine = [cell for cell in data if cell.variant == variant]
    counted = [cell for cell in mine if cell.outcome != "infrastructure"]
    if not counted:
        none = Missing(f"{variant.label} was not measured")
        return Evidence(variant, plan, mine, none, none, none, none)
    successes = [cell for cell in mine if cell.outcome == "success"]
    return Evidence(
        variant=variant,
        plan=plan,
        measurements=mine,
        success_rate=Decimal(len(successes)) / len(counted),
        quality=mean_quality(mine),
        usd_per_success=cost_per_success(mine),
        p95_ms=p95_of([cell.total_ms for cell in successes]),
    )
