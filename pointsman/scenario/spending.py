"""What a running load test has spent so far, by estimate, and the watcher that ends it before it spends too much.

What a dispatch costs is only reported when it has ended; while the run goes on, each one that the target took counts as
what one costs on average by the run's forecast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from pointsman.dispatch.seconds import Second
from pointsman.model import Missing, Number
from pointsman.scenario.record import RunRecord
from pointsman.scenario.watching import Stop

_BILLED = ("completed", "failed", "unknown", "cancelled_sent")


@dataclass(frozen=True, slots=True)
class Spend:
    """USD by estimate: of all dispatches that have ended, of those of them that brought nothing, of those in flight."""

    ended: Number
    failed: Number
    in_flight: Number


@dataclass(frozen=True, slots=True)
class SpendMeter:
    """Estimates from counts as `Second` has them, of a whole run or of a part of it."""

    unit_usd: Number

    @classmethod
    def of(cls, record: RunRecord) -> SpendMeter:
        """By the run's forecast; nothing can be said of a run that has none."""
        forecast = record.metrics_json.get("cost", {}).get("forecast")
        if forecast is None:
            return cls(Missing("the run has no forecast"))
        if forecast["unit_usd"] is None:
            return cls(Missing(forecast["missing"]["unit_usd"]))
        return cls(Decimal(forecast["unit_usd"]))

    def so_far(self, counts: Mapping[str, int], in_flight: int = 0) -> Spend:
        """What the target did not take cost nothing; what its moderation turned down counts like all others."""
        ended = sum(counts.get(name, 0) for name in _BILLED) - counts.get("refused", 0)
        return Spend(
            ended=self._times(ended),
            failed=self._times(ended - counts.get("completed", 0)),
            in_flight=self._times(in_flight),
        )

    def _times(self, dispatches: int) -> Number:
        return self.unit_usd if isinstance(self.unit_usd, Missing) else self.unit_usd * dispatches


class SpendingWatcher:
    """Stops the run when what has ended and what is in flight would cost more than the run may spend."""

    name = "spending"

    def __init__(self, record: RunRecord) -> None:
        self._run_id = record.id
        self._meter = SpendMeter.of(record)
        limit = record.metrics_json.get("cost", {}).get("limit_usd")
        self._limit = None if limit is None else Decimal(limit)
        self._counts: Counter[str] = Counter()
        self._in_flight = 0

    def begin(self, epoch: datetime, state: Mapping[str, Any]) -> None:
        self._counts = Counter(state.get("counts", {}))
        self._in_flight = state.get("in_flight", 0)

    def look(self, now_s: float, seconds: Sequence[Second]) -> Stop | None:
        for one in seconds:
            self._counts.update(one.counts)
        if seconds:
            last = max(one.second for one in seconds)
            self._in_flight = max(one.in_flight for one in seconds if one.second == last)
        spend = self._spend
        if self._limit is None or isinstance(spend.ended, Missing) or isinstance(spend.in_flight, Missing):
            return None
        committed = spend.ended + spend.in_flight
        if committed <= self._limit:
            return None
        return Stop(
            event="budget_exceeded",
            code="over_run_budget",
            message=f"The dispatches that ended or are in flight cost about {committed:.2f} USD; "
            f"the run may spend {self._limit} USD.",
            instruction=f"See what it sent, then start a smaller one: pointsman scenario status {self._run_id}",
            data={"spent_usd": committed, "limit_usd": self._limit},
        )

    def state(self) -> Mapping[str, Any]:
        return {"counts": dict(self._counts), "in_flight": self._in_flight}

    def halt(self) -> None:
        """Nothing was begun that does harm."""

    def end(self) -> Mapping[str, Any]:
        ended = self._spend.ended
        if isinstance(ended, Missing):
            return {"cost": {"estimated_usd": None, "missing": {"estimated_usd": ended.reason}}}
        return {"cost": {"estimated_usd": format(ended, "f")}}

    @property
    def _spend(self) -> Spend:
        return self._meter.so_far(self._counts, self._in_flight)
