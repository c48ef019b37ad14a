"""What became of a round's cells, from the closed drive to rows: items, attempts, usage and artifacts together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pointsman.benchmark import cells
from pointsman.benchmark.chunks import Turn, require_turn
from pointsman.benchmark.sharing import folder_of
from pointsman.dispatch import DriveSummary, read_attempts, read_dispatches
from pointsman.errors import RunFailed
from pointsman.ids import derive
from pointsman.storage import LocalResults, StoredFile, insert_absent, local_path, tables
from pointsman.versions import note_versions
from pointsman.workspace import Workspace

ARTIFACT_TYPE = "benchmark_variant_dispatches"


def store_outcomes(
    ws: Workspace,
    benchmark_id: str,
    items: Sequence[sa.Row[Any]],
    drive_dir: Path,
    summary: DriveSummary,
    *,
    turn: Turn | None = None,
) -> dict[str, int]:
    """Store what the closed drive says about `items`, all in one transaction. Returns the cells per item state.

    A reason reads `code: text`, with the codes failed, refused, dropped, unknown, cancelled, output_missing,
    output_differs, and for what is our own fault unauthorised (the target does not accept our key) and output_fetch
    (the output lies where nobody allowed us to look). Storing the same drive again changes nothing. Raises `RunFailed`
    when the drive's ledger lacks one of the items, and `Conflict` (`chunk_replaced`) for a turn that is over.
    """
    ledger = {row["dispatch_id"]: row for row in read_dispatches(drive_dir).iter_rows(named=True)}
    missing = [item.dispatch_id for item in items if item.dispatch_id not in ledger]
    if missing:
        raise RunFailed(
            f"The ledger of {drive_dir} lacks {len(missing)} of its cells, {missing[0]} for one.",
            instruction="Run the matrix again under a new benchmark id: this folder was changed from outside.",
            code="ledger_incomplete",
        )
    folder = folder_of(ws, drive_dir)
    attempts, usage = _billable(benchmark_id, drive_dir, ledger)
    refused = {attempt["subject_id"] for attempt in attempts if attempt["outcome"] == "refused"}
    outcomes = [
        _outcome(ws.results, folder, item, ledger[item.dispatch_id], summary.epoch, refused=item.dispatch_id in refused)
        for item in items
    ]
    with ws.database.begin() as connection:
        if turn is not None:
            require_turn(connection, turn)
        cells.move_cells(connection, ws, [(item, state, why, values) for item, state, why, values, _ in outcomes])
        insert_absent(connection, tables.attempts, attempts)
        insert_absent(connection, tables.usage, usage)
        named = [
            (item, ledger[item.dispatch_id].get("version"), values["ended_at"]) for item, _, _, values, _ in outcomes
        ]
        versions = [(item.variant_id, text, at or ws.clock.now()) for item, text, at in named if text is not None]
        note_versions(connection, ws, benchmark_id, versions)
        artifacts = [(item, output) for item, _, _, _, output in outcomes if output is not None]
        insert_absent(connection, tables.run_artifacts, [_artifact(ws, item, output) for item, output in artifacts])
    return dict(Counter(state for _, state, _, _, _ in outcomes))


def _outcome(
    results: LocalResults, folder: str, item: sa.Row[Any], row: Mapping[str, Any], epoch: datetime, *, refused: bool
) -> tuple[sa.Row[Any], str, str, dict[str, Any], StoredFile | None]:
    state, why, output = _judged(results, folder, row, refused=refused)
    values = {
        "reason": None if state == "completed" else why,
        "job_id": row["job_id"],
        "queue_ms": row["queue_ms"],
        "run_ms": row["run_ms"],
        "total_ms": row["total_ms"],
        "started_at": _at(epoch, row["sent_ns"]),
        "ended_at": _at(epoch, row["done_ns"]),
    }
    return item, state, why, values, output


def _judged(
    results: LocalResults, folder: str, row: Mapping[str, Any], *, refused: bool
) -> tuple[str, str, StoredFile | None]:
    """The item state, its reason, and the output if there is a good one."""
    state, told = row["state"], row["reason"] or "the target gave no reason"
    if state in ("cancelled_unsent", "cancelled_sent"):
        sent = "after" if state == "cancelled_sent" else "before"
        return "cancelled", f"cancelled: {sent} it was sent", None
    if state != "completed":
        return "failed", f"{_code(state, told, refused=refused)}: {told}", None
    if row["output_uri"] is None:
        return "invalid", f"output_missing: {row['reason'] or 'completed without an output'}", None
    # By its name: where it lay on another machine that began the drive says nothing.
    name = local_path(row["output_uri"]).name
    relative = f"{folder}/outputs/{name}"
    if not results.exists(relative):
        return "invalid", f"output_missing: {name} is not in the outputs folder", None
    found = results.stored(relative)
    if row["output_sha256"] is not None and found.sha256 != row["output_sha256"]:
        return "invalid", f"output_differs: sha256 is {found.sha256}, the target said {row['output_sha256']}", None
    return "completed", "the target completed it", found


def _code(state: str, told: str, *, refused: bool) -> str:
    if refused:
        return "unauthorised" if told.startswith(("http_401", "http_403")) else "refused"
    return "output_fetch" if told.startswith("output_not_allowed") else state


def _billable(
    benchmark_id: str, drive_dir: Path, ledger: Mapping[str, Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of `attempts` (one per try) and `usage` (one per try and sku) of a drive.

    An attempt without any usage says why in its detail `no_usage`; it cannot be priced. One without that detail was
    not taken by the target. The detail `version` is the
    model or the version of it that the target names.
    """
    attempts: dict[str, dict[str, Any]] = {}
    usage: list[dict[str, Any]] = []
    for row in read_attempts(drive_dir).iter_rows(named=True):
        attempt_id = f"{row['dispatch_id']}#{row['number']}"
        attempts[attempt_id] = {
            "id": attempt_id,
            "run_id": benchmark_id,
            "subject_id": row["dispatch_id"],
            "subject_kind": "cell",
            "number": row["number"],
            "provider": row["provider"],
            "generation": row["generation"],
            "outcome": row["outcome"],
            "started_at": row["started"],
            "ended_at": row["ended"],
            "detail": _detail(row, ledger[row["dispatch_id"]].get("version")),
        }
        if row["sku"] is not None:
            usage.append(
                {
                    "id": f"{attempt_id}#{row['sku']}",
                    "run_id": benchmark_id,
                    "subject_id": attempt_id,
                    "sku": row["sku"],
                    "quantity": None if row["quantity"] is None else Decimal(row["quantity"]),
                    "missing_reason": row["missing_reason"],
                    "basis": row["basis"],
                }
            )
    return list(attempts.values()), usage


def _detail(row: Mapping[str, Any], version: str | None) -> dict[str, str]:
    found = {"no_usage": row["missing_reason"]} if row["sku"] is None and row["missing_reason"] is not None else {}
    return found if version is None else {**found, "version": version}


def _artifact(ws: Workspace, item: sa.Row[Any], output: StoredFile) -> dict[str, Any]:
    return {
        "id": derive("artifact", item.benchmark_id, item.dispatch_id, ARTIFACT_TYPE),
        "run_id": item.benchmark_id,
        "subject_id": item.dispatch_id,
        "artifact_type": ARTIFACT_TYPE,
        "uri": output.uri,
        "sha256": output.sha256,
        "bytes": output.bytes,
        "created_at": ws.clock.now(),
    }


def _at(epoch: datetime, ns: int | None) -> datetime | None:
    return None if ns is None else epoch + timedelta(microseconds=ns / 1000)
