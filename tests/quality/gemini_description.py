"""Google's own published description of the Gemini API: what its messages may hold, as protocol buffers.

Its JSON form takes each field in camelCase or snake_case and nothing else. The package leaves batches out, so their
messages are written down here from the reference of the REST API (ai.google.dev/api/batch-api): those of a batch that
is a file.
"""

from __future__ import annotations

from typing import Any

from google.ai import generativelanguage_v1beta as description
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.rpc import status_pb2

_PACKAGE = "batches"
_V1BETA = "google.ai.generativelanguage.v1beta"
_STATES = ("UNSPECIFIED", "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
_BATCHES = {
    "InputConfig": {"file_name": "string"},
    "GenerateContentBatchOutput": {"responses_file": "string"},
    "BatchStats": dict.fromkeys(
        ("request_count", "successful_request_count", "failed_request_count", "pending_request_count"), "int64"
    ),
    "GenerateContentBatch": {
        **dict.fromkeys(("model", "name", "display_name"), "string"),
        "input_config": "InputConfig",
        "output": "GenerateContentBatchOutput",
        **dict.fromkeys(("create_time", "end_time", "update_time"), "google.protobuf.Timestamp"),
        "batch_stats": "BatchStats",
        "state": "BatchState",
        "priority": "int64",
    },
    "BatchGenerateContentRequest": {"batch": "GenerateContentBatch"},
    "Operation": {
        "name": "string",
        "metadata": "GenerateContentBatch",
        "done": "bool",
        "error": "google.rpc.Status",
        "response": "GenerateContentBatchOutput",
    },
    "ListOperationsResponse": {"operations": "repeated Operation", "next_page_token": "string"},
    "RequestLine": {"key": "string", "request": f"{_V1BETA}.GenerateContentRequest"},
    "ResponseLine": {
        "key": "string",
        "response": f"{_V1BETA}.GenerateContentResponse",
        "error": "google.rpc.Status",
    },
}


def _batch_messages() -> dict[str, Any]:
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": kinds.TYPE_STRING, "int64": kinds.TYPE_INT64, "bool": kinds.TYPE_BOOL}
    file = descriptor_pb2.FileDescriptorProto(name="batches.proto", package=_PACKAGE, syntax="proto3")
    needed = (description.GenerateContentRequest.pb(), description.GenerateContentResponse.pb(), status_pb2.Status)
    file.dependency.extend({one.DESCRIPTOR.file.name for one in needed} | {"google/protobuf/timestamp.proto"})
    states = file.enum_type.add(name="BatchState")
    for number, name in enumerate(_STATES):
        states.value.add(name=f"BATCH_STATE_{name}", number=number)
    for message, fields in _BATCHES.items():
        made = file.message_type.add(name=message)
        for number, (name, told) in enumerate(fields.items(), 1):
            kind = told.removeprefix("repeated ")
            label = kinds.LABEL_REPEATED if kind != told else kinds.LABEL_OPTIONAL
            field = made.field.add(name=name, number=number, label=label)
            if kind in scalars:
                field.type = scalars[kind]
            else:
                field.type = kinds.TYPE_ENUM if kind == "BatchState" else kinds.TYPE_MESSAGE
                field.type_name = f".{kind}" if "." in kind else f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _BATCHES
    }


MESSAGES: dict[str, Any] = _batch_messages() | {
    name: getattr(description, name).pb()
    for name in ("GenerateContentRequest", "GenerateContentResponse", "File", "CreateFileRequest", "CreateFileResponse")
}


def parsed(message: str, document: Any) -> Any:
    """The message that the API reads in `document`, however that is spelt. Raises `ParseError`."""
    return json_format.ParseDict(document, MESSAGES[message]())


def fault_of(message: str, document: Any) -> str | None:
    """Why `document` is no such message, or None."""
    try:
        parsed(message, document)
    except json_format.ParseError as error:
        return str(error)
    return None
