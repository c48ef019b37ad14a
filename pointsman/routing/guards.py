"""What a change of routing is asked before anything is written; going back is never refused.

Everything that speaks against a change is said at once. A canary is asked again before each step: rules may have become
others, a freeze may have begun. Its verdict's age and the number of changes count once, when it begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from itertools import pairwise

import sqlalchemy as sa

from pointsman.decision import StoredVerdict, load_verdict
from pointsman.errors import GuardRefused
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding, Missing, Number
from pointsman.routing.bindings import SERVED, SERVING
from pointsman.routing.capacity_gate import not_sustained
from pointsman.routing.evidence import Evidence, evidence_of
from pointsman.routing.gateways import Gateway
from pointsman.routing.rules import RoutingRules, rules_of
from pointsman.safety import Refusal
from pointsman.storage import tables
from pointsman.workspace import Workspace

_DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Intended:
    """A change that somebody asks for: to these `weights` in the end, by `steps` one after the other.

    `serving` is what serves now; `base`, of a canary that has begun, what served whole before it.
    """

    route_key: RouteKey
    weights: Mapping[VariantId, int]
    steps: Sequence[Mapping[VariantId, int]]
    serving: Binding | None
    verdict_id: str | None
    base: Binding | None = None

    @property
    def before(self) -> Binding | None:
        """What the change takes the place of, and what it may have to go back to."""
        return self.base or self.serving


def ensure_allowed(ws: Workspace, intended: Intended) -> None:
    """Raise `GuardRefused` for a change that breaks rules of its route: its code is that of the first one.

    `data` has the codes of all. Raises `NotFound` for an unknown verdict.
    """
    refusals = list(_Guards(ws, rules_of(ws, intended.route_key), intended).refusals())
    if refusals:
        raise GuardRefused(
            " ".join(one.message for one in refusals),
            instruction=refusals[0].instruction,
            code=refusals[0].code,
            codes=[one.code for one in refusals],
            route_key=str(intended.route_key),
        )


def ensure_ready(gateway: Gateway, route_key: RouteKey, weights: Mapping[VariantId, int]) -> None:
    """Raise `GuardRefused` (`gateway_not_ready`) where the gateway could not let these weights serve."""
    why = gateway.unready(route_key, weights)
    if why:
        raise GuardRefused(
            f"The gateway of {route_key} could not let that serve: {why}.",
            instruction=f"pointsman route show {route_key} --drift",
            code="gateway_not_ready",
            route_key=str(route_key),
        )


@dataclass(frozen=True)
class _Guards:
    ws: Workspace
    rules: RoutingRules
    intended: Intended

    def refusals(self) -> Iterator[Refusal]:
        yield from self._frozen()
        yield from self._blast_radius()
        yield from self._verdict()
        yield from self._compared()
        yield from self._floors()
        yield from self._spend()
        yield from self._capacity()
        yield from self._switched_on()
        yield from self._way_back()

    @property
    def _route(self) -> RouteKey:
        return self.intended.route_key

    def _refusal(self, code: str, message: str, instruction: str = "") -> Refusal:
        return Refusal(code, message, instruction or f"pointsman route rules {self._route}")

    def _frozen(self) -> Iterator[Refusal]:
        now = self.ws.clock.now()
        for freeze in self.rules.freezes:
            if freeze.holds(now):
                yield self._refusal("routing_frozen", f"{self._route} is not changed now: {freeze.why}.")

    def _blast_radius(self) -> Iterator[Refusal]:
        moved = self._largest_shift()
        if moved > self.rules.max_shift_percent:
            yield self._refusal(
                "too_much_at_once",
                f"{moved} % of the traffic of {self._route} would move at once; at most "
                f"{self.rules.max_shift_percent} % may.",
                "Go there in steps that are small enough: --canary with the same command.",
            )
        most = self.rules.max_changes_per_day
        if self.intended.base is None and most is not None and (done := self._changes_today()) >= most:
            yield self._refusal(
                "too_many_changes",
                f"{done} changes of routes of {self._route.environment} were made in the last 24 hours; at most "
                f"{most} may be.",
            )

    def _largest_shift(self) -> int:
        """Percents of the traffic that go to other variants, at the step where these are the most."""
        served = self.intended.serving
        if served is None:
            return 0
        path = [served.weights, *self.intended.steps]
        return max(
            sum(max(0, weight - before.get(one, 0)) for one, weight in after.items())
            for before, after in pairwise(path)
        )

    def _changes_today(self) -> int:
        """Not what waits for consent or did not get it, nor what is under way on this route: this change itself."""
        table = tables.routing_bindings
        others = (table.c.status == "applying") & (table.c.route_key != str(self._route))
        begun = table.c.status.in_((*SERVED, *SERVING)) | others
        wanted = sa.select(sa.func.count()).where(
            table.c.route_key.contains(f":env:{self._route.environment}:stage:", autoescape=True),
            table.c.created_at > self.ws.clock.now() - _DAY,
            table.c.kind == "apply",
            begun | ((table.c.status == "aborted") & (table.c.step == 0)),
            table.c.rollout_id.is_(None) | (table.c.step == 0),
        )
        with self.ws.database.connect() as connection:
            return connection.execute(wanted).scalar() or 0

    @cached_property
    def _stored(self) -> StoredVerdict | None:
        return None if self.intended.verdict_id is None else load_verdict(self.ws, self.intended.verdict_id)

    def _verdict(self) -> Iterator[Refusal]:
        stored = self._stored
        if stored is None:
            if self.rules.verdict_required:
                yield self._refusal("verdict_required", f"{self._route} changes only by a verdict, and none is named.")
            return
        again = f"pointsman hud show {stored.benchmark_id}"
        age_h = (self.ws.clock.now() - stored.created_at).total_seconds() / 3600
        if self.intended.base is None and age_h > self.rules.verdict_max_age_h:
            yield self._refusal(
                "verdict_too_old",
                f"The verdict {stored.id} is {age_h:.0f} hours old; at most "
                f"{self.rules.verdict_max_age_h:g} are allowed.",
                again,
            )
        if self._judge_untrusted(stored):
            yield self._refusal(
                "verdict_of_untrusted_judge",
                f"The judge whose scores the verdict {stored.id} rests on is not trusted.",
                f"pointsman evaluate {stored.benchmark_id}",
            )

    def _judge_untrusted(self, stored: StoredVerdict) -> bool:
        log = tables.action_logs
        told = sa.select(log.c.data).where(log.c.event == "judge_untrusted", log.c.context == stored.benchmark_id)
        with self.ws.database.connect() as connection:
            rows = connection.execute(told).scalars().all()
        return any(row.get("evaluation_set_id") in (None, stored.evaluation_set_id) for row in rows)

    def _compared(self) -> Iterator[Refusal]:
        """That something beats another variant says nothing of what serves, unless that was compared as well."""
        before = self.intended.before
        if before is None:
            return
        rests_on = next((one for one in self._evidence.values() if one is not None), None)
        if rests_on is None:
            return
        for variant, weight in before.weights.items():
            if weight > self.intended.weights.get(variant, 0) and variant not in rests_on.plan.variants:
                yield self._refusal(
                    "serving_not_compared",
                    f"{variant.label} serves {self._route}, and the verdict {self.intended.verdict_id} did not compare "
                    "it with what is to take its place.",
                    f"Measure both together, with {variant} as the incumbent: pointsman benchmark run",
                )

    @cached_property
    def _evidence(self) -> dict[VariantId, Evidence | None]:
        """Of every variant that is to get more than before."""
        before = self.intended.before.weights if self.intended.before else {}
        new = [one for one, weight in self.intended.weights.items() if weight > before.get(one, 0)]
        known = self.intended.verdict_id
        return {one: evidence_of(self.ws, known, one) if known else None for one in new}

    def _floors(self) -> Iterator[Refusal]:
        rules = self.rules
        floors = (
            ("success rate", "success_rate", rules.min_success_rate, 1),
            ("quality", "quality", rules.min_quality, 1),
            ("p95 in milliseconds", "p95_ms", rules.max_p95_ms, -1),
        )
        for name, field, limit, sign in floors:
            if limit is None:
                continue
            for variant, evidence in self._evidence.items():
                found: Number = Missing("no verdict is named") if evidence is None else getattr(evidence, field)
                if isinstance(found, Missing) or sign * (found - Decimal(str(limit))) < 0:
                    shown = found if isinstance(found, Missing) else f"{found:.4g}"
                    yield self._refusal(
                        f"{'below' if sign > 0 else 'above'}_{field}_limit",
                        f"The {name} of {variant.label} is {shown}; {'at least' if sign > 0 else 'at most'} "
                        f"{limit:g} is asked for.",
                    )

    def _spend(self) -> Iterator[Refusal]:
        most, jobs = self.rules.max_usd_per_month, self.rules.jobs_per_month
        if most is None or jobs is None:
            return
        for variant, evidence in self._evidence.items():
            price: Number = Missing("no verdict is named") if evidence is None else evidence.usd_per_success
            usd = price if isinstance(price, Missing) else price * jobs * self.intended.weights[variant] / 100
            if isinstance(usd, Missing) or usd > most:
                shown = usd if isinstance(usd, Missing) else f"{usd:.2f} USD"
                yield self._refusal(
                    "over_route_budget",
                    f"What {variant.label} would cost in a month of {jobs:,} jobs is {shown}; at most {most:f} USD are "
                    "allowed.",
                )

    def _capacity(self) -> Iterator[Refusal]:
        yield from self._sustains(self.intended.weights, "must not take", "capacity_not_shown")

    @cached_property
    def _enabled(self) -> set[str]:
        known = tables.variants
        mine = (known.c.route_key == str(self._route)) & known.c.enabled.is_(True)
        with self.ws.database.connect() as connection:
            return set(connection.execute(sa.select(known.c.id).where(mine)).scalars())

    def _switched_on(self) -> Iterator[Refusal]:
        """Also of the newcomers of a canary that has begun: whoever disables one wants it to get no more."""
        for variant, weight in self.intended.weights.items():
            if weight and str(variant) not in self._enabled:
                yield self._refusal(
                    "variant_disabled", f"{variant.label} is disabled.", f"pointsman variants enable {variant}"
                )

    def _way_back(self) -> Iterator[Refusal]:
        """What served before must be able to take everything back."""
        before = self.intended.before
        if before is None:
            return
        for variant, weight in before.weights.items():
            if weight and str(variant) not in self._enabled:
                yield self._refusal(
                    "no_way_back",
                    f"{variant.label} serves {self._route} and is disabled, so there would be nothing to go back to.",
                    f"pointsman variants enable {variant}",
                )
        yield from self._sustains(before.weights, "could not take back", "no_way_back")

    def _sustains(self, weights: Mapping[VariantId, int], could: str, code: str) -> Iterator[Refusal]:
        if self.rules.peak_per_s is None:
            return
        peak, headroom = Decimal(str(self.rules.peak_per_s)), Decimal(str(self.rules.headroom))
        for variant, why in not_sustained(self.ws, weights, peak=peak, headroom=headroom):
            yield self._refusal(
                code, f"{variant.label} {could} {why}.", f"pointsman scenario capacity --variant {variant}"
            )
