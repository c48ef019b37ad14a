"""The HTTP API of the effects backend, as starlette routes over the store and the fleet."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lab.effects.catalogue import EFFECT_REVISION, WORKFLOWS, Provider
from lab.effects.faults import Faults, FaultyAnswers
from lab.effects.fleet import Fleet
from lab.effects.inputs import InputGate
from lab.effects.problems import Refused, problem
from lab.effects.records import TERMINAL, Job, NewJob, job_document
from lab.effects.requests import FaultRequest, InstanceStop, JobRequest, StatusRequest
from lab.effects.routes import Router
from lab.effects.store import Store
from pointsman.canonical import sha256_of
from pointsman.errors import InputRefused
from pointsman.ids import RouteKey, VariantId, derive
from pointsman.settings import Secret

_SECRET_HEADER = b"x-studio-executor-secret"
_BODY_LIMIT = 1 << 20
_CANCEL_PATIENCE_S = 1.0

Body = TypeVar("Body", bound=BaseModel)


class Api:
    """The handlers. All of them run on one event loop, so a look at the store and the change after it are one step
    unless there is an `await` in between."""

    def __init__(
        self, store: Store, fleet: Fleet, inputs: InputGate, router: Router, providers: Sequence[Provider]
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._inputs = inputs
        self._router = router
        self._providers = {provider.name: provider for provider in providers}
        self._faults = Faults()
        self._started_at = datetime.now(UTC)

    def application(self, secret: Secret, *, allow_faults: bool) -> Starlette:
        routes = [
            Route("/healthz", self._health),
            Route("/v1/jobs", self._submit, methods=["POST"]),
            Route("/v1/jobs/status", self._status, methods=["POST"]),
            Route("/v1/jobs/{dispatch_id}", self._read),
            Route("/v1/jobs/{dispatch_id}/cancel", self._cancel, methods=["POST"]),
            Route("/v1/jobs/{dispatch_id}/output", self._output),
            Route("/v1/stats", self._stats),
            Route("/v1/instances", self._instances),
            Route("/v1/instances/{instance_id}/stop", self._stop_instance, methods=["POST"]),
            Route("/v1/instances/{instance_id}/start", self._start_instance, methods=["POST"]),
        ]
        middleware = [Middleware(_Authorised, secret=secret)]
        if allow_faults:
            routes.append(Route("/v1/faults", self._ask_fault, methods=["POST"]))
            middleware.append(Middleware(FaultyAnswers, faults=self._faults))
        return Starlette(
            routes=routes,
            middleware=middleware,
            exception_handlers={Refused: _refused, HTTPException: _unrouted},
        )

    async def _health(self, request: Request) -> Response:
        return JSONResponse(
            {
                "status": "ok",
                "providers": [
                    {"name": p.name, "workers": p.workers, "vcpus": p.vcpus, "memory_gb": p.memory_gb}
                    for p in self._providers.values()
                ],
                "started_at": self._started_at.isoformat(),
            }
        )

    async def _submit(self, request: Request) -> Response:
        asked = await _body(request, JobRequest)
        content = sha256_of(asked.model_dump())
        known = self._store.job(asked.dispatch_id)
        if known is not None:
            return self._repeat(known, content)
        source = await asyncio.to_thread(self._inputs.admit, asked.input.uri, asked.input.sha256)
        variant, route, generation = await self._place(asked)
        workflow = WORKFLOWS[variant.workflow]
        try:
            workflow.with_params(asked.params)
        except InputRefused as refused:
            raise _unprocessable("params_refused", refused) from refused
        accepted = self._store.accept(
            NewJob(
                dispatch_id=asked.dispatch_id,
                job_id=derive("lab job", asked.dispatch_id),
                content_sha256=content,
                variant=str(variant),
                route_key=None if route is None else str(route),
                generation=generation,
                provider=variant.provider,
                workflow=variant.workflow,
                params=json.dumps(asked.params),
                source=str(source),
            )
        )
        job = self._found(asked.dispatch_id)
        if not accepted:
            return self._repeat(job, content)
        self._fleet.wake(variant.provider)
        return self._answer(self._found(asked.dispatch_id), status=202)

    def _repeat(self, job: Job, content: str) -> Response:
        if job.content_sha256 != content:
            raise Refused(
                409,
                "dispatch_id_reused",
                f"dispatch_id: {job.dispatch_id} was accepted before with another variant, route, input or params.",
                "Send the same content again to get its job, or use a new dispatch_id.",
            )
        self._store.count_repeat(job.dispatch_id)
        return self._answer(job)

    async def _place(self, asked: JobRequest) -> tuple[VariantId, RouteKey | None, int | None]:
        route, generation = None, None
        try:
            if asked.route_key is not None:
                route = RouteKey.parse(asked.route_key)
                variant, generation = await asyncio.to_thread(self._router.resolve, route, asked.dispatch_id)
            else:
                assert asked.variant is not None
                variant = VariantId.parse(asked.variant)
            for field, value, allowed in (
                ("effect revision", variant.effect_revision, [EFFECT_REVISION]),
                ("workflow", variant.workflow, list(WORKFLOWS)),
                ("provider", variant.provider, list(self._providers)),
            ):
                if value not in allowed:
                    raise InputRefused(f"variant, {field}", value, ", ".join(allowed))
        except InputRefused as refused:
            raise _unprocessable("variant_refused", refused) from refused
        return variant, route, generation

    async def _status(self, request: Request) -> Response:
        asked = await _body(request, StatusRequest)
        jobs = self._store.jobs(asked.ids)
        attempts = self._store.attempts(asked.ids)
        known = {job.dispatch_id for job in jobs}
        return JSONResponse(
            {
                "jobs": [job_document(job, attempts[job.dispatch_id]) for job in jobs],
                "unknown": [dispatch_id for dispatch_id in dict.fromkeys(asked.ids) if dispatch_id not in known],
            }
        )

    async def _read(self, request: Request) -> Response:
        return self._answer(self._found(request.path_params["dispatch_id"]))

    async def _cancel(self, request: Request) -> Response:
        dispatch_id = self._found(request.path_params["dispatch_id"]).dispatch_id
        self._store.cancel(dispatch_id)
        number = self._store.running_attempt(dispatch_id)
        if number is not None:
            self._fleet.stop(dispatch_id, number)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _CANCEL_PATIENCE_S
        while (job := self._found(dispatch_id)).status not in TERMINAL and loop.time() < give_up:
            await asyncio.sleep(0.01)
        return self._answer(job, status=200 if job.status in TERMINAL else 202)

    async def _output(self, request: Request) -> Response:
        job = self._found(request.path_params["dispatch_id"])
        if job.status != "completed":
            raise Refused(
                404,
                "no_output",
                f"{job.dispatch_id} is {job.status}, so it has no output.",
                "Ask for the output of a completed job.",
            )
        return FileResponse(self._fleet.output(job), media_type="video/mp4")

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(self._store.stats())

    async def _instances(self, request: Request) -> Response:
        return JSONResponse({"instances": self._fleet.instances()})

    async def _stop_instance(self, request: Request) -> Response:
        asked = await _body(request, InstanceStop)
        wanted = request.path_params["instance_id"]
        freeze = asked.kind == "freeze"
        if not self._fleet.stop_instance(wanted, freeze=freeze, at_most_s=asked.at_most_s):
            raise _no_instance(wanted)
        return JSONResponse({"instance_id": wanted, "running": False})

    async def _start_instance(self, request: Request) -> Response:
        wanted = request.path_params["instance_id"]
        if not self._fleet.start_instance(wanted):
            raise _no_instance(wanted)
        return JSONResponse({"instance_id": wanted, "running": True})

    async def _ask_fault(self, request: Request) -> Response:
        asked = await _body(request, FaultRequest)
        self._faults.ask(asked)
        return JSONResponse(asked.model_dump())

    def _found(self, dispatch_id: str) -> Job:
        job = self._store.job(dispatch_id)
        if job is None:
            raise Refused(404, "unknown_job", f"No job has dispatch_id {dispatch_id}.", "POST /v1/jobs makes one.")
        return job

    def _answer(self, job: Job, status: int = 200) -> Response:
        attempts = self._store.attempts([job.dispatch_id])[job.dispatch_id]
        return JSONResponse(job_document(job, attempts), status_code=status)


class _Authorised:
    """ASGI middleware: everything under /v1 needs the executor secret, compared in constant time."""

    def __init__(self, app: ASGIApp, secret: Secret) -> None:
        self._app = app
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(_SECRET_HEADER, b"")
        if scope["path"].startswith("/v1") and not hmac.compare_digest(given, self._secret.reveal().encode()):
            refused = Refused(
                401,
                "executor_secret_wrong",
                "X-Studio-Executor-Secret is missing or wrong.",
                "Send the secret that the lab was started with (STUDIO_EXECUTOR_SECRET).",
            )
            await problem(refused)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _body(request: Request, model: type[Body]) -> Body:
    """The validated body. Raises `Refused`: 413 when it is too long, 422 for whatever the model does not take."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_LIMIT:
            raise Refused(413, "body_too_long", f"The body is longer than {_BODY_LIMIT} bytes.", "Send less at once.")
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise Refused(
            422, "request_refused", f"{where}: {first['msg']}.", "Send JSON with the fields of the API and no others."
        ) from error


def _no_instance(instance_id: str) -> Refused:
    return Refused(
        404, "unknown_instance", f"No worker belongs to instance {instance_id}.", "GET /v1/instances lists them."
    )


def _unprocessable(code: str, refused: InputRefused) -> Refused:
    return Refused(422, code, refused.message, "`python -m lab.effects --catalogue` lists what there is.")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problem(error)


async def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"{request.method} {request.url.path}: {error.detail}."
    return problem(Refused(error.status_code, "no_such_call", detail, "GET /healthz answers; jobs are under /v1/jobs."))
