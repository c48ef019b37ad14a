"""A loopback stand-in of the Gemini REST API, built from its public description; it answers what a test scripts.

`POST /v1beta/models/{model}:generateContent`, keys accepted in camelCase and snake_case, the API key only in the
header `x-goog-api-key`. Each request takes the next scripted reply; the last one is repeated.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API_KEY = "stand-in-key-7f3a"
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
    levels: Mapping[str, int],
    *,
    tokens: tuple[int, int, int] = (1000, 50, 7),
    text: str | None = None,
    finish: str = "STOP",
) -> Reply:
    """A finished answer with these levels; `tokens` are prompt, candidates, thoughts. `text` replaces the JSON."""
    answer = {name: {"level": level, "reason": f"{name} looks like {level}."} for name, level in levels.items()}
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
        self.replies: list[Reply] = []
        self.choose: Callable[[Asked], Reply] | None = None
        self.lock = threading.Lock()

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
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found = _PATH.match(self.path)
            if found is None:
                self._send(refusal(404, "NOT_FOUND", f"no such path {self.path}"))
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            if headers.get("x-goog-api-key") != API_KEY:
                reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
                self._send(refusal(400, "INVALID_ARGUMENT", "API key not valid.", details=[reason]))
                return
            self._send(stand_in.next_reply(Asked(found[1], self.path, headers, _camel(body))))

        def _send(self, reply: Reply) -> None:
            time.sleep(reply.hang_s)
            if reply.drop:
                self.close_connection = True
                return
            content = reply.raw if reply.raw is not None else json.dumps(reply.document).encode()
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
