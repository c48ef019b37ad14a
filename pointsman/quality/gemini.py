"""The Gemini judge: source and output under a rubric, an answer in a fixed form, and a record of every call.

The judge sees a random-looking label and the pictures; no id, file name, workflow or provider.
"""

from __future__ import annotations

import functools
import hashlib
import os
import ssl
import statistics
import threading
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import httpx2
from google import genai
from google.genai import types

from pointsman.canonical import sha256_of
from pointsman.clock import Clock, SystemClock
from pointsman.model import Json
from pointsman.quality.asking import LEVELS, PREFERENCE, WORDS, Form, levels_form, preference_form
from pointsman.quality.gemini_answers import Heard
from pointsman.quality.gemini_calls import Asked, Asker, Question
from pointsman.quality.gemini_files import FilesApi
from pointsman.quality.gemini_media import FRAMES_PER_SECOND, MOST_FRAMES, Media, Medium, Unsendable, Video
from pointsman.quality.media import Fault
from pointsman.quality.pace import Pace
from pointsman.quality.pairs import Compared, Pair, preferred
from pointsman.quality.protocol import (
    Calls,
    Evaluation,
    FailedJudgement,
    JudgeAttempt,
    JudgeIdentity,
    JudgeUnavailable,
    Sample,
)
from pointsman.quality.retry import RetryPolicy
from pointsman.quality.rubric import Rubric, quality_of
from pointsman.quality.workers import judge_concurrently
from pointsman.settings import Secret

_MOST_AHEAD = 8
"""Samples that are looked at while as many are in flight, so that there is always one ready to be asked about."""
_INSTRUCTION = {
    "auth": "Set GEMINI_API_KEY to a key that is valid for this model, or choose the judge `local`.",
    "model_not_found": "Set POINTSMAN_GEMINI_MODEL to a model that exists, or choose the judge `local`.",
    "bad_request": "Choose another model by POINTSMAN_GEMINI_MODEL, one that takes video, or choose the judge `local`.",
    "unreachable": "Check the network and POINTSMAN_GEMINI_BASE_URL, or choose the judge `local`.",
    "clip_too_large": "Choose the judge `local`, which has no such limit, or shorter inputs.",
    "unsupported_media": "Choose the judge `local`.",
    "frames_failed": "Judge with the video `inline`, or choose the judge `local`.",
}


@dataclass(frozen=True, slots=True)
class _Sitting:
    """What one call of `judge` or `compare` works with."""

    asker: Asker
    media: Media
    calls: Calls


