"""What a route's changes are held to: rules kept for each route in the state of record, with defaults for all others.

They are read where a change is made, so that whoever asks for one cannot loosen them.
"""

from __future__ import annotations

import tomllib
from datetime import datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Literal, Self

import sqlalchemy as sa
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pointsman.actions import ActionLog
from pointsman.errors import InputRefused, NotFound
from pointsman.ids import RouteKey
from pointsman.safety import Identity, require
from pointsman.storage import tables
from pointsman.workspace import Workspace

_TABLE = tables.routing_rules
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Freeze(BaseModel):
    """A time in which the route is not changed: hours (UTC) of some days, or once from `since` to `until`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    why: str = Field(min_length=1, max_length=200)
    days: tuple[Day, ...] = Field(default=_DAYS, min_length=1)
    begins: time | None = None
    """Of each day; together with `ends`, which may lie on the next day."""
    ends: time | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        daily, once = (self.begins is not None, self.ends is not None), (self.since is not None, self.until is not None)
        if {daily, once} != {(True, True), (False, False)}:
            raise ValueError("give either begins and ends, or since and until")
        if self.since and self.until and self.since >= self.until:
            raise ValueError("until lies after since")
        if self.since and self.days != _DAYS:
            raise ValueError("days go with begins and ends, not with since and until")
        if any(one is not None and one.tzinfo is not None for one in (self.begins, self.ends)):
            raise ValueError("begins and ends are UTC and name no time zone")
        return self

    def holds(self, at: datetime) -> bool:
        """Whether it is so at a time."""
        if self.since is not None and self.until is not None:
            return self.since <= at < self.until
        assert self.begins is not None
        assert self.ends is not None
        clock, today = at.time(), _DAYS[at.weekday()]
        if self.begins < self.ends:
            return today in self.days and self.begins <= clock < self.ends
        yesterday = _DAYS[at.weekday() - 1]
        return (today in self.days and clock >= self.begins) or (yesterday in self.days and clock < self.ends)


class RoutingRules(BaseModel):
    """What is None is not asked. Shares from 0 to 1, money in USD, times as their names say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict_required: bool = False
    """Refuse a variant that an operator chose without a verdict."""
    verdict_max_age_h: float = Field(default=336, gt=0, le=8760)
    min_success_rate: float | None = Field(default=None, ge=0, le=1)
    min_quality: float | None = Field(default=None, ge=0, le=100)
    max_p95_ms: float | None = Field(default=None, gt=0)
    jobs_per_month: int | None = Field(default=None, ge=1)
    max_usd_per_month: Decimal | None = Field(default=None, ge=0)
    """Refuse what would cost more at so many jobs; takes `jobs_per_month`."""
    peak_per_s: float | None = Field(default=None, gt=0, le=1_000_000)
    """Whatever serves the route, and what it may have to go back to, was shown to sustain its share of this."""
    headroom: float = Field(default=1.5, ge=1, le=100)
    max_shift_percent: int = Field(default=100, ge=1, le=100)
    """So much of the traffic at most moves to other variants at once: more takes a canary."""
    max_changes_per_day: int | None = Field(default=None, ge=1)
    """Of all routes of the environment together, in 24 hours; going back is not counted and never refused."""
    freezes: tuple[Freeze, ...] = Field(default=(), max_length=50)
    approval: bool = False
    """Ask for consent also outside production, where it is always asked for."""
    hold_h: float = Field(default=24, gt=0, le=720)
    """How long what served before is held after a switch, unless it is confirmed earlier."""
    held: dict[str, Decimal] = Field(default_factory=dict)
    """What holding takes in an hour, as `{sku of the price book: units}`."""
    watch_success_margin: float = Field(default=0.02, ge=0, lt=1)
    """By how much production may succeed less often than the verdict promised; the next two likewise."""
    watch_latency_ratio: float = Field(default=2.0, ge=1, le=100)
    watch_cost_ratio: float = Field(default=1.1, ge=1, le=100)
    watch_alpha: float = Field(default=0.01, gt=0, le=0.5)
    """The risk of calling a promise broken that is kept, of each promise at each look."""
    auto_restore: bool = False
    """Let `watch-routing` show a gateway again what is recorded, when it was changed behind our back."""
    auto_rollback: bool = False
    """Let `watch-routing` go back by itself when production does not keep what the verdict promised."""

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.max_usd_per_month is not None and self.jobs_per_month is None:
            raise ValueError("max_usd_per_month takes jobs_per_month")
        if any(units < 0 or not units.is_finite() for units in self.held.values()):
            raise ValueError("held takes units of 0 or more")
        return self


def rules_of(ws: Workspace, route_key: RouteKey) -> RoutingRules:
    """The rules kept for the route, else the defaults."""
    with ws.database.connect() as connection:
        kept = connection.execute(sa.select(_TABLE.c.rules).where(_TABLE.c.route_key == str(route_key))).scalar()
    return RoutingRules() if kept is None else RoutingRules.model_validate(kept)


def read_rules(path: Path) -> RoutingRules:
    """The rules in a TOML file. Raises `NotFound`, and `InputRefused` naming the first field that is wrong."""
    try:
        return RoutingRules.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise NotFound("rules file", str(path), f"a file that can be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = "rules, " + (".".join(map(str, first["loc"])) or str(path))
        raise InputRefused(field, first.get("input"), first["msg"].removeprefix("Value error, ")) from error
    except ValueError as error:
        raise InputRefused("rules file", str(path), f"TOML ({error})") from error


def set_rules(ws: Workspace, route_key: RouteKey, rules: RoutingRules, by: Identity) -> None:
    """Keep the rules of a route in the place of those before. Raises `GuardRefused` unless `by` is an admin."""
    require(by, "admin", "changing the rules of a route")
    kept = rules.model_dump(mode="json", exclude_defaults=True)
    values = {"rules": kept, "set_by": by.name, "set_at": ws.clock.now()}
    with ws.database.begin() as connection:
        connection.execute(sa.delete(_TABLE).where(_TABLE.c.route_key == str(route_key)))
        connection.execute(sa.insert(_TABLE).values(route_key=str(route_key), **values))
        ActionLog(ws).record_in(connection, "routing_rules_set", route_key=route_key, by=by.name, rules=kept)
