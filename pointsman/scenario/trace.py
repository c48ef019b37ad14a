"""Recorded arrivals: when each came and, where it was recorded, with which input and parameters; replay of production.

A trace is a CSV (with a header) or Parquet file with one row per arrival and the columns `at_s` (seconds after the
beginning) or `at` (a time; the earliest one is the beginning), and optionally `input_id` and `params`: a JSON object as
text that is laid over the variant's parameters as a merge patch (RFC 7396), empty = they stay as they are. The file's
sha256 is part of the scenario's identity; where it lies is not. A run keeps what it replays under `traces/` of the
results store.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from pointsman.dispatch.overrides import canonical_overrides
from pointsman.errors import InputRefused, NotFound
from pointsman.model import InputSet
from pointsman.scenario.model import MAX_DISPATCHES, MAX_DURATION_S, Scenario, TraceFile
from pointsman.workspace import Workspace

_COLUMNS = ("at_s", "at", "input_id", "params")
_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals in order. `input_ids` is None where the recording does not name inputs, `params` where it has none."""

    at_ns: npt.NDArray[np.int64]
    input_ids: tuple[str, ...] | None
    params: pl.Series | None = None
    """What is laid over the variant's parameters, in canonical form; null = nothing."""


Traces: TypeAlias = Mapping[str, Trace]
"""By sha256 of the file."""
NO_TRACES: Traces = MappingProxyType({})


def read_trace(path: Path) -> tuple[str, Trace]:
    """A recording and the sha256 of its file. Raises `NotFound` and, for anything else than a trace, `InputRefused`."""
    if not path.is_file():
        raise NotFound("trace", str(path), "the path of a file that exists")
    if path.stat().st_size > _MAX_BYTES:
        raise InputRefused("trace", str(path), f"at most {_MAX_BYTES:,} bytes")
    content = path.read_bytes()
    try:
        if path.suffix.lower() == ".csv":
            rows = pl.read_csv(content, infer_schema=False)
        elif path.suffix.lower() == ".parquet":
            rows = pl.read_parquet(content)
        else:
            raise InputRefused("trace", str(path), "a file that ends in .csv or .parquet")
    except pl.exceptions.PolarsError as error:
        raise InputRefused("trace", str(path), f"readable {path.suffix[1:]} ({error})") from error
    return hashlib.sha256(content).hexdigest(), _parsed(path, rows)


def _parsed(path: Path, rows: pl.DataFrame) -> Trace:
    unknown = [name for name in rows.columns if name not in _COLUMNS]
    if unknown or ("at_s" in rows.columns) is ("at" in rows.columns):
        raise InputRefused(f"trace {path.name}, columns", rows.columns, "at_s or at, input_id, params")
    if not 1 <= rows.height <= MAX_DISPATCHES:
        raise InputRefused(f"trace {path.name}, arrivals", rows.height, f"1 to {MAX_DISPATCHES:,}")
    at_ns = _seconds(rows["at_s"]) if "at_s" in rows.columns else _times(rows["at"])
    bad = at_ns.is_null() | (at_ns < 0) | (at_ns >= MAX_DURATION_S * 10**9)
    if (first := bad.arg_true()).len():
        name = "at_s" if "at_s" in rows.columns else "at"
        allowed = f"a time within {MAX_DURATION_S:,} s (24 h) of the beginning"
        raise InputRefused(f"trace {path.name}, row {first[0] + 1}, {name}", rows[name][first[0]], allowed)
    order = at_ns.arg_sort()  # stable, so that simultaneous arrivals stay as recorded
    inputs = None
    if "input_id" in rows.columns:
        if rows["input_id"].null_count():
            raise InputRefused(f"trace {path.name}, input_id", None, "a value in every row")
        inputs = tuple(rows["input_id"].cast(pl.String).gather(order).to_list())
    params = _params(path, rows["params"]).gather(order) if "params" in rows.columns else None
    return Trace(at_ns.gather(order).to_numpy().astype(np.int64), inputs, params)


def _params(path: Path, column: pl.Series) -> pl.Series:
    """In canonical form; each distinct text is read once."""
    if column.dtype in (pl.Null, pl.Categorical):
        column = column.cast(pl.String)
    forms: dict[str, str | None] = {}
    bad = column.is_not_null()
    if column.dtype == pl.String:
        forms = {text: canonical_overrides(text) for text in column.drop_nulls().unique().to_list()}
        bad = column.is_in(pl.Series([text for text, form in forms.items() if form is None], dtype=pl.String))
    if (first := bad.arg_true()).len():
        allowed = 'a JSON object as text, such as {"seed": 7}, or nothing'
        raise InputRefused(f"trace {path.name}, row {first[0] + 1}, params", column[first[0]], allowed)
    return column.replace_strict(forms, default=None, return_dtype=pl.String) if forms else column


def _seconds(column: pl.Series) -> pl.Series:
    seconds = column.cast(pl.Float64, strict=False)
    return (seconds.set(~seconds.is_finite().fill_null(False), None) * 1e9).round().cast(pl.Int64, strict=False)