class GeminiJudge:
    """Judges by `rubric`, each sample `repeats` times, by at most `workers` calls at once of at most `timeout_s`.

    With `pairwise` each output is compared with its reference, in both orders: 50 is as good as the reference, 100
    better by every criterion, 0 worse by every one.
    `base_url` replaces Google's address. The key is sent in a header and appears in no URL, log, record or error.
    """

    def __init__(
        self,
        *,
        api_key: Secret,
        model: str,
        rubric: Rubric,
        base_url: str | None = None,
        policy: RetryPolicy | None = None,
        clock: Clock | None = None,
        workers: int = 8,
        timeout_s: float = 60.0,
        repeats: int = 1,
        video: Video = "inline",
        pairwise: bool = False,
    ) -> None:
        self._api_key = api_key
        self._model = model
        self._rubric = rubric
        self._base_url = base_url
        self._policy = policy or RetryPolicy()
        self._clock = clock or SystemClock()
        self._threads = workers + min(workers, _MOST_AHEAD)
        self._timeout_s = timeout_s
        self._repeats = repeats
        self._video: Video = video
        self._pairwise = pairwise
        self._forms: dict[tuple[str, bool], Form] = {}
        self._pace = Pace(workers, self._clock)
        asked = {
            "rubric": rubric.sha256,
            "instructions": [LEVELS, PREFERENCE],
            "words": list(WORDS),
            "video": video,
            "frames_per_second": FRAMES_PER_SECOND,
            "most_frames": MOST_FRAMES,
            "temperature": 0,
            "seed": self._policy.seed,
            "repeats": repeats,
            "pairwise": pairwise,
        }
        self.identity = JudgeIdentity("gemini", model, sha256_of(asked))
        self.billed_skus = (f"gemini:{model}:input-token", f"gemini:{model}:output-token")

    def judge(self, samples: Iterable[Sample], calls: Calls) -> Generator[Evaluation, None, None]:
        """As `Judge.judge`. Raises `JudgeUnavailable` with the attempts of what could not be judged."""
        with ExitStack() as stack:
            sitting = self._sit_down(stack, calls)
            yield from judge_concurrently(
                samples, lambda sample, stop: self._judge(sitting, sample, stop), workers=self._threads
            )

    def compare(self, pairs: Iterable[Pair], calls: Calls) -> Generator[Compared, None, None]:
        """As `Comparer.compare`. Raises as `judge` does."""
        with ExitStack() as stack:
            sitting = self._sit_down(stack, calls)
            yield from judge_concurrently(
                pairs, lambda pair, stop: self._compare(sitting, pair, stop), workers=self._threads
            )

    def _sit_down(self, stack: ExitStack, calls: Calls) -> _Sitting:
        client = genai.Client(
            vertexai=False,
            api_key=self._api_key.reveal(),
            http_options=types.HttpOptions(
                base_url=self._base_url,
                api_version="v1beta",
                timeout=int(self._timeout_s * 1000),
                retry_options=types.HttpRetryOptions(attempts=1),
                # A redirect would carry the key's header to wherever it points.
                client_args={"follow_redirects": False, "verify": _certificates()},
                async_client_args={"verify": _certificates(), "ssl": _certificates()},
            ),
        )
        stack.callback(client.close)
        files = FilesApi(api_key=self._api_key, base_url=self._base_url, timeout_s=self._timeout_s, clock=self._clock)
        stack.callback(files.close)
        media = Media(video=self._video, files=files)
        asker = Asker(
            client=client,
            media=media,
            model=self._model,
            skus=self.billed_skus,
            policy=self._policy,
            pace=self._pace,
            clock=self._clock,
            secret=self._api_key,
        )
        return _Sitting(asker, media, calls)

    def _judge(self, sitting: _Sitting, sample: Sample, stop: threading.Event) -> Evaluation:
        played = sitting.media.played(sample.output, stop)
        if isinstance(played, Fault):
            return Evaluation(sample.dispatch_id, Decimal(0), {"decodable": False, "reason": played.reason}, ())
        if self._pairwise:
            return self._against_reference(sitting, sample, stop)
        paths = [path for path in (sample.source, sample.output) if path is not None]
        form = self._form("levels", with_source=sample.source is not None)
        media = self._media(sitting, sample.dispatch_id, paths)
        record = _Record(sample.dispatch_id, form, media)
        for repeat in range(self._repeats):
            question = Question(
                subject=sample.dispatch_id,
                form=form,
                label=sample.blind_label,
                media=media,
                with_source=sample.source is not None,
                key=f"{sample.blind_label}{repeat or ''}",
                seed=self._policy.seed + repeat * self._policy.attempts,
            )
            self._ask(sitting, question, record, stop)
        heard = record.heard
        qualities = [quality_of(form.criteria, _levels(one)) for one in heard]
        quality = (sum(qualities, Decimal(0)) / len(qualities)).quantize(Decimal("0.0001"))
        return Evaluation(sample.dispatch_id, quality, _scores(heard, qualities), record.attempts, record.transcript)

    def _against_reference(self, sitting: _Sitting, sample: Sample, stop: threading.Event) -> Evaluation:
        if sample.reference is None:
            nothing = "there is nothing to compare with: the incumbent made no output of this input"
            return Evaluation(sample.dispatch_id, Decimal(100), {"compared": nothing}, ())
        if sample.reference == sample.output:
            return Evaluation(sample.dispatch_id, Decimal(50), {"compared": "it is what others are compared with"}, ())
        pair = Pair(sample.dispatch_id, sample.output, sample.reference, sample.source, sample.blind_label)
        compared = self._compare(sitting, pair, stop)
        preference = compared.preference
        scores: dict[str, Json] = {"criteria": dict(preference.criteria), "flipped": preference.flipped}
        if compared.words_for_the_judge:
            scores["words_for_the_judge"] = compared.words_for_the_judge
        return Evaluation(sample.dispatch_id, 100 * preference.points, scores, compared.attempts, compared.transcript)

    def _compare(self, sitting: _Sitting, pair: Pair, stop: threading.Event) -> Compared:
        form = self._form("preference", with_source=pair.source is not None)
        whole = [path for path in (pair.source, pair.one, pair.other) if path is not None]
        media = self._media(sitting, pair.subject, whole)
        outputs, source = media[-2:], media[:-2]
        record = _Record(pair.subject, form, media)
        for number, order in enumerate((outputs, outputs[::-1])):
            question = Question(
                subject=pair.subject,
                form=form,
                label=hashlib.sha256(f"{pair.blind_label}\x1f{number}".encode()).hexdigest()[:8],
                media=(*source, *order),
                with_source=pair.source is not None,
                key=f"{pair.blind_label}{number}",
                seed=self._policy.seed,
            )
            self._ask(sitting, question, record, stop)
        straight, swapped = ({name: str(value) for name, (value, _) in one.answers.items()} for one in record.heard)
        found = preferred(form.criteria, straight, swapped)
        return Compared(pair.subject, found, record.attempts, record.transcript, _words(record.heard))

    def _ask(self, sitting: _Sitting, question: Question, record: _Record, stop: threading.Event) -> None:
        try:
            asked = sitting.asker.ask(question, sitting.calls, stop)
        except JudgeUnavailable as refused:  # nothing more may be spent
            failed = [record.failed()] if record.attempts else []
            raise JudgeUnavailable(
                refused.message, instruction=refused.instruction, code=refused.code, failed=failed
            ) from refused
        record.add(question, asked)
        if asked.heard is None:
            sitting.asker.give_up()
            raise self._given_up(asked, [record.failed()] if asked.tries else [])

    def _form(self, kind: str, *, with_source: bool) -> Form:
        if (kind, with_source) not in self._forms:
            make = levels_form if kind == "levels" else preference_form
            self._forms[kind, with_source] = make(self._rubric, with_source=with_source)
        return self._forms[kind, with_source]

    def _media(self, sitting: _Sitting, subject: str, paths: Iterable[Path]) -> tuple[Medium, ...]:
        try:
            return tuple(sitting.media.medium(path) for path in paths)
        except Unsendable as error:
            message = f"The Gemini judge was given {error.what}; nothing was sent."
            failed = [FailedJudgement(subject, ())]
            raise JudgeUnavailable(
                message, instruction=_INSTRUCTION[error.code], code=error.code, failed=failed
            ) from error

    def _given_up(self, asked: Asked, failed: list[FailedJudgement]) -> JudgeUnavailable:
        last = asked.tries[-1].problem if asked.tries else None
        code = last.code if last else "judge_unavailable"
        what = f"{code} ({last.what})" if last else "it was stopped"
        return JudgeUnavailable(
            f"Gemini ({self._model}) gave no judgement in {len(asked.tries)} of at most {self._policy.attempts} "
            f"tries: {what}.",
            instruction=_INSTRUCTION.get(code, "Try again later, or choose the judge `local`."),
            code=code,
            failed=failed,
        )


