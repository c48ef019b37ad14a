"""Sections of a preset that say which requests an API takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, field_validator

from pointsman.dispatch.targets.section import Section

PATH = r"^/([!-.0-~][!-~]*)?$"
"""Of visible ASCII characters, with one slash at the start: it cannot name another host nor break the request line."""
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_VALUE = re.compile(r"[ -~]+\Z")
_OURS = frozenset(
    {"host", "content-length", "content-type", "connection", "transfer-encoding", "upgrade", "te", "trailer"}
)
_SECRET = frozenset({"authorization", "proxy-authorization", "x-api-key", "x-goog-api-key", "cookie"})


def check_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Raises `ValueError` for what would break a request, belongs to the connection (RFC 9110), or is a secret."""
    for name, value in headers.items():
        if name.lower() in _SECRET:
            raise ValueError(f"header {name} carries a secret, which comes from the environment: see [credential]")
        if not _NAME.match(name) or name.lower() in _OURS:
            allowed = f"a token, and none of {', '.join(sorted(_OURS))}"
            raise ValueError(f"header name {name!r:.60} is not allowed; allowed: {allowed}")
        if not _VALUE.match(value):
            raise ValueError(f"the value of header {name} must be of printable ASCII characters")
    return headers


Headers = Annotated[dict[str, str], AfterValidator(check_headers)]


class CredentialSection(Section):
    """The key of an API: the environment variable that holds it, and the header that carries it."""

    variable: str = Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")
    header: str = "Authorization"
    value: str = "Bearer $secret"

    @field_validator("header")
    @classmethod
    def _a_header(cls, value: str) -> str:
        if not _NAME.match(value) or value.lower() in _OURS:
            raise ValueError("allowed: the name of a header that does not belong to the connection")
        return value

    @field_validator("value")
    @classmethod
    def _a_template(cls, value: str) -> str:
        if not _VALUE.match(value) or value.count("$secret") != 1:
            raise ValueError("allowed: printable ASCII characters with $secret in one place")
        return value


class RequestSection(Section):
    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str = Field(pattern=PATH)
    headers: Headers = Field(default_factory=dict)
    """`$dispatch_id` in a value is the dispatch id, e.g. for an idempotency key."""
    body: dict[str, JsonValue] | Annotated[str, Field(pattern=r"^\$[a-z_.]+$")] | None = None
    """A document of templates, or one template that is all of it."""


class SubmitSection(RequestSection):
    final: bool = False
    """A success answer is the end of the job: there is nothing to ask later. With [job] it is read as its document."""
    answer_within_s: float | None = Field(default=None, gt=0, le=3600)
    """How long the answer may take, where that is the whole job."""


class PollSection(RequestSection):
    jobs: str | None = None
    """Where the list of job documents is; None = the answer is one job document."""
    absent: str | None = None
    """Where the list of ids is that the target does not know."""


class CancelSection(RequestSection):
    tells: bool = True
    """Every answer is a job document; otherwise the job is asked about as before."""
    then: tuple[RequestSection, ...] = ()
    """Sent one after the other once the request before was answered, for APIs that end waiting jobs and running ones
    in different ways."""
