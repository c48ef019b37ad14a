"""Reading a target's job document into an `Update`, attempts and usage included."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from pointsman.dispatch.protocol import AttemptReport, Update, UsageReport
from pointsman.dispatch.targets.answers import AttemptsSection, JobSection, ResultSection, UsageSection
from pointsman.dispatch.targets.output_document import OutputReader
from pointsman.dispatch.targets.reading import (
    as_count,
    as_milliseconds,
    as_quantity,
    as_text,
    as_time,
    compile_path,
    garbage,
)
from pointsman.dispatch.targets.refusals import LONGEST_REASON, MODERATION
from pointsman.model import AttemptOutcome, Missing, Number

_TERMINAL = frozenset({"completed", "failed", "cancelled"})
_OUTCOMES: dict[str, AttemptOutcome] = {"completed": "completed", "failed": "failed", "refused": "refused"}


class JobReader:
    """Compiled expressions of one preset."""

    def __init__(self, job: JobSection, attempts: AttemptsSection | None) -> None:
        self._states = job.states
        self._dispatch_id = compile_path(job.dispatch_id)
        self._names_dispatch = job.dispatch_id is not None
        self._job_id = compile_path(job.job_id)
        self._state = compile_path(job.state)
        self._reason = compile_path(job.reason)
        self._refused = compile_path(job.refused)
        # A template is filled when the job is submitted: no answer tells it.
        self._version = compile_path(None if (job.version or "").startswith("$") else job.version)
        self._variant = compile_path(job.variant)
        self._generation = compile_path(job.generation)
        self._times = _TimesReader(job)
        self._output = OutputReader(job)
        self._attempts = _AttemptsReader(attempts) if attempts is not None else None

    def read(self, document: Any, asked: str | None) -> Update:
        """One job document. `asked` = the dispatch that was asked about, if it was one. Raises `garbage_answer`."""
        dispatch_id = as_text(self._dispatch_id(document), "dispatch id") if self._names_dispatch else asked
        if dispatch_id is None or (asked is not None and dispatch_id != asked):
            raise garbage("the job document is not about the dispatch that was asked for")
        word = self._state(document)
        state = self._states.get(word) if isinstance(word, str) else None
        if state is None:
            raise garbage(f"job state {word!r:.60} is none of {', '.join(self._states)}")
        update = Update(
            dispatch_id,
            state,
            job_id=as_text(self._job_id(document), "job id"),
            variant=as_text(self._variant(document), "variant"),
            generation=as_count(self._generation(document), "generation"),
        )
        if state not in _TERMINAL:
            # Open jobs are asked about many times; what only matters at the end is not read before.
            return update
        reason = as_text(self._reason(document), "reason")
        refused = state != "cancelled" and bool(self._refused(document))
        if refused:
            reason = f"{MODERATION}: {reason}" if reason else MODERATION
        ended = replace(
            self._times.read(document, update),
            state="refused" if refused else state,
            reason=reason[:LONGEST_REASON] if reason else reason,
            version=as_text(self._version(document), "version"),
        )
        if self._attempts is not None:
            ended = replace(ended, attempts=self._attempts.read(document, _OUTCOMES.get(ended.state, "unknown")))
        return replace(ended, **self._output.read(document)) if ended.state == "completed" else ended


class _TimesReader:
    """Durations, told as such or as times of the target's clock."""

    def __init__(self, job: JobSection) -> None:
        self._queue_ms = compile_path(job.queue_ms)
        self._run_ms = compile_path(job.run_ms)
        self._run_s = compile_path(job.run_s)
        self._started = compile_path(job.started)
        self._running_since = compile_path(job.running_since)
        self._ended = compile_path(job.ended)

    def read(self, document: Any, update: Update) -> Update:
        started = as_time(self._started(document), "start")
        running = as_time(self._running_since(document), "start of running")
        ended = as_time(self._ended(document), "end")
        queue_ms = as_milliseconds(self._queue_ms(document), "queue time")
        run_ms = as_milliseconds(self._run_ms(document), "run time")
        run_s = as_milliseconds(self._run_s(document), "run time")
        if run_ms is None and run_s is not None:
            run_ms = run_s * 1000
        if queue_ms is None:
            queue_ms = _between(started, running)
        if run_ms is None:
            run_ms = _between(running, ended)
        elapsed_ms = _between(started, ended)
        if elapsed_ms is None and queue_ms is not None and run_ms is not None:
            elapsed_ms = queue_ms + run_ms
        return replace(update, queue_ms=queue_ms, run_ms=run_ms, elapsed_ms=elapsed_ms, ended_at=ended)


