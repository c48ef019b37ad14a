"""Reading from an answer where the output of a job is, or what it is."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, TypedDict
from urllib.parse import quote, unquote_to_bytes

from pointsman.dispatch.targets.answers import OutputFields
from pointsman.dispatch.targets.reading import as_count, as_text, compile_path, garbage

_DATA = re.compile(r"data:[^,]{0,200}?(;base64)?,", re.IGNORECASE)
_LONGEST_URL = 8192


class Found(TypedDict, total=False):
    """Fields of an `Update`."""

    output_path: str | None
    output_url: str | None
    output_inline: bytes | None
    output_sha256: str | None
    output_bytes: int | None


class OutputReader:
    """Compiled expressions of the output fields of a section."""

    def __init__(self, section: OutputFields) -> None:
        self._path = section.output_path
        self._url = compile_path(section.output_url)
        self._base64 = compile_path(section.output_base64)
        self._text = compile_path(section.output_text)
        self._sha256 = compile_path(section.output_sha256)
        self._bytes = compile_path(section.output_bytes)

    def read(self, document: Any) -> Found:
        found = self._where(document)
        found["output_sha256"] = as_text(self._sha256(document), "output sha256")
        found["output_bytes"] = as_count(self._bytes(document), "output bytes")
        return found

    def _where(self, document: Any) -> Found:
        url = self._url(document)
        if isinstance(url, str) and url:
            return _at(url)
        encoded = self._base64(document)
        if isinstance(encoded, str) and encoded:
            return _at(encoded) if encoded.startswith("data:") else Found(output_inline=_decoded(encoded))
        text = self._text(document)
        if isinstance(text, str):
            return Found(output_inline=text.encode())
        for name, value in (("URL", url), ("base64", encoded), ("text", text)):
            if value not in (None, ""):
                raise garbage(f"output {name} is {value!r:.60}, not a string")
        return Found(output_path=self._path)


def _at(url: str) -> Found:
    data = _DATA.match(url)
    if data is not None:
        content = url[data.end() :]
        return Found(output_inline=_decoded(content) if data.group(1) else unquote_to_bytes(content))
    if len(url) > _LONGEST_URL:
        raise garbage(f"output URL is {len(url)} characters long")
    if url.startswith("/") and not url.startswith("//"):
        # What a file is called may hold anything; it must not break the request line.
        return Found(output_path=quote(url, safe="/?&=%:@!$'()*+,;~"))
    return Found(output_url=url)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise garbage("the output is not base64") from error
