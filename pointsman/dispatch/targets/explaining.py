"""Saying which expression of a preset does not fit a target's answers, what is there instead, and what to change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from pointsman.dispatch.protocol import Purpose
from pointsman.dispatch.targets.answers import JobSection, OutputFields, ResultSection
from pointsman.dispatch.targets.preset import Preset
from pointsman.dispatch.targets.reading import (
    as_count,
    as_milliseconds,
    as_quantity,
    as_text,
    as_time,
    compile_path,
)
from pointsman.errors import PointsmanError, RunFailed

_LONGEST = 120
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_DEEPEST = 4
_KINDS: Mapping[str, Callable[[Any, str], object]] = {
    **dict.fromkeys(("dispatch_id", "job_id", "variant", "version", "output_sha256"), as_text),
    **dict.fromkeys(("generation", "output_bytes"), as_count),
    **dict.fromkeys(("queue_ms", "run_ms", "run_s"), as_milliseconds),
    **dict.fromkeys(("started", "running_since", "ended"), as_time),
}
_AT_THE_END = ("version", "queue_ms", "run_ms", "run_s", "started", "running_since", "ended")
_OUTPUT = ("output_url", "output_base64", "output_text")


@dataclass(frozen=True, slots=True)
class Finding:
    """`where` = section and key of the preset; `saw` = the answer at that place, shortened."""

    where: str
    expression: str
    saw: str
    advice: str
    blocks: bool = True
    """Without a change no job can be followed to its end."""


def explain(preset: Preset, purpose: Purpose, status: int, body: str) -> list[Finding]:
    """What does not fit in one answer; empty when all of it was understood."""
    if status in (401, 403):
        return [_unauthorised(preset, status, body)]
    if not 200 <= status < 300:
        return _not_a_success(preset, purpose, status, body)
    if purpose == "submit" and preset.submit.final and preset.job is None:
        return []
    if purpose == "cancel":
        return []
    try:
        document = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        advice = f"Compare {purpose}.method and {purpose}.path with the API's description: this is no JSON document."
        return [Finding(f"{purpose}.path", _path(preset, purpose), _short(body), advice)]
    if purpose == "result":
        return list(_output(document, preset.result, "result")) if preset.result is not None else []
    if purpose == "poll" and preset.poll is not None and preset.poll.jobs is not None:
        jobs = _read(preset.poll.jobs, document)
        if not isinstance(jobs, list) or not jobs:
            return [_missing("poll.jobs", preset.poll.jobs, document, "a list of job documents")]
        document = jobs[0]
    return list(_job(preset, preset.job, document, purpose)) if preset.job is not None else []


def _job(preset: Preset, job: JobSection, document: Any, purpose: Purpose) -> Iterator[Finding]:
    word = _read(job.state, document)
    if not isinstance(word, str):
        yield _missing("job.state", job.state, document, "the word for the job's state")
    elif word not in job.states:
        known = ", ".join(job.states)
        advice = f'Add to [job.states]: "{word}" = one of submitted, queued, leased, completed, failed, cancelled.'
        yield Finding("job.states", known, f"state {_short(word)}", advice)
    names_job = any("$job_" in _path(preset, one) for one in ("poll", "result", "cancel"))
    if purpose == "submit" and names_job and (job.job_id is None or _read(job.job_id, document) is None):
        yield _missing("job.job_id", job.job_id or "(not set)", document, "the id to ask for later")
    yield from _wrong_kinds(job, document)
    if not isinstance(word, str) or job.states.get(word) != "completed":
        return
    for name in _AT_THE_END:
        expression = getattr(job, name)
        if expression is None or expression.startswith("$"):
            continue
        if _read(expression, document) is None:
            yield _missing(f"job.{name}", expression, document, "a value of the ended job", blocks=False)
    if preset.result is None:
        yield from _output(document, job, "job")
    if preset.attempts is not None and preset.attempts.list is None:
        for number, usage in enumerate(preset.attempts.usage):
            for factor in usage.product:
                yield from _factor(f"attempts.usage[{number}].product", factor, document)


def _wrong_kinds(job: JobSection, document: Any) -> Iterator[Finding]:
    for name, convert in _KINDS.items():
        expression = getattr(job, name)
        if expression is None or expression.startswith("$"):
            continue
        try:
            convert(_read(expression, document), name)
        except RunFailed as error:
            yield Finding(f"job.{name}", expression, _there(expression, document), error.message)


def _factor(where: str, factor: str, document: Any) -> Iterator[Finding]:
    try:
        if as_quantity(_read(factor, document), factor) is None:
            yield _missing(where, factor, document, "a quantity; without it the job has no price", blocks=False)
    except RunFailed as error:
        yield Finding(where, factor, _there(factor, document), error.message)


def _output(document: Any, section: JobSection | ResultSection, name: str) -> Iterator[Finding]:
    told = {field: getattr(section, field) for field in _OUTPUT if getattr(section, field) is not None}
    if told and section.output_path is None and all(_read(one, document) in (None, "") for one in told.values()):
        for field, expression in told.items():
            yield _missing(f"{name}.{field}", expression, document, "the output or its URL", blocks=False)
    yield from _wrong_output(document, section, name, told)


def _wrong_output(document: Any, section: OutputFields, name: str, told: Mapping[str, str]) -> Iterator[Finding]:
    for field, expression in told.items():
        value = _read(expression, document)
        if value is not None and not isinstance(value, str):
            advice = f"{name}.{field} must lead to text; this is {_kind(value)}: go on to what is in it."
            yield Finding(f"{name}.{field}", expression, _short(_shown(value)), advice)


def _unauthorised(preset: Preset, status: int, body: str) -> Finding:
    key = preset.credential
    if key is None:
        advice = "Say in [credential] which variable holds the key and which header carries it."
        return Finding("credential", "(not set)", f"HTTP {status}: {_short(body)}", advice)
    advice = f"Check the value of {key.variable}, and that the API wants it in {key.header} in this form."
    return Finding("credential", f"{key.header}: {key.value}", f"HTTP {status}: {_short(body)}", advice)


def _not_a_success(preset: Preset, purpose: Purpose, status: int, body: str) -> list[Finding]:
    saw = f"HTTP {status}: {_short(body)}"
    if status == 429 or status >= 500:
        return []
    if status in (404, 405) or 300 <= status < 400:
        advice = f"Compare {purpose}.method and {purpose}.path (and the base URL) with the API's description."
        if purpose != "submit":
            advice += " The id in the path is what job.job_id found in the answer to the submission."
        return [Finding(f"{purpose}.path", _path(preset, purpose), saw, advice)]
    advice = f"It does not take the request: compare {purpose}.body and the variant's parameters with its words."
    return [Finding(f"{purpose}.body", _path(preset, purpose), saw, advice)]


def _missing(where: str, expression: str, document: Any, wanted: str, *, blocks: bool = True) -> Finding:
    similar = _similar(expression, document)
    advice = f"It should lead to {wanted}."
    if similar:
        advice += f" Did you mean {' or '.join(similar)}?"
    return Finding(where, expression, _there(expression, document), advice, blocks)


def _read(expression: str, document: Any) -> Any:
    try:
        return compile_path(expression)(document)
    except PointsmanError:
        return None


def _there(expression: str, document: Any) -> str:
    """What the answer has where the expression stops leading on."""
    reached, at = "the answer", document
    if _PLAIN.match(expression):
        for name in expression.split("."):
            if not isinstance(at, dict) or name not in at:
                break
            reached, at = name if reached == "the answer" else f"{reached}.{name}", at[name]
    if isinstance(at, dict):
        return _short(f"{reached} has {', '.join(map(str, at)) or 'nothing in it'}")
    return _short(f"{reached} is {_shown(at)}")


def _similar(expression: str, document: Any) -> list[str]:
    """Paths of the answer whose last name is that of the expression, or nearly."""
    if not _PLAIN.match(expression):
        return []
    wanted = expression.rpartition(".")[2]
    paths = dict(_paths(document, "", 0))
    last = {path.rpartition(".")[2] for path in paths}
    names = {*get_close_matches(wanted, last, n=2, cutoff=0.6), *(one for one in last if one.endswith(wanted))}
    return sorted((path for path in paths if path.rpartition(".")[2] in names and path != expression), key=len)[:3]


def _paths(document: Any, before: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(document, dict) and depth < _DEEPEST:
        for name, value in document.items():
            if isinstance(name, str) and _PLAIN.match(name):
                yield before + name, value
                yield from _paths(value, f"{before}{name}.", depth + 1)


def _path(preset: Preset, purpose: str) -> str:
    section = getattr(preset, purpose)
    return section.path if section is not None else ""


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", bool: "true or false"}.get(type(value), "a number")


def _shown(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 3] + "..."
