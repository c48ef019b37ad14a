"""IAM's decision about one call: an explicit deny wins, then an allow is needed. Enough of it for our templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

Decision = Literal["allowed", "denied", "not allowed"]
"""`denied` by a statement, or `not allowed` because no statement allows it."""


def decide(
    documents: Iterable[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, str | Sequence[str]]
) -> Decision:
    """What IAM answers to a caller who carries these policies. `context` holds the condition keys of the request."""
    matching = {
        statement["Effect"]
        for document in documents
        for statement in document["Statement"]
        if _matches(statement, action, resource, context)
    }
    if "Deny" in matching:
        return "denied"
    return "allowed" if "Allow" in matching else "not allowed"


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _matches(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, Any]) -> bool:
    return (
        any(fnmatchcase(action.lower(), pattern.lower()) for pattern in listed(statement["Action"]))
        and any(_like(resource, pattern) for pattern in listed(statement["Resource"]))
        and all(
            _condition(operator, context.get(key), [str(one) for one in listed(wanted)])
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _condition(operator: str, found: Any, wanted: list[str]) -> bool:
    if operator == "Null":
        return [str(found is None).lower()] == wanted
    if operator == "ForAnyValue:StringEquals":
        return found is not None and any(one in wanted for one in listed(found))
    if operator in ("StringNotEquals", "StringNotLike"):  # these hold for a key that is not there
        return found is None or not _condition(operator.replace("Not", ""), found, wanted)
    if found is None:
        return False
    if operator in ("StringEquals", "Bool"):
        return str(found) in wanted
    if operator in ("StringLike", "ArnLike", "ArnEquals"):  # IAM's ArnEquals is its ArnLike
        return any(_like(str(found), one) for one in wanted)
    raise NotImplementedError(operator)


def _like(value: str, pattern: str) -> bool:
    return fnmatchcase(value, pattern.replace("[", "[[]"))
