"""Who asks: the holder of the token that a request carries, as `Authorization: Bearer`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from pointsman.errors import GuardRefused
from pointsman.safety import Identity, who_acts
from pointsman.settings import Secret
from pointsman.workspace import Workspace

NOT_PROVEN = ("token_missing", "token_unknown", "token_revoked")
_BEARER = HTTPBearer(auto_error=False, description="A token of `pointsman token create`.")


def workspace(request: Request) -> Workspace:
    """The workspace that the API was made for."""
    found: Workspace = request.app.state.workspace
    return found


def asking(
    ws: Annotated[Workspace, Depends(workspace)],
    told: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> Identity:
    """Raises `GuardRefused` for a request without a token that holds. Whoever has one may look."""
    if told is None:
        raise GuardRefused(
            "The request carries no token.",
            instruction="Send `Authorization: Bearer` with a token; an admin makes one: `pointsman token create`.",
            code="token_missing",
        )
    return who_acts(ws, Secret(told.credentials))


OpenWorkspace = Annotated[Workspace, Depends(workspace)]
Asking = Annotated[Identity, Depends(asking)]
