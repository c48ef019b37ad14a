"""What a judge is worth, as a terminal and a program read it: from the trust card itself."""

from __future__ import annotations

from typing import Any

from pointsman.model import Missing
from pointsman.quality import EvaluationSet, trust_card, trust_of
from pointsman.reporting import Table, show
from pointsman.workspace import Workspace
from service.cli.output import console, table

_SHOWN = ("Trust", "Quality as people see it")


def trust_document(ws: Workspace, of: EvaluationSet) -> dict[str, Any]:
    """The tables of the card that say what the judge is worth, with the answer that guards read."""
    trust = trust_of(ws, of.id)
    return {
        "evaluation_set_id": of.id,
        "judge": of.identity.as_document(),
        "status": of.status,
        "trusted": None if trust is None else trust.trusted,
        "reasons": [] if trust is None else list(trust.reasons),
        "answers": {str(row[0]): _plain(row[1]) for row in _table(ws, of, "Trust")},
        "quality_by_people": [
            dict(zip(("variant", "labelled_inputs", "bias", "quality", "interval"), map(_plain, row), strict=True))
            for row in _table(ws, of, "Quality as people see it")
        ],
    }


def show_trust(ws: Workspace, of: EvaluationSet) -> None:
    """The same for a person."""
    trust = trust_of(ws, of.id)
    worth = "not assessed" if trust is None else "trusted" if trust.trusted else "NOT TRUSTED"
    for section in trust_card(ws, of.id).sections:
        if isinstance(section, Table) and section.title in _SHOWN:
            title = f"{of.identity.name} ({of.identity.model}): {worth}" if section.title == "Trust" else section.title
            table(title, section.columns, [[show(cell) for cell in row] for row in section.rows])
    for reason in trust.reasons if trust is not None else ():
        console.print(reason, markup=False)


def _table(ws: Workspace, of: EvaluationSet, title: str) -> list[Any]:
    return [
        row
        for section in trust_card(ws, of.id).sections
        if isinstance(section, Table) and section.title == title
        for row in section.rows
    ]


def _plain(cell: Any) -> Any:
    return {"missing": cell.reason} if isinstance(cell, Missing) else cell
