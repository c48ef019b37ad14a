"""What a matrix would be, before anything is written: its cells, what they cost, how long they take, and whether it is
large enough for the margins that are declared.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from pointsman.benchmark import Cell, matrix_seconds, plan_cells, withheld
from pointsman.decision import Assumptions, PlanSize, inputs_needed, left_for
from pointsman.economics import PriceBook, forecast_load, forecast_together
from pointsman.errors import InputRefused
from pointsman.ids import VariantId
from pointsman.model import InputSet, Missing, Number, Variant
from pointsman.reporting import Figures, Report, Table
from pointsman.safety import Forecast
from pointsman.storage import tables
from pointsman.workspace import Workspace

CONFIDENCE = 0.9
_NEWEST = 2_000
_MARGINS = ("alpha", "success_margin", "quality_margin", "min_saving")


@dataclass(frozen=True, slots=True)
class PlannedVariant:
    """What a matrix would do with one variant. `skipped` counts cells that would never be sent, by reason."""

    variant: VariantId
    cells: int
    skipped: Mapping[str, int]
    cost: Forecast
    """USD of the cells, with a 90 % interval."""
    mean_ms: Number
    """Of its past cells, from sending to end."""
    limit_usd: Decimal | None
    """What it may spend in one matrix."""

    @property
    def over_limit(self) -> str | None:
        """Why it would not be given all its cells, as far as is known."""
        usd = self.cost.usd
        if self.limit_usd is None or isinstance(usd, Missing) or usd <= self.limit_usd:
            return None
        return f"it may spend {self.limit_usd} USD in one matrix: it would be stopped on the way, and cannot win"


@dataclass(frozen=True, slots=True)
class MatrixPreview:
    """`usd`, `low` and `high` of all variants: the intervals add up, as if all erred to the same side, so that the sum
    lies within them at least as often as its parts do. `seconds` is without what it takes to start each round."""

    variants: tuple[PlannedVariant, ...]
    inputs: int
    clusters: int
    rounds: int
    usd: Number
    low: Number
    high: Number
    seconds: Number
    needed: PlanSize | Missing
    assumed_saving: float
    alpha: float
    """The risk that is left for this decision: what is declared, or less where a route's decisions share a budget."""

    @property
    def cells(self) -> int:
        return sum(one.cells for one in self.variants)

    @property
    def skipped(self) -> int:
        return sum(sum(one.skipped.values()) for one in self.variants)

    def document(self) -> dict[str, Any]:
        """Plain data for `--json`; a figure that is not known is null, and says why beside it."""
        needed = self.needed
        return {
            "cells": self.cells,
            "skipped": self.skipped,
            "inputs": self.inputs,
            "clusters": self.clusters,
            "rounds": self.rounds,
            "confidence": CONFIDENCE,
            "cost_usd": {name: _plain(getattr(self, name)) for name in ("usd", "low", "high")},
            "seconds": _plain(self.seconds),
            "needed": {"missing": needed.reason}
            if isinstance(needed, Missing)
            else {"inputs": needed.inputs, "clusters": needed.clusters, "power": needed.power},
            "assumed_saving": self.assumed_saving,
            "alpha": self.alpha,
            "variants": [
                {
                    "variant": str(one.variant),
                    "cells": one.cells,
                    "skipped": dict(one.skipped),
                    "cost": one.cost.document(),
                    "mean_ms": _plain(one.mean_ms),
                    "over_limit": one.over_limit,
                }
                for one in self.variants
            ],
        }


def preview_matrix(
    ws: Workspace,
    variants: Sequence[Variant],
    inputs: InputSet,
    book: PriceBook,
    *,
    repeats: int,
    seed: int,
    round_cells: int,
    in_flight_per_provider: int,
    rules: Mapping[str, Any],
    assumed_saving: float,
) -> MatrixPreview:
    """Plan a matrix without writing anything.

    How many inputs are needed is simulated by the planner of verdicts, for one challenger that truly saves
    `assumed_saving` (a share) and the margins of `rules`. Raises `InputRefused` as `create_matrix` does for numbers and
    repeated variants.
    """
    planned = plan_cells(
        [one.id for one in variants], inputs.members, repeats=repeats, seed=seed, round_cells=round_cells
    )
    away = withheld(variants, inputs.members)
    run: Counter[VariantId] = Counter()
    used: dict[VariantId, set[str]] = defaultdict(set)
    skipped: dict[VariantId, Counter[str]] = defaultdict(Counter)
    names = {one.id: str(one.id) for one in variants}
    given = []
    for cell in planned:
        why = away.get((names[cell.variant], cell.input_id))
        if why is not None:
            skipped[cell.variant][why] += 1
        else:
            given.append(cell)
            run[cell.variant] += 1
            used[cell.variant].add(cell.input_id)
    now = ws.clock.now()
    found = []
    for one in sorted(variants, key=lambda variant: str(variant.id)):
        cost = forecast_load(
            ws,
            one.id,
            dispatches=run[one.id],
            inputs=max(1, len(used[one.id])),
            book=book,
            at=now,
            confidence=CONFIDENCE,
        )
        mean_ms = _mean_ms(ws, one.id)
        found.append(PlannedVariant(one.id, run[one.id], dict(skipped[one.id]), cost, mean_ms, one.limits.usd))
    together = forecast_together([one.cost for one in found if one.cells])
    clusters = len({member.cluster for member in inputs.members})
    alpha = rules["alpha"]
    if rules.get("alpha_per_year") is not None:
        alpha = left_for(ws, variants[0].id.route_key, alpha, rules["alpha_per_year"])
    return MatrixPreview(
        variants=tuple(found),
        inputs=len(inputs.members),
        clusters=clusters,
        rounds=len({cell.round for cell in planned}),
        usd=together.usd,
        low=together.low,
        high=together.high,
        seconds=_seconds(given, found, variants, in_flight_per_provider),
        needed=_needed(len(variants), len(inputs.members) / clusters, seed, {**rules, "alpha": alpha}, assumed_saving),
        assumed_saving=assumed_saving,
        alpha=alpha,
    )


