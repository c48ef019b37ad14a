"""Asking Gemini one question until it is answered: at the pace the service bears, with every call on record.

Retries are its own, because those of the client library ignore Retry-After and hide attempts that may be billed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import httpx
from google import genai
from google.genai import errors, types

from pointsman.clock import Clock
from pointsman.errors import RunFailed
from pointsman.model import Json, Missing
from pointsman.quality.asking import Form, headings, words_beside
from pointsman.quality.gemini_answers import ASKING_FAILED, Heard, Problem, answer_text, problem_of, read_answer
from pointsman.quality.gemini_files import UploadFailed
from pointsman.quality.gemini_media import Media, Medium
from pointsman.quality.pace import Pace
from pointsman.quality.protocol import Calls, JudgeAttempt, JudgeUsage
from pointsman.quality.retry import RetryPolicy, asked_wait
from pointsman.settings import Secret

_SLICE_S = 0.5
_ANSWERED_IN = "application/json"
TEMPERATURE = 0
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

    @property
    def place(self) -> tuple[str, str]:
        """What tells it from every other question of an evaluation set."""
        return self.subject, self.key


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

    def ask(self, question: Question, calls: Calls, stop: threading.Event, before: Sequence[Try] = ()) -> Asked:
        """Ask until answered or given up; `before` are tries that were made already, in a batch.

        Raises what `Calls.begin` does when nothing may be spent any more.
        """
        tries = list(before)
        parts: list[types.Part] | None = None
        while not tries or tries[-1].heard is None:
            if tries:
                wait = self._wait(question, tries)
                if wait is None or not self._sleep(wait, stop):
                    return Asked(tuple(tries), stopped=wait is not None)
            if parts is None:
                ready = self.ready(question, stop)
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
        return Asked(tuple(tries), stopped=False)

    def ready(self, question: Question, stop: threading.Event) -> list[types.Part] | Try:
        """What is sent to ask it, or why that cannot be made."""
        names = headings(question.form, question.label, with_source=question.with_source)
        try:
            media = self._media.parts(list(zip(names, question.media, strict=True)), stop)
        except (UploadFailed, httpx.HTTPError) as error:
            wait = error.asked_wait if isinstance(error, UploadFailed) else None
            return Try(None, "", None, upload_problem(error), wait)
        except RunFailed as error:  # no pictures can be taken of a clip
            return Try(None, "", None, Problem("frames_failed", "failed", "never", "none", error.message), None)
        return [types.Part.from_text(text=question.words), *media]

    def _call(self, question: Question, parts: list[types.Part], entered: int, before: int, calls: Calls) -> Try:
        done: Try | None = None
        try:
            number = calls.begin(question.subject, self._skus)
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
        config = types.GenerateContentConfig(
            system_instruction=question.form.system,
            response_mime_type=_ANSWERED_IN,
            response_schema=question.form.schema,
            temperature=TEMPERATURE,
            seed=seed,
        )
        try:
            response = self._client.models.generate_content(
                model=self._model, contents=types.Content(role="user", parts=parts), config=config
            )
        except ASKING_FAILED as error:
            ended = self._clock.now()
            text = error.message or "" if isinstance(error, errors.APIError) else ""
            return failed_try(
                problem_of(error),
                number,
                self._skus,
                started,
                ended,
                text=text.replace(self._secret.reveal(), "***")[:2000],
                asked_wait=asked_by(error, ended),
            )
        return answered_try(question, response, number, self._skus, started, self._clock.now())

    def _wait(self, question: Question, tries: Sequence[Try]) -> float | None:
        """Seconds until the next try, or None when there shall be none."""
        problem, policy = tries[-1].problem, self._policy
        heard = sum(one.problem is not None and one.problem.retry == "answer" for one in tries)
        if problem is None or problem.retry == "never" or len(tries) >= policy.attempts or heard >= policy.answers:
            return None
        asked = tries[-1].asked_wait
        if not asked:  # nothing, or a date that is over by this machine's clock
            return policy.backoff(question.key, len(tries))
        return asked if asked <= policy.patience_s else None

    def _sleep(self, seconds: float, stop: threading.Event) -> bool:
        """Wait in slices, so that a judge that is asked to stop does so; False when it was."""
        while seconds > 0 and not stop.is_set():
            self._clock.sleep(min(_SLICE_S, seconds))
            seconds -= _SLICE_S
        return not stop.is_set()


def request_of(question: Question, parts: Sequence[types.Part]) -> dict[str, Json]:
    """The same request as a document of the API, as a batch holds it."""
    content = types.Content(role="user", parts=list(parts))
    return {
        "contents": [content.model_dump(mode="json", by_alias=True, exclude_none=True)],
        "systemInstruction": {"role": "user", "parts": [{"text": question.form.system}]},
        "generationConfig": {
            "responseMimeType": _ANSWERED_IN,
            "responseSchema": question.form.schema,
            "temperature": TEMPERATURE,
            "seed": question.seed,
        },
    }


def answered_try(
    question: Question,
    response: types.GenerateContentResponse,
    number: int,
    skus: tuple[str, ...],
    started: datetime,
    ended: datetime,
    *,
    detail: Mapping[str, Json] | None = None,
) -> Try:
    """A call that was answered, whatever the answer is worth."""
    text, reported = answer_text(response)[:_KEPT], response.usage_metadata
    told: dict[str, Json] = {"model_version": response.model_version, **(detail or {})}
    found = read_answer(response, question.form, question.label)
    if isinstance(found, Problem):
        return failed_try(found, number, skus, started, ended, text=text, reported=reported, detail=told)
    usage = usage_of(skus, "reported", reported)
    attempt = JudgeAttempt(number, "completed", started, ended, usage, None, {"what": "", **told})
    return Try(attempt, text, found, None, None)


def failed_try(
    problem: Problem,
    number: int,
    skus: tuple[str, ...],
    started: datetime,
    ended: datetime,
    *,
    text: str = "",
    reported: types.GenerateContentResponseUsageMetadata | None = None,
    detail: Mapping[str, Json] | None = None,
    asked_wait: float | None = None,
) -> Try:
    """A call that gave no judgement."""
    usage = usage_of(skus, problem.tokens, reported)
    told: dict[str, Json] = {"what": problem.what, "model_version": None, **(detail or {})}
    attempt = JudgeAttempt(number, problem.outcome, started, ended, usage, problem.code, told)
    return Try(attempt, text, None, problem, asked_wait)


def asked_by(error: Exception, now: datetime) -> float | None:
    """Seconds that the API asks to wait before the next try."""
    if not isinstance(error, errors.APIError):
        return None
    headers = getattr(error.response, "headers", {})
    return asked_wait({name.lower(): headers[name] for name in headers}, error.details, now)


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


def upload_problem(error: UploadFailed | httpx.HTTPError) -> Problem:
    """Name what an upload raised."""
    if isinstance(error, httpx.HTTPError):
        return Problem("upload_failed", "failed", "later", "none", type(error).__name__)
    refused = error.status is not None and 400 <= error.status < 500 and error.status != 429
    if error.status in (401, 403):
        return Problem("auth", "refused", "never", "none", f"upload: {error.what}")
    return Problem("upload_failed", "failed", "never" if refused else "later", "none", error.what)
