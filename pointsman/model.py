"""The words everything hangs on: frozen values that pass between the rooms. No behaviour beyond validity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from pointsman.errors import InputRefused
from pointsman.ids import RouteKey, VariantId, dispatch_id, routed_dispatch_id

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Missing:
    """A number that is not known, and why. Never 0, never a bare None."""

    reason: str

    def __str__(self) -> str:
        return f"not measured ({self.reason})"


Number: TypeAlias = Decimal | Missing


@dataclass(frozen=True, slots=True)
class VariantLimits:
    """What a variant is given at most: jobs begun in a second, jobs in flight, and USD for its cells of one matrix.

    None = no limit of its own.
    """

    per_s: float | None = None
    in_flight: int | None = None
    usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """One registered way of producing an effect: which target runs it and with what parameters."""

    id: VariantId
    target: str
    params: Mapping[str, Json] = field(default_factory=dict)
    enabled: bool = True
    tags: tuple[str, ...] = ()
    data_classes: tuple[str, ...] = ()
    """The classes of inputs that it may be given; an input without any may go to every variant."""
    limits: VariantLimits = VariantLimits()


@dataclass(frozen=True, slots=True)
class Dispatch:
    """An intent to run one job; its id derives from (run_id, seq), so sending it twice is sending it once."""

    run_id: str
    seq: int
    route: VariantId | RouteKey
    input_id: str
    repeat: int = 0
    due_ns: int | None = None
    """Nanoseconds after the run's epoch; None = closed loop, as soon as there is room."""

    @property
    def id(self) -> str:
        if isinstance(self.route, RouteKey):
            return routed_dispatch_id(self.run_id, self.route, self.seq)
        return dispatch_id(self.run_id, self.seq)


AttemptOutcome = Literal["completed", "failed", "refused", "lost", "unknown"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One billable try of a dispatch or of a judgement. `number` counts from 1 within its subject."""

    subject_id: str
    number: int
    provider: str
    generation: int | None
    outcome: AttemptOutcome
    started: datetime
    ended: datetime | None

    @property
    def id(self) -> str:
        return f"{self.subject_id}#{self.number}"


@dataclass(frozen=True, slots=True)
class Usage:
    """The only thing that is priced; holds no price. `subject_id` is an attempt's id, or reserved capacity."""

    subject_id: str
    sku: str
    quantity: Number
    basis: Literal["measured", "estimated"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One planned cell, whatever became of it; all that `decide` sees. Money in USD, times in milliseconds."""

    dispatch_id: str
    variant: VariantId
    input_id: str
    cluster: str
    repeat: int
    outcome: Literal["success", "failure", "refused", "infrastructure"]
    quality: Number
    cost_usd: Number
    total_ms: Number
    scores: tuple[tuple[str, Number], ...] = ()
    """What the judge gave for each single score that the plan names, in the plan's order."""


VerdictOutcome = Literal["WINNER", "EQUIVALENT", "NO_SIGNIFICANT_WINNER", "INSUFFICIENT_DATA", "INVALID"]


@dataclass(frozen=True, slots=True)
class Gate:
    """One question to one challenger, in the declared order: the estimate, its test or limit, and the answer.

    `p_value` is None for a limit, which is held against the estimate, and for a gate that was not asked.
    """

    name: str
    challenger: VariantId
    estimate: float | None
    margin: float
    p_value: float | None
    passed: bool
    why: str
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: VerdictOutcome
    winner: VariantId | None
    gates: tuple[Gate, ...]
    plan_sha256: str
    data_sha256: str
    code_version: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a route's traffic goes, in whole percent. Generations of a route key only grow and are never rewritten."""

    route_key: RouteKey
    generation: int
    weights: Mapping[VariantId, int]
    cause: str

    def __post_init__(self) -> None:
        if self.generation < 1:
            raise InputRefused("binding generation", self.generation, "1 or more")
        if not self.weights or sum(self.weights.values()) != 100 or min(self.weights.values()) < 0:
            shown = {str(variant): weight for variant, weight in self.weights.items()}
            raise InputRefused("binding weights", shown, "whole percents from 0 to 100 that sum to 100")
        for variant in self.weights:
            if variant.route_key != self.route_key:
                raise InputRefused("binding weights", str(variant), f"variants of {self.route_key}")

    def leads_as(self, other: Binding | None) -> bool:
        """Whether traffic that follows the one follows the other: the same generation, and the same shares."""
        if other is None or (self.route_key, self.generation) != (other.route_key, other.generation):
            return False
        return self.shares == other.shares

    @property
    def shares(self) -> dict[VariantId, int]:
        """The weights of what gets traffic at all."""
        return {one: share for one, share in self.weights.items() if share}

    @property
    def sole_variant(self) -> VariantId | None:
        """The variant that gets all traffic, or None during a canary."""
        full = [variant for variant, weight in self.weights.items() if weight == 100]
        return full[0] if full else None


@dataclass(frozen=True, slots=True)
class InputMember:
    """One input of an input set: a file, its identity, and the cluster (source) it shares with its siblings."""

    input_id: str
    uri: str
    sha256: str
    bytes: int
    cluster: str
    data_classes: tuple[str, ...] = ()
    """What it shows or where it must stay, such as faces or region:eu: only variants that may see all of it get it."""
    copy_here: str | None = None
    """Path of a copy on this machine, for a file that `uri` says to be elsewhere. It is not stored."""


@dataclass(frozen=True, slots=True)
class InputSet:
    id: str
    members: tuple[InputMember, ...]
    sha256: str
