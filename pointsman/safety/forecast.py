"""What a run is expected to cost, before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pointsman.model import Missing, Number


@dataclass(frozen=True, slots=True)
class Forecast:
    """USD of `dispatches` dispatches, from `low` to `high` with 95 % confidence; `method` says how that was found.

    `unit_usd` is what one dispatch that was sent costs on average. Where one of them is `Missing` all of them are.
    """

    dispatches: int
    usd: Number
    low: Number
    high: Number
    unit_usd: Number
    method: str

    @classmethod
    def unknown(cls, dispatches: int, why: str) -> Forecast:
        """A forecast that could not be made."""
        missing = Missing(why)
        return cls(dispatches, missing, missing, missing, missing, "none")

    def document(self) -> dict[str, Any]:
        """As `metrics_json` keeps it: decimals as text; null is not known, and `missing` says why."""
        amounts = {name: getattr(self, name) for name in ("usd", "low", "high", "unit_usd")}
        missing = {name: amount.reason for name, amount in amounts.items() if isinstance(amount, Missing)}
        known = {name: None if name in missing else format(amount, "f") for name, amount in amounts.items()}
        return {
            "dispatches": self.dispatches,
            **known,
            "method": self.method,
            **({"missing": missing} if missing else {}),
        }