def preview_report(preview: MatrixPreview) -> Report:
    """The preview for a person."""
    rows = [
        (
            one.variant.label,
            one.cells,
            sum(one.skipped.values()),
            one.cost.usd,
            one.cost.low,
            one.cost.high,
            one.mean_ms,
        )
        for one in preview.variants
    ]
    columns = ("variant", "cells to run", "skipped", "USD", "USD, low", "USD, high", "mean ms of past cells")
    needed = preview.needed
    size: Any = needed if isinstance(needed, Missing) else f"{needed.inputs} in {needed.clusters} clusters"
    figures: list[tuple[str, Any]] = [
        ("cells to run", preview.cells),
        ("cells that would be skipped", preview.skipped),
        ("rounds", preview.rounds),
        ("forecast cost, USD", preview.usd),
        ("90 % interval, low", preview.low),
        ("90 % interval, high", preview.high),
        ("forecast time, seconds", preview.seconds),
        ("inputs of the set", f"{preview.inputs} in {preview.clusters} clusters"),
        (f"inputs needed to show a saving of {100 * preview.assumed_saving:g} % at alpha = {preview.alpha:.2g}", size),
    ]
    sections: list[Any] = [Table(columns, rows), Figures(figures)]
    whys = [(one.variant.label, count, why) for one in preview.variants for why, count in sorted(one.skipped.items())]
    if whys:
        sections.append(Table(("variant", "cells", "why"), whys, title="Would be planned and not sent"))
    stops = [(one.variant.label, one.over_limit) for one in preview.variants if one.over_limit is not None]
    if stops:
        sections.append(Table(("variant", "why"), stops, title="Would be stopped by their limits"))
    methods = [(one.variant.label, one.cost.method) for one in preview.variants]
    sections.append(Table(("variant", "how its cost was found"), methods))
    summary = f"**Nothing was sent or written.** {preview.cells} cells would be run, {preview.skipped} skipped."
    return Report("Dry run of a matrix", summary, sections)


def _needed(
    variants: int, inputs_per_cluster: float, seed: int, rules: Mapping[str, Any], saving: float
) -> PlanSize | Missing:
    if variants < 2:
        return Missing("a comparison needs two variants")
    try:
        assumed = Assumptions(
            saving=saving,
            challengers=variants - 1,
            inputs_per_cluster=max(1, round(inputs_per_cluster)),
            sequential=bool(rules.get("sequential")),
            **{name: rules[name] for name in _MARGINS},
        )
        return inputs_needed(assumed, seed)
    except InputRefused as error:
        return Missing(error.message)


def _mean_ms(ws: Workspace, variant: VariantId) -> Number:
    items = tables.benchmark_matrix_run_items
    newest = (
        sa.select(items.c.total_ms)
        .where(items.c.variant_id == str(variant), items.c.status == "completed", items.c.total_ms.is_not(None))
        .order_by(items.c.ended_at.desc())
        .limit(_NEWEST)
        .subquery()
    )
    with ws.database.connect() as connection:
        mean = connection.execute(sa.select(sa.func.avg(newest.c.total_ms))).scalar()
    return Missing("no cell of the variant was run before") if mean is None else Decimal(repr(float(mean)))


def _seconds(
    sent: Sequence[Cell], found: Sequence[PlannedVariant], variants: Sequence[Variant], per_provider: int
) -> Number:
    took_s: dict[VariantId, float] = {}
    for one in found:
        if one.cells and isinstance(one.mean_ms, Missing):
            return Missing(f"{one.variant.label}: {one.mean_ms.reason}")
        if not isinstance(one.mean_ms, Missing):
            took_s[one.variant] = float(one.mean_ms) / 1000
    limits = {one.id: one.limits for one in variants}
    return Decimal(repr(round(matrix_seconds(sent, took_s, limits, per_provider), 3)))


def _plain(number: Number) -> Any:
    return {"missing": number.reason} if isinstance(number, Missing) else format(number, "f")
