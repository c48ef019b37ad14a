"""The form of a target preset: a TOML file that says which requests a job API takes and how to read its answers.

Requests are templates: the string `$name` becomes the value of that name, and a key whose value is not known is left
out. Answers are read with JMESPath.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from pointsman.dispatch.protocol import Capabilities
from pointsman.errors import InputRefused, NotFound
from pointsman.model import AttemptOutcome

_BUILT_IN = Path(__file__).parent / "presets"
BUILT_IN_PRESETS = tuple(sorted(path.stem for path in _BUILT_IN.glob("*.toml")))
"""Names of the presets that come with Pointsman."""
_PATH = r"^/([!-.0-~][!-~]*)?$"
"""Of visible ASCII characters, with one slash at the start: it cannot name another host nor break the request line."""
JobState = Literal["submitted", "queued", "leased", "completed", "failed", "cancelled"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CapabilitiesSection(_Section):
    idempotent_submit: bool
    status_by_dispatch_id: bool
    batch_status: int = Field(ge=0, le=10_000)
    cancel: bool
    usage: bool
    needs_executor_secret: bool

    def build(self) -> Capabilities:
        return Capabilities(**self.model_dump())


class RequestSection(_Section):
    method: Literal["GET", "POST", "DELETE"]
    path: str = Field(pattern=_PATH)
    body: dict[str, JsonValue] | None = None


class SubmitSection(RequestSection):
    final: bool = False
    """A success answer is the end of the job: there is nothing to ask later."""


class PollSection(RequestSection):
    jobs: str | None = None
    """Where the list of job documents is; None = the answer is one job document."""
    absent: str | None = None
    """Where the list of ids is that the target does not know."""


class JobSection(_Section):
    state: str
    states: dict[str, JobState]
    dispatch_id: str | None = None
    """None = the document does not name the dispatch, it is the one asked for."""
    job_id: str | None = None
    reason: str | None = None
    variant: str | None = None
    generation: str | None = None
    queue_ms: str | None = None
    run_ms: str | None = None
    started: str | None = None
    ended: str | None = None
    output_sha256: str | None = None
    output_bytes: str | None = None
    output_path: str | None = Field(default=None, pattern=_PATH)
    """A path template, not an expression."""


class UsageSection(_Section):
    sku: str
    product: tuple[str, ...] = Field(min_length=1)
    basis: Literal["measured", "estimated"]


class AttemptsSection(_Section):
    list: str
    number: str
    provider: str
    outcome: str
    started: str
    ended: str
    outcomes: dict[str, AttemptOutcome]
    usage: tuple[UsageSection, ...] = ()


class Preset(_Section):
    capabilities: CapabilitiesSection
    submit: SubmitSection
    poll: PollSection | None = None
    cancel: RequestSection | None = None
    job: JobSection | None = None
    attempts: AttemptsSection | None = None

    @model_validator(mode="after")
    def _sections_match_capabilities(self) -> Preset:
        if (self.capabilities.batch_status > 0) != (self.poll is not None):
            raise ValueError("a [poll] section belongs to capabilities.batch_status of 1 or more, and only there")
        if self.capabilities.cancel != (self.cancel is not None):
            raise ValueError("a [cancel] section belongs to capabilities.cancel = true, and only there")
        if self.submit.final != (self.poll is None):
            raise ValueError("without [poll] submit.final must be true, with it false")
        if self.poll is not None and self.job is None:
            raise ValueError("[poll] needs a [job] section")
        if self.capabilities.batch_status > 1 and self.poll is not None and self.poll.jobs is None:
            raise ValueError("poll.jobs must say where the list of jobs is when batch_status is above 1")
        return self


def load_preset(name: str) -> Preset:
    """Read a built-in preset by name, or a TOML file by path. Raises `NotFound` or `InputRefused`."""
    is_path = name.endswith(".toml") or "/" in name
    path = Path(name) if is_path else _BUILT_IN / f"{name}.toml"
    if not path.is_file():
        raise NotFound("target preset", name, f"{', '.join(BUILT_IN_PRESETS)}, or the path of a .toml file")
    try:
        return Preset.model_validate(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputRefused("target preset", name, f"a TOML file ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputRefused(f"target preset {name}, {where or 'sections'}", first.get("input"), first["msg"]) from error
