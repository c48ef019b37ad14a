"""What load to offer: a scenario as a chain of stages. The models are also the form in the Prefect UI."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from pointsman.canonical import sha256_of
from pointsman.errors import InputRefused
from pointsman.scenario.conditions import parse_condition
from pointsman.scenario.faults.model import FEWEST, Fault
from pointsman.scenario.readings import Observe
from pointsman.scenario.segments import ARRIVAL, Recorded, Segment
from pointsman.scenario.sine import Sine

MAX_RATE = 20_000
MAX_DISPATCHES = 1_000_000
MAX_SHARDS = 64
MAX_DURATION_S = 86_400
MAX_STEPS = 1000

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


def _condition(text: str) -> str:
    try:
        return parse_condition(text).text
    except InputRefused as error:
        part = error.field.removeprefix("condition").removeprefix(", ")
        raise _refuse(part, error.value, error.allowed) from None


_Number = (BeforeValidator(_no_bool), AfterValidator(_six_decimals))
Rate = Annotated[float, Field(ge=0, le=MAX_RATE, allow_inf_nan=False), *_Number]
Seconds = Annotated[float, Field(ge=0.001, le=MAX_DURATION_S, allow_inf_nan=False), *_Number]


ConditionText = Annotated[str, Field(max_length=200), AfterValidator(_condition)]
_RATES = f"0 to {MAX_RATE} per second"
_NEEDED: Mapping[str, Mapping[str, str]] = {
    "constant": {"rate": _RATES},
    "ramp": {"to_rate": _RATES},
    "step": {"to_rate": _RATES, "steps": f"2 to {MAX_STEPS}"},
    "sine": {"rate": _RATES, "amplitude": "above 0 and up to the rate", "period_s": "0.001 to 86400"},
    "hold": {},
    "trace": {"trace": "a recording"},
}
"""By kind of stage, the fields that it needs and what they may be."""
_OPTIONAL: Mapping[str, frozenset[str]] = {"ramp": frozenset({"rate"}), "step": frozenset({"rate"})}
_STEADY = ("constant", "hold")
"""Where before and during a fault can be compared: the rate is the same."""
_OF_KINDS = ("rate", "to_rate", "steps", "amplitude", "period_s", "trace")


class TraceFile(BaseModel):
    """Recorded arrivals. In a scenario file `file` is enough: the rest is read from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(
        min_length=1,
        max_length=1000,
        title="File",
        description="CSV or Parquet with at_s (seconds) or at (times), and optionally input_id and params (a JSON "
        "object that is laid over the variant's parameters).",
        examples=["monday.csv"],
    )
    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        title="Hash (sha256)",
        description="Of the file: which recording it is.",
        examples=["0" * 64],
    )
    arrivals: int = Field(
        ge=1, le=MAX_DISPATCHES, title="Arrivals", description="How many the file holds.", examples=[1200]
    )


