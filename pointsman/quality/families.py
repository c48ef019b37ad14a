"""Whose model is it? A judge may prefer what its own family made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "google": ("google", "gemini", "veo", "imagen", "vertex", "nano-banana"),
    "openai": ("openai", "gpt", "sora", "dall-e"),
    "bytedance": ("bytedance", "seedance", "seedream"),
    "alibaba": ("alibaba", "qwen", "wan"),
    "kuaishou": ("kuaishou", "kling"),
    "black-forest-labs": ("black-forest-labs", "flux"),
}
"""Makers of models and the words by which their services and models go."""


def families_of(names: Iterable[str]) -> frozenset[str]:
    """The makers that these names speak of: names of providers, targets or models such as `veo-3.1-generate`."""
    text = " ".join(names).lower()
    return frozenset(
        maker
        for maker, words in FAMILIES.items()
        if any(re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z])", text) for word in words)
    )


def words_in(params: Any) -> list[str]:
    """Every text in a variant's parameters, keys left out."""
    if isinstance(params, str):
        return [params]
    if isinstance(params, Mapping):
        return [word for value in params.values() for word in words_in(value)]
    return [word for value in params for word in words_in(value)] if isinstance(params, list) else []
