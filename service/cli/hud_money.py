"""The money behind a verdict as a terminal shows it, for the production that was told, or for another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.decision import read_hud
from pointsman.economics import Production, money_sections, read_money, registered, weigh
from pointsman.errors import InputRefused, NotFound
from pointsman.ids import VariantId
from pointsman.reporting import Chart, Figures, Table, Text, show
from pointsman.workspace import Workspace
from service.cli.output import console, table
from service.cli.running import request


def money_of(ws: Workspace, verdict_id: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """What was kept for the verdict, or, when something is `told`, the same with that in its place.

    It is put together again with the price book of the verdict, as it was registered then.
    """
    kept = read_money(ws, verdict_id)
    if kept is not None and not told:
        return kept
    hud: dict[str, Any] = read_hud(ws, verdict_id)
    providers = {VariantId.parse(row["variant"]).provider for row in hud["rows"]}
    for name in told.get("through_nat", ()):
        if name not in providers:
            raise InputRefused("--through-nat", name, f"{', '.join(sorted(providers))}, or none")
    before = {} if kept is None else kept["production"]
    assert isinstance(before, dict)
    production = request(Production, **{**before, **told})
    return weigh(ws, hud, registered(ws, hud["price_book_sha256"]), production)


def rates(told: Sequence[str]) -> dict[str, float]:
    """`EUR=1.09` and the like. Raises `InputRefused`."""
    found = {}
    for one in told:
        currency, _, rate = one.partition("=")
        try:
            found[currency] = float(rate)
        except ValueError as error:
            raise InputRefused("--fx-rate", one, "a currency and USD for one of it, as EUR=1.09") from error
    return found


def challenger_of(money: Mapping[str, Any], label: str | None) -> str | None:
    """The variant id of a challenger by its label or id. Raises `NotFound`."""
    if label is None:
        return None
    known = {one["label"]: str(one["challenger"]) for one in money["comparisons"]}
    if label in known.values():
        return label
    if label not in known:
        raise NotFound("--challenger", label, ", ".join(known))
    return known[label]


def show_money(money: Mapping[str, Any], challenger: str | None) -> None:
    """Every section but the pictures."""
    for section in money_sections(money, challenger):
        match section:
            case Table(columns, rows, title):
                table(title, columns, [[show(cell) for cell in row] for row in rows])
            case Figures(pairs, title):
                table(title, ("", ""), [(name, show(value)) for name, value in pairs])
            case Text(markdown):
                console.print(markdown.replace("\\", ""), markup=False)
            case Chart():
                pass
