"""The driver's memory: which dispatches are in flight, what has been counted, and rows on their way to the journal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pointsman.dispatch.journal import Rows
from pointsman.dispatch.protocol import AttemptReport, Update
from pointsman.dispatch.status import PLANNED_TERMS, SENT_TERMS
from pointsman.model import Missing

_RANK = {"awaiting_ack": 0, "submitted": 1, "queued": 2, "leased": 2}


class Job:
    """A dispatch on its way: from the moment it is to be sent until it has ended.

    What begins alike for all is an attribute of the class until it changes: that halves the time to make one.
    """

    params: str | None = None
    """What is laid over its variant's parameters."""
    version: str | None = None
    """The model that its parameters name, for answers that name none."""
    job_id: str | None = None
    state = "awaiting_ack"
    acked = False
    sent_ns: int | None = None
    ack_ns: int | None = None
    submissions = 0
    sending = True
    """A submission is on its way or waits to go: there is nothing to ask yet."""
    returned = False
    refusal: str | None = None
    """The target turned the last submission away for now."""
    doubt: str | None = None
    """Why it is not known whether the target took it."""
    absences = 0
    fetching = False
    asked_ns: int | None = None
    """When the target was last asked about it, and it had not ended."""
    done_ns: int | None = None
    """When it ended by the target's own clock."""
    offered_ns = 0
    """Since when it is tried to send it, this time."""

    def __init__(self, index: int, seq: int, dispatch_id: str, provider: str | None, planned_ns: int | None) -> None:
        self.index = index
        self.seq = seq
        self.dispatch_id = dispatch_id
        self.provider = provider
        self.planned_ns = planned_ns


