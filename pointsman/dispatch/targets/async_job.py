"""The generic target for asynchronous job APIs (submit, ask, cancel, fetch), configured by a preset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from pointsman.dispatch.protocol import Capabilities, Purpose, Request, Response, Update
from pointsman.dispatch.targets.job_document import JobReader
from pointsman.dispatch.targets.preset import Preset, RequestSection
from pointsman.dispatch.targets.reading import as_text, compile_path, garbage
from pointsman.errors import RunFailed
from pointsman.ids import RouteKey, VariantId
from pointsman.model import InputMember, Variant

_JSON = {"content-type": "application/json"}
_NONE: Mapping[str, str] = {}
_MARK = "\x00"
_LONGEST_REASON = 200


class AsyncJobTarget:
    """Sans-IO adapter: builds requests from the preset's templates and reads answers with its expressions."""

    def __init__(self, preset: Preset) -> None:
        self._preset = preset
        self._capabilities = preset.capabilities.build()
        self._reader = JobReader(preset.job, preset.attempts) if preset.job is not None else None
        self._jobs = compile_path(preset.poll.jobs if preset.poll else None)
        self._absent = compile_path(preset.poll.absent if preset.poll else None)
        self._bodies: dict[tuple[VariantId | RouteKey, str], _Body] = {}

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def submit(
        self, dispatch_id: str, route: VariantId | RouteKey, variant: Variant | None, member: InputMember
    ) -> Request:
        section = self._preset.submit
        if section.body is None:
            return Request(section.method, _path(section, dispatch_id, None), (dispatch_id,), _NONE, None)
        # The body differs between dispatches of one route and input only in the dispatch id.
        key = (route, member.input_id)
        body = self._bodies.get(key)
        if body is None or body.variant is not variant or body.member is not member:
            body = self._bodies[key] = _Body(section, route, variant, member)
        return Request(section.method, _path(section, dispatch_id, None), (dispatch_id,), _JSON, body.of(dispatch_id))

    def poll(self, jobs: Sequence[tuple[str, str | None]]) -> Request:
        section = self._preset.poll
        if section is None or not 1 <= len(jobs) <= self._capabilities.batch_status:
            raise AssertionError(f"a poll for {len(jobs)} jobs at a target that answers {self._capabilities}")
        dispatch_id, job_id = jobs[0]
        values = {"dispatch_ids": [job[0] for job in jobs], "job_ids": [job[1] for job in jobs if job[1] is not None]}
        return _request(section, dispatch_id, job_id, tuple(job[0] for job in jobs), values, "poll")

    def cancel(self, dispatch_id: str, job_id: str | None) -> Request:
        section = self._preset.cancel
        if section is None:
            raise AssertionError("a cancel at a target that cannot cancel")
        return _request(section, dispatch_id, job_id, (dispatch_id,), {}, "cancel")

    def parse(self, sent: Request, got: Response) -> Sequence[Update]:
        """What the answer says, oldest knowledge first. Raises `RunFailed` with code `garbage_answer`."""
        if sent.purpose == "submit":
            if 200 <= got.status < 300:
                if self._preset.submit.final:
                    return (Update(sent.asks_for[0], "completed"),)
            elif 300 <= got.status < 500:
                return (Update(sent.asks_for[0], "refused", reason=_refusal(got)),)
        elif got.status == 404 and len(sent.asks_for) == 1:
            return (Update(sent.asks_for[0], "absent"),)
        if not 200 <= got.status < 300:
            raise garbage(f"HTTP status {got.status}")
        document = _json(got.body)
        if sent.purpose != "poll" or self._preset.poll is None or self._preset.poll.jobs is None:
            return (self._job(document, sent.asks_for),)
        return tuple(self._batch(document, sent.asks_for))

    def _batch(self, document: Any, asked: tuple[str, ...]) -> Iterator[Update]:
        jobs = self._jobs(document)
        if not isinstance(jobs, list):
            raise garbage("it holds no list of jobs")
        among = set(asked)
        for job in jobs:
            try:
                update = self._job(job, asked)
            except RunFailed:
                continue  # one bad document says nothing against its neighbours; its dispatch is asked about again
            if update.dispatch_id in among:
                yield update
        absent = self._absent(document)
        for dispatch_id in absent if isinstance(absent, list) else ():
            if dispatch_id in among:
                yield Update(dispatch_id, "absent")

    def _job(self, document: Any, asked: tuple[str, ...]) -> Update:
        if self._reader is None:
            raise garbage("the preset has no [job] section")
        update = self._reader.read(document, asked[0] if len(asked) == 1 else None)
        path = self._reader.output_path
        if path is None or update.state != "completed":
            return update
        return replace(update, output_path=_fill(path, update.dispatch_id, update.job_id))


