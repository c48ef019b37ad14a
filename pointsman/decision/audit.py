"""Auditing a verdict: compute it again from the rows and files that it was drawn from, and compare hashes.

A document that follows from itself proves little: somebody could have written another one. Here each part is held
against what is stored: the document's hash when it was stored, its route, plan and judge, the plan declared before the
data was read, the prices, the rows of attempts and judgements, the files of the outputs and of the judge's transcripts,
and at last the whole document, byte by byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from pointsman.canonical import sha256_of
from pointsman.decision.cells import data_sha256
from pointsman.decision.declared import declared_plans
from pointsman.decision.document import VerdictDocument, differing_parts, read_document, verify
from pointsman.decision.evidence import inputs_sha256, output_addresses, transcripts
from pointsman.decision.reach import reach
from pointsman.decision.recosting import costs_by_evidence
from pointsman.decision.service import read_again, services_document
from pointsman.decision.store import StoredVerdict, document_path, load_verdict
from pointsman.economics import registered
from pointsman.economics.plain import exact_text
from pointsman.errors import DataCheckFailed, InputRefused, NotFound, PointsmanError
from pointsman.model import Missing, Number, Verdict
from pointsman.storage import tables
from pointsman.version import code_version
from pointsman.workspace import Workspace

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison. `said` is what document or row say, `found` what was computed again."""

    name: str
    said: str
    found: str
    why: str = ""

    @property
    def agrees(self) -> bool:
        return self.said == self.found


@dataclass(frozen=True, slots=True)
class Audit:
    """The checks of one verdict. `decided_by` and `audited_by` are versions of the code; results do not hang on them
    unless a rule was changed in between.
    """

    verdict_id: str
    verdict: Verdict
    checks: tuple[Check, ...]
    audited_by: str

    @property
    def decided_by(self) -> str:
        return self.verdict.code_version

    def raise_unless_agreed(self) -> None:
        """Raise `DataCheckFailed` naming what does not agree."""
        wrong = [check for check in self.checks if not check.agrees]
        if wrong:
            reasons = "; ".join(f"{check.name} ({check.why})" if check.why else check.name for check in wrong)
            raise DataCheckFailed(
                f"The verdict {self.verdict_id} does not follow from what is stored: {reasons}.",
                instruction="Do not act on it: measure again, and find out who changed what is named here.",
                code="verdict_not_verified",
                checks=[check.name for check in wrong],
            )


def audit_document(document: bytes) -> tuple[Verdict, tuple[Check, ...]]:
    """What can be checked with nothing but the document. Raises as `verify` does."""
    verdict = verify(document)
    return verdict, tuple(_within(read_document(document)))


def audit(ws: Workspace, verdict_id: str) -> Audit:
    """Compute a verdict again from stored rows and files. Raises `NotFound`, and as `verify` does.

    What cannot be computed any more, because rows or files are gone, does not agree.
    """
    row = load_verdict(ws, verdict_id)
    document = ws.results.read(document_path(verdict_id))
    verdict, checks = audit_document(document)
    said = read_document(document)
    checks += tuple(_against_rows(ws, row, said, document))
    return Audit(verdict_id, verdict, checks, code_version())


def _within(said: VerdictDocument) -> Iterator[Check]:
    yield Check("plan", said.verdict.plan_sha256, said.plan.sha256)
    yield Check("measurements", said.verdict.data_sha256, data_sha256(said.data, services_document(said.services)))
    if said.evidence:
        yield Check("inputs", said.plan.input_set_sha256, inputs_sha256(said.evidence))
        judged = {dispatch_id: quality for dispatch_id, quality, *_ in said.evidence["judgements"]["rows"]}
        differing = [
            cell.dispatch_id
            for cell in said.data
            if cell.outcome == "success" and judged.get(cell.dispatch_id) != _known(cell.quality)
        ]
        yield Check("qualities", "0 differ", f"{len(differing)} differ", ", ".join(sorted(differing)[:_SHOWN]))
        if "cells" in said.evidence:  # documents of before they were held know their costs by the ledger alone
            yield _costs(said)


def _costs(said: VerdictDocument) -> Check:
    try:
        again = costs_by_evidence(said.plan, said.evidence)
    except (KeyError, ValueError, TypeError, ArithmeticError, InputRefused) as error:
        return Check("costs", "0 differ", "cannot be computed", str(error))
    differing = [
        cell.dispatch_id
        for cell in said.data
        if cell.dispatch_id not in again or _known(again[cell.dispatch_id]) != _known(cell.cost_usd)
    ]
    return Check("costs", "0 differ", f"{len(differing)} differ", ", ".join(sorted(differing)[:_SHOWN]))


