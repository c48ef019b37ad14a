"""Reading a target's job document into an `Update`, attempts and usage included."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pointsman.dispatch.protocol import AttemptReport, Update, UsageReport
from pointsman.dispatch.targets.preset import AttemptsSection, JobSection, UsageSection
from pointsman.dispatch.targets.reading import (
    as_count,
    as_milliseconds,
    as_quantity,
    as_text,
    as_time,
    compile_path,
    garbage,
)
from pointsman.model import Missing, Number

_TERMINAL = frozenset({"completed", "failed", "cancelled"})


class JobReader:
    """Compiled expressions of one preset."""

    def __init__(self, job: JobSection, attempts: AttemptsSection | None) -> None:
        self.output_path = job.output_path
        self._states = job.states
        self._dispatch_id = compile_path(job.dispatch_id)
        self._names_dispatch = job.dispatch_id is not None
        self._job_id = compile_path(job.job_id)
        self._state = compile_path(job.state)
        self._reason = compile_path(job.reason)
        self._variant = compile_path(job.variant)
        self._generation = compile_path(job.generation)
        self._queue_ms = compile_path(job.queue_ms)
        self._run_ms = compile_path(job.run_ms)
        self._started = compile_path(job.started)
        self._ended = compile_path(job.ended)
        self._output_sha256 = compile_path(job.output_sha256)
        self._output_bytes = compile_path(job.output_bytes)
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
        job_id = as_text(self._job_id(document), "job id")
        variant = as_text(self._variant(document), "variant")
        generation = as_count(self._generation(document), "generation")
        if state not in _TERMINAL:
            # Open jobs are asked about many times; what only matters at the end is not read before.
            return Update(dispatch_id, state, job_id=job_id, variant=variant, generation=generation)
        started = as_time(self._started(document), "start")
        ended = as_time(self._ended(document), "end")
        elapsed = (ended - started).total_seconds() * 1000 if started is not None and ended is not None else None
        return Update(
            dispatch_id,
            state,
            job_id=job_id,
            reason=as_text(self._reason(document), "reason"),
            variant=variant,
            generation=generation,
            queue_ms=as_milliseconds(self._queue_ms(document), "queue time"),
            run_ms=as_milliseconds(self._run_ms(document), "run time"),
            elapsed_ms=elapsed if elapsed is not None and elapsed >= 0 else None,
            attempts=self._attempts.read(document) if self._attempts is not None else (),
            output_sha256=as_text(self._output_sha256(document), "output sha256"),
            output_bytes=as_count(self._output_bytes(document), "output bytes"),
        )


class _AttemptsReader:
    def __init__(self, section: AttemptsSection) -> None:
        self._list = compile_path(section.list)
        self._number = compile_path(section.number)
        self._provider = compile_path(section.provider)
        self._outcome = compile_path(section.outcome)
        self._started = compile_path(section.started)
        self._ended = compile_path(section.ended)
        self._outcomes = section.outcomes
        self._usage = [_UsageReader(usage) for usage in section.usage]

    def read(self, document: Any) -> tuple[AttemptReport, ...]:
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

    def read(self, attempt: Any, provider: str) -> UsageReport:
        quantity: Number = Decimal(1)
        for name, factor in self._factors:
            value = as_quantity(factor(attempt), name)
            if value is None:
                quantity = Missing(f"{name} not reported by the target")
                break
            quantity = quantity * value if isinstance(quantity, Decimal) else quantity
        return UsageReport(self._sku.replace("$provider", provider), quantity, self._basis)
