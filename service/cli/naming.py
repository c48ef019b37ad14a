"""Naming variants on the command line: by full id, or by `workflow@provider` where only one variant has that label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pointsman.benchmark import list_variants, variant
from pointsman.errors import NotFound
from pointsman.model import Variant
from pointsman.workspace import Workspace


def one_variant(ws: Workspace, option: str, text: str) -> Variant:
    """The registered variant of this id or label. Raises `NotFound`, and `InputRefused` for a malformed id."""
    if ":" in text:
        return variant(ws, text)
    registered = list_variants(ws)
    found = [one for one in registered if one.id.label == text]
    if len(found) == 1:
        return found[0]
    allowed = [str(one.id) for one in found] if found else short_names(registered)
    raise NotFound(
        option, text, ", ".join(allowed) or "none is registered yet", instruction="See: pointsman variants list"
    )


def short_names(variants: Iterable[Variant]) -> list[str]:
    """What each of the variants can be called: its label, or its id when another has the same label."""
    kept = list(variants)
    count = Counter(one.id.label for one in kept)
    return [one.id.label if count[one.id.label] == 1 else str(one.id) for one in kept]
