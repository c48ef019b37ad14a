"""How each variant holds as a service, for the gates of latency and capacity: p95 under load, and sustained rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pointsman.decision.plan import VerdictPlan
from pointsman.economics.plain import exact, number_of
from pointsman.ids import VariantId
from pointsman.model import Json, Measurement, Missing, Number
from pointsman.scenario import latest_capacities, load_figures, read_capacity
from pointsman.workspace import Workspace

NO_LOAD, NO_SEARCH = Missing("no load test"), Missing("no capacity search of it has ended")
_SHARE = Decimal("0.95")


@dataclass(frozen=True, slots=True)
class Service:
    """One variant. `p95_ms` counts from the planned time, over all planned dispatches: one that never completed counts
    as endlessly long, so that a queue without errors shows. The ids say where the figures are from.
    """

    p95_ms: Number = NO_LOAD
    capacity_per_s: Number = NO_SEARCH
    load_runs: tuple[str, ...] = ()
    capacity_id: str | None = None


Services = Mapping[VariantId, Service]


def find_services(
    ws: Workspace, plan: VerdictPlan, load_runs: Mapping[VariantId, Sequence[str]]
) -> dict[VariantId, Service]:
    """What the plan's gates ask for: of the given load runs, and of the newest capacity searches."""
    if plan.p95_limit_ms is None and plan.peak_per_s is None:
        return {}
    known = latest_capacities(ws, plan.variants) if plan.peak_per_s is not None else {}
    runs = load_runs if plan.p95_limit_ms is not None else {}
    return {
        variant: _service(ws, variant, tuple(runs.get(variant, ())), known[variant].id if variant in known else None)
        for variant in plan.variants
    }


def read_again(ws: Workspace, services: Services) -> dict[VariantId, Service]:
    """The same figures, computed again from the same load runs and searches. Raises `NotFound` when one is gone."""
    return {variant: _service(ws, variant, one.load_runs, one.capacity_id) for variant, one in services.items()}


def _service(ws: Workspace, variant: VariantId, load_runs: tuple[str, ...], capacity_id: str | None) -> Service:
    p95 = load_figures(ws, load_runs)[variant].p95_of_planned_ms if load_runs else NO_LOAD
    capacity = NO_SEARCH if capacity_id is None else read_capacity(ws, capacity_id).per_s
    return Service(p95, capacity, load_runs, capacity_id)


def p95_of(services: Services, data: Sequence[Measurement], variant: VariantId) -> tuple[Number, str]:
    """The p95 that counts, and where it is from: the load tests when the comparison has some, else its cells."""
    if any(one.load_runs for one in services.values()):
        return services.get(variant, Service()).p95_ms, "under load"
    own = [cell for cell in data if cell.variant == variant]
    known = [cell.total_ms for cell in own if cell.outcome == "success" and not isinstance(cell.total_ms, Missing)]
    return p95_of_all(known, len(own)), "of its cells"


def p95_of_all(completed_ms: Sequence[Decimal], planned: int) -> Number:
    """Nearest rank over all that was planned; what did not complete, or has no time, is longer than everything."""
    rank = math.ceil(planned * _SHARE)
    if planned == 0 or rank > len(completed_ms):
        return Missing(f"{len(completed_ms)} of {planned} completed; 95 % are needed")
    return sorted(completed_ms)[rank - 1]


def services_document(services: Services) -> dict[str, Json]:
    return {
        str(variant): {
            "p95_ms": exact(one.p95_ms),
            "capacity_per_s": exact(one.capacity_per_s),
            "load_runs": list(one.load_runs),
            "capacity_id": one.capacity_id,
        }
        for variant, one in services.items()
    }


def services_from(document: Mapping[str, Any]) -> dict[VariantId, Service]:
    """The inverse of `services_document`."""
    return {
        VariantId.parse(variant): Service(
            p95_ms=number_of(one["p95_ms"]),
            capacity_per_s=number_of(one["capacity_per_s"]),
            load_runs=tuple(one["load_runs"]),
            capacity_id=one["capacity_id"],
        )
        for variant, one in document.items()
    }
