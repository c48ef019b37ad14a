"""Parameters of single dispatches: a JSON object that is laid over the variant's own, as a replay of production asks.

It is a merge patch (RFC 7396): objects are merged, null takes a parameter away, and every other value takes the place
of the variant's. In a plan it is text in one form, so that equal objects are one text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from pointsman.canonical import canonical_json
from pointsman.model import Variant


def canonical_overrides(text: str) -> str | None:
    """The one form of a JSON object; None for any other text."""
    try:
        found = json.loads(text, parse_constant=_not_json)
        return canonical_json(found).decode() if isinstance(found, dict) else None
    except (ValueError, RecursionError):
        return None


def _not_json(word: str) -> NoReturn:
    raise ValueError(word)  # NaN and Infinity, which Python would take


def overridden(variant: Variant, overrides: str) -> Variant:
    """The variant with these parameters laid over its own."""
    return replace(variant, params=_merged(variant.params, json.loads(overrides)))


def _merged(params: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(params) if isinstance(params, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value) if isinstance(value, dict) else value
    return merged
