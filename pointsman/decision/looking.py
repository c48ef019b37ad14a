"""Looking at a comparison before it is finished, which only a sequential plan allows.

A look sees the clusters in the declared order up to the first one that is not complete: which clusters are seen then
depends on when somebody looked, never on what they hold. Everything else counts as not measured yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pointsman.decision.plan import VerdictPlan
from pointsman.model import Measurement


def seen(plan: VerdictPlan, data: Sequence[Measurement]) -> tuple[VerdictPlan, Sequence[Measurement]]:
    """The plan of the clusters that are complete, and their measurements; a plan that is not sequential as it is.

    Before the first cluster is complete the plan stays whole, and there are no measurements. What the plan does not
    name stays, so that it is found.
    """
    if not plan.sequential:
        return plan, data
    there = {(cell.variant, cell.input_id, cell.repeat) for cell in data}
    lacking = {
        planned.cluster
        for planned in plan.inputs
        for variant in plan.variants
        for repeat in range(plan.repeats)
        if (variant, planned.input_id, repeat) not in there
    }
    if not lacking:
        return plan, data
    complete: list[str] = []
    for cluster in plan.clusters:
        if cluster in lacking:
            break
        complete.append(cluster)
    later = set(plan.clusters) - set(complete)
    kept = tuple(planned for planned in plan.inputs if planned.cluster not in later)
    waiting = {planned.input_id for planned in plan.inputs if planned.cluster in later}
    of_kept = [cell for cell in data if cell.input_id not in waiting]
    return (replace(plan, inputs=kept) if kept else plan), of_kept


def is_complete(plan: VerdictPlan, of_seen: VerdictPlan) -> bool:
    """Whether a look saw every planned cluster."""
    return len(plan.inputs) == len(of_seen.inputs)