class Stage(BaseModel):
    """One stretch of a scenario: a rate that stays, moves in a straight line or in steps, swings, or is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=_NAME, title="Name", description="Names the stage in reports; unique in it.", examples=["steady"]
    )
    kind: Literal["constant", "ramp", "step", "sine", "hold", "trace"] = Field(
        default="constant",
        title="Kind",
        description="constant: one rate; ramp: from one rate to another in a straight line; step: the same on even "
        "plateaus; sine: a rate that swings around a mean; hold: the final rate of the stage before; "
        "trace: recorded arrivals.",
        examples=["constant"],
    )
    rate: Rate | None = Field(
        default=None,
        title="Rate per second",
        description="Arrivals per second, kept to 6 decimals. Needed in a constant stage and, as the mean, in a sine. "
        "In a ramp or step where it starts, by default the final rate of the stage before (0 in the first). "
        "Not in a hold.",
        examples=[2.5],
    )
    to_rate: Rate | None = Field(
        default=None,
        title="Final rate per second",
        description="Where a ramp or step ends, in arrivals per second. In these only.",
        examples=[10],
    )
    steps: int | None = Field(
        default=None,
        ge=2,
        le=MAX_STEPS,
        title="Steps",
        description="How many plateaus of one length a step stage has, from its first rate to its final one.",
        examples=[5],
    )
    amplitude: Rate | None = Field(
        default=None,
        title="Amplitude per second",
        description="How far the rate of a sine swings around its mean, at most the mean; it begins at the mean, "
        "rising.",
        examples=[1.5],
    )
    period_s: Seconds | None = Field(
        default=None, title="Period in seconds", description="How long one swing of a sine takes.", examples=[60]
    )
    trace: TraceFile | None = Field(
        default=None,
        title="Trace",
        description="The recording that a trace stage replays, at its own spacing.",
        examples=[{"file": "monday.csv", "sha256": "0" * 64, "arrivals": 1200}],
    )
    duration_s: Seconds = Field(
        title="Duration in seconds", description="How long the stage lasts, kept to the microsecond.", examples=[10]
    )
    warm_up: bool = Field(
        default=False,
        title="Warm-up",
        description="SLOs and stop conditions do not count what is sent in this stage.",
        examples=[True],
    )
    fault: Fault | None = Field(
        default=None,
        title="Fault",
        description="A fault experiment within the stage, whose effect is measured. Only where the rate is one.",
        examples=[{"template": "EXT1a2b3c4d5e6f7", "offset_s": 60, "duration_s": 120}],
    )

    @model_validator(mode="after")
    def _rates_fit_the_kind(self) -> Stage:
        needed = _NEEDED[self.kind]
        for field, allowed in needed.items():
            if getattr(self, field) is None:
                raise _refuse(field, "nothing", f"{allowed} in a {self.kind} stage")
        for field in _OF_KINDS:
            value = getattr(self, field)
            if value is not None and field not in needed and field not in _OPTIONAL.get(self.kind, ()):
                kinds = [kind for kind in _NEEDED if field in _NEEDED[kind] or field in _OPTIONAL.get(kind, ())]
                raise _refuse(field, value, f"nothing in a {self.kind} stage; only in {', '.join(kinds)}")
        if self.amplitude is not None and self.rate is not None:
            highest = min(self.rate, MAX_RATE - self.rate)
            if not 0 < self.amplitude <= highest:
                raise _refuse("amplitude", self.amplitude, f"above 0 and up to {highest:g}: rates are {_RATES}")
        return self

    @model_validator(mode="after")
    def _fault_fits_into_the_stage(self) -> Stage:
        if self.fault is not None:
            if self.kind not in _STEADY:
                raise _refuse(
                    "fault", f"one in a {self.kind} stage", f"a fault in a stage of kind {' or '.join(_STEADY)}"
                )
            ends = self.fault.offset_s + self.fault.duration_s
            if ends > self.duration_s:
                raise _refuse("fault", f"an end after {ends:g} s", f"offset_s + duration_s up to {self.duration_s:g} s")
        return self

    def segment(self, previous: int | None) -> Segment:
        """The stage after one that ended at `previous` millionths of an arrival per second (None: the first)."""
        us = _millionths(self.duration_s)
        if self.trace is not None:
            return Segment((Recorded(self.trace.sha256, self.trace.arrivals, us),))
        if self.kind == "hold":
            if previous is None:
                raise _refuse("kind", "hold", "another kind in the first stage; there is no rate to keep")
            return Segment.line(previous, previous, us)
        start = (previous or 0) if self.rate is None else _millionths(self.rate)
        if self.amplitude is not None and self.period_s is not None:
            return Segment((Sine(start, _millionths(self.amplitude), _millionths(self.period_s), us),))
        end = start if self.to_rate is None else _millionths(self.to_rate)
        return Segment.line(start, end, us) if self.steps is None else Segment.steps(start, end, us, self.steps)


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
    shards: int = Field(
        default=1,
        ge=1,
        le=MAX_SHARDS,
        title="Shards",
        description="How many processes drive the run, each in its turn; one is enough for some thousand per second.",
        examples=[1],
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

    slos: tuple[ConditionText, ...] = Field(
        default=(),
        max_length=50,
        title="SLOs",
        description="What must hold over every window; a breach ends the run as failed.",
        examples=[["p95 total_ms < 5000 over 30s", "failure_rate < 1% over 1m"]],
    )
    stop_conditions: tuple[ConditionText, ...] = Field(
        default=(),
        max_length=50,
        title="Stop conditions",
        description="What must not come about; the first that does ends the run as failed.",
        examples=[["failure_rate > 20% for 10m", "achieved_rate < 95%", "alarms moved >= 1"]],
    )
    observe: Observe = Field(
        default=Observe(),
        title="Observed in AWS",
        description="What of AWS is looked at for conditions that speak of it.",
        examples=[{"alarms": ["effects-5xx"]}],
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
            if stage.fault is not None:
                compared = segment.end / 1_000_000 * stage.fault.control_s
                if compared < FEWEST:
                    where, found = f"stages.{index}.fault.offset_s", f"{stage.fault.offset_s:g} s"
                    needed = f"a rate and an offset by which {FEWEST} dispatches are sure to lie in the control before"
                    raise _refuse(where, f"{found} ({compared:.3g} dispatches in its control)", f"{needed} the fault")
            previous = segment.end
            microseconds += segment.us
            parts += segment.expected_parts
            if microseconds > MAX_DURATION_S * 1_000_000:
                total = f"{microseconds / 1_000_000:g} s in all"
                raise _refuse(f"stages.{index}.duration_s", total, f"{MAX_DURATION_S:,} s (24 h) in all")
            if parts > MAX_DISPATCHES * ARRIVAL:
                total = f"{parts / ARRIVAL:,.0f} dispatches in all"
                raise _refuse(f"stages.{index}", total, f"{MAX_DISPATCHES:,} dispatches in all")
        if all(stage.warm_up for stage in self.stages):
            raise _refuse("stages", "warm-up in all", "at least one stage that is not warm-up")
        if self.shards > self.max_in_flight:
            raise _refuse("shards", self.shards, f"at most max_in_flight ({self.max_in_flight}): each needs one")
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
    def warm_up(self) -> frozenset[int]:
        """Indexes of the stages that no percentile of the run counts; their events count all the same."""
        return frozenset(index for index, stage in enumerate(self.stages) if stage.warm_up)

    @property
    def duration_s(self) -> float:
        """How long arrivals are planned, in seconds."""
        return sum(segment.us for segment in self.segments) / 1_000_000

    @property
    def expected_dispatches(self) -> float:
        """The integral of the rate: what the schedule's length is within 1 of (uniform arrivals)."""
        return sum(segment.expected_parts for segment in self.segments) / ARRIVAL

    @property
    def sha256(self) -> str:
        """Identity of the scenario's content: of a trace what it holds, not where it lies."""
        document = self.model_dump(mode="json")
        for stage in document["stages"]:
            if stage["trace"] is not None:
                del stage["trace"]["file"]
        return sha256_of(document)
