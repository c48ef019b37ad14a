"""What a run was expected to cost, may cost and did cost, in words: for its report, its status and its plan."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pointsman.model import Missing
from pointsman.reporting import Cell, show
from pointsman.scenario.metrics import NOT_PRICED

_BEFORE = "it is made when the run is admitted"


def cost_figures(cost: Mapping[str, Any], completed: int) -> list[tuple[str, Cell]]:
    """Name and figure of each part of a run's `cost`, of which so many dispatches completed; unknown is `Missing`."""
    forecast, limit, usd = (cost.get(name) for name in ("forecast", "limit_usd", "usd"))
    why = cost.get("missing", {}).get("usd", NOT_PRICED)
    total: Cell = Missing(why) if usd is None else _usd(Decimal(usd))
    each: Cell = total
    if usd is not None:
        each = _usd(Decimal(usd) / completed) if completed else Missing("no dispatch completed")
    return [
        *(forecast_figures(forecast) if forecast else [("forecast", Missing(_BEFORE))]),
        ("limit of the run", Missing(_BEFORE) if limit is None else _usd(Decimal(limit))),
        ("measured, failed attempts included", total),
        ("measured per completed dispatch", each),
    ]


def forecast_figures(forecast: Mapping[str, Any]) -> list[tuple[str, Cell]]:
    """Of a forecast (`Forecast.document`): in all and for one dispatch, each with its interval, and how it was made."""
    if forecast["usd"] is None:
        return [("forecast", Missing(forecast["missing"]["usd"]))]
    total, low, high = (Decimal(forecast[name]) for name in ("usd", "low", "high"))
    dispatches = forecast["dispatches"]
    return [
        ("forecast", _usd(total, low, high)),
        ("forecast per dispatch", _usd(*(amount / dispatches for amount in (total, low, high)))),
        ("forecast by", forecast["method"]),
    ]


def _usd(amount: Decimal, *interval: Decimal) -> str:
    between = f" ({' to '.join(map(show, interval))})" if interval else ""
    return f"{show(amount)} USD{between}"
