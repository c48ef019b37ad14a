"""What the store keeps about a job and its attempts, and the document that the API shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

JobStatus = Literal["queued", "leased", "completed", "failed", "cancelled"]
TERMINAL: frozenset[str] = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class NewJob:
    """What is fixed when a job is accepted. `content_sha256` covers the request, `params` is JSON, `source` a path."""

    dispatch_id: str
    job_id: str
    content_sha256: str
    variant: str
    route_key: str | None
    generation: int | None
    provider: str
    workflow: str
    params: str
    source: str


@dataclass(frozen=True, slots=True)
class Job(NewJob):
    """An accepted job. Times are seconds since the epoch, UTC."""

    status: JobStatus
    reason: str | None
    cancel_asked: bool
    created_at: float
    started_at: float | None
    ended_at: float | None
    output_sha256: str | None
    output_bytes: int | None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """`last_seen` is the last sign of life of the worker; a lost attempt is billed until then."""

    dispatch_id: str
    number: int
    provider: str
    outcome: Literal["running", "completed", "failed", "lost"]
    started_at: float
    last_seen: float
    lease_expires: float
    ended_at: float | None
    wall_seconds: float | None
    cpu_seconds: float | None
    output_bytes: int | None
    vcpus: float
    memory_gb: float


def job_document(job: Job, attempts: Sequence[AttemptRecord]) -> dict[str, object]:
    """The job document of the API. `queue_ms` lasts until the first attempt starts, `run_ms` from there to the end, so
    that both together are the time the backend took."""
    return {
        "dispatch_id": job.dispatch_id,
        "job_id": job.job_id,
        "status": job.status,
        "reason": job.reason,
        "variant": job.variant,
        "route_key": job.route_key,
        "generation": job.generation,
        "created_at": _iso(job.created_at),
        "started_at": _iso(job.started_at),
        "ended_at": _iso(job.ended_at),
        "queue_ms": _milliseconds(job.created_at, job.started_at),
        "run_ms": _milliseconds(job.started_at, job.ended_at),
        "attempts": [
            {
                "number": attempt.number,
                "provider": attempt.provider,
                "outcome": attempt.outcome,
                "started_at": _iso(attempt.started_at),
                "ended_at": _iso(attempt.ended_at),
                "wall_seconds": attempt.wall_seconds,
                "cpu_seconds": attempt.cpu_seconds,
                "vcpus": attempt.vcpus,
                "memory_gb": attempt.memory_gb,
                "output_bytes": attempt.output_bytes,
            }
            for attempt in attempts
        ],
        "output": None
        if job.output_sha256 is None
        else {
            "path": f"/v1/jobs/{job.dispatch_id}/output",
            "sha256": job.output_sha256,
            "bytes": job.output_bytes,
        },
    }


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


def _milliseconds(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round(1000 * (end - start), 3)
