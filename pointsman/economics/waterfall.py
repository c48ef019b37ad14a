"""From the price of a run without trouble to what was paid, step by step, for each variant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pointsman.economics.cells import NEVER_SENT, PricedCell
from pointsman.economics.pricing import total
from pointsman.ids import VariantId
from pointsman.model import Missing, Number


@dataclass(frozen=True, slots=True)
class Waterfall:
    """USD over all cells of one variant. The steps add up to `total` exactly; it is `Missing` when one step is."""

    variant: VariantId
    cells: int
    successes: int
    attempts: int
    output_compute: Number
    """Compute of the attempts that made the outputs: the list price of a run without trouble."""
    retries: Number
    """Compute of every other attempt: retried, lost, failed."""
    egress: Number
    storage: Number
    hosting: Number | None = None
    """What self-hosted capacity is paid for beside its work; None where none of the compared variants is declared to
    run on such."""

    @property
    def steps(self) -> tuple[tuple[str, Number], ...]:
        beside = () if self.hosting is None else (("idle time, cold starts and minimum billing", self.hosting),)
        return (
            ("compute of the outputs", self.output_compute),
            ("retries, lost and failed attempts", self.retries),
            *beside,
            ("egress", self.egress),
            ("storage", self.storage),
        )

    @property
    def compute_per_attempt(self) -> Number:
        """USD of compute per billable try, whatever became of it."""
        spent = total((self.output_compute, self.retries))
        if isinstance(spent, Missing):
            return spent
        return spent / self.attempts if self.attempts else Missing("no attempt was made")

    @property
    def total(self) -> Number:
        return total(amount for _, amount in self.steps)


def waterfalls(cells: Iterable[PricedCell]) -> list[Waterfall]:
    """One per variant, ordered by variant id. Cells that were never run are counted; they cost nothing."""
    by_variant: dict[VariantId, list[PricedCell]] = {}
    for cell in cells:
        by_variant.setdefault(cell.variant, []).append(cell)
    hosted = any(cell.hosting != 0 for own in by_variant.values() for cell in own)
    return [
        Waterfall(
            variant=variant,
            cells=len(own),
            successes=sum(cell.outcome == "success" for cell in own),
            attempts=sum(cell.attempts for cell in own),
            output_compute=_of_those_run(own),
            retries=total(amount for cell in own for amount in (cell.other_compute, cell.lost_compute)),
            hosting=total(cell.hosting for cell in own) if hosted else None,
            egress=total(cell.egress for cell in own),
            storage=total(cell.storage for cell in own),
        )
        for variant, own in sorted(by_variant.items())
    ]


def _of_those_run(cells: Sequence[PricedCell]) -> Number:
    run = [cell.output_compute for cell in cells if cell.status not in NEVER_SENT]
    return total(run) if run else Missing("no cell was run")
