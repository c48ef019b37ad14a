"""Building plans and measurements for the tests of this room: equal cells, changed where a test says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pointsman.decision import PlannedInput, VerdictPlan
from pointsman.ids import VariantId
from pointsman.model import Measurement

Cell = tuple[int, int, int]
"""Variant (0 = incumbent), input, repeat."""


def variant(number: int) -> VariantId:
    return VariantId("postcard-1", f"wf{number}", "lab", "demo", "lab-cpu", "e1")


def plan(challengers: int = 2, clusters: int = 8, inputs_per_cluster: int = 1, **changes: Any) -> VerdictPlan:
    fields: dict[str, Any] = {
        "incumbent": variant(0),
        "challengers": tuple(variant(number) for number in range(1, challengers + 1)),
        "inputs": tuple(
            PlannedInput(f"clip-{at:03d}", f"photo-{at // inputs_per_cluster:03d}")
            for at in range(clusters * inputs_per_cluster)
        ),
        "repeats": 1,
        "seed": 7,
        "judge": {"name": "local", "model": "vmaf", "rubric_sha256": "c" * 64},
        "input_set_sha256": "a" * 64,
        "price_book_sha256": "b" * 64,
        "deliveries_per_output": 100,
        "code_version": "0.1.0",
    }
    return VerdictPlan(**{**fields, **changes})


def measured(
    planned: VerdictPlan,
    *,
    cost: Callable[[Cell], float | str] = lambda cell: "0.01",
    quality: Callable[[Cell], float | str] = lambda cell: "90",
    failed: Callable[[Cell], bool] = lambda cell: False,
    changed: Mapping[Cell, Mapping[str, Any]] | None = None,
) -> list[Measurement]:
    """One measurement for each planned cell; `changed` replaces fields of single cells."""
    found = []
    for v, name in enumerate(planned.variants):
        for i, planned_input in enumerate(planned.inputs):
            for r in range(planned.repeats):
                cell = (v, i, r)
                one = Measurement(
                    dispatch_id=f"d-{v:03d}-{i:04d}-{r}",
                    variant=name,
                    input_id=planned_input.input_id,
                    cluster=planned_input.cluster,
                    repeat=r,
                    outcome="failure" if failed(cell) else "success",
                    quality=Decimal(str(quality(cell))),
                    cost_usd=Decimal(str(cost(cell))),
                    total_ms=Decimal("250"),
                )
                found.append(replace(one, **(changed or {}).get(cell, {})))
    return found


def wobble(cell: Cell, size: float = 0.1) -> float:
    """A factor around 1 that differs between inputs and variants, without randomness."""
    v, i, r = cell
    return 1 + size * (((v * 7 + i * 13 + r * 5) % 11) / 5 - 1)
