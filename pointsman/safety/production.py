"""What the guard of production speaks of: the place, what was seen of it, the run that shall be, its consent. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from pointsman.errors import GuardRefused
from pointsman.model import Missing
from pointsman.safety.approvals import Approval
from pointsman.safety.guards import Intent, Limits, Refusal
from pointsman.safety.identities import Identity
from pointsman.settings import Settings

SCOPE = "production run"
"""Of an approval: one run, in one environment."""
UNREGISTERED = "unregistered"
_NAMED_SO = frozenset({"prod", "production"})


@dataclass(frozen=True, slots=True)
class ProductionRules:
    """What is allowed where runs are executed, by the settings; without any, nothing is."""

    accounts: frozenset[str]
    regions: frozenset[str]
    clusters: frozenset[str]
    groups: frozenset[str]
    alarms: tuple[str, ...]
    """The operator's own: none may ring before the run, nor while it goes on."""
    per_s: Decimal
    run_usd: Decimal

    @classmethod
    def of(cls, settings: Settings) -> ProductionRules:
        return cls(
            accounts=frozenset(_words(settings.production_accounts)),
            regions=frozenset(_words(settings.production_regions)),
            clusters=frozenset(_words(settings.production_clusters)),
            groups=frozenset(_words(settings.production_groups)),
            alarms=_words(settings.production_alarms),
            per_s=settings.max_production_per_s,
            run_usd=settings.max_production_run_usd,
        )

    def within(self, limits: Limits) -> Limits:
        """The limits of every run, with production's own where that is lower."""
        return replace(limits, run_usd=min(limits.run_usd, self.run_usd))


@dataclass(frozen=True, slots=True)
class Place:
    """An execution environment as it is registered."""

    id: str
    kind: str
    account: str | None
    region: str | None
    cluster: str | None
    group: str | None


def is_production(place: Place) -> bool:
    """Also of one that nobody registered and that is called so: forgetting to register it opens no door."""
    return place.kind == "production" or (place.kind == UNREGISTERED and place.id.lower() in _NAMED_SO)


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """An Auto Scaling group: its ARN, how many machines it should have and how many are healthy."""

    arn: str
    wanted: int
    healthy: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What AWS says of the place. A cluster is its ARN while it is ACTIVE; an alarm that is absent has state None."""

    account: str | Missing
    cluster: str | Missing
    group: GroupSeen | Missing
    lever: str | Missing
    alarms: Mapping[str, str | None] | Missing


@dataclass(frozen=True, slots=True)
class ProductionPlan:
    """One run that shall be, and all that is known of it. `intent` says what it sends and may cost."""

    run_id: str
    parent_run_id: str | None
    named: str | None
    """The environment that the request names as production."""
    place: Place
    requester: Identity
    approval: Approval | None
    approved_usd: Decimal
    """What is left of the approval's money."""
    at: datetime
    intent: Intent
    limits: Limits
    month: str
    spent_usd: Decimal
    """By all other runs of the month."""
    per_s: int
    """Dispatches in the fullest second."""
    taken_away: int
    """Machines that its faults take away at once, at most."""
    going_on: tuple[str, ...]
    """Ids of other runs in the environment."""
    seen: Seen


@dataclass(frozen=True, slots=True)
class Consent:
    """By whose approval a matrix or a probe is in production, how fast and how dear it may be, and what ends it."""

    approval_id: str
    environment_id: str
    per_s: int
    limit_usd: Decimal
    alarms: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "limit_usd": format(self.limit_usd, "f"), "alarms": list(self.alarms)}

    @classmethod
    def read(cls, document: Mapping[str, Any] | None) -> Consent | None:
        """As `document` wrote it; None was not admitted to production."""
        if document is None:
            return None
        limit, alarms = Decimal(document["limit_usd"]), tuple(document["alarms"])
        return cls(**{**document, "limit_usd": limit, "alarms": alarms})


@dataclass(frozen=True, slots=True)
class Permit:
    """That a run against production may be admitted, once it is approved, and what the approval is about."""

    environment_id: str
    per_s: int
    limits: Limits
    alarms: tuple[str, ...]


def not_alone(environment_id: str, going_on: Sequence[str]) -> Refusal | None:
    """Two runs at once would each see the other's load; asked again when the run is admitted."""
    if not going_on:
        return None
    first = going_on[0]
    end = f"pointsman benchmark cancel {first}" if first.startswith("bm_") else f"pointsman scenario cancel {first}"
    said = f"In {environment_id} another run goes on, or is about to: {', '.join(going_on)}."
    return Refusal("another_run_goes_on", said, f"Wait for it, or end it: {end}")


def require_consent(place: Place, consent: Consent | None, what: str) -> None:
    """Raise `GuardRefused` (`production_not_guarded`) for what would send to production and was not admitted there."""
    needed = place.id if is_production(place) else None
    if needed != (None if consent is None else consent.environment_id):
        raise GuardRefused(
            f"{what} in {place.id} did not pass the guard of production.",
            instruction="Start it by a command that asks it: pointsman --help",
            code="production_not_guarded",
        )


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in (part.strip() for part in text.split(",")) if word))
