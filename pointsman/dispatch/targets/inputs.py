"""What a request may say about its input: where it lies, or what is in it, for providers that cannot reach the file."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Set
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pointsman.errors import InputRefused
from pointsman.model import InputMember

_LARGEST = 32 * 1024 * 1024
"""Bytes within a request; providers take less."""
_CONTENT = frozenset({"input_base64", "input_data_uri", "input_text"})


def input_values(member: InputMember, wanted: Set[str]) -> dict[str, str]:
    """Values by name; the file is only read for what is `wanted`. Raises `InputRefused` when it cannot be sent."""
    kind = mimetypes.guess_type(member.uri)[0] or "application/octet-stream"
    values = {
        "input_id": member.input_id,
        "input_uri": member.uri,
        "input_sha256": member.sha256,
        "input_type": kind,
    }
    if not wanted & _CONTENT:
        return values
    content = _read(member)
    encoded = base64.b64encode(content).decode()
    values |= {"input_base64": encoded, "input_data_uri": f"data:{kind};base64,{encoded}"}
    if "input_text" in wanted:
        try:
            values["input_text"] = content.decode()
        except UnicodeDecodeError as error:
            raise InputRefused(f"input {member.input_id}", member.uri, "a text file in UTF-8") from error
    return values


def _read(member: InputMember) -> bytes:
    parts = urlsplit(member.uri if member.copy_here is None else Path(member.copy_here).as_uri())
    if parts.scheme not in ("", "file"):
        raise InputRefused(f"input {member.input_id}", member.uri, "a file, because the target takes it in the request")
    if member.bytes > _LARGEST:
        raise InputRefused(f"input {member.input_id}, bytes", member.bytes, f"at most {_LARGEST} within a request")
    try:
        return Path(unquote(parts.path)).read_bytes()
    except OSError as error:
        raise InputRefused(f"input {member.input_id}", member.uri, "a file that can be read") from error
