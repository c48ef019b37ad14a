"""The Batch API of the Gemini stand-in: a batch is an uploaded file of questions, which a test lets end as it likes.

`POST /v1beta/models/{model}:batchGenerateContent`, `GET /v1beta/batches`, `GET` and `DELETE /v1beta/batches/{id}`,
`POST /v1beta/batches/{id}:cancel`, and the answers at `GET /v1beta/files/{id}:download?alt=media`. Each question of a
batch that is carried out is answered as if it had been asked by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.quality.gemini_description import fault_of

_TIME = "2026-01-01T00:00:00Z"


@dataclass
class SentBatch:
    """A batch as it was taken: `lines` are its questions; `looks` is how often its state was asked for."""

    number: int
    display_name: str
    file_name: str
    model: str
    lines: list[dict[str, Any]]
    state: str = "BATCH_STATE_PENDING"
    looks: int = 0
    cancels: int = 0
    deleted: bool = False
    results: bytes = b""
    results_deleted: bool = False

    @property
    def name(self) -> str:
        return f"batches/b{self.number}"

    @property
    def results_name(self) -> str:
        return f"files/batch-b{self.number}"

    @property
    def over(self) -> bool:
        return self.state not in ("BATCH_STATE_PENDING", "BATCH_STATE_RUNNING")

    def operation(self) -> dict[str, Any]:
        count = str(len(self.lines))
        ended = self.state == "BATCH_STATE_SUCCEEDED"
        metadata: dict[str, Any] = {
            "model": f"models/{self.model}",
            "name": self.name,
            "displayName": self.display_name,
            "inputConfig": {"fileName": self.file_name},
            "createTime": _TIME,
            "updateTime": _TIME,
            "state": self.state,
            "batchStats": {"requestCount": count, "successfulRequestCount" if ended else "pendingRequestCount": count},
        }
        document: dict[str, Any] = {"name": self.name, "metadata": metadata}
        if ended:
            metadata |= {"endTime": _TIME, "output": {"responsesFile": self.results_name}}
            document |= {"done": True, "response": {"responsesFile": self.results_name}}
        elif self.over:
            metadata["endTime"] = _TIME
            document |= {"done": True, "error": {"code": 1, "message": self.state}}
        return document


@dataclass
class BatchesStandIn:
    """What was sent as batches, and how they go: `end` is the state that a batch has once `looks` asked for it.

    `answer(line)` gives the status and document of one question, None for one whose line is left out.
    """

    answer: Callable[[dict[str, Any], str], tuple[int, Any] | None]
    uploaded: Callable[[str], bytes | None]
    looks: int = 2
    end: str = "BATCH_STATE_SUCCEEDED"
    cancels: bool = True
    """Whether a batch that is cancelled ends."""
    sent: list[SentBatch] = field(default_factory=list)

    def create(self, model: str, document: Any) -> tuple[int, Any]:
        if (fault := fault_of("BatchGenerateContentRequest", document)) is not None:
            return 400, fault
        batch = document["batch"]
        file_name = batch["inputConfig"]["fileName"]
        content = self.uploaded(file_name)
        if content is None:
            return 400, f"there is no file {file_name}"
        lines = [json.loads(line) for line in content.splitlines()]
        for line in lines:
            if (fault := fault_of("RequestLine", line)) is not None:
                return 400, fault
        made = SentBatch(len(self.sent) + 1, batch["displayName"], file_name, model, lines)
        self.sent.append(made)
        return 200, made.operation()

    def page(self, start: int, size: int) -> dict[str, Any]:
        there = [one for one in self.sent if not one.deleted][start : start + size]
        more = {"nextPageToken": str(start + size)} if len(there) == size else {}
        return {"operations": [one.operation() for one in there], **more}

    def known(self, name: str) -> SentBatch | None:
        return next((one for one in self.sent if one.name == name and not one.deleted), None)

    def results(self, name: str) -> SentBatch | None:
        return next((one for one in self.sent if one.results_name == name and not one.results_deleted), None)

    def look(self, batch: SentBatch) -> dict[str, Any]:
        batch.looks += 1
        if not batch.over and batch.looks > self.looks:
            if self.end == "BATCH_STATE_SUCCEEDED":
                batch.results = b"".join(self._line(batch, line) for line in batch.lines)
            batch.state = self.end
        elif not batch.over:
            batch.state = "BATCH_STATE_RUNNING"
        return batch.operation()

    def cancel(self, batch: SentBatch) -> None:
        batch.cancels += 1
        if self.cancels and not batch.over:
            batch.state = "BATCH_STATE_CANCELLED"

    def _line(self, batch: SentBatch, line: dict[str, Any]) -> bytes:
        answered = self.answer(line["request"], batch.model)
        if answered is None:
            return b""
        status, document = answered
        what = {"response": document} if status == 200 else {"error": {"code": status, "message": "no"}}
        return json.dumps({"key": line["key"], **what}).encode() + b"\n"
