"""How long a verdict takes, step by step, up to 50 variants x 100 inputs with 10,000 label swaps.

Limit for the largest: `decide` in 0.5 s, all steps together in 1 s; each the best of three.
Run: python -m perf.verdict
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from decimal import Decimal

import numpy as np
from rich.console import Console
from rich.table import Table

from pointsman.decision import (
    PlannedInput,
    VerdictPlan,
    decide,
    minimum_detectable_saving,
    verdict_document,
)
from pointsman.ids import VariantId
from pointsman.model import Measurement

DECIDE_LIMIT_S = 0.5
TOGETHER_LIMIT_S = 1.0
SIZES = ((6, 24, 8), (50, 100, 10), (50, 100, 100))
"""Variants, inputs, clusters."""


def variant(number: int) -> VariantId:
    return VariantId("effect-1", f"workflow-{number:02d}", "lab", "demo", "lab-cpu", "default")


def comparison(variants: int, inputs: int, clusters: int) -> tuple[VerdictPlan, list[Measurement]]:
    generator = np.random.Generator(np.random.PCG64(20))
    plan = VerdictPlan(
        incumbent=variant(0),
        challengers=tuple(variant(number) for number in range(1, variants)),
        inputs=tuple(PlannedInput(f"clip-{at:03d}", f"photo-{at % clusters:03d}") for at in range(inputs)),
        repeats=1,
        seed=20,
        judge={"name": "local"},
        input_set_sha256="a" * 64,
        price_book_sha256="b" * 64,
        deliveries_per_output=100,
        code_version="perf",
    )
    cost = generator.lognormal(mean=-4.0, sigma=0.3, size=(variants, inputs))
    quality = np.clip(generator.normal(90, 1, size=(variants, inputs)), 0, 100)
    cost[1] *= 0.7
    data = [
        Measurement(
            dispatch_id=f"studio_load_test_perf_{v * inputs + i}",
            variant=plan.variants[v],
            input_id=planned.input_id,
            cluster=planned.cluster,
            repeat=0,
            outcome="success",
            quality=Decimal(f"{quality[v, i]:.4f}"),
            cost_usd=Decimal(f"{cost[v, i]:.9f}"),
            total_ms=Decimal(250),
        )
        for v in range(variants)
        for i, planned in enumerate(plan.inputs)
    ]
    return plan, data


def best_of_three(step: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> int:
    table = Table("variants", "inputs", "clusters", "decide s", "document s", "detectable saving s", "together s")
    missed = False
    for variants, inputs, clusters in SIZES:
        plan, data = comparison(variants, inputs, clusters)
        verdict = decide(plan, data)
        deciding = best_of_three(lambda plan=plan, data=data: decide(plan, data))
        writing = best_of_three(lambda plan=plan, data=data, verdict=verdict: verdict_document(plan, data, verdict))
        detecting = best_of_three(lambda plan=plan, data=data: minimum_detectable_saving(plan, data))
        together = deciding + writing + detecting
        missed |= deciding > DECIDE_LIMIT_S or together > TOGETHER_LIMIT_S
        figures = (f"{seconds:.3f}" for seconds in (deciding, writing, detecting, together))
        table.add_row(str(variants), str(inputs), str(clusters), *figures)
    Console().print(table)
    verdict_text = "missed" if missed else "held"
    print(f"Limits (decide {DECIDE_LIMIT_S} s, together {TOGETHER_LIMIT_S} s): {verdict_text}.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
