"""A flagd flag definition that holds a flag for each route, as a file or as a hosted configuration has it."""

from __future__ import annotations

import json
from typing import Any

from pointsman.errors import Conflict, InputRefused
from pointsman.ids import RouteKey
from pointsman.model import Binding
from pointsman.routing.gateways.flagd_flag import binding_of, flag_of

_SCHEMA = "https://flagd.dev/schema/v0/flags.json"


def new_document() -> dict[str, Any]:
    """One without any flag."""
    return {"$schema": _SCHEMA, "flags": {}}


def read_document(text: bytes) -> dict[str, Any]:
    """Raises ValueError, in words that follow the name of the place, for what is no flag definition."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
        raise ValueError("is not a flagd definition with an object `flags`")
    return document


def write_document(document: dict[str, Any]) -> bytes:
    """As `read_document` reads it."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def binding_in(document: dict[str, Any], key: RouteKey) -> Binding | None:
    """The binding of a route, or None. Raises ValueError for a flag that is no binding."""
    flag = document["flags"].get(str(key))
    if flag is None:
        return None
    try:
        return binding_of(key, flag)
    except (ValueError, InputRefused) as error:
        raise ValueError(f"holds a flag {key} that is no binding: {error}") from error


def put_binding(
    document: dict[str, Any], new: Binding, shown: Binding | None, expected: int | None, *, where: str
) -> bool:
    """Put `new` in, as the protocol of gateways says; False when it is there already. Raises `Conflict`."""
    if shown == new:
        return False
    refuse_unless_newer(new, shown, expected, where=where)
    document["flags"][str(new.route_key)] = flag_of(new)
    return True


def refuse_unless_newer(new: Binding, shown: Binding | None, expected: int | None, *, where: str) -> None:
    """Raise `Conflict` when another generation than `expected` is shown, or `new` is not newer than it."""
    generation = shown.generation if shown else None
    if generation != expected or (generation is not None and new.generation <= generation):
        raise Conflict(
            f"{where} shows generation {generation} of {new.route_key}; generation {new.generation} was to replace "
            f"generation {expected}.",
            instruction=f"pointsman route show {new.route_key}",
            code="gateway_conflict",
            route_key=str(new.route_key),
            shown=generation,
        )
