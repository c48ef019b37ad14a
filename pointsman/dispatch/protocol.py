"""What a dispatch target is: a sans-IO adapter that says which request to make and what an answer means.

The driver owns the transport, so one adapter serves the hot path, the tests and `targets check` alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from pointsman.ids import RouteKey, VariantId
from pointsman.model import AttemptOutcome, InputMember, Number, Variant

Purpose = Literal["submit", "poll", "cancel", "result"]


NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Request(NamedTuple):
    """One HTTP request, relative to the target's base URL. `asks_for` = the dispatch ids whose fate it may tell.

    A named tuple, like `Response`: there is one for every dispatch, and a frozen dataclass takes four times as long.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    asks_for: tuple[str, ...]
    headers: Mapping[str, str] = NO_HEADERS
    body: bytes | None = None
    purpose: Purpose = "submit"


class Response(NamedTuple):
    """What came back. `headers` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Rejection(NamedTuple):
    """What an answer other than success says."""

    reason: str
    """Its status and the provider's words."""
    final: bool
    """The same request will not be answered otherwise while a drive lasts: sending it again is of no use."""


@dataclass(frozen=True, slots=True)
class UsageReport:
    sku: str
    quantity: Number
    basis: Literal["measured", "estimated"]


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """One billable try as the target tells it."""

    number: int
    provider: str | None
    """None = the variant's."""
    outcome: AttemptOutcome
    started: datetime | None
    """None = when it was sent."""
    ended: datetime | None
    usage: tuple[UsageReport, ...] = ()


TargetState = Literal["submitted", "queued", "leased", "completed", "failed", "refused", "cancelled", "absent"]
"""`refused` = the target would not do the job: it did not take it, or its moderation turned it down, before or after
running it (the reason begins with `moderation`); `absent` = the target says that it does not know the id."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one answer says about one dispatch. Times in milliseconds by the target's own clock."""

    dispatch_id: str
    state: TargetState
    job_id: str | None = None
    reason: str | None = None
    variant: str | None = None
    generation: int | None = None
    queue_ms: float | None = None
    run_ms: float | None = None
    elapsed_ms: float | None = None
    """From taking the job to its end: finer than the interval at which we ask."""
    attempts: tuple[AttemptReport, ...] = ()
    version: str | None = None
    """The model or the version of it that did the job, by the target's own name."""
    wants_result: bool = False
    """It is completed, but what came of it has to be asked for: `DispatchTarget.result`."""
    ended_at: datetime | None = None
    output_path: str | None = None
    """Where to fetch the output: a path under the base URL, once completed."""
    output_url: str | None = None
    """Where to fetch it, if that may be elsewhere: an absolute URL."""
    output_inline: bytes | None = None
    """The output itself."""
    output_sha256: str | None = None
    output_bytes: int | None = None

    @property
    def has_output(self) -> bool:
        """Whether there is something to keep."""
        return (self.output_path or self.output_url) is not None or self.output_inline is not None


@dataclass(frozen=True, slots=True)
class Capabilities:
    idempotent_submit: bool
    """A repeated submission of one dispatch id is one job: only then may the driver send again."""
    status_by_dispatch_id: bool
    """The target can be asked about a dispatch whose submission was never answered."""
    batch_status: int
    """How many jobs one status request may name; 1 = no batch endpoint; 0 = no status: the submit answer is final."""
    cancel: bool
    usage: bool
    needs_executor_secret: bool
    answer_is_job: bool = False
    """The submit answer is final, and tells more than that."""
    has_result: bool = False
    """A completed job is asked for its result, which may be a failure after all."""
    submits_per_s: float | None = None
    polls_per_s: float | None = None
    """Requests a second that the target allows; None = it does not say."""
    hidden_retries: int = 0
    """How often the provider may run a failed job again without saying so; latencies and usage hide that."""
    output_lifetime_s: float | None = None
    """How long after the end of a job its output can be had; None = as long as it takes."""
    cancel_requests: int = 1
    """How many requests it takes to end one job."""
    names_version: bool = False
    """The variant's parameters say which model or version does the job, and answers do not."""
    answer_within_s: float | None = None
    """How long the answer to a submission may take, if that is longer than usual."""


class DispatchTarget(Protocol):
    @property
    def capabilities(self) -> Capabilities: ...

    def submit(
        self, dispatch_id: str, route: VariantId | RouteKey, variant: Variant | None, member: InputMember
    ) -> Request:
        """The request that starts one job. `variant` is None for a routed dispatch: the gateway decides.

        The id is that of `pointsman.model.Dispatch`; deriving it takes longer than everything else about a request, so
        the plan holds it.
        """
        ...

    def version(self, variant: Variant | None) -> str | None:
        """The model or version that the variant's parameters name, where that is how it is known."""
        ...

    def poll(self, jobs: Sequence[tuple[str, str | None]]) -> Request:
        """The request that asks for the state of (dispatch id, job id) pairs, at most `batch_status` of them."""
        ...

    def result(self, dispatch_id: str, job_id: str | None) -> Request:
        """The request for what came of a completed job, where the target tells that apart from its state."""
        ...

    def cancel(self, dispatch_id: str, job_id: str | None) -> Sequence[Request]:
        """The requests that end one job, each to be answered before the next is sent."""
        ...

    def rejection(self, got: Response) -> Rejection:
        """What an answer other than success says. Whatever it holds, this does not fail."""
        ...

    def parse(self, sent: Request, got: Response) -> Sequence[Update]:
        """What the answer says. Raises `RunFailed` with code `garbage_answer` when it cannot be understood."""
        ...
