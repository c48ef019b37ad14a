"""Asking Gemini one question until it is answered: at the pace the service bears, with every call on record.

Retries are its own, because those of the client library ignore Retry-After and hide attempts that may be billed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import httpx
from google import genai
from google.genai import errors, types

from pointsman.clock import Clock
from pointsman.errors import RunFailed
from pointsman.model import Missing
from pointsman.quality.asking import Form, headings, words_beside
from pointsman.quality.gemini_answers import ASKING_FAILED, Heard, Problem, answer_text, problem_of, read_answer
from pointsman.quality.gemini_files import UploadFailed
from pointsman.quality.gemini_media import Media, Medium
from pointsman.quality.pace import Pace
from pointsman.quality.protocol import Calls, JudgeAttempt, JudgeUsage
from pointsman.quality.retry import RetryPolicy, asked_wait
from pointsman.settings import Secret

_SLICE_S = 0.5
_KEPT = 50_000
"""Characters of an answer that are kept: many times what an answer of the asked form has."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask. `subject` is what the ledger calls it; `key` fixes its waits and tells nothing."""

    subject: str
    form: Form
    label: str
    media: tuple[Medium, ...]
    with_source: bool
    key: str
    seed: int

    @property
    def words(self) -> str:
        return words_beside(self.form, self.label)


