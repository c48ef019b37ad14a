"""Google's own published description of the Gemini API: what its messages may hold, as protocol buffers.

Its JSON form takes each field in camelCase or snake_case and nothing else.
"""

from __future__ import annotations

from typing import Any

from google.ai import generativelanguage_v1beta as description
from google.protobuf import json_format

MESSAGES: dict[str, Any] = {
    name: getattr(description, name).pb()
    for name in ("GenerateContentRequest", "GenerateContentResponse", "File", "CreateFileRequest", "CreateFileResponse")
}


def fault_of(message: str, document: Any) -> str | None:
    """Why `document` is no such message, or None."""
    try:
        json_format.ParseDict(document, MESSAGES[message]())
    except json_format.ParseError as error:
        return str(error)
    return None
