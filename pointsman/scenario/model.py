"""What load to offer: a scenario as a chain of stages. The models are also the form in the Prefect UI."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from pointsman.canonical import sha256_of

MAX_RATE = 20_000
MAX_DISPATCHES = 1_000_000
MAX_DURATION_S = 86_400
ARRIVAL = 2_000_000_000_000
"""Parts of one arrival: a rate in millionths per second over whole microseconds sums to whole parts, also in a ramp."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def _refuse(field: str, value: object, allowed: str) -> PydanticCustomError:
    return PydanticCustomError(
        "not_allowed",
        "{field}: {value} is not allowed; allowed: {allowed}",
        {"field": field, "value": str(value), "allowed": allowed},
    )


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("not_a_number", "Input should be a number, not yes or no")
    return value


def _millionths(value: float) -> int:
    return round(value * 1_000_000)


def _six_decimals(value: float) -> float:
    return _millionths(value) / 1_000_000


_Number = (BeforeValidator(_no_bool), AfterValidator(_six_decimals))
Rate = Annotated[float, Field(ge=0, le=MAX_RATE, allow_inf_nan=False), *_Number]
Seconds = Annotated[float, Field(ge=0.001, le=MAX_DURATION_S, allow_inf_nan=False), *_Number]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stage with its rates resolved: from `start` to `end` millionths of an arrival per second, in `us`."""

    start: int
    end: int
    us: int

    @property
    def parts(self) -> int:
        """The integral of the rate, in parts of an arrival (see `ARRIVAL`)."""
        return (self.start + self.end) * self.us


class Stage(BaseModel):
    """One stretch of a scenario: a rate that stays, a rate that moves in a straight line, or the rate before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=_NAME, title="Name", description="Names the stage in reports; unique in it.", examples=["steady"]
    )
    kind: Literal["constant", "ramp", "hold"] = Field(
        default="constant",
        title="Kind",
        description="constant: one rate; ramp: from one rate to another in a straight line; "
        "hold: the final rate of the stage before.",
        examples=["constant"],
    )
    rate: Rate | None = Field(
        default=None,
        title="Rate per second",
        description="Arrivals per second, kept to 6 decimals. Needed in a constant stage. In a ramp where it starts, "
        "by default the final rate of the stage before (0 in the first). Not in a hold.",
        examples=[2.5],
    )
    to_rate: Rate | None = Field(
        default=None,
        title="Final rate per second",
        description="Where a ramp ends, in arrivals per second. In a ramp only.",
        examples=[10],
    )
    duration_s: Seconds = Field(
        title="Duration in seconds", description="How long the stage lasts, kept to the microsecond.", examples=[10]
    )

    @model_validator(mode="after")
    def _rates_fit_the_kind(self) -> Stage:
        if self.kind == "constant" and self.rate is None:
            raise _refuse("rate", "nothing", f"0 to {MAX_RATE} per second in a constant stage")
        if self.kind == "ramp" and self.to_rate is None:
            raise _refuse("to_rate", "nothing", f"0 to {MAX_RATE} per second in a ramp")
        if self.kind != "ramp" and self.to_rate is not None:
            raise _refuse("to_rate", self.to_rate, f"nothing in a {self.kind} stage; only a ramp ends elsewhere")
        if self.kind == "hold" and self.rate is not None:
            raise _refuse("rate", self.rate, "nothing in a hold stage; it keeps the rate of the stage before")
        return self

    def segment(self, previous: int | None) -> Segment:
        """The stage after one that ended at `previous` millionths of an arrival per second (None: the first)."""
        us = _millionths(self.duration_s)
        if self.kind == "hold":
            if previous is None:
                raise _refuse("kind", "hold", "constant or ramp in the first stage; there is no rate to keep")
            return Segment(previous, previous, us)
        start = (previous or 0) if self.rate is None else _millionths(self.rate)
        return Segment(start, start if self.to_rate is None else _millionths(self.to_rate), us)


class Scenario(BaseModel):
    """The load offered to one variant, and when to stop waiting for answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=_NAME, title="Name", description="Names the scenario in result paths.", examples=["phase01-smoke"]
    )
    stages: tuple[Stage, ...] = Field(
        min_length=1,
        max_length=100,
        title="Stages",
        description=f"In order. Together at most {MAX_DISPATCHES:,} dispatches and 24 hours.",
        examples=[[{"name": "steady", "kind": "constant", "rate": 2, "duration_s": 10}]],
    )
    arrivals: Literal["uniform", "poisson"] = Field(
        default="uniform",
        title="Arrivals",
        description="uniform: evenly spaced at the current rate; poisson: as independent callers arrive, by the seed.",
        examples=["uniform"],
    )
    max_in_flight: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        title="In flight at most",
        description="A dispatch that would go beyond is dropped and counted.",
        examples=[1000],
    )
    drain_limit_s: Seconds = Field(
        default=60.0,
        title="Drain limit in seconds",
        description="How long to wait for answers after the last arrival; then an outcome counts as unknown.",
        examples=[60],
    )
    poll_interval_s: float = Field(
        default=0.2,
        ge=0.01,
        le=60,
        allow_inf_nan=False,
        title="Poll interval in seconds",
        description="How often to ask the target for the state of jobs.",
        examples=[0.2],
    )
    request_timeout_s: float = Field(
        default=10.0,
        ge=0.01,
        le=3600,
        allow_inf_nan=False,
        title="Request timeout in seconds",
        description="How long one request to the target may take.",
        examples=[10],
    )
    target_patience_s: float = Field(
        default=30.0,
        ge=0.01,
        le=3600,
        allow_inf_nan=False,
        title="Patience with the target in seconds",
        description="How long the target may be out of reach before the run stops to be continued later.",
        examples=[30],
    )

    @model_validator(mode="after")
    def _stages_fit_together(self) -> Scenario:
        names = [stage.name for stage in self.stages]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise _refuse(f"stages.{index}.name", name, "a name that no other stage has")
        parts = microseconds = 0
        previous: int | None = None
        for index, stage in enumerate(self.stages):
            try:
                segment = stage.segment(previous)
            except PydanticCustomError as error:
                context = error.context or {}
                raise _refuse(f"stages.{index}.{context['field']}", context["value"], context["allowed"]) from None
            previous = segment.end
            microseconds += segment.us
            parts += segment.parts
            if microseconds > MAX_DURATION_S * 1_000_000:
                total = f"{microseconds / 1_000_000:g} s in all"
                raise _refuse(f"stages.{index}.duration_s", total, f"{MAX_DURATION_S:,} s (24 h) in all")
            if parts > MAX_DISPATCHES * ARRIVAL:
                total = f"{parts / ARRIVAL:,.0f} dispatches in all"
                raise _refuse(f"stages.{index}", total, f"{MAX_DISPATCHES:,} dispatches in all")
        if parts == 0:
            raise _refuse("stages", "no dispatch in all", f"stages that plan 1 to {MAX_DISPATCHES:,} dispatches in all")
        return self

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The stages with their rates resolved."""
        found: list[Segment] = []
        for stage in self.stages:
            found.append(stage.segment(found[-1].end if found else None))
        return tuple(found)

    @property
    def duration_s(self) -> float:
        """How long arrivals are planned, in seconds."""
        return sum(segment.us for segment in self.segments) / 1_000_000

    @property
    def expected_dispatches(self) -> float:
        """The integral of the rate: what the schedule's length is within 1 of (uniform arrivals)."""
        return sum(segment.parts for segment in self.segments) / ARRIVAL

    @property
    def sha256(self) -> str:
        """Identity of the scenario's content."""
        return sha256_of(self.model_dump(mode="json"))
