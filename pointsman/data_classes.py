"""Data classes: what an input shows or where it must stay (faces, minors, region:eu), and who may be given it.

An input without a class may go to every variant. One that has some goes only to variants that may see all of them, and
a variant may see none until somebody says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from pointsman.errors import InputRefused

_WORD = re.compile(r"[a-z][a-z0-9-]*(:[a-z0-9.-]+)?\Z")
_LONGEST = 64
_RULE = "words such as faces, minors or region:eu: a-z 0-9 -, begun with a letter, after a colon also dots"


def data_classes(field: str, words: Iterable[str]) -> tuple[str, ...]:
    """The words in order, each once. Raises `InputRefused` naming `field` for one that is no data class."""
    found = sorted(set(words))
    for word in found:
        if len(word) > _LONGEST or not _WORD.match(word):
            raise InputRefused(field, word, _RULE)
    return tuple(found)


def unseen(shown: Collection[str], seen: Collection[str]) -> tuple[str, ...]:
    """What an input has (`shown`) that a variant which may see `seen` may not; empty = it may be given the input."""
    return tuple(sorted(set(shown) - set(seen)))
