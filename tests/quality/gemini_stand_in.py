"""A loopback stand-in of the Gemini REST API, held to its published description; it answers what a test scripts.

`POST /v1beta/models/{model}:generateContent`, keys accepted in camelCase and snake_case, the API key only in the
header `x-goog-api-key`. Each request takes the next scripted reply; the last one is repeated. `/upload/v1beta/files`
and `/v1beta/files/...` are the Files API: resumable upload in one piece, looking, deleting. Batches have a file of
their own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.quality.gemini_batches_stand_in import BatchesStandIn
from tests.quality.gemini_description import fault_of

API_KEY = "stand-in-key-7f3a"
LABEL = "{the label of the question}"
"""Stands in scripted answers for what a model would repeat."""
_BATCH = re.compile(r"/v1beta/models/([^/:?]+):batchGenerateContent\Z")
_PATH = re.compile(r"/v1beta/models/([^/:?]+):generateContent\Z")


@dataclass
class Asked:
    """One request as it arrived, keys in camelCase."""

    model: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        return [part["text"] for content in self.body["contents"] for part in content["parts"] if "text" in part]

    @property
    def media(self) -> list[tuple[str, bytes]]:
        parts = [part for content in self.body["contents"] for part in content["parts"] if "inlineData" in part]
        return [(part["inlineData"]["mimeType"], _decoded(part["inlineData"]["data"])) for part in parts]

    @property
    def files(self) -> list[tuple[str, str]]:
        """Type and address of the media that are named and not sent along."""
        parts = [part for content in self.body["contents"] for part in content["parts"] if "fileData" in part]
        return [(part["fileData"]["mimeType"], part["fileData"]["fileUri"]) for part in parts]

    @property
    def label(self) -> str:
        """The label of the question, as a model would find it."""
        found = re.search(r"label(?:led| of the comparison is) ([^\s.:]+)", self.texts[0])
        return found[1] if found else ""

    @property
    def words(self) -> str:
        """The whole body without the media's bytes."""
        return re.sub(r'"data": "[^"]*"', '"data": ""', json.dumps(self.body))


@dataclass
class Reply:
    """What to answer: a document or raw bytes; `hang_s` holds the answer back, `drop` closes the connection."""

    status: int = 200
    document: Any = None
    raw: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_s: float = 0.0
    drop: bool = False


def judgement(
    levels: Mapping[str, int | str],
    *,
    tokens: tuple[int, int, int] = (1000, 50, 7),
    text: str | None = None,
    finish: str = "STOP",
    label: str | None = None,
    words: str = "",
) -> Reply:
    """A finished answer with these levels, or with these better outputs (`first`, `second`, `same`).

    `tokens` are prompt, candidates, thoughts. `text` replaces the JSON. The label is the question's own unless one is
    given; `words` are words in the media that address the judge.
    """
    kind = "level" if all(isinstance(one, int) for one in levels.values()) else "better"
    criteria = {name: {"reason": f"{name} looks like {level}.", kind: level} for name, level in levels.items()}
    answer = {"label": label or LABEL, "words_for_the_judge": words, "criteria": criteria}
    prompt, candidates, thoughts = tokens
    return Reply(
        document={
            "candidates": [
                {
                    "content": {"role": "model", "parts": [{"text": json.dumps(answer) if text is None else text}]},
                    "finishReason": finish,
                    "index": 0,
                }
            ],
            "usageMetadata": {
                "promptTokenCount": prompt,
                "candidatesTokenCount": candidates,
                "thoughtsTokenCount": thoughts,
                "totalTokenCount": prompt + candidates + thoughts,
            },
            "modelVersion": "stand-in-001",
        }
    )


def answering(levels: Mapping[str, int], better: Mapping[str, str] | None = None, **options: Any) -> Any:
    """For `StandIn.choose`: these levels for an output, and which of two outputs is better (`same`, unless told)."""

    def choose(asked: Asked) -> Reply:
        if "You compare" in asked.words:
            return judgement(better or dict.fromkeys(levels, "same"), **options)
        return judgement(levels, **options)

    return choose


def blocked_prompt() -> Reply:
    return Reply(
        document={
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": {"promptTokenCount": 900, "totalTokenCount": 900},
        }
    )


def refusal(status: int, word: str, message: str = "no", *, details: Sequence[Any] = (), **headers: str) -> Reply:
    """An error document as Google APIs send it. Header names are given with `_` for `-`."""
    error = {"code": status, "message": message, "status": word, "details": list(details)}
    return Reply(status, {"error": error}, headers={name.replace("_", "-"): value for name, value in headers.items()})


