"""Many questions as one batch of the Gemini API, at the price of batches: sent as a file, waited for, found again.

The API gives a batch its name only when it has taken it, and takes the same one twice without a word. So a batch and
each of its calls are on record, under an id of ours, before the batch is sent under that id; whoever finds it without
a name looks for the id among the batches that the API lists. What has no usable answer is asked again at once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import IO, TypeVar

from google import genai
from google.genai import types

from pointsman.clock import Clock
from pointsman.quality.gemini_answers import ASKING_FAILED, Problem, problem_of
from pointsman.quality.gemini_batch_answers import Answer, Ended, Place, answers_in, read_call
from pointsman.quality.gemini_batch_news import BatchNews, Tell
from pointsman.quality.gemini_calls import Asker, Question, Try, asked_by, failed_try, request_of, upload_problem
from pointsman.quality.gemini_files import FilesApi, UploadFailed
from pointsman.quality.protocol import Batch, Calls, JudgeUnavailable
from pointsman.quality.retry import RetryPolicy

FILE_BYTES = 1_500_000_000
"""Questions beyond this go into another file; the API takes 2 GB."""
FIRST_LOOK_S = 10.0
RAREST_LOOK_S = 300.0
GRACE_S = 60.0
"""How long a batch has to end after it was cancelled, because it took longer than it may."""
_ENDED: dict[types.JobState, Ended] = {
    types.JobState.JOB_STATE_SUCCEEDED: "succeeded",
    types.JobState.JOB_STATE_PARTIALLY_SUCCEEDED: "succeeded",
    types.JobState.JOB_STATE_FAILED: "failed",
    types.JobState.JOB_STATE_CANCELLED: "cancelled",
    types.JobState.JOB_STATE_EXPIRED: "expired",
}

T = TypeVar("T")
Tries = dict[Place, tuple[Try, ...]]


@dataclass(frozen=True, slots=True)
class Batching:
    """Sends the batches of one sitting and waits for each until `wait_s` after it was sent.

    With `wait_s` 0 none is sent, and those that are open end now. `tell` is told what becomes of them meanwhile.
    """

    client: genai.Client
    files: FilesApi
    asker: Asker
    model: str
    skus: tuple[str, ...]
    policy: RetryPolicy
    clock: Clock
    wait_s: float
    tell: Tell

    def ask(self, questions: Iterable[Question], calls: Calls, stop: threading.Event) -> Tries:
        """What batches made of these questions, those of earlier sittings included; the others are yet to be asked.

        Raises `JudgeUnavailable` when it cannot be learnt what became of a batch, which stays open then.
        """
        wanted = {question.place: question for question in questions}
        known = calls.batches.all()
        found: Tries = {}
        for batch in known:
            if batch.answers is None:
                awaited = self._await(batch, wanted, calls)
                found |= {place: tries for place, tries in awaited.items() if not _never_sent(tries)}
            else:
                # Answers that were of no use have been asked for again, or whoever asked was told why not.
                tries = self._tries(batch, batch.answers, wanted)
                found |= {place: (one,) for place, one in tries if one.heard is not None}
        left = [question for place, question in wanted.items() if place not in found]
        taken = self.wait_s > 0
        while taken and len(left) > 1:  # nobody waits for one
            sent: list[Batch] = []
            while left and (one := self._send(left, calls, stop)) is not None:
                if isinstance(one, Batch):
                    sent.append(one)
                    continue
                found |= one
                taken = False
                break
            for batch in sent:
                found |= self._await(batch, wanted, calls)
            taken = taken and bool(sent)
        self.files.needed = False
        self.files.delete(sorted({name for batch in known for name in batch.uploads if batch.answers is None}))
        return found

    def cancel(self, calls: Calls) -> int:
        """Ask the API to end every batch that is open; how many. The next sitting learns what became of their calls."""
        cancelled = 0
        for batch in calls.batches.all():
            if batch.answers is not None:
                continue
            name = batch.name or self._surely(functools.partial(self._listed, batch))
            if name is not None:
                self._surely(functools.partial(self.client.batches.cancel, name=name))
                cancelled += 1
        return cancelled

    def _send(self, left: list[Question], calls: Calls, stop: threading.Event) -> Batch | Tries | None:
        """Send questions from the front of `left`: as many as a file holds and the cap allows; None when that is none.

        A batch that the API does not take is a try of each of its questions.
        """
        room = calls.room(self.skus)
        with tempfile.NamedTemporaryFile(prefix="pointsman-batch-", suffix=".jsonl") as file:
            taken = self._written(left, room, file, stop)
            if not taken:
                return None
            path = Path(file.name)
            with path.open("rb") as whole:
                sha256 = hashlib.file_digest(whole, "sha256").hexdigest()
            uploaded = self._patiently(lambda: self.files.upload(path, sha256, "application/jsonl", stop))
        if isinstance(uploaded, Problem):  # an upload is no try
            return None
        self.files.needed = True
        batch = calls.batches.open([question.place for question in taken], self.skus, self.files.names)
        name = self._patiently(functools.partial(self._create, batch, uploaded[0], itertools.count()))
        if isinstance(name, Problem) and name.retry == "later":
            name = self._surely(functools.partial(self._listed, batch)) or name
        if isinstance(name, str):
            return calls.batches.named(batch, name)
        tries = [
            failed_try(name, one.number, self.skus, batch.sent, self.clock.now(), detail={"batch": batch.id})
            for one in batch.calls
        ]
        self._close(batch, "not_sent", [None] * len(tries), tries, calls)
        return {question.place: (one,) for question, one in zip(taken, tries, strict=True)}

    def _create(self, batch: Batch, file_name: str, tries: Iterator[int]) -> str:
        # What a try before seemed not to have done it may have done.
        if next(tries) and (name := self._listed(batch)) is not None:
            return name
        config = types.CreateBatchJobConfig(display_name=batch.id)
        made = self.client.batches.create(model=self.model, src=file_name, config=config)
        if made.name is None:
            raise ValueError("the answer names no batch")
        return made.name

    def _listed(self, batch: Batch) -> str | None:
        """The API's name of the batch that was sent under our id, if there is one."""
        listed = self.client.batches.list(config=types.ListBatchJobsConfig(page_size=100))
        return next((one.name for one in listed if one.display_name == batch.id), None)

    def _await(self, batch: Batch, wanted: Mapping[Place, Question], calls: Calls) -> Tries:
        """Wait for it to end, and put what came of it on record."""
        ended: Ended = "not_sent"
        answers: list[Answer] = [None] * len(batch.calls)
        file_name = None
        if batch.name is None and (name := self._surely(functools.partial(self._listed, batch))) is not None:
            batch = calls.batches.named(batch, name)
        if batch.name is not None:
            news = BatchNews(batch, batch.name, self.tell)
            ended, file_name = self._ended(batch, batch.name, news)
            if file_name is not None:
                content = self._surely(lambda: self.client.files.download(file=file_name))
                ended, answers = ("lost", answers) if content is None else (ended, answers_in(content, len(answers)))
            news.ended(ended, sum(answer is not None for answer in answers))
        tries = self._tries(replace(batch, state=ended), answers, wanted)
        self._close(batch, ended, answers, [one for _, one in tries], calls)
        # Only now: whoever is killed before needs it again.
        if file_name is not None:
            self.files.delete([file_name])
        if batch.name is not None:
            with contextlib.suppress(*ASKING_FAILED):
                self.client.batches.delete(name=batch.name)
        return {place: (one,) for place, one in tries if place in wanted}

    def _close(self, batch: Batch, ended: Ended, answers: list[Answer], tries: list[Try], calls: Calls) -> None:
        attempts = [one.attempt for one in tries if one.attempt is not None]
        calls.batches.close(batch, ended, answers, attempts)

    def _tries(
        self, batch: Batch, answers: Sequence[Answer], wanted: Mapping[Place, Question]
    ) -> list[tuple[Place, Try]]:
        now = self.clock.now()
        places = [(call.subject, call.key) for call in batch.calls]
        return [
            (place, read_call(batch, call, answer, wanted.get(place), self.skus, now))
            for place, call, answer in zip(places, batch.calls, answers, strict=True)
        ]

    def _ended(self, batch: Batch, name: str, news: BatchNews) -> tuple[Ended, str | None]:
        """Wait until it has ended: how, and the file of its answers. One that takes too long is cancelled."""
        until = batch.sent + timedelta(seconds=self.wait_s)
        pause, cancelled = FIRST_LOOK_S, False
        while True:
            job = self._surely(lambda: self.client.batches.get(name=name))
            if job is None:
                return "lost", None
            if job.state in _ENDED:
                ended = _ENDED[job.state]
                file_name = job.dest.file_name if job.dest is not None else None
                return ("late" if cancelled and ended == "cancelled" else ended), file_name
            now = self.clock.now()
            if now >= until and cancelled:
                return "late", None
            if now >= until:
                self._surely(lambda: self.client.batches.cancel(name=name))
                cancelled, pause, until = True, FIRST_LOOK_S, now + timedelta(seconds=GRACE_S)
            news.looked(job.state, now, until=until, cancelled=cancelled)
            self.clock.sleep(min(pause, max(1.0, (until - now).total_seconds())))
            pause = min(pause * 1.5, RAREST_LOOK_S)

    def _surely(self, call: Callable[[], T]) -> T | None:
        """What it answers; None where the API knows of no such thing. Raises `JudgeUnavailable`."""
        answer = self._patiently(call)
        if not isinstance(answer, Problem):
            return answer
        if answer.code == "model_not_found":  # 404
            return None
        raise JudgeUnavailable(
            f"Gemini ({self.model}) did not say what became of a batch: {answer.what}.",
            instruction="Judge again with --reopen: the batch is on record and is looked for first.",
            code=answer.code,
        )

    def _patiently(self, call: Callable[[], T]) -> T | Problem:
        """What it answers, or what went wrong the last time that was worth trying."""
        failures = 0
        while True:
            try:
                return call()
            except UploadFailed as error:
                problem, asked = upload_problem(error), error.asked_wait
            except ASKING_FAILED as error:
                problem, asked = problem_of(error), asked_by(error, self.clock.now())
            failures += 1
            wait = asked or self.policy.backoff("batch", failures)
            if problem.retry == "never" or failures >= self.policy.attempts or wait > self.policy.patience_s:
                return problem
            self.clock.sleep(wait)

    def _written(
        self, left: list[Question], room: int | None, file: IO[bytes], stop: threading.Event
    ) -> list[Question]:
        taken: list[Question] = []
        while left and file.tell() < FILE_BYTES and (room is None or len(taken) < room):
            question = left.pop(0)
            ready = self.asker.ready(question, stop)
            if isinstance(ready, Try):  # what is wrong with it shows when it is asked at once
                continue
            line = {"key": str(len(taken)), "request": request_of(question, ready)}
            file.write(json.dumps(line).encode() + b"\n")
            taken.append(question)
        file.flush()
        return taken


def _never_sent(tries: tuple[Try, ...]) -> bool:
    return any(one.problem is not None and one.problem.code == "not_sent" for one in tries)
