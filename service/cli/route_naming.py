"""Naming a route on the command line: by its key, or not at all where only one has a binding."""

from __future__ import annotations

from typing import Annotated

import typer

from pointsman.errors import InputRefused
from pointsman.ids import RouteKey
from pointsman.routing import routes
from pointsman.workspace import Workspace

RouteArgument = Annotated[str | None, typer.Argument(help="er:..:env:..:stage:..; may be left out when there is one.")]


def route_of(ws: Workspace, text: str | None) -> RouteKey:
    """The route of this name; the only one that has a binding where none is named."""
    if text is not None:
        return RouteKey.parse(text)
    known = routes(ws)
    if not known:
        allowed = "a route that has a binding, and none has one yet"
        raise InputRefused("route", text, allowed, instruction="pointsman route apply --help")
    if len(known) > 1:
        raise InputRefused("route", text, f"one of {', '.join(map(str, known))}")
    return known[0]