class StandIn:
    """The running stand-in: `url` to point a client at, and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.refused: list[str] = []
        """What was wrong with requests that are none of the API."""
        self.replies: list[Reply] = []
        self.choose: Callable[[Asked], Reply] | None = None
        self.lock = threading.Lock()
        self.busy = 0
        self.uploads: list[dict[str, Any]] = []
        """Files as they were uploaded: their headers and content, and whether they are still there."""
        self.upload_replies: list[Reply] = []
        """What the next starts of an upload are answered instead."""
        self.file_replies: list[Reply] = []
        """What the next looks at a file are answered instead."""
        self.upload_to: str | None = None
        """Where uploads are sent, if not here."""
        self.looks_until_ready = 0
        self.batches = BatchesStandIn(self._answer_in_batch, self._uploaded)
        self.batch_replies: list[tuple[bool, Reply]] = []
        """What the next creations of a batch are answered instead, and whether the batch is made all the same."""
        self.look_replies: list[Reply] = []
        """What the next looks at batches are answered instead."""

    def _answer_in_batch(self, request: dict[str, Any], model: str) -> tuple[int, Any] | None:
        asked = Asked(model, "batch", {}, _camel(request))
        reply = self.next_reply(asked)
        if reply.drop:
            return None
        return reply.status, json.loads(json.dumps(reply.document).replace(LABEL, asked.label))

    def _uploaded(self, name: str) -> bytes | None:
        upload = next((one for number, one in enumerate(self.uploads, 1) if f"files/f-{number}" == name), None)
        return upload["content"] if upload is not None and not upload["deleted"] else None

    def settled(self) -> int:
        """How many calls arrived, after every one of them was read to its end."""
        until = time.monotonic() + 10
        while self.busy and time.monotonic() < until:
            time.sleep(0.01)
        return len(self.asked)

    def script(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def next_reply(self, asked: Asked) -> Reply:
        with self.lock:
            self.asked.append(asked)
            if self.choose is not None:
                return self.choose(asked)
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextmanager
def gemini_stand_in() -> Iterator[StandIn]:
    """Serve on a free port of 127.0.0.1 until the block ends."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with stand_in.lock:
                stand_in.busy += 1
            try:
                self._answer(self.rfile.read(int(self.headers["content-length"])))
            finally:
                with stand_in.lock:
                    stand_in.busy -= 1

        def do_GET(self) -> None:
            if self.path.startswith("/v1beta/batches"):
                self._batch("look")
            elif ":download" in self.path:
                self._results("download")
            else:
                self._file("look")

        def do_DELETE(self) -> None:
            if self.path.startswith("/v1beta/batches"):
                self._batch("delete")
            elif self.path.startswith("/v1beta/files/batch-"):
                self._results("delete")
            else:
                self._file("delete")

        def _answer(self, body: bytes) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            if not self._known(headers):
                return
            if self.path.startswith("/upload/v1beta/files"):
                self._upload(headers, body)
                return
            if self.path.endswith(":cancel"):
                self._batch("cancel")
                return
            if (found := _BATCH.match(self.path)) is not None:
                self._create(found[1], json.loads(body))
                return
            found = _PATH.match(self.path)
            if found is None:
                self._send(refusal(404, "NOT_FOUND", f"no such path {self.path}"))
                return
            document = json.loads(body)
            if (fault := fault_of("GenerateContentRequest", document)) is not None:
                stand_in.refused.append(fault)
                self._send(refusal(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. {fault}"))
                return
            asked = Asked(found[1], self.path, headers, _camel(document))
            self._send(stand_in.next_reply(asked), asked)

        def _known(self, headers: Mapping[str, str]) -> bool:
            if headers.get("x-goog-api-key") == API_KEY:
                return True
            reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
            self._send(refusal(400, "INVALID_ARGUMENT", "API key not valid.", details=[reason]))
            return False

        def _upload(self, headers: Mapping[str, str], body: bytes) -> None:
            if headers.get("x-goog-upload-command") == "start":
                if stand_in.upload_replies:
                    self._send(stand_in.upload_replies.pop(0))
                    return
                document = json.loads(body)
                if (fault := fault_of("CreateFileRequest", document)) is not None:
                    stand_in.refused.append(fault)
                    self._send(refusal(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. {fault}"))
                    return
                stand_in.uploads.append({"start": headers, "file": document["file"], "looks": 0})
                to = stand_in.upload_to or f"{stand_in.url}/upload/v1beta/files?upload_id={len(stand_in.uploads)}"
                self._send(Reply(document={}, headers={"X-Goog-Upload-Status": "active", "X-Goog-Upload-URL": to}))
                return
            number = int(self.path.rpartition("=")[2])
            stand_in.uploads[number - 1] |= {"headers": headers, "content": body, "deleted": False}
            self._send(Reply(document={"file": self._shown(number)}, headers={"X-Goog-Upload-Status": "final"}))

        def _create(self, model: str, document: Any) -> None:
            taken, reply = stand_in.batch_replies.pop(0) if stand_in.batch_replies else (True, None)
            if taken:
                status, made = stand_in.batches.create(model, _camel(document))
                if status != 200:
                    stand_in.refused.append(made)
                    made = refusal(status, "INVALID_ARGUMENT", made).document
                reply = reply or Reply(status, made)
            assert reply is not None
            self._send(reply)

        def _batch(self, verb: str) -> None:
            if not self._known({name.lower(): value for name, value in self.headers.items()}):
                return
            if stand_in.look_replies and verb == "look":
                self._send(stand_in.look_replies.pop(0))
                return
            path, _, query = self.path.partition("?")
            if path == "/v1beta/batches":
                asked = dict(urllib.parse.parse_qsl(query))
                self._send(
                    Reply(document=stand_in.batches.page(int(asked.get("pageToken", 0)), int(asked["pageSize"])))
                )
                return
            batch = stand_in.batches.known(path.removeprefix("/v1beta/").removesuffix(":cancel"))
            if batch is None:
                self._send(refusal(404, "NOT_FOUND", f"no such batch {path}"))
                return
            document: Any = {}
            if verb == "look":
                document = stand_in.batches.look(batch)
            elif verb == "cancel":
                stand_in.batches.cancel(batch)
            else:
                batch.deleted = True
            self._send(Reply(document=document))

        def _results(self, verb: str) -> None:
            if not self._known({name.lower(): value for name, value in self.headers.items()}):
                return
            batch = stand_in.batches.results(re.sub(r"^/v1beta/|:download.*$", "", self.path))
            if batch is None:
                self._send(refusal(404, "NOT_FOUND", f"no such file {self.path}"))
                return
            batch.results_deleted |= verb == "delete"
            self._send(Reply(raw=batch.results if verb == "download" else b"{}"))

        def _file(self, verb: str) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            number = int(self.path.rpartition("-")[2])
            if not self._known(headers):
                return
            if verb == "look" and stand_in.file_replies:
                self._send(stand_in.file_replies.pop(0))
                return
            upload = stand_in.uploads[number - 1]
            upload["looks"] += verb == "look"
            upload["deleted"] |= verb == "delete"
            self._send(Reply(document={} if verb == "delete" else self._shown(number)))

        def _shown(self, number: int) -> dict[str, Any]:
            upload = stand_in.uploads[number - 1]
            name = f"files/f-{number}"
            return {
                "name": name,
                "uri": f"{stand_in.url}/v1beta/{name}",
                "mimeType": upload["file"]["mimeType"],
                "sizeBytes": str(len(upload["content"])),
                "sha256Hash": base64.b64encode(hashlib.sha256(upload["content"]).hexdigest().encode()).decode(),
                "state": "PROCESSING" if upload["looks"] < stand_in.looks_until_ready else "ACTIVE",
            }

        def _send(self, reply: Reply, asked: Asked | None = None) -> None:
            time.sleep(reply.hang_s)
            if reply.drop:
                self.close_connection = True
                return
            content = reply.raw if reply.raw is not None else json.dumps(reply.document).encode()
            content = content.replace(LABEL.encode(), asked.label.encode() if asked else b"")
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):  # the client went away, as a test of timeouts wants
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    stand_in = StandIn(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _decoded(text: str) -> bytes:
    """Both base64 alphabets are accepted."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)


def _camel(value: Any) -> Any:
    """The API takes both spellings of its own keys; compare one. The names in a schema are not its own."""
    if isinstance(value, dict):
        keys = {key: re.sub(r"_([a-z])", lambda m: m[1].upper(), key) for key in value}
        return {keys[key]: item if key == "properties" else _camel(item) for key, item in value.items()}
    return [_camel(item) for item in value] if isinstance(value, list) else value
