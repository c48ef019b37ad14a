"""What a judge is: something with one identity that turns samples into evaluations from 0 to 100.

Two identities never meet in one comparison: scores of different judges, models or rubrics do not share a scale.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from pointsman.errors import DependencyDown
from pointsman.model import Json, Number

if TYPE_CHECKING:
    from pointsman.quality.batches import LedgerBatches

NO_REFERENCE = "no reference"
"""`scores["basis"]` of an output that was looked at without its source: such checks alone never make a quality."""


@dataclass(frozen=True, slots=True)
class JudgeIdentity:
    """Who judges: `rubric_sha256` covers everything beside the model that decides how a score comes about."""

    name: str
    model: str
    rubric_sha256: str

    def as_document(self) -> dict[str, Json]:
        return {"name": self.name, "model": self.model, "rubric_sha256": self.rubric_sha256}


@dataclass(frozen=True, slots=True)
class Sample:
    """One output to judge. `blind_label` is all that a judge outside may see of its identity.

    `reference` is what a judge that compares holds it against: the incumbent's output of the same input and repeat,
    which may be this very output; None where it made none, and for judges that do not compare.
    """

    dispatch_id: str
    output: Path
    source: Path | None
    blind_label: str
    reference: Path | None = None


@dataclass(frozen=True, slots=True)
class JudgeUsage:
    """What one attempt used, in the units of its sku; `Missing` where it may have been billed and is not known."""

    sku: str
    quantity: Number
    basis: Literal["measured", "estimated"] = "measured"


JudgeOutcome = Literal["completed", "failed", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class JudgeAttempt:
    """One try at judging one sample.

    `number` counts from 1, or is the one that `Calls.begin` gave; `code` names what went wrong, None when nothing did.
    """

    number: int
    outcome: JudgeOutcome
    started: datetime
    ended: datetime
    usage: tuple[JudgeUsage, ...] = ()
    code: str | None = None
    detail: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The judgement of one sample: quality from 0 to 100, or why there is none.

    `transcript` is what was asked and answered, kept in the results store; None when nobody was asked.
    """

    dispatch_id: str
    quality: Number
    scores: Mapping[str, Json]
    attempts: tuple[JudgeAttempt, ...]
    transcript: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class FailedJudgement:
    """A sample that the judge gave up on; its attempts may have been billed all the same."""

    dispatch_id: str
    attempts: tuple[JudgeAttempt, ...]
    transcript: Mapping[str, Json] | None = None


class JudgeUnavailable(DependencyDown):
    """The judge failed for good: retries are used up, or none would help. The comparison needs another judge."""

    default_code = "judge_unavailable"

    def __init__(
        self, message: str, *, instruction: str = "", code: str | None = None, failed: Sequence[FailedJudgement] = ()
    ) -> None:
        self.failed = tuple(failed)
        super().__init__(message, instruction=instruction, code=code)


@dataclass(frozen=True, slots=True)
class BatchCall:
    """One call of a batch: what it is about, which of the questions about that it asks, and its attempt's number."""

    subject: str
    key: str
    number: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Calls that were sent together. `name` is the service's, None until it is known; `id` is told to the service.

    `answers` are what came back, call by call, None for one that has no answer; None as a whole while the batch is
    open. `state` is then how it ended. `uploads` are files that the service holds until it has ended.
    """

    id: str
    calls: tuple[BatchCall, ...]
    uploads: tuple[str, ...]
    sent: datetime
    name: str | None = None
    state: str | None = None
    answers: tuple[Mapping[str, Json] | None, ...] | None = None


class Calls(Protocol):
    """The record of the calls that a judge makes of others: each stands in it before it is made. Thread-safe."""

    @property
    def batches(self) -> LedgerBatches: ...

    def begin(self, subject: str, skus: tuple[str, ...]) -> int:
        """Write down that a call about `subject` (a dispatch id, say), billed by `skus`, is about to be made.

        Returns its number. Raises `JudgeUnavailable` (`spend_cap`) when nothing more may be spent.
        """
        ...

    def room(self, skus: tuple[str, ...]) -> int | None:
        """How many calls the cap allows to be sent together, each as dear as the dearest so far; None: any number."""
        ...

    def end(self, subject: str, attempt: JudgeAttempt) -> None:
        """Write down what came of the call that `attempt.number` names."""
        ...


@runtime_checkable
class SendsBatches(Protocol):
    """A judge whose calls can be waited for by others than those who made them."""

    def cancel_batches(self, calls: Calls) -> int:
        """Ask the service to end what is open; how many batches that were. Raises `JudgeUnavailable`."""
        ...


class Judge(Protocol):
    @property
    def identity(self) -> JudgeIdentity: ...

    @property
    def billed_skus(self) -> tuple[str, ...]:
        """The skus that an attempt is billed by; empty when judging costs nothing outside this machine."""
        ...

    def judge(self, samples: Iterable[Sample], calls: Calls) -> Generator[Evaluation, None, None]:
        """Evaluate the samples, in whatever order they get done. Whatever may be billed goes through `calls`.

        `samples` is read in the caller's thread, one by one, only when there is room to start; when it ends early, what
        has begun is still finished and given back. Raises `JudgeUnavailable` after giving back what did succeed.
        Closing the generator stops what is running.
        """
        ...
