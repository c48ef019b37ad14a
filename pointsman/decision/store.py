"""Keeping verdicts: the document in the results store, the facts that routing needs in the `verdicts` table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pointsman.decision.document import read_document
from pointsman.decision.plan import VerdictPlan
from pointsman.errors import Conflict, InputRefused, NotFound
from pointsman.ids import RouteKey, VariantId, check_id
from pointsman.model import Verdict, VerdictOutcome
from pointsman.storage import insert_absent
from pointsman.storage.tables import verdicts
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """One row of `verdicts`: what was decided, about which route, and where the document lies."""

    id: str
    benchmark_id: str
    evaluation_set_id: str
    route_key: RouteKey
    outcome: VerdictOutcome
    winner: VariantId | None
    plan_sha256: str
    data_sha256: str
    code_version: str
    document_uri: str
    document_sha256: str | None
    """None for a verdict that was stored before hashes of documents were kept."""
    created_at: datetime


def document_path(verdict_id: str) -> str:
    """Where the document of a verdict lies in the results store."""
    return f"verdicts/{check_id('verdict id', verdict_id)}/verdict.json"


def store_verdict(
    ws: Workspace,
    *,
    verdict_id: str,
    benchmark_id: str,
    evaluation_set_id: str,
    route_key: RouteKey,
    plan: VerdictPlan,
    verdict: Verdict,
    document: bytes,
) -> StoredVerdict:
    """Write the document, then the row. Repeating it with the same document changes nothing.

    Raises `Conflict` when the id holds another document already, `InputRefused` when document, plan, verdict and route
    do not belong together.
    """
    path = document_path(verdict_id)
    _check_belongs(route_key, plan, verdict, document)
    with ws.database.begin() as connection:
        known = _row(connection, verdict_id)
        if known is None:
            stored = ws.results.write(path, document)
            values = {
                "id": verdict_id,
                "benchmark_id": benchmark_id,
                "evaluation_set_id": evaluation_set_id,
                "route_key": str(route_key),
                "outcome": verdict.outcome,
                "winner": None if verdict.winner is None else str(verdict.winner),
                "plan_sha256": verdict.plan_sha256,
                "data_sha256": verdict.data_sha256,
                "code_version": verdict.code_version,
                "document_uri": stored.uri,
                "document_sha256": stored.sha256,
                "created_at": ws.clock.now(),
            }
            if insert_absent(connection, verdicts, [values]):
                return _stored(values)
            known = _row(connection, verdict_id)  # somebody else stored it in this moment
            assert known is not None
    subject = (known.benchmark_id, known.evaluation_set_id, known.route_key)
    if subject != (benchmark_id, evaluation_set_id, route_key) or ws.results.read(path) != document:
        raise Conflict(
            f"The verdict {verdict_id} is stored already with other content.",
            instruction="A verdict never changes: decide again under a new run id.",
            verdict_id=verdict_id,
        )
    return known


def load_verdict(ws: Workspace, verdict_id: str) -> StoredVerdict:
    """The stored facts. Raises `NotFound`. The document itself is `ws.results.read(document_path(id))`."""
    with ws.database.begin() as connection:
        known = _row(connection, verdict_id)
    if known is None:
        raise NotFound("verdict", verdict_id, "the id of a verdict that was stored")
    return known


def is_stored(ws: Workspace, verdict_id: str) -> bool:
    with ws.database.begin() as connection:
        return _row(connection, verdict_id) is not None


def _check_belongs(route_key: RouteKey, plan: VerdictPlan, verdict: Verdict, document: bytes) -> None:
    if plan.incumbent.route_key != route_key:
        raise InputRefused("verdict, route_key", str(route_key), f"the plan's {plan.incumbent.route_key}")
    said = read_document(document)
    written = said.verdict
    for name, given, expected in (
        ("plan_sha256", verdict.plan_sha256, plan.sha256),
        ("document, plan", said.plan.sha256, plan.sha256),
        ("document, outcome", written.outcome, verdict.outcome),
        ("document, winner", written.winner, verdict.winner),
        ("document, data_sha256", written.data_sha256, verdict.data_sha256),
    ):
        if given != expected:
            raise InputRefused(f"verdict, {name}", given, f"{expected}, as plan and verdict say")


def _row(connection: sa.Connection, verdict_id: str) -> StoredVerdict | None:
    found = connection.execute(sa.select(verdicts).where(verdicts.c.id == verdict_id)).mappings().first()
    return None if found is None else _stored(dict(found))


def _stored(values: dict[str, Any]) -> StoredVerdict:
    winner = values["winner"]
    return StoredVerdict(
        **{
            **values,
            "route_key": RouteKey.parse(values["route_key"]),
            "winner": None if winner is None else VariantId.parse(winner),
        }
    )
