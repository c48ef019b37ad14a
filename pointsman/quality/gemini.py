"""The Gemini judge: source and output as inline clips, a rubric, an answer in a fixed form, and a record of every try.

The judge sees a random-looking label and the pictures; no id, file name, workflow or provider. Retries are its own,
because those of the client library ignore Retry-After and hide attempts that may be billed.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from google import genai
from google.genai import errors, types

from pointsman.canonical import sha256_of
from pointsman.clock import Clock, SystemClock
from pointsman.model import Json, Missing
from pointsman.quality.asking import INSTRUCTIONS, answer_schema, instructions, prompt
from pointsman.quality.gemini_answers import ASKING_FAILED, Heard, Problem, answer_text, problem_of, read_answer
from pointsman.quality.media import Fault, look_at, mime_type
from pointsman.quality.protocol import (
    Evaluation,
    FailedJudgement,
    JudgeAttempt,
    JudgeIdentity,
    JudgeUnavailable,
    JudgeUsage,
    Sample,
)
from pointsman.quality.retry import RetryPolicy, asked_wait
from pointsman.quality.rubric import Rubric, quality_of
from pointsman.quality.workers import judge_concurrently
from pointsman.settings import Secret

CLIP_LIMIT_BYTES = 15_000_000
"""Two clips in base64 must fit into one request, which the API limits."""
FRAMES_PER_SECOND = 5
"""How often the model looks at a video. Its default of once per second would see two pictures of a two-second clip."""
_SLICE_S = 0.5
_INSTRUCTION = {
    "auth": "Set GEMINI_API_KEY to a key that is valid for this model, or choose the judge `local`.",
    "model_not_found": "Set POINTSMAN_GEMINI_MODEL to a model that exists, or choose the judge `local`.",
    "bad_request": "Choose another model by POINTSMAN_GEMINI_MODEL, one that takes video, or choose the judge `local`.",
    "unreachable": "Check the network and POINTSMAN_GEMINI_BASE_URL, or choose the judge `local`.",
    "clip_too_large": "Choose the judge `local`, which has no such limit, or shorter inputs.",
    "unsupported_media": "Choose the judge `local`.",
}


@dataclass(frozen=True, slots=True)
class _Try:
    attempt: JudgeAttempt
    text: str
    heard: Heard | None
    problem: Problem | None
    asked_wait: float | None


class GeminiJudge:
    """Judges by `rubric`, `workers` samples at a time. Times out after `timeout_s` per request.

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
        workers: int = 4,
        timeout_s: float = 60.0,
    ) -> None:
        self._api_key = api_key
        self._model = model
        self._rubric = rubric
        self._base_url = base_url
        self._policy = policy or RetryPolicy()
        self._clock = clock or SystemClock()
        self._workers = workers
        self._timeout_s = timeout_s
        asked = {
            "rubric": rubric.sha256,
            "instructions": INSTRUCTIONS,
            "prompts": [prompt("{label}", with_source=True), prompt("{label}", with_source=False)],
            "frames_per_second": FRAMES_PER_SECOND,
            "temperature": 0,
            "seed": self._policy.seed,
        }
        self.identity = JudgeIdentity("gemini", model, sha256_of(asked))
        self.billed_skus = (f"gemini:{model}:input-token", f"gemini:{model}:output-token")

    def judge(self, samples: Iterable[Sample]) -> Generator[Evaluation, None, None]:
        """As `Judge.judge`. Raises `JudgeUnavailable` with the attempts of what could not be judged."""
        client = genai.Client(
            vertexai=False,
            api_key=self._api_key.reveal(),
            http_options=types.HttpOptions(
                base_url=self._base_url,
                api_version="v1beta",
                timeout=int(self._timeout_s * 1000),
                retry_options=types.HttpRetryOptions(attempts=1),
                # A redirect would carry the key's header to wherever it points.
                client_args={"follow_redirects": False},
            ),
        )
        try:
            yield from judge_concurrently(
                samples, lambda sample, stop: self._judge(client, sample, stop), workers=self._workers
            )
        finally:
            client.close()

    def _judge(self, client: genai.Client, sample: Sample, stop: threading.Event) -> Evaluation:
        played = look_at(sample.output, deadline_s=60.0, stop=stop)
        if isinstance(played, Fault):
            return Evaluation(sample.dispatch_id, Decimal(0), {"decodable": False, "reason": played.reason}, ())
        criteria = self._rubric.asked(with_source=sample.source is not None)
        system = instructions(criteria)
        words = prompt(sample.blind_label, with_source=sample.source is not None)
        paths = [path for path in (sample.source, sample.output) if path is not None]
        parts: list[types.Part] = [types.Part.from_text(text=words), *(self._part(sample, path) for path in paths)]
        transcript: dict[str, Json] = {
            "instructions": system,
            "prompt": words,
            "media_sha256": [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths],
        }
        strict = answer_schema(criteria, strict=True)
        tries: list[_Try] = []
        while True:
            config = types.GenerateContentConfig(
                system_instruction=system,
                response_mime_type="application/json",
                response_schema=answer_schema(criteria, strict=False),
                temperature=0,
                seed=self._policy.seed + len(tries),
            )
            tries.append(self._ask(client, parts, config, strict, len(tries) + 1))
            transcript["answers"] = [{"number": one.attempt.number, "text": one.text} for one in tries]
            attempts = tuple(one.attempt for one in tries)
            if (heard := tries[-1].heard) is not None:
                levels = {name: level for name, (level, _) in heard.answers.items()}
                scores: dict[str, Json] = {
                    "criteria": {name: {"level": level, "reason": why} for name, (level, why) in heard.answers.items()}
                }
                return Evaluation(sample.dispatch_id, quality_of(criteria, levels), scores, attempts, transcript)
            if (wait := self._wait(sample, tries)) is None or not self._sleep(wait, stop):
                raise self._given_up(tries[-1], FailedJudgement(sample.dispatch_id, attempts, transcript))

    def _part(self, sample: Sample, path: Path) -> types.Part:
        size = path.stat().st_size
        if size > CLIP_LIMIT_BYTES:
            raise self._unusable(
                sample, "clip_too_large", f"a clip of {size} bytes; allowed: {CLIP_LIMIT_BYTES} bytes or less"
            )
        content = path.read_bytes()
        mime = mime_type(content)
        if mime is None:
            raise self._unusable(
                sample, "unsupported_media", "a clip that is none of MP4, MOV, WebM, AVI, PNG, JPEG, WebP"
            )
        part = types.Part.from_bytes(data=content, mime_type=mime)
        if mime.startswith("video/"):
            part.video_metadata = types.VideoMetadata(fps=FRAMES_PER_SECOND)
        return part

    def _unusable(self, sample: Sample, code: str, what: str) -> JudgeUnavailable:
        message = f"The Gemini judge was given {what}; nothing was sent."
        failed = [FailedJudgement(sample.dispatch_id, ())]
        return JudgeUnavailable(message, instruction=_INSTRUCTION[code], code=code, failed=failed)

    def _ask(
        self,
        client: genai.Client,
        parts: list[types.Part],
        config: types.GenerateContentConfig,
        strict: type,
        number: int,
    ) -> _Try:
        started = self._clock.now()
        text, wait, usage, version = "", None, None, None
        try:
            response = client.models.generate_content(
                model=self._model, contents=types.Content(role="user", parts=parts), config=config
            )
        except ASKING_FAILED as error:
            found: Heard | Problem = problem_of(error)
            if isinstance(error, errors.APIError):
                text = (error.message or "").replace(self._api_key.reveal(), "***")[:2000]
                headers = getattr(error.response, "headers", {})
                wait = asked_wait({name.lower(): headers[name] for name in headers}, error.details, self._clock.now())
        else:
            found = read_answer(response, strict)
            text, usage, version = answer_text(response), response.usage_metadata, response.model_version
        problem = found if isinstance(found, Problem) else None
        attempt = JudgeAttempt(
            number=number,
            outcome="completed" if problem is None else problem.outcome,
            started=started,
            ended=self._clock.now(),
            usage=self._usage("reported" if problem is None else problem.tokens, usage),
            code=None if problem is None else problem.code,
            detail={"what": "" if problem is None else problem.what, "model_version": version},
        )
        return _Try(attempt, text, None if isinstance(found, Problem) else found, problem, wait)

    def _usage(
        self, tokens: str, reported: types.GenerateContentResponseUsageMetadata | None
    ) -> tuple[JudgeUsage, ...]:
        """Input tokens, and candidates with thoughts as output: both are billed as output."""
        if tokens == "none":
            return ()
        if reported is None or reported.prompt_token_count is None:
            unknown = Missing("the answer that tells the tokens did not arrive; they may have been billed")
            return tuple(JudgeUsage(sku, unknown) for sku in self.billed_skus)
        spoken = (reported.candidates_token_count or 0) + (reported.thoughts_token_count or 0)
        counts = (reported.prompt_token_count, spoken)
        return tuple(JudgeUsage(sku, Decimal(count)) for sku, count in zip(self.billed_skus, counts, strict=True))

    def _wait(self, sample: Sample, tries: list[_Try]) -> float | None:
        """Seconds until the next try, or None when there shall be none."""
        problem, policy = tries[-1].problem, self._policy
        heard = sum(one.problem is not None and one.problem.retry == "answer" for one in tries)
        if problem is None or problem.retry == "never" or len(tries) >= policy.attempts or heard >= policy.answers:
            return None
        asked = tries[-1].asked_wait
        if asked is None:
            return policy.backoff(sample.blind_label, len(tries))
        return asked if asked <= policy.patience_s else None

    def _sleep(self, seconds: float, stop: threading.Event) -> bool:
        """Wait in slices, so that a judge that is asked to stop does so; False when it was."""
        while seconds > 0 and not stop.is_set():
            self._clock.sleep(min(_SLICE_S, seconds))
            seconds -= _SLICE_S
        return not stop.is_set()

    def _given_up(self, last: _Try, failed: FailedJudgement) -> JudgeUnavailable:
        code = last.attempt.code or "judge_unavailable"
        what = last.problem.what if last.problem else ""
        return JudgeUnavailable(
            f"Gemini ({self._model}) gave no judgement in {last.attempt.number} of at most {self._policy.attempts} "
            f"tries: {code} ({what}).",
            instruction=_INSTRUCTION.get(code, "Try again later, or choose the judge `local`."),
            code=code,
            failed=[failed],
        )
