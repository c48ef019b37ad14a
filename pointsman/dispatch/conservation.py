"""The conservation law of CONTRACTS: nothing that was planned or sent gets lost in the books."""

from __future__ import annotations

from pointsman.dispatch.ledger import JournalCounts, TargetCounts
from pointsman.dispatch.status import PLANNED_TERMS, SENT_TERMS, TERMINAL
from pointsman.errors import DataCheckFailed


def check_conservation(
    planned_rows: int, journal_counts: JournalCounts, target_counts: TargetCounts, *, closed: bool = False
) -> None:
    """Compare the plan, the journal's rows and what was heard from the target. `closed` = everything has ended.

    Raises `DataCheckFailed` with code `conservation_broken`; `data["broken"]` lists each equation that does not hold.
    """
    terms = journal_counts.terms
    equations: list[tuple[str, int, int]] = [
        (f"planned = {' + '.join(PLANNED_TERMS)}", planned_rows, sum(terms[term] for term in PLANNED_TERMS)),
        (f"sent = {' + '.join(SENT_TERMS)}", terms["sent"], sum(terms[term] for term in SENT_TERMS)),
        ("requests that left = dispatches sent", target_counts.sent, terms["sent"]),
        ("rows written = rows read", target_counts.rows, journal_counts.rows),
    ]
    equations += [
        (f"{name} by the target's answers = {name} in the journal", heard, journal_counts.answered[name])
        for name, heard in target_counts.answered.items()
    ]
    if closed:
        open_terms = [term for term in (*PLANNED_TERMS, *SENT_TERMS) if term not in TERMINAL and term != "sent"]
        equations += [(f"{term} after closing", terms[term], 0) for term in open_terms]
    broken = [f"{name}: {left} is not {right}" for name, left, right in equations if left != right]
    if broken:
        raise DataCheckFailed(
            "The dispatches do not add up: " + "; ".join(broken) + ".",
            instruction="Do not use these numbers: the journal has lost rows. Run it again under a new run id.",
            code="conservation_broken",
            broken=broken,
        )
