"""How long a verdict takes, step by step, up to 50 variants x 100 inputs with 10,000 label swaps.

Limit for the largest: `decide` in 0.5 s, all steps together in 1 s; each the best of three.
Run: python -m perf.verdict
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from pointsman.decision import VerdictPlan, decide, minimum_detectable_saving, verdict_document
from pointsman.model import Measurement
from tests.decision.comparisons import measured, plan

DECIDE_LIMIT_S = 0.5
TOGETHER_LIMIT_S = 1.0
SIZES = ((6, 24, 8), (50, 100, 10), (50, 100, 100))
"""Variants, inputs, clusters."""


def comparison(variants: int, inputs: int, clusters: int) -> tuple[VerdictPlan, list[Measurement]]:
    generator = np.random.Generator(np.random.PCG64(20))
    planned = plan(challengers=variants - 1, clusters=clusters, inputs_per_cluster=inputs // clusters)
    cost = generator.lognormal(mean=-4.0, sigma=0.3, size=(variants, inputs, 1))
    quality = np.clip(generator.normal(90, 1, size=(variants, inputs, 1)), 0, 100)
    cost[1] *= 0.7
    data = measured(planned, cost=lambda cell: f"{cost[cell]:.9f}", quality=lambda cell: f"{quality[cell]:.4f}")
    return planned, data


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
        planned, data = comparison(variants, inputs, clusters)
        verdict = decide(planned, data)
        deciding = best_of_three(lambda planned=planned, data=data: decide(planned, data))
        writing = best_of_three(
            lambda planned=planned, data=data, verdict=verdict: verdict_document(planned, data, verdict)
        )
        detecting = best_of_three(lambda planned=planned, data=data: minimum_detectable_saving(planned, data))
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
