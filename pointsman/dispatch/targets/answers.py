"""Sections of a preset that say how to read an API's answers. Values are JMESPath expressions unless it says so."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pointsman.dispatch.targets.requests import PATH, RequestSection
from pointsman.dispatch.targets.section import Section
from pointsman.model import AttemptOutcome

JobState = Literal["submitted", "queued", "leased", "completed", "failed", "cancelled"]


class OutputFields(Section):
    """Where the output is: at a path of the target, at a URL, or in the answer itself. What is found counts."""

    output_path: str | None = Field(default=None, pattern=PATH)
    """A path template, not an expression."""
    output_url: str | None = None
    """An absolute URL, a path of the target, or a data: URI."""
    output_base64: str | None = None
    output_text: str | None = None
    output_sha256: str | None = None
    output_bytes: str | None = None


class JobSection(OutputFields):
    state: str
    states: dict[str, JobState]
    dispatch_id: str | None = None
    """None = the document does not name the dispatch, it is the one asked for."""
    job_id: str | None = None
    reason: str | None = None
    refused: str | None = None
    """True for an ended job whose input or output the provider's moderation turned down."""
    version: str | None = Field(default=None, pattern=r"(?s)^([^$].*|\$params\.[A-Za-z0-9_]+)$")
    """The model or the version of it that did the job. Where answers do not tell, `$params.name` is the variant's
    parameter that names it."""
    variant: str | None = None
    generation: str | None = None
    queue_ms: str | None = None
    run_ms: str | None = None
    run_s: str | None = None
    started: str | None = None
    """When the target took the job."""
    running_since: str | None = None
    ended: str | None = None


class ResultSection(RequestSection, OutputFields):
    """For APIs that tell the state and the result at different places: asked once a job is said to be completed."""

    refused: str | None = None
    version: str | None = None


class ErrorsSection(Section):
    """Answers other than success."""

    reason: str | None = None
    refused: str | None = None
    """True when the provider's moderation turned the job down."""
    final: str | None = None
    """True when it is of no use to send the request again, although the status (429, 503) reads like a wish to wait:
    money or a quota that is used up."""


class UsageSection(Section):
    sku: str
    product: tuple[str, ...] = Field(min_length=1)
    basis: Literal["measured", "estimated"]


class AttemptsSection(Section):
    list: str | None = None
    """None = the job document tells of one attempt, which has the outcome and the provider of the dispatch."""
    number: str | None = None
    provider: str | None = None
    outcome: str | None = None
    started: str | None = None
    ended: str | None = None
    outcomes: dict[str, AttemptOutcome] = Field(default_factory=dict)
    usage: tuple[UsageSection, ...] = ()