class Board:
    """Every change of a dispatch goes through here and leaves a row. Times in nanoseconds after the epoch."""

    def __init__(self, seqs: Sequence[int], now_ns: Callable[[], int], *, epoch_wall_ns: int) -> None:
        self.seqs = seqs
        self.now_ns = now_ns
        self._epoch_wall_ns = epoch_wall_ns
        self.rows = Rows()
        self.counts = dict.fromkeys((*PLANNED_TERMS, *SENT_TERMS), 0)
        self.live: dict[str, Job] = {}
        """Sent and not ended."""
        self.in_flight: Counter[str | None] = Counter()
        """Of `live`, by provider."""
        self.touched = bytearray(len(seqs))
        """By index: 1 = sent or never to be sent."""
        self.news_ns = 0
        """When anything was last learnt about any dispatch."""
        self.on_ended: Callable[[Job], None] | None = None
        """Called when a dispatch has ended, and there is room for another."""

    def wall_s(self) -> float:
        """The time of day, Unix."""
        return (self._epoch_wall_ns + self.now_ns()) / 1e9

    def departed(self, job: Job, at_ns: int | None) -> None:
        """The request goes out now. `at_ns` None = it may have in an earlier era, which forgot when."""
        rows = self.rows
        if job.submissions:
            rows.add(job.seq, "resent", at_ns)
        else:
            rows.tally["sent"] += 1
            if job.returned:
                # Not among the bare columns: they come before the row that says that it was returned.
                rows.add(job.seq, "sent", at_ns, from_ns=job.planned_ns)
            else:
                rows.sent_seq.append(job.seq)
                rows.sent_at.append(at_ns)
                rows.sent_from.append(job.planned_ns)
            counts = self.counts
            counts["sent"] += 1
            counts["awaiting_ack"] += 1
            self.live[job.dispatch_id] = job
            self.in_flight[job.provider] += 1
            self.touched[job.index] = 1
        job.submissions += 1
        job.sent_ns = at_ns

    def returned(self, job: Job) -> None:
        """The last request did not reach the target after all, or was turned away before it was taken."""
        job.submissions -= 1
        if job.submissions:
            return  # an earlier one may have reached it
        job.returned = True
        self.rows.add(job.seq, "returned", self.now_ns())
        self.rows.tally["sent"] -= 1
        self.counts["sent"] -= 1
        self.counts[job.state] -= 1
        self.touched[job.index] = 0
        self._forget(job)

    def restored(self, job: Job, state: str) -> None:
        """A dispatch that an earlier era sent, and wrote down; it may have ended meanwhile."""
        job.state = state
        job.submissions = 1
        job.sending = False
        self.counts["sent"] += 1
        self.counts[state] += 1
        self.live[job.dispatch_id] = job
        self.in_flight[job.provider] += 1
        self.touched[job.index] = 1

    def heard(self, job: Job, update: Update) -> None:
        """An answer of the target that does not end the dispatch: it was taken, or moved."""
        first = not job.acked
        at = self.now_ns()
        self._accepted(job, at)
        state: str = update.state
        if _RANK[state] < _RANK[job.state]:
            state = job.state
        if state == job.state and not first:
            return
        self.counts[job.state] -= 1
        self.counts[state] += 1
        job.state = state
        job.job_id = update.job_id or job.job_id
        self.news_ns = at
        self.rows.add(
            job.seq,
            "state",
            at,
            acked=first,
            state=state,
            job_id=update.job_id,
            variant=update.variant,
            generation=update.generation,
        )

    def _accepted(self, job: Job, at: int) -> None:
        job.absences = 0
        job.doubt = None
        if not job.acked:
            job.acked = True
            job.ack_ns = at
            self.rows.tally["accepted"] += 1

    def completed_at_once(self, job: Job) -> None:
        """The submit answer was the whole job."""
        at = self.now_ns()
        rows = self.rows
        rows.tally["accepted"] += 1
        rows.tally["completed"] += 1
        rows.done_seq.append(job.seq)
        rows.done_at.append(at)
        rows.done_from.append(job.planned_ns if job.planned_ns is not None else job.sent_ns)
        job.acked = True
        self.news_ns = at
        self._ended(job, "completed")

    def ended(
        self,
        job: Job,
        state: str,
        *,
        update: Update | None = None,
        reason: str | None = None,
        output: tuple[str, str, int] | None = None,
    ) -> None:
        """The dispatch has ended in `state`: by the target's word in `update`, or without one by ours (`reason`)."""
        at = self.now_ns()
        told: str | None = None
        first = False
        if update is not None:
            told = update.state
            self.rows.tally[told] += 1
            if told != "refused":
                first = not job.acked
                self._accepted(job, at)
            reason = reason or update.reason
        job.done_ns = _done_ns(job, update, at) if update is not None else None
        uri, sha256, size = output or (None, None, None)
        self.rows.add(
            job.seq,
            "end",
            at,
            from_ns=job.planned_ns if job.planned_ns is not None else job.sent_ns,
            acked=first,
            state=state,
            told=told,
            reason=reason,
            job_id=update.job_id if update else None,
            variant=update.variant if update else None,
            generation=update.generation if update else None,
            version=(update.version or (job.version if job.acked else None)) if update else None,
            queue_ms=update.queue_ms if update else None,
            run_ms=update.run_ms if update else None,
            done_ns=job.done_ns,
            attempts=_attempts_json(update.attempts) if update and update.attempts else None,
            output_uri=uri,
            output_sha256=sha256,
            output_bytes=size,
        )
        self.news_ns = at
        self._ended(job, state)

    def never_sent(self, index: int, state: str, reason: str) -> None:
        """`dropped` or `cancelled_unsent`."""
        self.rows.add(self.seqs[index], "unsent", self.now_ns(), state=state, reason=reason)
        self.touched[index] = 1
        self.counts[state] += 1

    def released(self, index: int) -> None:
        """Claimed by this era and surely not sent: whoever continues may send it, whatever the target."""
        self.rows.add(self.seqs[index], "released", self.now_ns())

    def touch(self, indexes: npt.NDArray[np.int64]) -> None:
        """These were sent, or given up, in earlier eras."""
        np.frombuffer(self.touched, np.uint8)[indexes] = 1

    def unsent(self) -> Iterator[int]:
        """Indexes of dispatches that are neither sent nor given up."""
        return (index for index, touched in enumerate(self.touched) if not touched)

    def terms(self) -> dict[str, int]:
        """The conservation law's terms as the driver believes them, for the live status."""
        left = len(self.seqs) - int(np.count_nonzero(np.frombuffer(self.touched, np.uint8)))
        return {"planned": len(self.seqs), **self.counts, "still_planned": left}

    def _ended(self, job: Job, state: str) -> None:
        self.counts[job.state] -= 1
        self.counts[state] += 1
        job.state = state
        self._forget(job)
        if self.on_ended is not None:
            self.on_ended(job)

    def _forget(self, job: Job) -> None:
        del self.live[job.dispatch_id]
        self.in_flight[job.provider] -= 1

    def take_rows(self) -> Rows:
        taken, self.rows = self.rows, Rows()
        return taken


def _done_ns(job: Job, update: Update, at: int) -> int | None:
    """By the target's own duration, which is finer than the interval at which it is asked; never later than `at`."""
    if update.elapsed_ms is None or job.ack_ns is None or job.sent_ns is None or job.ack_ns < job.sent_ns:
        return None
    return min(at, job.ack_ns + round(update.elapsed_ms * 1e6))


def _attempts_json(attempts: tuple[AttemptReport, ...]) -> str:
    return json.dumps(
        [
            {
                "number": attempt.number,
                "provider": attempt.provider,
                "outcome": attempt.outcome,
                "started": attempt.started.isoformat() if attempt.started else None,
                "ended": attempt.ended.isoformat() if attempt.ended else None,
                "usage": [
                    {
                        "sku": use.sku,
                        "quantity": None if isinstance(use.quantity, Missing) else str(use.quantity),
                        "missing": use.quantity.reason if isinstance(use.quantity, Missing) else None,
                        "basis": use.basis,
                    }
                    for use in attempt.usage
                ],
            }
            for attempt in attempts
        ],
        separators=(",", ":"),
    )