class _Body:
    """The submit body of one route and input, cut where the dispatch id goes."""

    __slots__ = ("member", "pieces", "variant")

    def __init__(
        self, section: RequestSection, route: VariantId | RouteKey, variant: Variant | None, member: InputMember
    ) -> None:
        self.variant = variant
        self.member = member
        pinned = route if isinstance(route, VariantId) else None
        values: dict[str, Any] = {
            "dispatch_id": _MARK,
            "variant": str(pinned) if pinned else None,
            "workflow": pinned.workflow if pinned else None,
            "provider": pinned.provider if pinned else None,
            "route_key": None if pinned else str(route),
            "params": dict(variant.params) if variant else {},
            "input_id": member.input_id,
            "input_uri": member.uri,
            "input_sha256": member.sha256,
        }
        text = json.dumps(_substitute(section.body, values), separators=(",", ":"))
        self.pieces = [piece.encode() for piece in text.split(json.dumps(_MARK))]

    def of(self, dispatch_id: str) -> bytes:
        return (b'"%s"' % dispatch_id.encode()).join(self.pieces)


def _substitute(template: Any, values: Mapping[str, Any]) -> Any:
    """Fill `$name` strings in; a key whose value is None is left out."""
    if isinstance(template, str) and template.startswith("$"):
        return values.get(template[1:])
    if isinstance(template, dict):
        filled = {key: _substitute(value, values) for key, value in template.items()}
        return {key: value for key, value in filled.items() if value is not None}
    if isinstance(template, list):
        return [_substitute(value, values) for value in template]
    return template


def _fill(path: str, dispatch_id: str, job_id: str | None) -> str:
    if "$" not in path:
        return path
    filled = path.replace("$dispatch_id", quote(dispatch_id, safe=""))
    return filled.replace("$job_id", quote(job_id, safe="")) if job_id is not None else filled


def _path(section: RequestSection, dispatch_id: str, job_id: str | None) -> str:
    return _fill(section.path, dispatch_id, job_id)


def _request(
    section: RequestSection,
    dispatch_id: str,
    job_id: str | None,
    asks_for: tuple[str, ...],
    values: Mapping[str, Any],
    purpose: Purpose,
) -> Request:
    path = _path(section, dispatch_id, job_id)
    if section.body is None:
        return Request(section.method, path, asks_for, _NONE, None, purpose)
    filled = _substitute(section.body, {"dispatch_id": dispatch_id, "job_id": job_id, **values})
    return Request(section.method, path, asks_for, _JSON, json.dumps(filled, separators=(",", ":")).encode(), purpose)


def _json(body: bytes) -> Any:
    try:
        # Decimal, because quantities are multiplied and billed.
        return json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise garbage("it is not JSON") from error


def _refusal(got: Response) -> str:
    """`http_<status>`, and the words of a problem document (RFC 9457) if there are any."""
    reason = f"http_{got.status}"
    try:
        document = _json(got.body)
    except RunFailed:
        return reason
    if isinstance(document, dict):
        for name in ("detail", "title", "code"):
            words = document.get(name)
            if isinstance(words, str) and words:
                return f"{reason}: {as_text(words, name)}"[:_LONGEST_REASON]
    return reason
