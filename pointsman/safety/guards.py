"""Guards: what is asked before anything is sent, and the limits that no approval lifts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from pointsman.errors import GuardRefused
from pointsman.settings import ENVIRONMENT_NAMES, Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """The hard limits of one run, of one calendar month (UTC) over all runs, and what needs no approval."""

    dispatches: int
    in_flight: int
    run_usd: Decimal
    month_usd: Decimal
    approval_usd: Decimal

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            dispatches=settings.max_dispatches,
            in_flight=settings.max_in_flight,
            run_usd=settings.max_run_usd,
            month_usd=settings.max_month_usd,
            approval_usd=settings.approval_limit_usd,
        )


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to be done: how much it sends, and what it may cost at the upper end, in USD."""

    what: str
    dispatches: int
    in_flight: int
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an intent is refused; in the form of an error, so that it becomes one."""

    code: str
    message: str
    instruction: str

    def error(self) -> GuardRefused:
        return GuardRefused(self.message, instruction=self.instruction, code=self.code)


class Guard(Protocol):
    def check(self, intent: Intent) -> Refusal | None: ...


@dataclass(frozen=True, slots=True)
class DispatchesGuard:
    """So many dispatches in a run."""

    limits: Limits

    def check(self, intent: Intent) -> Refusal | None:
        asked, most = intent.dispatches, self.limits.dispatches
        return _too_many(intent, "dispatches", asked, most) if asked > most else None


@dataclass(frozen=True, slots=True)
class InFlightGuard:
    """So many jobs in flight at once."""

    limits: Limits

    def check(self, intent: Intent) -> Refusal | None:
        asked, most = intent.in_flight, self.limits.in_flight
        return _too_many(intent, "in_flight", asked, most) if asked > most else None


def _too_many(intent: Intent, what: str, asked: int, most: int) -> Refusal:
    named = {"dispatches": "dispatches", "in_flight": "jobs in flight"}[what]
    return Refusal(
        f"too_many_{what}",
        f"{intent.what} may have {asked:,} {named}; at most {most:,} are allowed.",
        f"Make it smaller, or raise {ENVIRONMENT_NAMES[f'max_{what}']} where the run is executed.",
    )


@dataclass(frozen=True, slots=True)
class RunMoneyGuard:
    """So much money for one run."""

    limits: Limits

    def check(self, intent: Intent) -> Refusal | None:
        if intent.usd <= self.limits.run_usd:
            return None
        return Refusal(
            "over_run_budget",
            f"{intent.what} may cost {intent.usd:.2f} USD; at most {self.limits.run_usd} USD are allowed for one run.",
            "Make it smaller, or raise POINTSMAN_MAX_RUN_USD where the run is executed.",
        )


@dataclass(frozen=True, slots=True)
class MonthMoneyGuard:
    """So much money for all runs of the month, of which `spent` USD are spent or set aside for others."""

    limits: Limits
    month: str
    spent: Decimal

    def check(self, intent: Intent) -> Refusal | None:
        if self.spent + intent.usd <= self.limits.month_usd:
            return None
        return Refusal(
            "over_month_budget",
            f"{intent.what} may cost {intent.usd:.2f} USD; of {self.limits.month_usd} USD for {self.month}, "
            f"{self.spent:.2f} are spent or set aside.",
            "Wait for the next month, or raise POINTSMAN_MAX_MONTH_USD where the run is executed.",
        )


def guards(limits: Limits, *, month: str, spent: Decimal) -> tuple[Guard, ...]:
    """Every guard of a run, in the order in which they are asked."""
    return DispatchesGuard(limits), InFlightGuard(limits), RunMoneyGuard(limits), MonthMoneyGuard(limits, month, spent)


def refusals(asked: Iterable[Guard], intent: Intent) -> Iterator[Refusal]:
    """What each guard that refuses says."""
    return (refusal for guard in asked if (refusal := guard.check(intent)) is not None)


def first_refusal(asked: Iterable[Guard], intent: Intent) -> Refusal | None:
    """What the first guard that refuses says; None when none does."""
    return next(refusals(asked, intent), None)
