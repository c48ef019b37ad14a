"""The Gemini judge: source and output under a rubric, an answer in a fixed form, and a record of every call.

The judge sees a random-looking label and the pictures; no id, file name, workflow or provider.
"""

from __future__ import annotations

import functools
import hashlib
import os
import ssl
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import httpx2
from google import genai
from google.genai import types

from pointsman.canonical import sha256_of
from pointsman.clock import Clock, SystemClock
from pointsman.model import Json
from pointsman.quality.asking import LEVELS, PREFERENCE, VALUES, WORDS, Form, levels_form, preference_form
from pointsman.quality.gemini_batch_news import Tell
from pointsman.quality.gemini_batches import Batching
from pointsman.quality.gemini_calls import TEMPERATURE, Asked, Asker, Question, Try
from pointsman.quality.gemini_files import FilesApi
from pointsman.quality.gemini_media import FRAMES_PER_SECOND, MOST_FRAMES, Media, Medium, Unsendable, Video
from pointsman.quality.gemini_record import Record, levels_of, scores_of, words_of
from pointsman.quality.media import Fault
from pointsman.quality.pace import Pace
from pointsman.quality.pairs import Compared, Pair, preferred
from pointsman.quality.protocol import (
    Calls,
    Evaluation,
    FailedJudgement,
    JudgeIdentity,
    JudgeUnavailable,
    Sample,
)
from pointsman.quality.retry import RetryPolicy
from pointsman.quality.rubric import Rubric, quality_of
from pointsman.quality.tone_mapping import MAP
from pointsman.quality.workers import judge_concurrently
from pointsman.settings import Secret

T = TypeVar("T")
E = TypeVar("E")
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
    batching: Batching | None
    calls: Calls
    before: dict[tuple[str, str], tuple[Try, ...]]
    """What batches made of the questions that are about to be asked."""


