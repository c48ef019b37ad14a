"""What a load test will cost, from what its variant was measured to use and today's prices.

The unit is the input: what dispatches of one input cost is averaged first, then over the `k` inputs that were seen. Of
the mean over the `m` inputs of the run to come, the interval is  mean -+ t(k - 1) s sqrt(1/k + 1/m),  where `s` is the
standard deviation between inputs: the prediction interval of a mean of `m` new values (Hahn & Meeker, "Statistical
Intervals", section 4.7). What one dispatch costs more or less by chance drowns in the number of dispatches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from statistics import fmean, stdev
from typing import Any

import polars as pl
import sqlalchemy as sa

from pointsman.economics.attempts import priced_attempt
from pointsman.economics.exact import EXACT, PICO_DOLLAR
from pointsman.economics.price_book import PriceBook
from pointsman.economics.pricing import not_taken, total
from pointsman.errors import NotFound
from pointsman.ids import VariantId
from pointsman.model import Missing, Number
from pointsman.safety import Forecast
from pointsman.scenario import read_run, scan_ledger, scan_run_attempts
from pointsman.statistics import t_reach
from pointsman.storage import tables
from pointsman.workspace import Workspace

JOB_UNIT = "job"
"""`<provider>:job` is the price of one job at a provider that reports no usage."""
_NEWEST_RUNS = 5
_OF_ONE_RUN = 2_000


@dataclass(frozen=True, slots=True)
class _Unit:
    """USD of one dispatch that the target took: mean and interval, and how they were found."""

    usd: Decimal
    low: Decimal
    high: Decimal
    method: str


def forecast_load(
    ws: Workspace,
    variant: VariantId,
    *,
    dispatches: int,
    inputs: int,
    book: PriceBook,
    at: datetime,
    confidence: float = 0.95,
) -> Forecast:
    """What `dispatches` dispatches over `inputs` inputs will cost at the prices of `at`, within `confidence`.

    From past attempts of the variant, else from the price of a job at its provider, else from the provider's other
    variants of the same effect (an assumption, and called one). `Missing`, with the reason, when none of them is known.
    """
    unit = _measured(ws, variant, max(1, min(inputs, dispatches)), book, at, confidence)
    if isinstance(unit, Missing):
        listed = _listed(variant, book, at)
        unit = listed if listed is not None else _like_others(ws, variant, book, at, unit.reason)
    if isinstance(unit, Missing):
        return Forecast.unknown(dispatches, unit.reason)
    return Forecast(
        dispatches=dispatches,
        usd=_exact(unit.usd * dispatches),
        low=_exact(unit.low * dispatches),
        high=_exact(unit.high * dispatches),
        unit_usd=_exact(unit.usd),
        method=unit.method,
    )


def forecast_together(parts: Sequence[Forecast]) -> Forecast:
    """What several loads cost together: their upper ends add up, as nobody knows whether they are dear together."""
    dispatches = sum(one.dispatches for one in parts)
    usd, low, high = (total(getattr(one, name) for one in parts) for name in ("usd", "low", "high"))
    if isinstance(usd, Missing):
        return Forecast.unknown(dispatches, usd.reason)
    method = "; ".join(dict.fromkeys(one.method for one in parts))
    return Forecast(dispatches, usd, low, high, _exact(usd / max(1, dispatches)), method)


def _measured(
    ws: Workspace, variant: VariantId, inputs: int, book: PriceBook, at: datetime, confidence: float
) -> _Unit | Missing:
    costs = [*_under_load(ws, variant, book, at), *_of_matrices(ws, variant, book, at)]
    known: dict[str, list[float]] = {}
    reasons: dict[str, None] = {}
    for input_id, cost in costs:
        if isinstance(cost, Missing):
            reasons[cost.reason] = None
        else:
            known.setdefault(input_id, []).append(float(cost))
    priced = sum(map(len, known.values()))
    if priced * 2 < len(costs) or not costs:
        why = f"{len(costs) - priced} of {len(costs)} past dispatches of the variant have no known cost"
        return Missing(f"{why}: {next(iter(reasons))}" if reasons else "no dispatch of the variant was priced before")
    means = [fmean(of_input) for of_input in known.values()]
    mean = fmean(means)
    said = f"mean of {priced} past dispatches over {len(means)} inputs"
    if priced < len(costs):
        said += f"; {len(costs) - priced} more have no known cost and are taken to cost the same"
    if len(means) == 1:
        return _unit(mean, mean / 2, mean * 2, f"{said}; with one input, half to double is assumed")
    reach = t_reach(len(means) - 1, confidence=confidence) * stdev(means) * (1 / len(means) + 1 / inputs) ** 0.5
    said += f"; {100 * confidence:g} % prediction interval between inputs"
    return _unit(mean, max(0.0, mean - reach), mean + reach, said)


def _listed(variant: VariantId, book: PriceBook, at: datetime) -> _Unit | None:
    sku = f"{variant.provider}:{JOB_UNIT}"
    price = book.price(sku, at)
    return None if isinstance(price, Missing) else _Unit(price, price, price, f"the price book's {sku}")


def _like_others(ws: Workspace, variant: VariantId, book: PriceBook, at: datetime, why: str) -> _Unit | Missing:
    ids = tables.variants.c.id
    with ws.database.connect() as connection:
        registered = [VariantId.parse(text) for text in connection.execute(sa.select(ids).order_by(ids)).scalars()]
    others = [
        unit
        for one in registered
        if one != variant and (one.provider, one.effect_revision) == (variant.provider, variant.effect_revision)
        if not isinstance(unit := _measured(ws, one, 1, book, at, 0.95), Missing)
    ]
    if not others:
        return Missing(why)
    means = [unit.usd for unit in others]
    method = (
        f"assumed, because {why}: the mean of {len(others)} other variants at {variant.provider}, "
        "from half of the cheapest to twice the dearest"
    )
    return _Unit(_exact(sum(means, Decimal(0)) / len(means)), min(means) / 2, max(means) * 2, method)


def _under_load(ws: Workspace, variant: VariantId, book: PriceBook, at: datetime) -> Iterable[tuple[str, Number]]:
    """(input, USD) of dispatches of the newest load tests, spread evenly over each."""
    runs = tables.load_test_runs
    newest = (
        sa.select(runs.c.id)
        .where(runs.c.variant_id == str(variant), runs.c.ended_at.is_not(None))
        .order_by(runs.c.created_at.desc())
        .limit(_NEWEST_RUNS)
    )
    with ws.database.connect() as connection:
        run_ids = list(connection.execute(newest).scalars())
    for run_id in run_ids:
        record = read_run(ws, run_id)
        try:
            ledger, attempts = scan_ledger(ws, record), scan_run_attempts(ws, record)
        except NotFound:  # it ended without closed books
            continue
        taken = ledger.filter(pl.col("sent_ns").is_not_null()).select("dispatch_id", "input_id").collect()
        taken = taken.gather_every(max(1, taken.height // _OF_ONE_RUN))
        tried = attempts.filter(pl.col("dispatch_id").is_in(taken["dispatch_id"].implode())).collect()
        rows = taken.join(tried, on="dispatch_id", maintain_order="left")
        yield from _by_dispatch(rows.rows(named=True), book, at)


def _of_matrices(ws: Workspace, variant: VariantId, book: PriceBook, at: datetime) -> Iterable[tuple[str, Number]]:
    """(input, USD) of the newest cells of matrices."""
    items, attempts, usage = tables.benchmark_matrix_run_items, tables.attempts, tables.usage
    newest = (
        sa.select(items.c.dispatch_id, items.c.input_id)
        .where(items.c.variant_id == str(variant), items.c.ended_at.is_not(None))
        .order_by(items.c.ended_at.desc(), items.c.dispatch_id)
        .limit(_OF_ONE_RUN)
        .subquery()
    )
    rows = (
        sa.select(
            newest.c.dispatch_id,
            newest.c.input_id,
            attempts.c.number,
            attempts.c.outcome,
            attempts.c.provider,
            usage.c.sku,
            usage.c.quantity,
            usage.c.basis,
            sa.func.coalesce(usage.c.missing_reason, attempts.c.detail["no_usage"].as_string()).label("missing_reason"),
        )
        .join(attempts, attempts.c.subject_id == newest.c.dispatch_id)
        .outerjoin(usage, usage.c.subject_id == attempts.c.id)
        .order_by(newest.c.dispatch_id)
    )
    with ws.database.connect() as connection:
        yield from _by_dispatch([dict(row) for row in connection.execute(rows).mappings()], book, at)


def _by_dispatch(rows: Sequence[Mapping[str, Any]], book: PriceBook, at: datetime) -> Iterable[tuple[str, Number]]:
    """What each dispatch was paid for that the target took: all its attempts, failed and lost ones too."""
    attempts: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        if not not_taken(row):
            attempts.setdefault((row["dispatch_id"], row["input_id"], row["number"]), []).append(row)
    costs: dict[tuple[str, str], list[Number]] = {}
    for (dispatch_id, input_id, _), own in attempts.items():
        costs.setdefault((dispatch_id, input_id), []).append(priced_attempt(book, own, at).paid)
    for (_, input_id), amounts in costs.items():
        yield input_id, total(amounts)


def _unit(usd: float, low: float, high: float, method: str) -> _Unit:
    return _Unit(_exact(Decimal(usd)), _exact(Decimal(low)), _exact(Decimal(high)), method)


def _exact(amount: Decimal) -> Decimal:
    return EXACT.quantize(amount, PICO_DOLLAR)
