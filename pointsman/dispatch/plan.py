"""What to dispatch: a drive's plan as a folder with `plan.json` (how) and `plan-*.arrow` (one row per dispatch)."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pointsman.canonical import canonical_json
from pointsman.data_classes import unseen
from pointsman.dispatch.durable import write_durably
from pointsman.dispatch.overrides import canonical_overrides, overridden
from pointsman.dispatch.pace import share_of
from pointsman.dispatch.protocol import Capabilities
from pointsman.dispatch.targets import TargetSpec
from pointsman.errors import Conflict, GuardRefused, InputRefused, NotFound
from pointsman.ids import RouteKey, VariantId, check_id
from pointsman.model import Dispatch, InputMember, Variant

PLAN_SCHEMA: Mapping[str, Any] = {
    "seq": pl.Int64,
    "due_ns": pl.Int64,
    "route": pl.String,
    "input_id": pl.String,
    "repeat": pl.Int64,
    "stage": pl.Int64,
    "params": pl.String,
}
"""`params` = what is laid over the variant's parameters, null = nothing."""
_PART = 10_000
"""Rows in one file: a plan of a million is never in memory as a whole."""
CANCELS_AT_ONCE = 64
_CANCELLING_AT_LEAST_S = 5.0
Column: TypeAlias = Any
"""A sequence, an array, a polars Series, or one value for all rows."""


class DriveInput(BaseModel):
    """One input that dispatches of the drive name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str
    sha256: str
    bytes: int = Field(ge=0)
    cluster: str
    data_classes: tuple[str, ...] = ()
    copy_here: str | None = None
    """Path on the machine of the drive, of a file that `uri` says to be elsewhere."""

    def member(self, input_id: str) -> InputMember:
        return InputMember(input_id, self.uri, self.sha256, self.bytes, self.cluster, self.data_classes, self.copy_here)

    @classmethod
    def of(cls, member: InputMember) -> DriveInput:
        return cls(
            uri=member.uri,
            sha256=member.sha256,
            bytes=member.bytes,
            cluster=member.cluster,
            data_classes=member.data_classes,
            copy_here=member.copy_here,
        )


class VariantBound(BaseModel):
    """What one variant is given at most within a drive; None = no bound of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_in_flight: int | None = Field(default=None, ge=1)
    per_s: float | None = Field(default=None, gt=0)


