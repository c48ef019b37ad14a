"""Refusals as RFC 9457 problem documents: a stable code, what is wrong, and what to do next."""

from __future__ import annotations

from starlette.responses import JSONResponse


class Refused(Exception):
    """A request that is answered with a problem document. Nothing was stored."""

    def __init__(self, status: int, code: str, detail: str, instruction: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.instruction = instruction


_TITLES = {
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def problem(refused: Refused) -> JSONResponse:
    document = {
        "type": "about:blank",
        "title": _TITLES.get(refused.status, "Error"),
        "status": refused.status,
        "code": refused.code,
        "detail": refused.detail,
        "instruction": refused.instruction,
    }
    return JSONResponse(document, status_code=refused.status, media_type="application/problem+json")
