"""Stand-ins for providers on loopback, each written from that service's public description of its API.

A job's fate is the prompt that it was submitted with: `success`, `failure`, `moderation`, `busy` (turned away once with
429, then a success), `garbage` (its state cannot be understood), `gone` (the service forgets it), `invalid` (not
taken), and a few of some services only.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from tests.dispatch.loopback import Asked, Say, http

KEY = "key-of-the-stand-in"
PICTURE = b"\x89PNG the picture"
CLIP = b"ftyp the clip"


@dataclass
class Job:
    number: int
    fate: str
    body: dict[str, Any]
    looks: int = 0


@dataclass
class StandIn:
    """Routes requests: keys are checked and busy jobs turned away before the service sees them."""

    cdn: str = ""
    """URL of another host that has the outputs."""
    url: str = ""
    jobs: dict[str, Job] = field(default_factory=dict)
    submitted: list[Asked] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    unauthorised: Any = None

    def __call__(self, asked: Asked) -> Say:
        if not self.has_key(asked):
            return say(401, self.unauthorised)
        if self.is_submit(asked):
            body = json.loads(asked.body)
            fate = self.fate(body)
            if fate == "busy" and fate not in self.busy:
                self.busy.add(fate)
                return http(429, b"slow down", Retry_After="0")
            self.submitted.append(asked)
            if fate == "invalid":
                return self.invalid()
            job = Job(len(self.jobs) + 1, fate, body)
            self.jobs[self.name(job)] = job
            return self.taken(job)
        job_or_none = self.find(asked)
        if job_or_none is None or job_or_none.fate == "gone":
            return self.gone()
        job = job_or_none
        if self.is_cancel(asked):
            self.cancelled.append(job.fate)
            return self.told_to_cancel(job)
        job.looks += 1
        if job.fate == "garbage":
            return http(200, b"<html>an error page with the status of a success</html>")
        return self.look(asked, job)

    def name(self, job: Job) -> str:
        return f"job-{job.number}"

    def find(self, asked: Asked) -> Job | None:
        return next((job for name, job in self.jobs.items() if name in asked.path.split("?")[0].split("/")), None)

    def has_key(self, asked: Asked) -> bool:
        return asked.headers.get("authorization") == f"Bearer {KEY}"

    def is_submit(self, asked: Asked) -> bool:
        return asked.method == "POST" and not self.is_cancel(asked)

    def is_cancel(self, asked: Asked) -> bool:
        return "cancel" in asked.path

    def fate(self, body: dict[str, Any]) -> str:
        return str(body["input"]["prompt"])

    def invalid(self) -> Say:
        return say(422, {"detail": "input is wrong"})

    def taken(self, job: Job) -> Say:
        raise NotImplementedError

    def look(self, asked: Asked, job: Job) -> Say:
        raise NotImplementedError

    def gone(self) -> Say:
        return say(404, {"detail": "not found"})

    def told_to_cancel(self, job: Job) -> Say:
        return say(200, {})


def say(status: int, document: Any) -> Say:
    return http(status, b"" if document is None else json.dumps(document).encode(), Content_Type="application/json")


@dataclass
class Replicate(StandIn):
    unauthorised: Any = field(
        default_factory=lambda: {
            "title": "Unauthenticated",
            "detail": "You did not pass a valid authentication token",
            "status": 401,
        }
    )

    def document(self, job: Job, status: str, **more: Any) -> dict[str, Any]:
        name = self.name(job)
        place = f"https://api.replicate.com/v1/predictions/{name}"
        return {
            "id": name,
            "model": "owner/upscaler",
            "version": job.body["version"],
            "input": job.body["input"],
            "logs": "",
            "output": None,
            "error": None,
            "status": status,
            "created_at": "2026-01-01T10:00:00.000Z",
            "started_at": None,
            "completed_at": None,
            "metrics": {},
            "urls": {"get": place, "cancel": f"{place}/cancel"},
            **more,
        }

    def taken(self, job: Job) -> Say:
        return say(201, self.document(job, "starting"))

    def look(self, asked: Asked, job: Job) -> Say:
        if job.looks == 1:
            return say(200, self.document(job, "processing", started_at="2026-01-01T10:00:00.020Z"))
        ended = {
            "started_at": "2026-01-01T10:00:00.020Z",
            "completed_at": "2026-01-01T10:00:00.035Z",
            "metrics": {"predict_time": 0.014, "total_time": 0.035},
        }
        match job.fate:
            case "failure":
                return say(200, self.document(job, "failed", error="CUDA out of memory", **ended))
            case "moderation":
                flagged = "The input or output was flagged as sensitive. Please try again with different inputs. (E005)"
                return say(200, self.document(job, "failed", error=flagged, **ended))
        return say(200, self.document(job, "succeeded", output=[f"{self.cdn}/out-0.png"], **ended))

    def told_to_cancel(self, job: Job) -> Say:
        return say(200, self.document(job, "canceled"))


@dataclass
class Fal(StandIn):
    unauthorised: Any = field(default_factory=lambda: {"detail": "Authentication is required"})

    def has_key(self, asked: Asked) -> bool:
        return asked.headers.get("authorization") == f"Key {KEY}"

    def is_cancel(self, asked: Asked) -> bool:
        return asked.method == "PUT"

    def fate(self, body: dict[str, Any]) -> str:
        return str(body["prompt"])

    def place(self, job: Job) -> str:
        # Submitted to fal-ai/flux/dev; asked about without the last part.
        return f"https://queue.fal.run/fal-ai/flux/requests/{self.name(job)}"

    def status(self, job: Job, word: str, **more: Any) -> dict[str, Any]:
        place = self.place(job)
        urls = {"response_url": place, "status_url": f"{place}/status", "cancel_url": f"{place}/cancel"}
        return {"status": word, "request_id": self.name(job), **urls, **more}

    def taken(self, job: Job) -> Say:
        return say(200, self.status(job, "IN_QUEUE", queue_position=0))

    def look(self, asked: Asked, job: Job) -> Say:
        if asked.path.endswith("/status"):
            if job.looks < 3:
                return say(202, self.status(job, ("IN_QUEUE", "IN_PROGRESS")[job.looks - 1], logs=None))
            return say(200, self.status(job, "COMPLETED", metrics={"inference_time": 0.014}))
        match job.fate:
            case "failure":
                return say(503, {"detail": "Runner disconnected", "error_type": "runner_disconnected"})
            case "moderation":
                flagged = "The content could not be processed because it was flagged by a content checker."
                error = {"loc": ["body", "prompt"], "msg": flagged, "type": "content_policy_violation", "input": {}}
                return say(422, {"detail": [error]})
        picture = {"url": f"{self.cdn}/out.png", "content_type": "image/png", "width": 512, "height": 512}
        flagged_too = [job.fate == "nsfw"]
        return say(200, {"images": [picture], "seed": 1, "has_nsfw_concepts": flagged_too, "prompt": job.fate})

    def told_to_cancel(self, job: Job) -> Say:
        return say(202, {"status": "CANCELLATION_REQUESTED"})


@dataclass
class RunPod(StandIn):
    def is_submit(self, asked: Asked) -> bool:
        return asked.path == "/v2/endpoint1/run"

    def taken(self, job: Job) -> Say:
        return say(200, {"id": self.name(job), "status": "IN_QUEUE"})

    def invalid(self) -> Say:
        return say(400, {"error": "bad request: body: must contain an input"})

    def look(self, asked: Asked, job: Job) -> Say:
        head = {"id": self.name(job), "delayTime": 20, "workerId": "w1"}
        if job.looks == 1:
            return say(200, {**head, "status": "IN_PROGRESS"})
        if job.fate == "failure":
            return say(200, {**head, "status": "FAILED", "executionTime": 14, "error": "handler raised ValueError"})
        image = {"filename": "a.png", "type": "base64", "data": base64.b64encode(PICTURE).decode()}
        if job.fate == "bucket":
            image = {"filename": "a.png", "type": "s3_url", "data": f"{self.cdn}/bucket/a.png?X-Amz-Signature=0"}
        return say(200, {**head, "status": "COMPLETED", "executionTime": 14, "output": {"images": [image]}})

    def told_to_cancel(self, job: Job) -> Say:
        return say(200, {"id": self.name(job), "status": "CANCELLED"})


@dataclass
class ComfyUI(StandIn):
    """One job runs at a time: `endless` until it is interrupted."""

    interrupted: list[str] = field(default_factory=list)

    def has_key(self, asked: Asked) -> bool:
        return True  # it has none; a proxy in front may

    def is_submit(self, asked: Asked) -> bool:
        return asked.path == "/prompt"

    def is_cancel(self, asked: Asked) -> bool:
        return asked.path in ("/queue", "/interrupt")

    def told_to_cancel(self, job: Job) -> Say:
        return http(200)

    def find(self, asked: Asked) -> Job | None:
        if asked.path == "/interrupt":
            job = self.jobs.get(json.loads(asked.body)["prompt_id"])
            if job is not None and job.fate == "endless":
                self.interrupted.append(job.fate)
                job.fate = "interrupted"
            return job
        if asked.path == "/queue":
            return self.jobs.get(json.loads(asked.body)["delete"][0])
        return super().find(asked)

    def fate(self, body: dict[str, Any]) -> str:
        return str(body["prompt"]["6"]["inputs"]["text"])

    def taken(self, job: Job) -> Say:
        return say(200, {"prompt_id": self.name(job), "number": job.number, "node_errors": {}})

    def invalid(self) -> Say:
        error = {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": "", "extra_info": {}}
        return say(400, {"error": error, "node_errors": {}})

    def gone(self) -> Say:
        return say(200, {})

    def look(self, asked: Asked, job: Job) -> Say:
        if job.looks == 1 or job.fate == "endless":
            return say(200, {})
        messages: list[Any] = [["execution_start", {"prompt_id": self.name(job), "timestamp": 1767261600000}]]
        outputs: dict[str, Any] = {}
        status = {"status_str": "success", "completed": True, "messages": messages}
        if job.fate == "failure":
            status |= {"status_str": "error", "completed": False}
            messages.append(["execution_error", {"node_id": "3", "exception_message": "Allocation on device"}])
        elif job.fate == "interrupted":
            status |= {"status_str": "error", "completed": False}
            messages.append(["execution_interrupted", {"node_id": "3"}])
        else:
            preview = {"filename": "preview.png", "subfolder": "", "type": "temp"}
            outputs = {"9": {"images": [preview, {"filename": "out 1.png", "subfolder": "x", "type": "output"}]}}
        name = self.name(job)
        return say(200, {name: {"prompt": [job.number, name, {}], "outputs": outputs, "status": status, "meta": {}}})

    def __call__(self, asked: Asked) -> Say:
        if asked.path.startswith("/view"):
            assert asked.path == "/view?filename=out%201.png&subfolder=x&type=output"
            return http(200, PICTURE)
        return super().__call__(asked)


@dataclass
class Veo(StandIn):
    unauthorised: Any = field(
        default_factory=lambda: {
            "error": {"code": 401, "message": "API key not valid.", "status": "UNAUTHENTICATED"},
        }
    )

    def has_key(self, asked: Asked) -> bool:
        return asked.headers.get("x-goog-api-key") == KEY

    def is_submit(self, asked: Asked) -> bool:
        return asked.path == "/v1beta/models/veo-3.0-generate-001:predictLongRunning"

    def fate(self, body: dict[str, Any]) -> str:
        return str(body["instances"][0]["prompt"])

    def operation(self, job: Job) -> str:
        return f"models/veo-3.0-generate-001/operations/{self.name(job)}"

    def invalid(self) -> Say:
        return say(400, {"error": {"code": 400, "message": "Invalid aspect ratio", "status": "INVALID_ARGUMENT"}})

    def gone(self) -> Say:
        return say(404, {"error": {"code": 404, "message": "Operation not found", "status": "NOT_FOUND"}})

    def taken(self, job: Job) -> Say:
        if job.fate == "quota":
            violation = {"quotaMetric": "m", "quotaId": "PredictLongRunningRequestsPerDayPerProjectPerModel"}
            details = [
                {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
            ]
            message = "You exceeded your current quota, please check your plan and billing details."
            error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}
            return say(429, {"error": error})
        return say(200, {"name": self.operation(job)})

    def look(self, asked: Asked, job: Job) -> Say:
        assert asked.path == f"/v1beta/{self.operation(job)}"
        document: dict[str, Any] = {"name": self.operation(job)}
        if job.looks == 1:
            return say(200, document)
        document["done"] = True
        if job.fate == "failure":
            return say(200, {**document, "error": {"code": 13, "message": "Internal error"}})
        found: dict[str, Any] = {
            "generatedSamples": [{"video": {"uri": f"{self.url}/v1beta/files/{job.number}:download?alt=media"}}]
        }
        if job.fate == "moderation":
            found = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["Sorry, we can't create this video."]}
        kind = "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse"
        return say(200, {**document, "response": {"@type": kind, "generateVideoResponse": found}})

    def __call__(self, asked: Asked) -> Say:
        if asked.path.startswith("/v1beta/files/"):
            return http(302, Location=f"{self.cdn}/video.mp4") if self.has_key(asked) else http(403)
        return super().__call__(asked)


@dataclass
class OpenAI(StandIn):
    unauthorised: Any = field(
        default_factory=lambda: {
            "error": {
                "message": f"Incorrect API key provided: {KEY}.",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
        }
    )

    def fate(self, body: dict[str, Any]) -> str:
        return str(body["prompt"] if "prompt" in body else body["messages"][0]["content"])

    def invalid(self) -> Say:
        return self.error(400, "Invalid size", "invalid_value")

    def error(self, status: int, message: str, code: str) -> Say:
        return say(status, {"error": {"message": message, "type": "x", "param": None, "code": code}})

    def taken(self, job: Job) -> Say:
        match job.fate:
            case "quota":
                message = "You exceeded your current quota, please check your plan and billing details."
                return self.error(429, message, "project_spend_limit_exceeded")
            case "failure":
                return self.error(500, "The server had an error while processing your request", "server_error")
            case "moderation":
                return self.error(400, "Your request was rejected by the safety system.", "moderation_blocked")
            case "garbage":
                return http(200, b'{"object": "something else"}')
        if "messages" in job.body:
            refusal = "I can't help with that." if job.fate == "declined" else None
            message = {"role": "assistant", "content": None if refusal else "A mountain.", "refusal": refusal}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}
            return say(200, {"id": "c1", "model": "gpt-x-2026", "choices": [choice], "usage": usage})
        usage = {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210}
        picture = {"b64_json": base64.b64encode(PICTURE).decode()}
        return say(200, {"created": 1767261600, "data": [picture], "usage": usage})