@dataclass(frozen=True, slots=True)
class Try:
    """One call and what came of it, or an upload before it that failed (then `attempt` is None)."""

    attempt: JudgeAttempt | None
    text: str
    heard: Heard | None
    problem: Problem | None
    asked_wait: float | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Every try of one question; `heard` is the answer of the last one, None when it was given up."""

    tries: tuple[Try, ...]
    stopped: bool

    @property
    def heard(self) -> Heard | None:
        return self.tries[-1].heard if self.tries else None

    @property
    def attempts(self) -> tuple[JudgeAttempt, ...]:
        return tuple(one.attempt for one in self.tries if one.attempt is not None)


class Asker:
    """Asks by one client. Thread-safe."""

    def __init__(
        self,
        *,
        client: genai.Client,
        media: Media,
        model: str,
        skus: tuple[str, ...],
        policy: RetryPolicy,
        pace: Pace,
        clock: Clock,
        secret: Secret,
    ) -> None:
        self._client = client
        self._media = media
        self._model = model
        self._skus = skus
        self._policy = policy
        self._pace = pace
        self._clock = clock
        self._secret = secret
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """Begin no further question: one that cannot be answered ends the comparison."""
        self._given_up.set()

    def ask(self, question: Question, calls: Calls, stop: threading.Event) -> Asked:
        """Ask until answered or given up. Raises what `Calls.begin` does when nothing may be spent any more."""
        tries: list[Try] = []
        parts: list[types.Part] | None = None
        while True:
            if parts is None:
                ready = self._ready(question, stop)
                if isinstance(ready, Try):
                    tries.append(ready)
                else:
                    parts = ready
            if parts is not None:
                entered = self._pace.enter(stop)
                if entered is None:
                    return Asked(tuple(tries), stopped=True)
                if not tries and self._given_up.is_set():
                    self._pace.leave(entered)
                    return Asked((), stopped=True)
                tries.append(self._call(question, parts, entered, len(tries), calls))
            if tries[-1].heard is not None:
                return Asked(tuple(tries), stopped=False)
            wait = self._wait(question, tries)
            if wait is None or not self._sleep(wait, stop):
                return Asked(tuple(tries), stopped=wait is not None)

    def _ready(self, question: Question, stop: threading.Event) -> list[types.Part] | Try:
        names = headings(question.form, question.label, with_source=question.with_source)
        try:
            media = self._media.parts(list(zip(names, question.media, strict=True)), stop)
        except (UploadFailed, httpx.HTTPError) as error:
            return Try(None, "", None, _upload_problem(error), None)
        except RunFailed as error:  # no pictures can be taken of a clip
            return Try(None, "", None, Problem("frames_failed", "failed", "never", "none", error.message), None)
        return [types.Part.from_text(text=question.words), *media]

    def _call(self, question: Question, parts: list[types.Part], entered: int, before: int, calls: Calls) -> Try:
        done: Try | None = None
        try:
            number = calls.begin(question.subject)
            done = self._heard(question, parts, number, question.seed + before)
            assert done.attempt is not None
            calls.end(question.subject, done.attempt)
            return done
        finally:
            wait = done.asked_wait if done is not None else None
            self._pace.leave(
                entered,
                refused=done is not None and done.problem is not None and done.problem.crowded,
                hold_s=wait if wait is not None and wait <= self._policy.patience_s else None,
            )

    def _heard(self, question: Question, parts: list[types.Part], number: int, seed: int) -> Try:
        started = self._clock.now()
        text, wait, usage, version = "", None, None, None
        config = types.GenerateContentConfig(
            system_instruction=question.form.system,
            response_mime_type="application/json",
            response_schema=question.form.schema,
            temperature=0,
            seed=seed,
        )
        try:
            response = self._client.models.generate_content(
                model=self._model, contents=types.Content(role="user", parts=parts), config=config
            )
        except ASKING_FAILED as error:
            found: Heard | Problem = problem_of(error)
            if isinstance(error, errors.APIError):
                text = (error.message or "").replace(self._secret.reveal(), "***")[:2000]
                headers = getattr(error.response, "headers", {})
                wait = asked_wait({name.lower(): headers[name] for name in headers}, error.details, self._clock.now())
        else:
            found = read_answer(response, question.form, question.label)
            text, usage, version = answer_text(response), response.usage_metadata, response.model_version
            text = text[:_KEPT]
        problem = found if isinstance(found, Problem) else None
        attempt = JudgeAttempt(
            number=number,
            outcome="completed" if problem is None else problem.outcome,
            started=started,
            ended=self._clock.now(),
            usage=usage_of(self._skus, "reported" if problem is None else problem.tokens, usage),
            code=None if problem is None else problem.code,
            detail={"what": "" if problem is None else problem.what, "model_version": version},
        )
        return Try(attempt, text, None if isinstance(found, Problem) else found, problem, wait)

    def _wait(self, question: Question, tries: Sequence[Try]) -> float | None:
        """Seconds until the next try, or None when there shall be none."""
        problem, policy = tries[-1].problem, self._policy
        heard = sum(one.problem is not None and one.problem.retry == "answer" for one in tries)
        if problem is None or problem.retry == "never" or len(tries) >= policy.attempts or heard >= policy.answers:
            return None
        asked = tries[-1].asked_wait
        if asked is None:
            return policy.backoff(question.key, len(tries))
        return asked if asked <= policy.patience_s else None

    def _sleep(self, seconds: float, stop: threading.Event) -> bool:
        """Wait in slices, so that a judge that is asked to stop does so; False when it was."""
        while seconds > 0 and not stop.is_set():
            self._clock.sleep(min(_SLICE_S, seconds))
            seconds -= _SLICE_S
        return not stop.is_set()


def usage_of(
    skus: tuple[str, ...], tokens: str, reported: types.GenerateContentResponseUsageMetadata | None
) -> tuple[JudgeUsage, ...]:
    """Input tokens, and candidates with thoughts as output: both are billed as output. `skus`: input, output."""
    if tokens == "none":
        return ()
    if reported is None or reported.prompt_token_count is None:
        unknown = Missing("the answer that tells the tokens did not arrive; they may have been billed")
        return tuple(JudgeUsage(sku, unknown) for sku in skus)
    spoken = (reported.candidates_token_count or 0) + (reported.thoughts_token_count or 0)
    counts = (reported.prompt_token_count, spoken)
    return tuple(JudgeUsage(sku, Decimal(count)) for sku, count in zip(skus, counts, strict=True))


def _upload_problem(error: UploadFailed | httpx.HTTPError) -> Problem:
    if isinstance(error, httpx.HTTPError):
        return Problem("upload_failed", "failed", "later", "none", type(error).__name__)
    refused = error.status is not None and 400 <= error.status < 500 and error.status != 429
    if error.status in (401, 403):
        return Problem("auth", "refused", "never", "none", f"upload: {error.what}")
    return Problem("upload_failed", "failed", "never" if refused else "later", "none", error.what)