@functools.cache
def _certificates() -> ssl.SSLContext:
    """The client would load them three times for every chunk of judgements, a third of a second each time."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or folder:
        return ssl.create_default_context(cafile=file, capath=folder)
    return httpx2.create_ssl_context()


class _Record:
    """All that was asked and answered about one subject."""

    def __init__(self, subject: str, form: Form, media: tuple[Medium, ...]) -> None:
        self._subject = subject
        self.attempts: tuple[JudgeAttempt, ...] = ()
        self.heard: list[Heard] = []
        self._questions: list[Json] = []
        self._fixed: dict[str, Json] = {
            "instructions": form.system,
            "media_sha256": [medium.sha256 for medium in media],
        }

    def add(self, question: Question, asked: Asked) -> None:
        self.attempts += asked.attempts
        if asked.heard is not None:
            self.heard.append(asked.heard)
        answers: list[Json] = [
            {"number": one.attempt.number, "text": one.text} for one in asked.tries if one.attempt is not None
        ]
        order: list[Json] = [medium.sha256 for medium in question.media]
        self._questions.append({"prompt": question.words, "media_sha256": order, "answers": answers})

    @property
    def transcript(self) -> dict[str, Json]:
        return {**self._fixed, "questions": self._questions}

    def failed(self) -> FailedJudgement:
        return FailedJudgement(self._subject, self.attempts, self.transcript)


def _levels(heard: Heard) -> dict[str, int]:
    return {name: int(level) for name, (level, _) in heard.answers.items()}


def _scores(heard: list[Heard], qualities: list[Decimal]) -> dict[str, Json]:
    """Per criterion the mean level and the reasons; what the repeats said; words that address the judge."""
    criteria: dict[str, Json] = {}
    for name in heard[0].answers:
        levels = [_levels(one)[name] for one in heard]
        reasons = [one.answers[name][1] for one in heard]
        mean: Json = levels[0] if len(set(levels)) == 1 else statistics.fmean(levels)
        criteria[name] = {"level": mean, "reason": reasons[0] if len(reasons) == 1 else " / ".join(reasons)}
    scores: dict[str, Json] = {"criteria": criteria}
    if len(heard) > 1:
        scores["repeats"] = [float(quality) for quality in qualities]
    words = _words(heard)
    return {**scores, "words_for_the_judge": words} if words else scores


def _words(heard: list[Heard]) -> str:
    return next((one.words_for_the_judge for one in heard if one.words_for_the_judge), "")
