"""Filling the templates of a preset: paths, headers and bodies of requests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from pointsman.dispatch.targets.inputs import input_values
from pointsman.dispatch.targets.reading import garbage
from pointsman.dispatch.targets.requests import RequestSection
from pointsman.errors import InputRefused
from pointsman.ids import RouteKey, VariantId
from pointsman.model import InputMember, Variant

_MARK = "\x00"
_SEGMENT = re.compile(r"[!$%&'()*+,\-.0-9:;=@A-Z_a-z~]+\Z")
_QUERY = re.compile(r"[!-~]*\Z")
_PARAMETER = re.compile(r"\$params\.([A-Za-z0-9_]+)")


def fill_path(path: str, dispatch_id: str, job_id: str | None, params: Mapping[str, Any] | None = None) -> str:
    """`$dispatch_id`, `$job_id` (as one segment), `$job_path` (as the path it is) and `$params.name` in a path.

    Raises `InputRefused` for a parameter that the variant does not have, and `garbage_answer` when the target's job id
    cannot be a path.
    """
    if "$" not in path:
        return path
    filled = _PARAMETER.sub(lambda found: _parameter(found.group(1), params or {}), path)
    filled = filled.replace("$dispatch_id", quote(dispatch_id, safe=""))
    if job_id is None:
        return filled
    if "$job_path" in filled:
        filled = filled.replace("$job_path", as_path(job_id))
    return filled.replace("$job_id", quote(job_id, safe=""))


def _parameter(name: str, params: Mapping[str, Any]) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value or not all(map(_is_segment, value.strip("/").split("/"))):
        raise InputRefused(
            f"variant parameter {name}",
            value,
            "text that can stand in a path",
            instruction=f"The target's preset puts it into the path of the request: give the variant a {name}.",
        )
    return value.strip("/")


def _is_segment(text: str) -> bool:
    return text not in (".", "..") and _SEGMENT.match(text) is not None


def as_path(job_id: str) -> str:
    """A job id that is a URL or a resource name, as a path without the slash at its start. Hosts are left out: every
    request goes to the target's own."""
    parts = urlsplit(job_id)
    segments = parts.path.strip("/").split("/")
    if not all(map(_is_segment, segments)) or not _QUERY.match(parts.query):
        raise garbage(f"job id {job_id!r:.60} is no path")
    return "/".join(segments) + (f"?{parts.query}" if parts.query else "")


def fill_headers(section: RequestSection, dispatch_id: str, also: Mapping[str, str]) -> Mapping[str, str]:
    """The headers of one request: its own and `also`."""
    if not section.headers:
        return also
    return {**{name: value.replace("$dispatch_id", dispatch_id) for name, value in section.headers.items()}, **also}


def substitute(template: Any, values: Mapping[str, Any]) -> Any:
    """Fill `$name` strings in; a key whose value is None is left out. `$params.name` is one of the parameters."""
    if isinstance(template, str) and template.startswith("$"):
        name, _, key = template[1:].partition(".")
        found = values.get(name)
        return found if not key else found.get(key) if isinstance(found, dict) else None
    if isinstance(template, dict):
        filled = {key: substitute(value, values) for key, value in template.items()}
        return {key: value for key, value in filled.items() if value is not None}
    if isinstance(template, list):
        return [substitute(value, values) for value in template]
    return template


class SubmitBody:
    """The submit body of one route and input, cut where the dispatch id goes."""

    __slots__ = ("member", "pieces", "variant")

    def __init__(
        self, section: RequestSection, route: VariantId | RouteKey, variant: Variant | None, member: InputMember
    ) -> None:
        self.variant = variant
        self.member = member
        pinned = route if isinstance(route, VariantId) else None
        params = dict(variant.params) if variant else {}
        inputs = input_values(member, _names(section.body) | _names(params))
        values: dict[str, Any] = {
            "dispatch_id": _MARK,
            "variant": str(pinned) if pinned else None,
            "workflow": pinned.workflow if pinned else None,
            "provider": pinned.provider if pinned else None,
            "route_key": None if pinned else str(route),
            # Only the parameters know where a model wants its input.
            "params": _with_inputs(params, inputs),
            **inputs,
        }
        text = json.dumps(substitute(section.body, values), separators=(",", ":"))
        self.pieces = [piece.encode() for piece in text.split(json.dumps(_MARK))]

    def of(self, dispatch_id: str) -> bytes:
        return (b'"%s"' % dispatch_id.encode()).join(self.pieces)


def _names(template: Any) -> set[str]:
    """The `$names` in a template."""
    if isinstance(template, str):
        return {template[1:]} if template.startswith("$") else set()
    parts = template.values() if isinstance(template, dict) else template if isinstance(template, list) else ()
    return {name for part in parts for name in _names(part)}


def _with_inputs(params: Any, inputs: Mapping[str, str]) -> Any:
    """Parameters with `$input_uri` and its like filled in; any other text stays as it is."""
    if isinstance(params, str):
        return inputs.get(params[1:], params) if params.startswith("$") else params
    if isinstance(params, dict):
        return {key: _with_inputs(value, inputs) for key, value in params.items()}
    if isinstance(params, list):
        return [_with_inputs(value, inputs) for value in params]
    return params
