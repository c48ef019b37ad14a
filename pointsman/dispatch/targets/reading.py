"""Reading one value out of an answer: plain dotted paths directly, anything else through JMESPath."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

from pointsman.errors import InputRefused, RunFailed

Read: TypeAlias = Callable[[Any], Any]
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")


def garbage(what: str) -> RunFailed:
    """The error for an answer that cannot be understood."""
    return RunFailed(f"The target's answer cannot be understood: {what}.", code="garbage_answer")


def nothing(_: Any) -> None:
    return None


def compile_path(expression: str | None) -> Read:
    """A function from a document to the value at `expression`, None where there is none. Raises `InputRefused`."""
    if expression is None:
        return nothing
    if _DOTTED.match(expression):
        # Nearly every expression is a plain path, and polls read thousands of documents a second.
        names = expression.split(".")
        return _one(names[0]) if len(names) == 1 else _nested(names)
    import jmespath  # type: ignore[import-untyped]
    from jmespath.exceptions import JMESPathError  # type: ignore[import-untyped]

    try:
        compiled = jmespath.compile(expression)
    except JMESPathError as error:
        raise InputRefused("JMESPath expression", expression, f"a JMESPath expression ({error})") from error

    def search(document: Any) -> Any:
        try:
            return compiled.search(document)
        except JMESPathError as error:
            raise garbage(f"{expression} failed: {error}") from error

    return search


def _one(name: str) -> Read:
    def read(document: Any) -> Any:
        return document.get(name) if isinstance(document, dict) else None

    return read


def _nested(names: list[str]) -> Read:
    def read(document: Any) -> Any:
        for name in names:
            if not isinstance(document, dict):
                return None
            document = document.get(name)
        return document

    return read


def as_text(value: Any, what: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise garbage(f"{what} is {value!r:.60}, not a string")


def as_count(value: Any, what: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise garbage(f"{what} is {value!r:.60}, not a whole number of 0 or more")


def as_milliseconds(value: Any, what: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and 0 <= value < 10**12:
        return float(value)
    raise garbage(f"{what} is {value!r:.60}, not a number of 0 or more")


def as_quantity(value: Any, what: str) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, float):
        value = Decimal(str(value))  # a literal in an expression: numbers of answers are read as Decimal
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and 0 <= value < 10**15:
        return Decimal(value)
    raise garbage(f"{what} is {value!r:.60}, not a number of 0 or more")


def as_time(value: Any, what: str) -> datetime | None:
    """An ISO 8601 time as UTC; one without an offset counts as UTC."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    raise garbage(f"{what} is {value!r:.60}, not an ISO 8601 time")
