"""From the completed cells of a matrix to samples: where each output lies, and the source it can be compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pointsman.benchmark import known_classes
from pointsman.data_classes import unseen
from pointsman.errors import DataCheckFailed, GuardRefused, InputRefused, NotFound
from pointsman.model import Missing
from pointsman.quality.protocol import Sample
from pointsman.storage import tables
from pointsman.workspace import Workspace

OUTPUT_TYPE = "benchmark_variant_dispatches"


@dataclass(frozen=True, slots=True)
class Absent:
    """A completed cell whose output, or the one it is held against, is not what the matrix stored, and why."""

    dispatch_id: str
    why: Missing


def completed_cells(ws: Workspace, benchmark_id: str) -> list[str]:
    """Dispatch ids of the cells that have an output, in the order of the plan."""
    items = tables.benchmark_matrix_run_items
    wanted = (
        sa.select(items.c.dispatch_id)
        .where(items.c.benchmark_id == benchmark_id, items.c.status == "completed")
        .order_by(items.c.seq)
    )
    with ws.database.connect() as connection:
        return list(connection.execute(wanted).scalars())


def load_samples(
    ws: Workspace, benchmark_id: str, set_id: str, dispatch_ids: Sequence[str], *, reference: str | None = None
) -> tuple[list[Sample], list[Absent]]:
    """The samples of these cells, and the cells of which a stored output is gone or is not the one that was produced.

    With `reference`, the id of a variant, each comes with that variant's output of the same input and repeat.
    Raises `DependencyDown` when a results store that machines share does not answer.
    """
    members = _members(ws, benchmark_id)
    rows = _rows(ws, benchmark_id)
    references = {(row["input_id"], row["repeat"]): row for row in rows.values() if row["variant_id"] == reference}
    sources: dict[str, Path | None] = {}
    samples: list[Sample] = []
    absent: list[Absent] = []
    for dispatch_id in dispatch_ids:
        row = rows[dispatch_id]
        if row["uri"] is None:
            absent.append(Absent(dispatch_id, Missing("the matrix stored no output for this cell")))
            continue
        output = _intact(ws, row["uri"], row["sha256"])
        if output is None:
            absent.append(Absent(dispatch_id, Missing("the stored output is gone or is not the one that was produced")))
            continue
        input_id = row["input_id"]
        if input_id not in sources:
            member = members.get(input_id)
            sources[input_id] = _intact(ws, member["uri"], member["sha256"]) if member else None
        other = references.get((input_id, row["repeat"]))
        compared = _intact(ws, other["uri"], other["sha256"]) if other is not None and other["uri"] else None
        if other is not None and compared is None:
            # That the incumbent's is lost is our fault and no merit of this one.
            lost = "the incumbent's stored output of the same input is gone or is not the one that was produced"
            absent.append(Absent(dispatch_id, Missing(lost)))
            continue
        samples.append(Sample(dispatch_id, output, sources[input_id], blind_label(set_id, dispatch_id), compared))
    return samples, absent


def require_may_see(ws: Workspace, benchmark_id: str, sees: Collection[str] | None) -> None:
    """Raise `GuardRefused` (`data_class_not_allowed`) for a judge that is outside and may not see all inputs.

    What the judge sees is every output of the benchmark and its source. `sees` None = it is not outside.
    """
    if sees is None:
        return
    for input_id, classes in classes_of_inputs(ws, benchmark_id).items():
        kept_away = unseen(classes, sees)
        if kept_away:
            raise GuardRefused(
                f"The input {input_id} is {', '.join(kept_away)}, which this judge may not see.",
                instruction="Judge with a block of kind local, or allow it in `data_classes` of the judge's block.",
                code="data_class_not_allowed",
                input_id=input_id,
                data_classes=list(kept_away),
            )


def classes_of_inputs(ws: Workspace, benchmark_id: str) -> dict[str, tuple[str, ...]]:
    """The data classes of each input that has an output, in the order of their ids."""
    used = {row["input_id"] for row in _rows(ws, benchmark_id).values()}
    members = {name: member["sha256"] for name, member in sorted(_members(ws, benchmark_id).items()) if name in used}
    with ws.database.connect() as connection:
        known = known_classes(connection, members.values())
    return {input_id: known.get(sha256, ()) for input_id, sha256 in members.items()}


def every_output_has_a_source(ws: Workspace, benchmark_id: str) -> bool:
    """Whether each completed cell's input is a file that is still there, byte for byte."""
    members = _members(ws, benchmark_id)
    used = {row["input_id"] for row in _rows(ws, benchmark_id).values()}
    return bool(used) and all(
        input_id in members and _intact(ws, members[input_id]["uri"], members[input_id]["sha256"]) is not None
        for input_id in used
    )


def blind_label(set_id: str, dispatch_id: str) -> str:
    """Eight hex digits that tell nothing: the same for the same sample, so that judging again asks the same."""
    return hashlib.sha256(f"blind\x1f{set_id}\x1f{dispatch_id}".encode()).hexdigest()[:8]


def _rows(ws: Workspace, benchmark_id: str) -> dict[str, Mapping[str, Any]]:
    items, artifacts = tables.benchmark_matrix_run_items, tables.run_artifacts
    wanted = (
        sa.select(
            items.c.dispatch_id,
            items.c.input_id,
            items.c.repeat,
            items.c.variant_id,
            artifacts.c.uri,
            artifacts.c.sha256,
        )
        .outerjoin(
            artifacts,
            (artifacts.c.run_id == items.c.benchmark_id)
            & (artifacts.c.subject_id == items.c.dispatch_id)
            & (artifacts.c.artifact_type == OUTPUT_TYPE),
        )
        .where(items.c.benchmark_id == benchmark_id, items.c.status == "completed")
    )
    with ws.database.connect() as connection:
        return {row["dispatch_id"]: dict(row) for row in connection.execute(wanted).mappings()}


def _members(ws: Workspace, benchmark_id: str) -> dict[str, Mapping[str, Any]]:
    runs, sets = tables.benchmark_matrix_runs, tables.input_sets
    wanted = sa.select(sets.c.members).join(runs, runs.c.input_set_id == sets.c.id).where(runs.c.id == benchmark_id)
    with ws.database.connect() as connection:
        members = connection.execute(wanted).scalar()
    return {member["input_id"]: member for member in members or []}


def _intact(ws: Workspace, uri: str, sha256: str) -> Path | None:
    try:
        path = ws.results.local(uri)
    except (InputRefused, NotFound, DataCheckFailed):  # not one of this store's; gone; or damaged there
        return None
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return path if hashlib.file_digest(file, "sha256").hexdigest() == sha256 else None