def _times(column: pl.Series) -> pl.Series:
    if column.dtype == pl.String:
        column = column.str.to_datetime(time_unit="ns", time_zone="UTC", strict=False)
    if not isinstance(column.dtype, pl.Datetime):
        return pl.Series(column.name, [None] * column.len(), dtype=pl.Int64)
    since = column.dt.epoch("ns")
    return since - since.min()


def described(document: object, folder: Path) -> object:
    """A parsed scenario in which every trace says what its file holds: sha256, arrivals and, if left out, how long.

    Files are looked for beside the scenario. What is no scenario is left as it is: the model refuses it.
    """
    stages = document.get("stages") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(stages, list):
        return document
    return {**document, "stages": [_described_stage(stage, folder) for stage in stages]}


def _described_stage(stage: Any, folder: Path) -> Any:
    named = stage.get("trace") if isinstance(stage, dict) else None
    if not isinstance(named, dict) or not isinstance(named.get("file"), str) or "sha256" in named:
        return stage
    path = (folder / named["file"]).resolve()
    sha256, trace = read_trace(path)
    # The last arrival lies within the stage.
    length_s = {"duration_s": max(1_000, int(trace.at_ns[-1]) // 1_000 + 1) / 1_000_000}
    return {**length_s, **stage, "trace": {"file": str(path), "sha256": sha256, "arrivals": len(trace.at_ns)}}


def file_traces(scenario: Scenario) -> dict[str, Trace]:
    """The traces of a scenario from their files. Raises `InputRefused` for a file that has changed."""
    found = {}
    for index, named in _named(scenario):
        sha256, trace = read_trace(Path(named.file))
        if (sha256, len(trace.at_ns)) != (named.sha256, named.arrivals):
            shown = f"{sha256} with {len(trace.at_ns)} arrivals"
            wanted = f"{named.sha256} with {named.arrivals} arrivals, as the scenario says"
            raise InputRefused(f"scenario, stages.{index}.trace.sha256", shown, wanted)
        _check_length(scenario, index, trace)
        found[sha256] = trace
    return found


def stage_traces(scenario: Scenario, traces: Traces) -> dict[int, Trace]:
    """By index of stage, what it replays; stages that have a rate are absent."""
    return {index: traces[named.sha256] for index, named in _named(scenario)}


def keep_traces(ws: Workspace, scenario: Scenario, inputs: InputSet) -> Traces:
    """Put the scenario's traces into the results store, if they are not there, and return them.

    Raises `InputRefused` for a recorded input that the set does not have.
    """
    kept = [named.sha256 for _, named in _named(scenario) if ws.results.exists(_key(named.sha256))]
    if len(kept) < len(_named(scenario)):
        for sha256, trace in file_traces(scenario).items():
            buffer = io.BytesIO()
            columns: dict[str, Any] = {"at_ns": trace.at_ns}
            if trace.input_ids is not None:
                columns["input_id"] = trace.input_ids
            if trace.params is not None:
                columns["params"] = trace.params
            pl.DataFrame(columns).write_parquet(buffer)
            ws.results.write(_key(sha256), buffer.getvalue())
    traces = kept_traces(ws, scenario)
    known = {member.input_id for member in inputs.members}
    for index, named in _named(scenario):
        _check_length(scenario, index, traces[named.sha256])
        if absent := sorted(set(traces[named.sha256].input_ids or ()) - known):
            allowed = f"an input of the set {inputs.id}"
            raise InputRefused(f"scenario, stages.{index}.trace, input_id", absent[0], allowed)
    return traces


def kept_traces(ws: Workspace, scenario: Scenario) -> Traces:
    """The traces that a planned run replays."""
    found: dict[str, Trace] = {}
    for _, named in _named(scenario):
        rows = pl.read_parquet(ws.results.read(_key(named.sha256)))
        inputs = tuple(rows["input_id"].to_list()) if "input_id" in rows.columns else None
        params = rows["params"] if "params" in rows.columns else None
        found[named.sha256] = Trace(rows["at_ns"].to_numpy(), inputs, params)
    return found


def known_traces(ws: Workspace, scenario: Scenario) -> Traces:
    """The same, or those of the scenario's files where no run that replays them was planned; nothing is written."""
    kept = all(ws.results.exists(_key(named.sha256)) for _, named in _named(scenario))
    return kept_traces(ws, scenario) if kept else file_traces(scenario)


def _named(scenario: Scenario) -> list[tuple[int, TraceFile]]:
    return [(index, stage.trace) for index, stage in enumerate(scenario.stages) if stage.trace is not None]


def _key(sha256: str) -> str:
    return f"traces/{sha256}.parquet"


def _check_length(scenario: Scenario, index: int, trace: Trace) -> None:
    last_ns = int(trace.at_ns[-1])
    if last_ns >= scenario.segments[index].us * 1000:
        shown = scenario.stages[index].duration_s
        raise InputRefused(
            f"scenario, stages.{index}.duration_s", shown, f"more than {last_ns / 1e9:g}: the last arrival"
        )
