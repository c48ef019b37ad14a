"""The money behind a verdict as a document: waterfall per accepted output, saving, payback, sensitivity, utilisation.

It is put together after the verdict, from the same cells and the HUD, and nothing is decided by it. What production
will be like can be told again and again: the document is for the `Production` that stands in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from pointsman.economics.cells import NEVER_SENT, PricedCell, price_cells
from pointsman.economics.comparison import Comparison, compare
from pointsman.economics.entries import PriceEntry
from pointsman.economics.lines import NAT_SKU, OutputCost, Setting, output_cost
from pointsman.economics.measurements import qualities_of
from pointsman.economics.membership import frontier_membership
from pointsman.economics.parts import Parts, parts_of
from pointsman.economics.plain import number_of, plain, rounded
from pointsman.economics.price_book import PriceBook
from pointsman.economics.pricing import EGRESS_SKU, STORAGE_SKU, total
from pointsman.economics.production import Production
from pointsman.economics.sensitivity import Duel, Turn, turns
from pointsman.economics.utilisation import break_evens, curves, per_output
from pointsman.errors import NotFound
from pointsman.ids import VariantId
from pointsman.model import Json, Missing, Number
from pointsman.workspace import Workspace

_OF_OUTPUTS = {"egress": EGRESS_SKU, "NAT": NAT_SKU, "storage": STORAGE_SKU}
EXAMINED = 8
"""So many challengers, the one that is compared and the cheapest, are put through every lever and utilisation."""


def weigh(ws: Workspace, hud: Mapping[str, Any], book: PriceBook, production: Production) -> dict[str, Json]:
    """The document for one verdict, given its HUD document. Raises `NotFound` for a benchmark that is gone."""
    cells = price_cells(ws, hud["benchmark_id"], book, deliveries_per_output=hud["deliveries_per_output"])
    qualities = qualities_of(ws, hud["benchmark_id"], hud["evaluation_set_id"])
    return money_document(hud, cells, qualities, book, production)


def record_money(ws: Workspace, hud: Mapping[str, Any], book: PriceBook, production: Production) -> dict[str, Json]:
    """`weigh`, and keep it beside the HUD of the verdict."""
    document = weigh(ws, hud, book, production)
    ws.results.write_json(f"verdicts/{hud['verdict_id']}/money.json", document)
    return document


def read_money(ws: Workspace, verdict_id: str) -> dict[str, Json] | None:
    """What `record_money` kept; None for a verdict that is older than that."""
    try:
        document: dict[str, Json] = json.loads(ws.results.read(f"verdicts/{verdict_id}/money.json"))
    except NotFound:
        return None
    return document


def money_document(
    hud: Mapping[str, Any],
    cells: Sequence[PricedCell],
    qualities: Mapping[str, Number],
    book: PriceBook,
    production: Production,
) -> dict[str, Json]:
    """A pure function of what was measured, priced and told. Money is in decimal strings; what is unknown says why."""
    labels = {row["variant"]: row["label"] for row in hud["rows"]}
    shown = [
        cell
        for cell in cells
        if str(cell.variant) in labels and (cell.status not in NEVER_SENT or cell.outcome == "refused")
    ]
    parts = parts_of(shown, book, [VariantId.parse(variant) for variant in labels])
    incumbent = parts[VariantId.parse(hud["incumbent"])]
    at = max((cell.ended for cell in shown if cell.ended is not None), default=None)
    setting = _setting(hud, book, production, shown, at)
    first = min((one.at for cell in shown for one in cell.tried if one.at is not None), default=at)
    prices = _prices(book, {variant.provider for variant in parts}, first, at)
    experiment = hud["experiment_cost_usd"]
    challengers = sorted((one for one in parts.values() if one is not incumbent), key=_cheapest)
    compared = _compared(hud, challengers)
    challengers.sort(key=lambda one: str(one.variant) != compared)  # else by cost: it is put through every lever
    saving, deliveries = Decimal(str(hud["minimum_saving"])), hud["deliveries_per_output"]
    duels = [Duel(incumbent, one, setting, saving, deliveries) for one in challengers]
    memberships = frontier_membership(shown, qualities, seed=int(hud["verdict"]["data_sha256"][:8], 16))
    return {
        "verdict_id": hud["verdict_id"],
        "benchmark_id": hud["benchmark_id"],
        "incumbent": hud["incumbent"],
        "challenger": compared,
        "minimum_saving": hud["minimum_saving"],
        "deliveries_per_output": hud["deliveries_per_output"],
        "price_book_sha256": book.sha256,
        "prices": [_price(entry) for entry in prices],
        "production": production.model_dump(mode="json"),
        "variants": [
            _variant(one, output_cost(one, setting, None if one is incumbent else incumbent), labels)
            for one in (incumbent, *challengers)
        ],
        "comparisons": [_comparison(compare(duel, number_of(experiment["total"])), labels) for duel in duels],
        "sensitivity": [
            {"challenger": str(duel.challenger.variant), "label": labels[str(duel.challenger.variant)]}
            | {"lever": turn.lever, "unit": turn.unit, "now": plain(turn.now), "at": plain(turn.at)}
            | {"worth_it_now": turn.worth_it_now, "prices": _unit_prices(prices, turn)}
            for duel in duels[:EXAMINED]
            for turn in turns(duel)
        ],
        "utilisation": _utilisation([incumbent, *challengers[:EXAMINED]], setting, labels),
        "frontier_membership": [
            {"variant": str(variant), "label": labels[str(variant)]}
            | {"probability": share if not isinstance(share, Missing) else {"missing": share.reason}}
            for variant, share in memberships.items()
        ],
        "experiment_cost_usd": experiment,
    }


def _setting(
    hud: Mapping[str, Any], book: PriceBook, production: Production, cells: Sequence[PricedCell], at: datetime | None
) -> Setting:
    judged = sum(cell.outcome == "success" for cell in cells)
    judging = number_of(hud["experiment_cost_usd"]["judging"])
    if not isinstance(judging, Missing):
        judging = judging / judged if judged else Missing("nothing was judged")
    if at is None:
        return Setting(production, judging, Missing("no cell was run"))
    quoted = {line: book.entry(sku, at) for line, sku in _OF_OUTPUTS.items()}
    abroad = {line: entry.foreign for line, entry in quoted.items() if isinstance(entry, PriceEntry) and entry.foreign}
    return Setting(production, judging, book.price(NAT_SKU, at), abroad)


def _prices(
    book: PriceBook, providers: Collection[str], first: datetime | None, last: datetime | None
) -> list[PriceEntry]:
    """What applied between the two times: to these providers, and to their outputs afterwards."""
    if first is None or last is None:
        return []
    skus = [sku for sku in book.skus if sku.split(":", 1)[0] in providers]
    return [
        entry
        for sku in (*skus, EGRESS_SKU, STORAGE_SKU, NAT_SKU)
        for entry in book.entries
        if entry.sku == sku and entry.valid_from <= last and (entry.valid_to is None or entry.valid_to > first)
    ]


def _price(entry: PriceEntry) -> Json:
    return {
        "sku": entry.sku,
        "usd": plain(entry.usd),
        "unit": entry.unit,
        "currency": entry.currency,
        "valid_from": entry.valid_from.isoformat(),
        "source": entry.source,
    }


def _unit_prices(prices: Sequence[PriceEntry], turn: Turn) -> list[Json]:
    """What a price lever means in the units that the provider's prices are quoted in.

    Nothing where a price changed meanwhile: what was paid is neither of the two, and so many times it is no price.
    """
    if turn.unit != "times" or turn.provider is None:
        return []
    own = [entry.sku for entry in prices if entry.sku.startswith(f"{turn.provider}:")]
    if len(own) > len(set(own)):
        return []
    return [
        {"sku": entry.sku, "unit": entry.unit, "usd": plain(entry.usd)}
        | {"at_usd": plain(turn.at if isinstance(turn.at, Missing) else entry.usd * turn.at)}
        for entry in prices
        if entry.sku.startswith(f"{turn.provider}:")
    ]


def _cheapest(parts: Parts) -> tuple[bool, Decimal, VariantId]:
    beside = total((parts.idle, parts.cold_start, parts.minimum_billing))
    known = total((parts.compute, Decimal(0) if isinstance(beside, Missing) else beside, parts.egress))
    return (True, Decimal(0), parts.variant) if isinstance(known, Missing) else (False, known, parts.variant)


def _compared(hud: Mapping[str, Any], challengers: Sequence[Parts]) -> str | None:
    """The winner; without one the cheapest challenger that is as good, else the cheapest."""
    if hud["winner"] is not None:
        return str(hud["winner"])
    gates = {row["variant"]: row["gates"] for row in hud["rows"]}
    ids = [str(one.variant) for one in challengers]
    as_good = [one for one in ids if {gates[one].get(name) for name in ("success", "quality")} == {"passed"}]
    return next(iter([*as_good, *ids]), None)


def _variant(parts: Parts, cost: OutputCost, labels: Mapping[str, str]) -> dict[str, Json]:
    written = [line.usd if isinstance(line.usd, Missing) else rounded(line.usd) for line in cost.lines]
    return {
        "variant": str(parts.variant),
        "label": labels[str(parts.variant)],
        "accepted": parts.accepted,
        "lines": [
            {"name": line.name, "usd": plain(line.usd), "basis": line.basis, "why": line.why} for line in cost.lines
        ],
        "total_usd": plain(total(written)),
        "one_off_usd": plain(cost.one_off_usd),
    }


def _comparison(found: Comparison, labels: Mapping[str, str]) -> Json:
    numbers = {name: value for name, value in asdict(found).items() if name not in ("challenger", "left_out")}
    return {
        "challenger": str(found.challenger),
        "label": labels[str(found.challenger)],
        **{name: plain(getattr(found, name)) for name in numbers},
        "left_out": list(found.left_out),
    }


def _utilisation(parts: Sequence[Parts], setting: Setting, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "curves": [
            {
                "variant": str(one.variant),
                "label": labels[str(one.variant)],
                "provider": one.variant.provider,
                "declared": None if one.declared is None else plain(one.declared),
                "points": [[plain(share), plain(usd)] for share, usd in one.points],
            }
            for one in curves(parts, setting)
        ],
        "per_output": [
            {"variant": str(variant), "label": labels[str(variant)], "usd": plain(usd)}
            for variant, usd in per_output(parts, setting).items()
        ],
        "break_even": [
            {"variant": str(one.variant), "label": labels[str(one.variant)], "against": labels[str(one.against)]}
            | {"utilisation": plain(one.utilisation), "left_out": list(one.left_out)}
            for one in break_evens(parts, setting)
        ],
    }