def _between(start: Any, end: Any) -> float | None:
    """Milliseconds; None when one is not known, or the clock went back."""
    if start is None or end is None or end < start:
        return None
    return float((end - start).total_seconds() * 1000)


class ResultReader:
    """Compiled expressions of a [result] section."""

    def __init__(self, section: ResultSection) -> None:
        self._output = OutputReader(section)
        self._refused = compile_path(section.refused)
        self._version = compile_path(section.version)

    def read(self, document: Any, dispatch_id: str) -> Update:
        """What came of a completed job. Raises `garbage_answer`."""
        version = as_text(self._version(document), "version")
        if self._refused(document):
            return Update(dispatch_id, "refused", reason=MODERATION, version=version)
        return Update(dispatch_id, "completed", version=version, **self._output.read(document))


class _AttemptsReader:
    def __init__(self, section: AttemptsSection) -> None:
        self._single = section.list is None
        self._list = compile_path(section.list)
        self._number = compile_path(section.number)
        self._provider = compile_path(section.provider)
        self._outcome = compile_path(section.outcome)
        self._started = compile_path(section.started)
        self._ended = compile_path(section.ended)
        self._outcomes = section.outcomes
        self._usage = [_UsageReader(usage) for usage in section.usage]

    def read(self, document: Any, outcome: AttemptOutcome) -> tuple[AttemptReport, ...]:
        """`outcome` = of the dispatch, for documents that tell of one attempt."""
        if self._single:
            usage = tuple(usage.read(document, None) for usage in self._usage)
            started = as_time(self._started(document), "attempt start")
            ended = as_time(self._ended(document), "attempt end")
            return (AttemptReport(1, None, outcome, started, ended, usage),)
        found = self._list(document)
        if found is None:
            return ()
        if not isinstance(found, list):
            raise garbage("the attempts are not a list")
        return tuple(self._one(attempt) for attempt in found)

    def _one(self, attempt: Any) -> AttemptReport:
        number = as_count(self._number(attempt), "attempt number")
        provider = as_text(self._provider(attempt), "attempt provider")
        started = as_time(self._started(attempt), "attempt start")
        word = self._outcome(attempt)
        outcome = self._outcomes.get(word) if isinstance(word, str) else None
        if number is None or provider is None or started is None or outcome is None:
            raise garbage("an attempt lacks its number, provider, start or a known outcome")
        return AttemptReport(
            number=number,
            provider=provider,
            outcome=outcome,
            started=started,
            ended=as_time(self._ended(attempt), "attempt end"),
            usage=tuple(usage.read(attempt, provider) for usage in self._usage),
        )


class _UsageReader:
    def __init__(self, section: UsageSection) -> None:
        self._sku = section.sku
        self._factors = [(name, compile_path(name)) for name in section.product]
        self._basis = section.basis

    def read(self, attempt: Any, provider: str | None) -> UsageReport:
        """Without a `provider` its place in the SKU stays open: it is the variant's."""
        quantity: Number = Decimal(1)
        for name, factor in self._factors:
            value = as_quantity(factor(attempt), name)
            if value is None:
                quantity = Missing(f"{name} not reported by the target")
                break
            quantity = quantity * value if isinstance(quantity, Decimal) else quantity
        return UsageReport(self._sku.replace("$provider", provider or "$provider"), quantity, self._basis)
