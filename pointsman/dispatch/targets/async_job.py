"""The generic target for asynchronous job APIs (submit, ask, cancel, fetch), configured by a preset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pointsman.dispatch.protocol import Capabilities, Purpose, Rejection, Request, Response, Update
from pointsman.dispatch.targets.job_document import JobReader, ResultReader
from pointsman.dispatch.targets.preset import Preset
from pointsman.dispatch.targets.reading import compile_path, garbage
from pointsman.dispatch.targets.refusals import ErrorReader
from pointsman.dispatch.targets.requests import RequestSection
from pointsman.dispatch.targets.templates import SubmitBody, as_path, fill_headers, fill_path, substitute
from pointsman.errors import RunFailed
from pointsman.ids import RouteKey, VariantId
from pointsman.model import InputMember, Variant

_JSON = {"content-type": "application/json"}
_NONE: Mapping[str, str] = {}


class AsyncJobTarget:
    """Sans-IO adapter: builds requests from the preset's templates and reads answers with its expressions."""

    def __init__(self, preset: Preset) -> None:
        self._preset = preset
        self._capabilities = preset.build_capabilities()
        self._reader = JobReader(preset.job, preset.attempts) if preset.job is not None else None
        self._result = ResultReader(preset.result) if preset.result is not None else None
        self._errors = ErrorReader(preset.errors)
        self._jobs = compile_path(preset.poll.jobs if preset.poll else None)
        self._absent = compile_path(preset.poll.absent if preset.poll else None)
        self._bodies: dict[tuple[VariantId | RouteKey, str], SubmitBody] = {}
        cancels = (preset.cancel, *preset.cancel.then) if preset.cancel is not None else ()
        self._cancels: tuple[RequestSection, ...] = cancels
        sections = (preset.poll, preset.result, *cancels)
        self._id_is_path = any("$job_path" in one.path for one in sections if one is not None)
        off = preset.hidden_retries.off if preset.hidden_retries is not None else {}
        self._bare = off or _NONE
        self._with_body = {**_JSON, **off}

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def submit(
        self, dispatch_id: str, route: VariantId | RouteKey, variant: Variant | None, member: InputMember
    ) -> Request:
        section = self._preset.submit
        path = fill_path(section.path, dispatch_id, None, variant.params if variant else None)
        if section.body is None:
            return Request(section.method, path, (dispatch_id,), fill_headers(section, dispatch_id, self._bare), None)
        # The body differs between dispatches of one route and input only in the dispatch id.
        key = (route, member.input_id)
        body = self._bodies.get(key)
        if body is None or body.variant is not variant or body.member is not member:
            body = self._bodies[key] = SubmitBody(section, route, variant, member)
        headers = fill_headers(section, dispatch_id, self._with_body)
        return Request(section.method, path, (dispatch_id,), headers, body.of(dispatch_id))

    def version(self, variant: Variant | None) -> str | None:
        if not self._capabilities.names_version or self._preset.job is None or variant is None:
            return None
        found = substitute(self._preset.job.version, {"params": dict(variant.params)})
        return found if isinstance(found, str) else None

    def poll(self, jobs: Sequence[tuple[str, str | None]]) -> Request:
        section = self._preset.poll
        if section is None or not 1 <= len(jobs) <= self._capabilities.batch_status:
            raise AssertionError(f"a poll for {len(jobs)} jobs at a target that answers {self._capabilities}")
        dispatch_id, job_id = jobs[0]
        values = {"dispatch_ids": [job[0] for job in jobs], "job_ids": [job[1] for job in jobs if job[1] is not None]}
        return _request(section, dispatch_id, job_id, tuple(job[0] for job in jobs), values, "poll")

    def result(self, dispatch_id: str, job_id: str | None) -> Request:
        section = self._preset.result
        if section is None:
            raise AssertionError("a result at a target that has none")
        return _request(section, dispatch_id, job_id, (dispatch_id,), {}, "result")

    def cancel(self, dispatch_id: str, job_id: str | None) -> Sequence[Request]:
        if not self._cancels:
            raise AssertionError("a cancel at a target that cannot cancel")
        return [_request(one, dispatch_id, job_id, (dispatch_id,), {}, "cancel") for one in self._cancels]

    def rejection(self, got: Response) -> Rejection:
        return self._errors.read(got)

    def parse(self, sent: Request, got: Response) -> Sequence[Update]:
        """What the answer says, oldest knowledge first. Raises `RunFailed` with code `garbage_answer`."""
        if not 200 <= got.status < 300:
            return (self._not_a_success(sent, got),)
        if sent.purpose == "submit" and self._preset.submit.final and self._reader is None:
            return (Update(sent.asks_for[0], "completed"),)
        if sent.purpose == "cancel" and self._preset.cancel is not None and not self._preset.cancel.tells:
            return ()
        document = _json(got.body)
        if sent.purpose == "result" and self._result is not None:
            return (self._result.read(document, sent.asks_for[0]),)
        if sent.purpose != "poll" or self._preset.poll is None or self._preset.poll.jobs is None:
            return (self._job(document, sent.asks_for),)
        return tuple(self._batch(document, sent.asks_for))

    def _not_a_success(self, sent: Request, got: Response) -> Update:
        if sent.purpose == "submit" and 300 <= got.status < 500:
            return Update(sent.asks_for[0], "refused", reason=self._errors.reason(got))
        if sent.purpose == "result":
            refused = self._errors.is_refusal(got)
            return Update(sent.asks_for[0], "refused" if refused else "failed", reason=self._errors.reason(got))
        if got.status == 404 and sent.purpose != "submit" and len(sent.asks_for) == 1:
            return Update(sent.asks_for[0], "absent")
        raise garbage(f"HTTP status {got.status}")

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
        if self._id_is_path and update.job_id is not None:
            as_path(update.job_id)  # now, because requests are made where nobody expects garbage
        if update.state != "completed":
            return update
        if self._result is not None:
            return replace(update, wants_result=True)
        if update.output_path is None:
            return update
        return replace(update, output_path=fill_path(update.output_path, update.dispatch_id, update.job_id))


def _request(
    section: RequestSection,
    dispatch_id: str,
    job_id: str | None,
    asks_for: tuple[str, ...],
    values: Mapping[str, Any],
    purpose: Purpose,
) -> Request:
    path = fill_path(section.path, dispatch_id, job_id)
    if section.body is None:
        return Request(section.method, path, asks_for, fill_headers(section, dispatch_id, _NONE), None, purpose)
    filled = substitute(section.body, {"dispatch_id": dispatch_id, "job_id": job_id, **values})
    body = json.dumps(filled, separators=(",", ":")).encode()
    return Request(section.method, path, asks_for, fill_headers(section, dispatch_id, _JSON), body, purpose)


def _json(body: bytes) -> Any:
    try:
        # Decimal, because quantities are multiplied and billed.
        return json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise garbage("it is not JSON") from error
