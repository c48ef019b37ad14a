"""One canonical form for documents that are hashed: sorted keys, no white space, no NaN, floats as given."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(document: Any) -> bytes:
    """UTF-8 bytes that are equal for equal documents. Raises ValueError for NaN and infinities."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_of(document: Any) -> str:
    """Hex sha256 of the canonical form."""
    return hashlib.sha256(canonical_json(document)).hexdigest()
