"""Scenarios from files and forms: whatever is wrong becomes one refusal that names the field and what is allowed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ValidationError

from pointsman.errors import InputRefused, NotFound
from pointsman.scenario.model import Scenario
from pointsman.scenario.trace import described

_READERS: Mapping[str, Callable[[str], Any]] = {
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
    ".json": json.loads,
    ".toml": tomllib.loads,
}
_MAX_BYTES = 262_144


def load_scenario(path: Path) -> Scenario:
    """The scenario in a YAML, JSON or TOML file; its traces are looked for beside it.

    Raises `NotFound` for no file, `InputRefused` for a bad one.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputRefused("scenario file", str(path), f"a file that ends in {', '.join(_READERS)}")
    if not path.is_file():
        raise NotFound("scenario file", str(path), "the path of a file that exists")
    if path.stat().st_size > _MAX_BYTES:
        raise InputRefused("scenario file", str(path), f"at most {_MAX_BYTES:,} bytes")
    try:
        document = reader(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        why = " ".join(str(error).split())
        raise InputRefused("scenario file", str(path), f"readable {path.suffix[1:].upper()} ({why})") from error
    return parse_scenario(described(document, path.parent))


def parse_scenario(document: object) -> Scenario:
    """The scenario that a parsed document describes. Raises `InputRefused` naming the path of the first bad field."""
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        raise _refusal(error) from error


def _refusal(error: ValidationError) -> InputRefused:
    # A bad stage is also reported as "too few stages": only the innermost problems say something.
    problems = error.errors(include_url=False)
    innermost = [one for one in problems if not any(_is_within(other["loc"], one["loc"]) for other in problems)]
    first = innermost[0]
    path = ".".join(str(part) for part in first["loc"])
    context = first.get("ctx", {})
    value: object = first["input"]
    if first["type"] == "not_allowed":
        path = ".".join(part for part in (path, context["field"]) if part)
        value, allowed = context["value"], context["allowed"]
    elif first["type"] == "missing":
        value, allowed = "nothing", "a value; the field is required"
    elif first["type"] == "extra_forbidden":
        path, allowed = f"{path} (unknown field)", f"the fields {', '.join(_owner(first['loc']).model_fields)}"
    elif first["type"] == "string_pattern_mismatch":
        allowed = "1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
    else:
        allowed = _range(first["loc"]) or first["msg"].removeprefix("Input should be ")
    others = len(innermost) - 1
    return InputRefused(
        f"scenario, {path}" if path else "scenario",
        value,
        allowed,
        instruction=f"{others} more {'field is' if others == 1 else 'fields are'} wrong." if others else "",
    )


def _is_within(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _owner(loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The model that the end of the path is a field of."""
    model: type[BaseModel] = Scenario
    for part in loc[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field's type holds, as itself or as an item."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one)) is not None), None)


def _range(loc: tuple[int | str, ...]) -> str | None:
    """The bounds of a number, as the form shows them."""
    if not loc:
        return None
    field = _owner(loc).model_json_schema()["properties"].get(loc[-1], {})
    number = field.get("anyOf", [field])[0]
    return f"{number['minimum']} to {number['maximum']}" if "maximum" in number else None