def _known(number: Number) -> str | None:
    return None if isinstance(number, Missing) else exact_text(number)


def _against_rows(ws: Workspace, row: StoredVerdict, said: VerdictDocument, document: bytes) -> Iterator[Check]:
    now = hashlib.sha256(document).hexdigest()
    kept = row.document_sha256 or now
    yield Check("document as stored", kept, now, "" if row.document_sha256 else "its hash was not kept")
    yield Check("outcome as stored", _outcome(row), _outcome(said.verdict))
    yield Check("route as stored", str(row.route_key), str(said.plan.incumbent.route_key))
    yield Check("plan as stored", row.plan_sha256, said.plan.sha256)
    yield Check("judge as stored", *(sha256_of(dict(judge)) for judge in (said.plan.judge, _judge(ws, row))))
    yield _declared(ws, row, said)
    if said.evidence:
        addresses = output_addresses(ws, row.benchmark_id)
        made = [(cell, addresses.get(cell), sha256) for cell, sha256, _ in said.evidence["outputs"]["rows"]]
        yield _files(ws, "outputs", made)
        yield _files(ws, "judge's transcripts", [(path, path, sha256) for path, sha256 in transcripts(said.evidence)])
    try:
        book = registered(ws, said.plan.price_book_sha256)
    except NotFound as error:
        yield Check("prices", said.plan.price_book_sha256, "not registered", error.message)
        return
    yield Check("prices", said.plan.price_book_sha256, book.sha256, "a price was changed, or the list of token prices")
    try:
        services = read_again(ws, said.services)
        again = reach(ws, row.benchmark_id, row.evaluation_set_id, said.plan, book, services, seen=_cells(said))
    except PointsmanError as error:
        yield Check("stored data", said.verdict.data_sha256, "cannot be read", error.message)
        return
    evidence = read_document(again.document).evidence
    yield Check("stored data", said.verdict.data_sha256, again.verdict.data_sha256)
    yield Check("stored evidence", sha256_of(said.evidence), sha256_of(evidence))
    same = again.document == document
    parts = "" if same else ", ".join(differing_parts(document, again.document))
    yield Check("document computed again", now, hashlib.sha256(again.document).hexdigest(), parts)


def _judge(ws: Workspace, row: StoredVerdict) -> Mapping[str, str]:
    """Whose judgements the evaluation set says that it holds; nobody's when it is gone."""
    table = tables.evaluation_sets
    with ws.database.connect() as connection:
        found = connection.execute(sa.select(table.c.identity).where(table.c.id == row.evaluation_set_id)).scalar()
    return found or {}


def _cells(said: VerdictDocument) -> frozenset[str]:
    return frozenset(cell.dispatch_id for cell in said.data)


def _outcome(found: StoredVerdict | Verdict) -> str:
    return found.outcome if found.winner is None else f"{found.outcome} {found.winner}"


def _declared(ws: Workspace, row: StoredVerdict, said: VerdictDocument) -> Check:
    try:
        plans = [plan.sha256 for plan in declared_plans(ws, row.benchmark_id)]
    except NotFound as error:
        return Check("plan as declared", said.plan.sha256, "none", error.message)
    found = said.plan.sha256 if said.plan.sha256 in plans else ", ".join(plans)
    return Check("plan as declared", said.plan.sha256, found)


def _files(ws: Workspace, name: str, wanted: Sequence[tuple[str, str | None, str]]) -> Check:
    """Read each file anew: its name, where it lies, its sha256. What is gone, or elsewhere, does not agree."""
    wrong: dict[str, list[str]] = {"gone": [], "changed": [], "in another results store": []}
    for file, where, sha256 in wanted:
        try:
            if where is None:
                wrong["gone"].append(file)
            elif ws.results.digest(where) != sha256:
                wrong["changed"].append(file)
        except NotFound:
            wrong["gone"].append(file)
        except InputRefused:
            wrong["in another results store"].append(file)
    lacking = {what: files for what, files in wrong.items() if files}
    as_they_were = len(wanted) - sum(map(len, lacking.values()))
    counts = [f"{as_they_were} of {len(wanted)}", *(f"{len(files)} {what}" for what, files in lacking.items())]
    why = "; ".join(f"{what}: {', '.join(files[:_SHOWN])}" for what, files in lacking.items())
    return Check(name, f"{len(wanted)} of {len(wanted)}", ", ".join(counts), why)
