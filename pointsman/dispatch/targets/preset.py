"""The form of a target preset: a TOML file that says which requests a job API takes and how to read its answers.

Requests are templates: the string `$name` becomes the value of that name, and a key whose value is not known is left
out. Answers are read with JMESPath.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from pointsman.dispatch.protocol import Capabilities
from pointsman.dispatch.targets.answers import AttemptsSection, ErrorsSection, JobSection, ResultSection
from pointsman.dispatch.targets.policies import (
    CapabilitiesSection,
    HiddenRetriesSection,
    OutputsSection,
    RatesSection,
)
from pointsman.dispatch.targets.requests import (
    CancelSection,
    CredentialSection,
    Headers,
    PollSection,
    SubmitSection,
    check_headers,
)
from pointsman.dispatch.targets.section import Section
from pointsman.errors import InputRefused, NotFound

_BUILT_IN = Path(__file__).parent / "presets"
BUILT_IN_PRESETS = tuple(sorted(path.stem for path in _BUILT_IN.glob("*.toml")))
"""Names of the presets that come with Pointsman."""


class Preset(Section):
    capabilities: CapabilitiesSection = CapabilitiesSection()
    credential: CredentialSection | None = None
    headers: Headers = Field(default_factory=dict)
    """Sent with every request to the target."""
    rates: RatesSection = RatesSection()
    hidden_retries: HiddenRetriesSection | None = None
    outputs: OutputsSection = OutputsSection()
    submit: SubmitSection
    poll: PollSection | None = None
    result: ResultSection | None = None
    cancel: CancelSection | None = None
    job: JobSection | None = None
    attempts: AttemptsSection | None = None
    errors: ErrorsSection = ErrorsSection()

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Preset:
        batch = self.batch_status
        if (batch > 0) != (self.poll is not None):
            raise ValueError("a [poll] section belongs to capabilities.batch_status of 1 or more, and only there")
        if self.submit.final != (self.poll is None):
            raise ValueError("without [poll] submit.final must be true, with it false")
        if self.poll is not None and self.job is None:
            raise ValueError("[poll] needs a [job] section")
        by_dispatch = self.capabilities.status_by_dispatch_id
        if self.poll is not None and self.job is not None and self.job.job_id is None and not by_dispatch:
            raise ValueError("[poll] needs job.job_id, or capabilities.status_by_dispatch_id = true")
        if by_dispatch and self.poll is not None and "$job_" in self.poll.path:
            raise ValueError("poll.path must name $dispatch_id: with status_by_dispatch_id there may be no job id yet")
        if batch > 1 and self.poll is not None and self.poll.jobs is None:
            raise ValueError("poll.jobs must say where the list of jobs is when batch_status is above 1")
        if self.result is not None and self.poll is None:
            raise ValueError("[result] needs a [poll] section")
        if self.credential is not None and self.credential.header.lower() in {name.lower() for name in self.headers}:
            raise ValueError(f"header {self.credential.header} is given twice: in [credential] and in [headers]")
        if self.hidden_retries is not None:
            check_headers(self.hidden_retries.off)
        return self

    @property
    def batch_status(self) -> int:
        told = self.capabilities.batch_status
        return told if told is not None else int(self.poll is not None)

    def build_capabilities(self) -> Capabilities:
        retries = self.hidden_retries
        return Capabilities(
            idempotent_submit=self.capabilities.idempotent_submit,
            status_by_dispatch_id=self.capabilities.status_by_dispatch_id,
            batch_status=self.batch_status,
            cancel=self.cancel is not None,
            usage=self.attempts is not None and bool(self.attempts.usage),
            needs_executor_secret=self.capabilities.needs_executor_secret,
            answer_is_job=self.submit.final and self.job is not None,
            has_result=self.result is not None,
            submits_per_s=self.rates.submits_per_s,
            polls_per_s=self.rates.polls_per_s,
            hidden_retries=retries.most if retries is not None and not retries.off else 0,
            output_lifetime_s=self.outputs.lifetime_s,
            cancel_requests=1 + len(self.cancel.then) if self.cancel is not None else 0,
            names_version=self.job is not None and (self.job.version or "").startswith("$"),
            answer_within_s=self.submit.answer_within_s,
        )


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
        # What stands in a header may be a key that does not belong there.
        shown = "(hidden)" if "headers" in where else first.get("input")
        raise InputRefused(f"target preset {name}, {where or 'sections'}", shown, first["msg"]) from error