class GeminiJudge:
    """Judges by `rubric`, each sample `repeats` times, by at most `workers` calls at once of at most `timeout_s`.

    With `pairwise` each output is compared with its reference, in both orders: 50 is as good as the reference, 100
    better by every criterion, 0 worse by every one.
    With `wait_s` questions are sent as batches, at the price of batches, each of which may take so long; what has no
    answer then is asked at once. `tell` hears of each batch when its state changes, and every quarter of an hour.
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
        wait_s: float = 0.0,
        tell: Tell | None = None,
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
        self._wait_s = wait_s
        self._tell: Tell = tell or (lambda _: None)
        self._forms: dict[tuple[str, bool], Form] = {}
        self._pace = Pace(workers, self._clock)
        asked = {
            "rubric": rubric.sha256,
            "instructions": [LEVELS, PREFERENCE],
            "words": list(WORDS),
            "values": VALUES,
            "video": video,
            "frames_per_second": FRAMES_PER_SECOND,
            "most_frames": MOST_FRAMES,
            "temperature": TEMPERATURE,
            "seed": self._policy.seed,
            "repeats": repeats,
            "pairwise": pairwise,
            **({"tone_mapping": MAP} if video == "frames" else {}),
        }
        self.identity = JudgeIdentity("gemini", model, sha256_of(asked))
        self._skus = (f"gemini:{model}:input-token", f"gemini:{model}:output-token")
        self._batch_skus = (f"gemini:{model}:batch:input-token", f"gemini:{model}:batch:output-token")
        self.billed_skus = (*self._skus, *self._batch_skus) if wait_s else self._skus

    def judge(self, samples: Iterable[Sample], calls: Calls) -> Generator[Evaluation, None, None]:
        """As `Judge.judge`. Raises `JudgeUnavailable` with the attempts of what could not be judged."""
        with ExitStack() as stack:
            sitting = self._sit_down(stack, calls)
            one = functools.partial(self._judge, sitting)
            if sitting.batching is not None:
                samples = yield from self._batched(sitting, samples, self._questions_of, one)
            yield from judge_concurrently(samples, one, workers=self._threads)

    def compare(self, pairs: Iterable[Pair], calls: Calls) -> Generator[Compared, None, None]:
        """As `Comparer.compare`. Raises as `judge` does."""
        with ExitStack() as stack:
            sitting = self._sit_down(stack, calls)
            one = functools.partial(self._compare, sitting)
            if sitting.batching is not None:
                pairs = yield from self._batched(sitting, pairs, self._both_orders, one)
            yield from judge_concurrently(pairs, one, workers=self._threads)

    def cancel_batches(self, calls: Calls) -> int:
        """As `SendsBatches.cancel_batches`."""
        with ExitStack() as stack:
            batching = self._sit_down(stack, calls).batching
            return 0 if batching is None else batching.cancel(calls)

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
            skus=self._skus,
            policy=self._policy,
            pace=self._pace,
            clock=self._clock,
            secret=self._api_key,
        )
        batching = Batching(
            client=client,
            files=files,
            asker=asker,
            model=self._model,
            skus=self._batch_skus,
            policy=self._policy,
            clock=self._clock,
            wait_s=self._wait_s,
            tell=self._tell,
        )
        # Whoever does not wait any more still ends what is open, and uses what was answered.
        batched = bool(self._wait_s or calls.batches.all())
        return _Sitting(asker, media, batching if batched else None, calls, {})

    def _batched(
        self,
        sitting: _Sitting,
        things: Iterable[T],
        questions_of: Callable[[_Sitting, T, threading.Event], list[Question]],
        judge_one: Callable[[T, threading.Event], E],
    ) -> Generator[E, None, list[T]]:
        """Ask about them in batches, and judge the first of them before; return those that are left to be judged."""
        assert sitting.batching is not None
        left = list(things)

        def questions(place: int, stop: threading.Event) -> tuple[int, list[Question]]:
            return place, questions_of(sitting, left[place], stop)

        asked = dict(judge_concurrently(range(len(left)), questions, workers=self._threads))
        first = next((place for place in sorted(asked) if asked[place]), None)
        if first is not None and self._wait_s and not sitting.calls.batches.all():
            # A wrong key or model shows now and not tomorrow, and a cap learns what a call costs.
            yield from judge_concurrently([left[first]], judge_one, workers=1)
            asked[first] = []
            del left[first]
        together = [question for place in sorted(asked) for question in asked[place]]
        sitting.before.update(sitting.batching.ask(together, sitting.calls, threading.Event()))
        return left

    def _questions_of(self, sitting: _Sitting, sample: Sample, stop: threading.Event) -> list[Question]:
        if isinstance(sitting.media.played(sample.output, stop), Fault):
            return []
        if not self._pairwise:
            return self._levels_asked(sitting, sample)
        pair = _against_reference(sitting, sample, stop)
        return self._both_orders(sitting, pair, stop) if isinstance(pair, Pair) else []

    def _levels_asked(self, sitting: _Sitting, sample: Sample) -> list[Question]:
        form = self._form("levels", with_source=sample.source is not None)
        paths = [path for path in (sample.source, sample.output) if path is not None]
        media = self._media(sitting, sample.dispatch_id, paths)
        return [
            Question(
                subject=sample.dispatch_id,
                form=form,
                label=sample.blind_label,
                media=media,
                with_source=sample.source is not None,
                key=f"{sample.blind_label}{repeat or ''}",
                seed=self._policy.seed + repeat * self._policy.attempts,
            )
            for repeat in range(self._repeats)
        ]

    def _both_orders(self, sitting: _Sitting, pair: Pair, _: threading.Event) -> list[Question]:
        form = self._form("preference", with_source=pair.source is not None)
        paths = [path for path in (pair.source, pair.one, pair.other) if path is not None]
        *source, one, other = self._media(sitting, pair.subject, paths)
        return [
            Question(
                subject=pair.subject,
                form=form,
                label=hashlib.sha256(f"{pair.blind_label}\x1f{number}".encode()).hexdigest()[:8],
                media=(*source, *order),
                with_source=pair.source is not None,
                key=f"{pair.blind_label}{number}",
                seed=self._policy.seed,
            )
            for number, order in enumerate(((one, other), (other, one)))
        ]

    def _judge(self, sitting: _Sitting, sample: Sample, stop: threading.Event) -> Evaluation:
        played = sitting.media.played(sample.output, stop)
        if isinstance(played, Fault):
            return Evaluation(sample.dispatch_id, Decimal(0), {"decodable": False, "reason": played.reason}, ())
        if self._pairwise:
            return self._preferred(sitting, sample, stop)
        record = self._asked(sitting, self._levels_asked(sitting, sample), stop)
        form = record.form
        heard = record.heard
        qualities = [quality_of(form.criteria, levels_of(one)) for one in heard]
        quality = (sum(qualities, Decimal(0)) / len(qualities)).quantize(Decimal("0.0001"))
        return Evaluation(sample.dispatch_id, quality, scores_of(heard, qualities), record.attempts, record.transcript)

    def _preferred(self, sitting: _Sitting, sample: Sample, stop: threading.Event) -> Evaluation:
        pair = _against_reference(sitting, sample, stop)
        if isinstance(pair, Evaluation):
            return pair
        compared = self._compare(sitting, pair, stop)
        preference = compared.preference
        scores: dict[str, Json] = {"criteria": dict(preference.criteria), "flipped": preference.flipped}
        if compared.words_for_the_judge:
            scores["words_for_the_judge"] = compared.words_for_the_judge
        return Evaluation(sample.dispatch_id, 100 * preference.points, scores, compared.attempts, compared.transcript)

    def _compare(self, sitting: _Sitting, pair: Pair, stop: threading.Event) -> Compared:
        record = self._asked(sitting, self._both_orders(sitting, pair, stop), stop)
        straight, swapped = ({name: str(value) for name, (value, _) in one.answers.items()} for one in record.heard)
        found = preferred(record.form.criteria, straight, swapped)
        return Compared(pair.subject, found, record.attempts, record.transcript, words_of(record.heard))

    def _asked(self, sitting: _Sitting, questions: list[Question], stop: threading.Event) -> Record:
        record = Record(questions[0])
        for question in questions:
            self._ask(sitting, question, record, stop)
        return record

    def _ask(self, sitting: _Sitting, question: Question, record: Record, stop: threading.Event) -> None:
        before = sitting.before.get(question.place, ())
        try:
            asked = sitting.asker.ask(question, sitting.calls, stop, before)
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


def _against_reference(sitting: _Sitting, sample: Sample, stop: threading.Event) -> Pair | Evaluation:
    """What a pairwise judge is shown of a sample, or what is known of it where there is nothing to compare."""

    def known(quality: int, why: str) -> Evaluation:
        return Evaluation(sample.dispatch_id, Decimal(quality), {"compared": why}, ())

    if sample.reference is None:
        return known(100, "there is nothing to compare with: the incumbent made no output of this input")
    if sample.reference == sample.output:
        return known(50, "it is what others are compared with")
    if isinstance(sitting.media.played(sample.reference, stop), Fault):
        return known(100, "there is nothing to compare with: what the incumbent made of this input does not play")
    return Pair(sample.dispatch_id, sample.output, sample.reference, sample.source, sample.blind_label)