class Limits(BaseModel):
    """What bounds a drive. Times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_in_flight: int = Field(default=1000, ge=1, le=100_000)
    """Sent and not ended. Open loop: a dispatch that is due while that many are in flight is dropped."""
    max_in_flight_per_provider: int | None = Field(default=None, ge=1)
    poll_interval_s: float = Field(default=0.2, ge=0.01, le=60)
    drain_limit_s: float = Field(default=60.0, gt=0, le=86_400)
    """How long after the last send to wait for outcomes; closed loop: also how long nothing at all may be learnt."""
    request_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    target_patience_s: float = Field(default=30.0, gt=0, le=3600)
    """How long the target may be out of reach before the drive stops with `target_lost`."""
    fetch_outputs: bool = False
    rate_share: float = Field(default=1.0, gt=0, le=1)
    """The part of the target's rate limits that is this drive's: the shards of a run share them."""
    submits_per_s: float | None = Field(default=None, gt=0)
    """At most so many are sent in any second, also where the target would take more."""
    variants: dict[str, VariantBound] = Field(default_factory=dict)
    """By variant id. Closed loop: an open one has a single variant, whose schedule is held against its limits."""


class DriveHeader(BaseModel):
    """`plan.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    target: TargetSpec
    variants: dict[str, dict[str, JsonValue]]
    inputs: dict[str, DriveInput]
    limits: Limits = Limits()
    keep_answers: bool = False
    """Keep what the target answers word for word, for trying out a preset."""
    shared_start: bool = False
    """One of several drives with one schedule: each waits to be told the epoch, and none waits for another."""
    planned: int
    dispatches_sha256: str

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change once the folder exists. Where the target listens may: a restarted one moves. So may
        the place of a copy: another machine goes on with the drive; and what is known of an input's data classes."""
        document = self.model_dump(mode="json")
        del document["target"]["base_url"]
        for entry in document["inputs"].values():
            del entry["copy_here"], entry["data_classes"]
        return document


class DrivePlan:
    """One drive: what `write_drive` writes. Raises `InputRefused` when it does not fit together.

    `sees` says by route which data classes of inputs whoever serves it may be given, none where it says nothing. Raises
    `GuardRefused` (`data_class_not_allowed`) when a dispatch would give it others: there is no other way to send.
    """

    def __init__(
        self,
        *,
        run_id: str,
        target: TargetSpec,
        variants: Mapping[str, Mapping[str, Any]],
        inputs: Mapping[str, DriveInput],
        dispatches: pl.DataFrame,
        limits: Limits | None = None,
        keep_answers: bool = False,
        shared_start: bool = False,
        sees: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        check_id("run id", run_id)
        _check_dispatches(dispatches, variants, inputs)
        _check_data_classes(dispatches, inputs, sees or {})
        self.dispatches = dispatches
        try:
            self.header = DriveHeader(
                run_id=run_id,
                target=target,
                variants={name: dict(params) for name, params in variants.items()},
                inputs=dict(inputs),
                limits=limits or Limits(),
                keep_answers=keep_answers,
                shared_start=shared_start,
                planned=dispatches.height,
                dispatches_sha256=_fingerprint(dispatches),
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise InputRefused("drive " + ".".join(map(str, first["loc"])), first.get("input"), first["msg"]) from error
        _check_requests(self.header, dispatches)


def planned_dispatches(
    *,
    route: Column,
    input_id: Column,
    seq: Column | None = None,
    due_ns: Column | None = None,
    repeat: Column = 0,
    stage: Column = 0,
    params: Column | None = None,
) -> pl.DataFrame:
    """The columns of the plan from sequences, arrays or single values, which are repeated to the common length.

    `seq` defaults to 0, 1, 2...; `due_ns` = nanoseconds after the epoch in ascending order, None = closed loop.
    `route` holds variant ids or route keys as text, `params` what `canonical_overrides` makes of JSON objects.
    """
    given = {"seq": seq, "due_ns": due_ns, "route": route, "input_id": input_id, "repeat": repeat, "stage": stage}
    given["params"] = params
    lengths = {len(value) for value in given.values() if _is_column(value)}
    if len(lengths) > 1:
        raise InputRefused("planned dispatches", sorted(lengths), "columns of one length")
    height = lengths.pop() if lengths else 1
    if seq is None:
        given["seq"] = range(height)
    return pl.DataFrame(
        {
            name: pl.Series(name, list(value) if isinstance(value, range) else value, dtype=PLAN_SCHEMA[name])
            if _is_column(value)
            else pl.Series(name, [value] * height, dtype=PLAN_SCHEMA[name])
            for name, value in given.items()
        }
    )


def _is_column(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str)


def write_drive(drive_dir: Path, plan: DrivePlan) -> None:
    """Write the plan, `plan.json` last. Again with the same plan is a no-op; raises `Conflict` for another one."""
    written = drive_dir / "plan.json"
    document = canonical_json(plan.header.model_dump(mode="json")) + b"\n"
    if written.is_file():
        if read_header(drive_dir).identity != plan.header.identity:
            raise Conflict(
                f"{drive_dir} already holds another plan.",
                instruction="Use another run id, or run the command that wrote this plan again.",
                code="drive_differs",
            )
        if written.read_bytes() != document:
            write_durably(written, document)
        return
    drive_dir.mkdir(parents=True, exist_ok=True)
    dispatches = plan.dispatches.select(list(PLAN_SCHEMA))
    for first in range(0, dispatches.height, _PART):
        part = dispatches.slice(first, _PART)
        buffer = io.BytesIO()
        part.with_columns(_dispatch_ids(plan.header.run_id, part)).write_ipc(buffer)
        write_durably(_part_path(drive_dir, first // _PART), buffer.getvalue())
    write_durably(written, document)


def find_inputs_here(drive_dir: Path, place: Callable[[str], Path]) -> None:
    """Let the plan name the copies of its inputs on this machine; `place` says where what has that URI is."""
    header = read_header(drive_dir)
    here = {
        name: one if one.copy_here is None else one.model_copy(update={"copy_here": str(place(one.uri))})
        for name, one in header.inputs.items()
    }
    if here != header.inputs:
        document = canonical_json(header.model_copy(update={"inputs": here}).model_dump(mode="json")) + b"\n"
        write_durably(drive_dir / "plan.json", document)


def has_plan(drive_dir: Path) -> bool:
    """Whether a drive was written there."""
    return (drive_dir / "plan.json").is_file()


def read_header(drive_dir: Path) -> DriveHeader:
    """Read `plan.json`. Raises `NotFound` or `InputRefused`."""
    path = drive_dir / "plan.json"
    if not path.is_file():
        raise NotFound("drive folder", str(drive_dir), "a folder that a drive was written to")
    try:
        return DriveHeader.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputRefused("plan.json", str(path), f"a drive's plan ({error.error_count()} errors)") from error


def _part_path(drive_dir: Path, number: int) -> Path:
    return drive_dir / f"plan-{number:05d}.arrow"


def read_planned(drive_dir: Path) -> pl.DataFrame:
    """The columns of PLAN_SCHEMA and `dispatch_id`, in sending order."""
    return read_planned_part(drive_dir, 0, read_header(drive_dir).planned)


def read_planned_part(drive_dir: Path, first: int, rows: int, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """At most `rows` rows of the plan from the `first` on, without reading the others."""
    parts = []
    for number in range(first // _PART, -(-(first + rows) // _PART)):
        path = _part_path(drive_dir, number)
        if not path.is_file():
            break
        # Not from the path: a file that is mapped counts as memory for longer than it is used.
        parts.append(pl.read_ipc(path.read_bytes(), columns=None if columns is None else list(columns)))
    return pl.concat(parts).slice(first % _PART, rows)


def parse_route(text: str) -> VariantId | RouteKey:
    """A variant id pins the dispatch, a route key leaves the choice to the gateway. Raises `InputRefused`."""
    return VariantId.parse(text) if ":wf:" in text else RouteKey.parse(text)


def variant_of(header: DriveHeader, route: VariantId | RouteKey) -> Variant | None:
    """The variant that a route pins, with the parameters of the plan."""
    if isinstance(route, RouteKey):
        return None
    return Variant(route, header.target.name, header.variants[str(route)])


def _check_dispatches(dispatches: pl.DataFrame, variants: Mapping[str, Any], inputs: Mapping[str, DriveInput]) -> None:
    if dict(dispatches.schema) != dict(PLAN_SCHEMA):
        raise InputRefused("planned dispatches", dict(dispatches.schema), f"the columns {', '.join(PLAN_SCHEMA)}")
    if dispatches.height == 0:
        raise InputRefused("planned dispatches", 0, "one or more")
    for name in ("seq", "route", "input_id", "repeat", "stage"):
        if dispatches[name].null_count():
            raise InputRefused(f"planned dispatches, {name}", None, "a value in every row")
    seq = dispatches["seq"]
    if seq[0] < 0 or not (seq.diff().drop_nulls() > 0).all():
        raise InputRefused("planned dispatches, seq", seq.head(5).to_list(), "numbers of 0 or more that only grow")
    due = dispatches["due_ns"]
    if due.null_count() not in (0, due.len()):
        raise InputRefused("planned dispatches, due_ns", None, "all due (open loop) or none (closed loop)")
    if due.null_count() == 0 and (due[0] < 0 or not (due.diff().drop_nulls() >= 0).all()):
        raise InputRefused("planned dispatches, due_ns", due.head(5).to_list(), "times of 0 or more that never fall")
    for text in dispatches["route"].unique().to_list():
        if isinstance(parse_route(text), VariantId) and text not in variants:
            raise NotFound("planned route", text, ", ".join(sorted(variants)) or "none: the drive has no variants")
    for input_id in dispatches["input_id"].unique().to_list():
        if input_id not in inputs:
            raise NotFound("planned input", input_id, ", ".join(sorted(inputs)) or "none: the drive has no inputs")


def _check_data_classes(
    dispatches: pl.DataFrame, inputs: Mapping[str, DriveInput], sees: Mapping[str, Sequence[str]]
) -> None:
    if not any(entry.data_classes for entry in inputs.values()):
        return
    for route, input_id in dispatches.select("route", "input_id").unique(maintain_order=True).iter_rows():
        kept_away = unseen(inputs[input_id].data_classes, sees.get(route, ()))
        if kept_away:
            raise GuardRefused(
                f"The input {input_id} is {', '.join(kept_away)}, which {route} may not see.",
                instruction="Use inputs without it, or allow it: pointsman variants change --help",
                code="data_class_not_allowed",
                input_id=input_id,
                route=route,
                data_classes=list(kept_away),
            )


def _check_requests(header: DriveHeader, dispatches: pl.DataFrame) -> None:
    """Make each request once that differs in its parameters: what they lack is refused before anything is sent."""
    target = header.target.build()
    name, entry = next(iter(header.inputs.items()))
    variants = {
        route: Variant(VariantId.parse(route), header.target.name, params) for route, params in header.variants.items()
    }
    for variant in variants.values():
        target.submit("check", variant.id, variant, entry.member(name))
    overrides = dispatches.select("route", "params").drop_nulls("params").unique(maintain_order=True)
    for route, params in overrides.iter_rows():
        if canonical_overrides(params) != params:
            raise InputRefused("planned dispatches, params", params, "a JSON object in canonical form")
        if route not in variants:
            raise InputRefused("planned dispatches, params", params, f"nothing where the gateway chooses ({route})")
        target.submit("check", variants[route].id, overridden(variants[route], params), entry.member(name))


def _dispatch_ids(run_id: str, dispatches: pl.DataFrame) -> pl.Series:
    """Derived here once for all: while dispatches are sent there is better use for the time."""
    routes = {text: parse_route(text) for text in dispatches["route"].unique().to_list()}
    pairs = zip(dispatches["seq"].to_list(), dispatches["route"].to_list(), strict=True)
    ids = [Dispatch(run_id, seq, routes[route], "").id for seq, route in pairs]
    return pl.Series("dispatch_id", ids, dtype=pl.String)


def _fingerprint(dispatches: pl.DataFrame) -> str:
    """sha256 over the values column by column, so that it does not depend on the file format's version."""
    digest = hashlib.sha256()
    for name in PLAN_SCHEMA:
        digest.update(canonical_json([name, dispatches[name].to_list()]))
    return digest.hexdigest()


def drain_s(limits: Limits, capabilities: Capabilities) -> float:
    """How long to wait for outcomes: at least as long as the one answer may take that is a whole job."""
    return max(limits.drain_limit_s, capabilities.answer_within_s or 0.0)


def cancelling_s(limits: Limits, capabilities: Capabilities, jobs: int) -> float:
    """How long it may take to end so many jobs at the target and to hear that they have.

    The requests that end it and one look, as fast as the target allows, or as one that takes a second for an answer.
    """
    per_s = share_of(capabilities.polls_per_s, limits.rate_share) or CANCELS_AT_ONCE
    return _CANCELLING_AT_LEAST_S + (capabilities.cancel_requests + 1) * jobs / min(per_s, CANCELS_AT_ONCE)


def schedule_length_s(dispatches: pl.DataFrame) -> float:
    """When the last dispatch is due, seconds after the epoch; infinite for a closed loop."""
    due = dispatches["due_ns"]
    return math.inf if due.null_count() else float(due[-1]) / 1e9
