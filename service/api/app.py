"""The application: its routes, and every error as a problem document of RFC 9457."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from pointsman.errors import Conflict, DependencyDown, GuardRefused, InputRefused, NotFound, PointsmanError
from pointsman.version import code_version
from pointsman.workspace import Workspace
from service.api import economics
from service.api.authorization import NOT_PROVEN

PREFIX = "/api/admin/studio"
_STATUS = ((NotFound, 404), (InputRefused, 422), (Conflict, 409), (GuardRefused, 403), (DependencyDown, 503))


def create_app(ws: Workspace) -> FastAPI:
    """The API over one workspace."""
    app = FastAPI(title="Pointsman", version=code_version())
    app.state.workspace = ws
    app.add_exception_handler(PointsmanError, _told)
    app.add_exception_handler(RequestValidationError, _refused)
    app.include_router(economics.router, prefix=PREFIX)
    return app


def _told(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PointsmanError)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if error.code in NOT_PROVEN:
        status = 401
    return _problem(status, error)


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return _problem(422, InputRefused(field, first.get("input"), first["msg"], instruction="GET /openapi.json"))


def _problem(status: int, error: PointsmanError) -> JSONResponse:
    document = {"title": error.code.replace("_", " "), "status": status, "detail": error.message}
    document |= {"code": error.code, "instruction": error.instruction}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(document, status, headers, media_type="application/problem+json")
