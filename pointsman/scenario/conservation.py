"""The conservation law over a whole run, all its shards: schedule against journals against ledger.

When a drive closes it holds its journal against the target's answers. Here the two other sources join: what the
schedule planned, counted from the scenario again, and the rows of the ledger that everybody reads afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import polars as pl

from pointsman.dispatch import DriveSummary, JournalCounts, TargetCounts, check_conservation

_UNSENT = ("still_planned", "dropped", "cancelled_unsent")
_SENT = ("awaiting_ack", "submitted", "queued", "leased", "completed", "failed", "cancelled_sent", "unknown")


def count_terms(planned: int, dispatches: pl.DataFrame, summaries: Sequence[DriveSummary]) -> dict[str, int]:
    """Every term of the law: `planned` from the schedule, `sent` from the journals, states from the ledger's rows."""
    states = Counter(dict(dispatches["state"].value_counts().rows()))
    return {
        "planned": planned,
        **{term: states[term] for term in _UNSENT},
        "sent": _sum(summaries, "sent"),
        **{term: states[term] for term in _SENT},
    }


def check_terms(counts: dict[str, int], summaries: Sequence[DriveSummary]) -> None:
    """Raise `DataCheckFailed` with code `conservation_broken` unless the terms of an ended run add up."""
    terms = {name: count for name, count in counts.items() if name != "planned"}
    rows = sum(terms[term] for term in (*_UNSENT, *_SENT))
    check_conservation(
        counts["planned"],
        JournalCounts(terms=terms, answered={}, rows=rows),
        TargetCounts(sent=_sum(summaries, "sent"), answered={}, rows=_sum(summaries, "planned")),
        closed=True,
    )


def _sum(summaries: Sequence[DriveSummary], term: str) -> int:
    return sum(summary.counts[term] for summary in summaries)
