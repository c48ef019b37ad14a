"""A stand-in for `pointsman.dispatch.drive`: reads a drive's plan and closes it with the fates that a test asks for."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from pointsman.dispatch import DriveStatus, DriveSummary
from pointsman.dispatch.attempts import ATTEMPTS_SCHEMA
from pointsman.dispatch.plan import DriveHeader, read_header, read_planned
from pointsman.dispatch.status import PLANNED_TERMS, SENT_TERMS, Percentiles
from pointsman.ids import VariantId, dispatch_id

EPOCH = datetime(2026, 1, 1, 12, tzinfo=UTC)
SKU = "lab-cpu:vcpu-second"


class Killed(BaseException):
    """Stands for the process dying by kill -9."""


@dataclass(frozen=True)
class Fate:
    """How one dispatch ends. `usage` is (sku, quantity, missing reason) per attempt."""

    state: str = "completed"
    reason: str | None = None
    outcomes: tuple[str, ...] = ("completed",)
    usage: tuple[tuple[str | None, str | None, str | None], ...] = ((SKU, "1.5", None),)
    output: bytes | None = b"output"
    told_sha256: str | None = None
    lose_output: bool = False
    version: str | None = None


@dataclass
class FakeDrive:
    """`fate(route, input_id, seq)` decides each dispatch; `sends` counts how often each dispatch id was submitted."""

    fate: Callable[[VariantId, str, int], Fate] = lambda route, input_id, seq: Fate()
    before: Callable[[Path], None] = lambda folder: None
    after: Callable[[Path], None] = lambda folder: None
    sends: Counter[str] = field(default_factory=Counter)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    """(variant id, input id) of all that was submitted."""
    headers: list[DriveHeader] = field(default_factory=list)
    orders: list[list[int]] = field(default_factory=list)
    secrets: list[object] = field(default_factory=list)

    def __call__(
        self,
        drive_dir: Path,
        *,
        secret: object,
        cancelled: Callable[[], bool],
        on_status: Callable[[DriveStatus], None],
        clock: Any,
    ) -> DriveSummary:
        self.before(drive_dir)
        if not (drive_dir / "summary.json").is_file():
            self._run(drive_dir, secret, cancelled)
        summary = DriveSummary.model_validate_json((drive_dir / "summary.json").read_bytes())
        on_status(DriveStatus(phase="closed", at=EPOCH, elapsed_s=summary.wall_s, counts=summary.counts))
        self.after(drive_dir)
        return summary

    def _run(self, drive_dir: Path, secret: object, cancelled: Callable[[], bool]) -> None:
        header = read_header(drive_dir)
        planned = read_planned(drive_dir)
        self.headers.append(header)
        self.orders.append(planned["seq"].to_list())
        self.secrets.append(secret)
        rows: list[dict[str, Any]] = []
        attempts: list[tuple[Any, ...]] = []
        for plan in planned.iter_rows(named=True):
            route = VariantId.parse(plan["route"])
            own = dispatch_id(header.run_id, plan["seq"])
            fate = Fate("cancelled_unsent") if cancelled() else self.fate(route, plan["input_id"], plan["seq"])
            if fate.state != "cancelled_unsent":
                self.sends[own] += 1
                self.pairs.add((plan["route"], plan["input_id"]))
                attempts += _attempts(own, route, fate)
            rows.append(_row(drive_dir, plan, own, fate))
        states = Counter(row["state"] for row in rows)
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(drive_dir / "dispatches-00000.parquet")
        pl.DataFrame(attempts, schema=ATTEMPTS_SCHEMA, orient="row").write_parquet(drive_dir / "attempts-00000.parquet")
        (drive_dir / "summary.json").write_text(_summary(states).model_dump_json())


def _row(drive_dir: Path, plan: Mapping[str, Any], own: str, fate: Fate) -> dict[str, Any]:
    completed = fate.state == "completed"
    uri = sha256 = size = None
    if completed and fate.output is not None:
        path = drive_dir / "outputs" / own
        path.parent.mkdir(exist_ok=True)
        if not fate.lose_output:
            path.write_bytes(fate.output)
        uri, size = path.as_uri(), len(fate.output)
        sha256 = fate.told_sha256 or hashlib.sha256(fate.output).hexdigest()
    sent_ns = None if fate.state == "cancelled_unsent" else plan["seq"] * 1_000_000_000
    return {
        "seq": plan["seq"],
        "dispatch_id": own,
        "state": fate.state,
        "reason": fate.reason,
        "version": fate.version,
        "job_id": None if sent_ns is None else f"job-{plan['seq']}",
        "sent_ns": sent_ns,
        "done_ns": sent_ns + 250_000_000 if completed and sent_ns is not None else None,
        "queue_ms": 50.0 if completed else None,
        "run_ms": 200.0 if completed else None,
        "total_ms": 250.0 if completed else None,
        "output_uri": uri,
        "output_sha256": sha256,
        "output_bytes": size,
    }


def _attempts(own: str, route: VariantId, fate: Fate) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for number, outcome in enumerate(fate.outcomes, 1):
        started = EPOCH + timedelta(seconds=number)
        ended = None if outcome == "unknown" else started + timedelta(seconds=1)
        for sku, quantity, missing in fate.usage or ((None, None, "the target reports no usage"),):
            basis = None if sku is None else "measured"
            rows.append((own, number, route.provider, None, outcome, started, ended, sku, quantity, missing, basis))
    return rows


def _summary(states: Counter[str]) -> DriveSummary:
    nothing = Percentiles()
    unsent = states["cancelled_unsent"]
    counts = {term: states[term] for term in (*PLANNED_TERMS, *SENT_TERMS)}
    return DriveSummary(
        outcome="cancelled" if unsent or states["cancelled_sent"] else "completed",
        epoch=EPOCH,
        wall_s=1.0,
        counts={**counts, "planned": states.total(), "sent": states.total() - unsent},
        answered={},
        achieved_per_s=1.0,
        queue_ms=nothing,
        run_ms=nothing,
        total_ms=nothing,
        raw_total_ms=nothing,
        lateness_ms=nothing,
        interruptions=(),
    )
