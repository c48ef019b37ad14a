"""Replay of recorded arrivals: read from files, identified by what they hold, kept with the runs that replay them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.canonical import canonical_json
from pointsman.dispatch import read_dispatches, settle
from pointsman.dispatch.plan import read_planned
from pointsman.errors import InputRefused, NotFound
from pointsman.scenario import (
    Scenario,
    execute_run,
    file_traces,
    load_scenario,
    plan_arrivals,
    read_run,
    schedule,
    shard_schedule,
)
from pointsman.scenario.planning import plan_drives
from pointsman.scenario.record import run_drives
from pointsman.scenario.trace import Trace, read_trace
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import INPUTS as INPUT_SET
from tests.scenario.fake_engine import TARGET, VARIANT, FakeEngine, plan

TIMES = [0.5, 0.25, 1.0, 2.125, 0.25]
CSV = "at_s,input_id\n0.5,clip2\n0.25,clip0\n1.0,clip1\n2.125,clip1\n0.25,clip2\n"
IN_ORDER = [250_000_000, 250_000_000, 500_000_000, 1_000_000_000, 2_125_000_000]
INPUTS = ["clip0", "clip2", "clip2", "clip1", "clip1"]
WITH_PARAMS = """at_s,params
0.5,"{""crf"": 20, ""preset"": null}"
0.25,"{""preset"":""slow"" , ""crf"":1.50}"
1.0,
2.125,"{""preset"":""slow"",""crf"":1.5}"
0.25,{}
"""
PARAMS = ['{"crf":1.5,"preset":"slow"}', "{}", '{"crf":20,"preset":null}', None, '{"crf":1.5,"preset":"slow"}']
YAML = """
name: replay
stages:
  - {name: before, rate: 2, duration_s: 1}
  - {name: monday, kind: trace, trace: {file: monday.csv}}
  - {name: after, rate: 2, duration_s: 1}
"""
Arrival: TypeAlias = tuple[int, str, dict[str, Any] | None]
"""Nanoseconds after the beginning, input, parameters."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "scenarios"
    found.mkdir()
    (found / "monday.csv").write_text(CSV)
    (found / "replay.yaml").write_text(YAML)
    return found


@pytest.fixture
def replay(folder: Path) -> Scenario:
    return load_scenario(folder / "replay.yaml")


def test_a_recording_reads_the_same_from_every_kind_of_file(tmp_path: Path) -> None:
    begin = datetime(2026, 3, 2, 8, tzinfo=UTC)
    at = [begin + timedelta(seconds=second) for second in TIMES]
    rows = {
        "seconds.csv": pl.DataFrame({"at_s": TIMES}),
        "times.csv": pl.DataFrame({"at": [one.isoformat() for one in at]}),
    }
    for name, frame in rows.items():
        frame.write_csv(tmp_path / name)
    pl.DataFrame({"at_s": TIMES}).write_parquet(tmp_path / "seconds.parquet")
    pl.DataFrame({"at": at}).write_parquet(tmp_path / "times.parquet")
    for name, first in (
        ("seconds.csv", 0),
        ("seconds.parquet", 0),
        ("times.csv", IN_ORDER[0]),
        ("times.parquet", IN_ORDER[0]),
    ):
        _, trace = read_trace(tmp_path / name)
        assert (trace.at_ns + first).tolist() == IN_ORDER, name
        assert trace.input_ids is None


def test_a_scenario_file_needs_only_the_name_of_its_recording(folder: Path, replay: Scenario) -> None:
    sha256, _ = read_trace(folder / "monday.csv")
    stage = replay.stages[1]
    assert stage.trace is not None
    assert (stage.trace.sha256, stage.trace.arrivals) == (sha256, 5)
    assert stage.duration_s == 2.125001, "as long as the recording"
    assert replay.expected_dispatches == 2 + 5 + 2


def test_what_a_recording_holds_is_part_of_the_scenarios_identity_and_where_it_lies_is_not(
    folder: Path, replay: Scenario, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    assert load_scenario(elsewhere / "replay.yaml").sha256 == replay.sha256
    (elsewhere / "monday.csv").write_text(CSV.replace("2.125", "2.124999"))
    document = (elsewhere / "replay.yaml").read_text().replace("kind: trace,", "kind: trace, duration_s: 2.125001,")
    (elsewhere / "replay.yaml").write_text(document)
    assert load_scenario(elsewhere / "replay.yaml").sha256 != replay.sha256


@pytest.mark.parametrize("arrivals", ["uniform", "poisson"])
def test_recorded_arrivals_keep_their_spacing_between_stages_that_have_a_rate(replay: Scenario, arrivals: Any) -> None:
    scenario = replay.model_copy(update={"arrivals": arrivals})
    due, stages = plan_arrivals(scenario, 3, file_traces(scenario))
    assert (due[stages == 1] - 10**9).tolist() == IN_ORDER
    assert bool((np.diff(due) >= 0).all())
    assert bool((np.diff(stages) >= 0).all())
    if arrivals == "uniform":
        after = 10**9 + 2_125_001_000
        assert due.tolist() == [0, 5 * 10**8, *(10**9 + at for at in IN_ORDER), after, after + 5 * 10**8]


def test_shards_share_a_recording_as_they_share_every_schedule(replay: Scenario) -> None:
    traces = file_traces(replay)
    parts = [shard_schedule(replay, 1, shard=shard, shards=3, traces=traces) for shard in range(3)]
    assert sorted(np.concatenate([part.due_ns for part in parts]).tolist()) == schedule(replay, 1, traces).tolist()


def test_a_run_replays_the_recorded_inputs_and_keeps_the_recording(
    ws: Workspace, engine: FakeEngine, folder: Path, replay: Scenario
) -> None:
    scenario = replay.model_copy(update={"slos": ("p95 total_ms < 5000 over 1s",)})
    plan(ws, scenario=scenario)
    for file in folder.iterdir():
        file.unlink()
    (drive,) = run_drives(ws, read_run(ws, "run1"))
    rows = read_planned(drive)
    assert rows.filter(pl.col("stage") == 1)["input_id"].to_list() == INPUTS
    assert rows.height == 9
    plan(ws, scenario=scenario)
    ended = execute_run(ws, "run1", secret=None, cancelled=lambda: False)
    assert ended.status == "completed"
    record = read_run(ws, "run1")
    assert [stage["planned"] for stage in record.metrics_json["stages"]] == [2, 5, 2]
    assert record.metrics_json["slos"][0]["verdict"] == "held"


def test_a_run_replays_the_recorded_parameters_and_its_ledger_says_which(ws: Workspace, folder: Path) -> None:
    (folder / "monday.csv").write_text(WITH_PARAMS)
    scenario = load_scenario(folder / "replay.yaml")
    plan(ws, scenario=scenario)
    (folder / "monday.csv").unlink()
    plan(ws, scenario=scenario)
    (drive,) = run_drives(ws, read_run(ws, "run1"))
    assert read_planned(drive)["params"].to_list() == [None] * 2 + PARAMS + [None] * 2
    dispatches = settle(drive)
    assert dispatches.counts["cancelled_unsent"] == 9
    assert read_dispatches(drive)["params"].to_list() == [None] * 2 + PARAMS + [None] * 2


def test_parameters_read_the_same_from_every_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(WITH_PARAMS)
    rows = pl.read_csv(tmp_path / "a.csv").with_columns(pl.col("params").cast(pl.Categorical))
    for name, frame in (
        ("text.parquet", rows.cast({"params": pl.String})),
        ("words.parquet", rows),
        ("none.parquet", rows.with_columns(params=None)),
    ):
        frame.write_parquet(tmp_path / name)
    for name, wanted in (("a.csv", PARAMS), ("text.parquet", PARAMS), ("words.parquet", PARAMS)):
        _, trace = read_trace(tmp_path / name)
        assert trace.params is not None
        assert trace.params.to_list() == wanted, name
    _, trace = read_trace(tmp_path / "none.parquet")
    assert trace.params is not None
    assert trace.params.null_count() == 5


@given(
    arrivals=st.lists(
        st.tuples(
            st.integers(0, 10**10),
            st.sampled_from([member.input_id for member in INPUT_SET.members]),
            st.none() | st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=5)),
        ),
        min_size=1,
        max_size=40,
    ),
    counts=st.sets(st.integers(1, 64), min_size=1, max_size=4),
)
@settings(max_examples=10)
def test_the_plans_of_all_shards_are_the_single_plan_with_inputs_and_parameters(
    arrivals: list[Arrival], counts: set[int]
) -> None:
    check_shards(arrivals, counts)


@pytest.mark.prove
def test_so_they_are_for_every_number_of_shards() -> None:
    check_shards([(n, f"clip{n % 2}", {"n": n % 7}) for n in range(70)], set(range(1, 65)))


def check_shards(arrivals: list[Arrival], counts: set[int]) -> None:
    at_ns, input_ids, params = zip(*sorted(arrivals, key=lambda one: one[0]), strict=True)
    texts = [None if one is None else canonical_json(one).decode() for one in params]
    traces = {"0" * 64: Trace(np.asarray(at_ns), input_ids, pl.Series(texts, dtype=pl.String))}
    recording = {"file": "a.csv", "sha256": "0" * 64, "arrivals": len(arrivals)}
    stages = [
        {"name": "before", "rate": 2, "duration_s": 1},
        {"name": "replay", "kind": "trace", "trace": recording, "duration_s": 10.000001},
        {"name": "after", "rate": 2, "duration_s": 1},
    ]

    def drives(shards: int) -> list[pl.DataFrame]:
        scenario = Scenario.model_validate({"name": "replay", "stages": stages, "shards": shards})
        plans = plan_drives("run1", scenario, 1, traces, variant=VARIANT, target=TARGET, inputs=INPUT_SET)
        return [one.dispatches for one in plans]

    (single,) = drives(1)
    assert single.filter(pl.col("stage") == 1)["params"].to_list() == texts
    for shards in counts:
        parts = drives(shards)
        assert len(parts) == min(shards, single.height)
        assert pl.concat(parts).sort("seq").equals(single)


def test_a_recording_that_changed_or_names_an_unknown_input_is_refused(
    ws: Workspace, folder: Path, replay: Scenario
) -> None:
    (folder / "monday.csv").write_text(CSV.replace("clip2", "clip9"))
    with pytest.raises(InputRefused, match=r"stages\.1\.trace\.sha256"):
        plan(ws, scenario=replay)
    with pytest.raises(InputRefused, match=r"stages\.1\.trace, input_id: 'clip9'.*set golden"):
        plan(ws, scenario=load_scenario(folder / "replay.yaml"))


def test_a_stage_that_is_shorter_than_its_recording_is_refused(ws: Workspace, folder: Path) -> None:
    (folder / "replay.yaml").write_text(YAML.replace("kind: trace,", "kind: trace, duration_s: 2.125,"))
    scenario = load_scenario(folder / "replay.yaml")
    with pytest.raises(InputRefused, match=r"stages\.1\.duration_s: 2\.125 .* more than 2\.125"):
        plan(ws, scenario=scenario)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "at_s\n", "arrivals: 0"),
        ("a.csv", "at_s\n1\nsoon\n", "row 2, at_s: 'soon'"),
        ("a.csv", "at_s\n1\n-1\n", "row 2, at_s: '-1'"),
        ("a.csv", "at_s\n1\nnan\n", "row 2, at_s: 'nan'"),
        ("a.csv", "at_s\n1\n\n2\n", "row 2, at_s: nothing is given"),
        ("a.csv", "at_s\n86400\n", "within 86,400 s"),
        ("a.csv", "at\nyesterday\n", "row 1, at: 'yesterday'"),
        ("a.csv", "at_s,at\n1,2026-01-01T00:00:00Z\n", "columns"),
        ("a.csv", "at_s,user\n1,me\n", "columns"),
        ("a.csv", "when\n1\n", "columns"),
        ("a.csv", "at_s,input_id\n1,\n", "a value in every row"),
        ("a.csv", 'at_s,params\n1,{}\n2,"{""crf"":"\n', "row 2, params: '{\"crf\":'.*a JSON object"),
        ("a.csv", "at_s,params\n1,\n2,{}\n3,[1]\n", "row 3, params"),
        ("a.csv", "at_s,params\n1,7\n", "row 1, params"),
        ("a.csv", 'at_s,params\n1,"{""crf"": NaN}"\n', "row 1, params"),
        ("a.csv", 'at_s,params\n1,"{""prompt"": ""\\ud800""}"\n', "row 1, params"),
        ("a.csv", f"at_s,params\n1,{'[' * 100_000}\n", "row 1, params"),
        ("a.csv", "at_s,parameters\n1,{}\n", "columns"),
        ("a.csv", "at_s\n1,2,3\n", "readable csv"),
        ("a.parquet", "no parquet", "readable parquet"),
        ("a.txt", "1", r"ends in \.csv or \.parquet"),
    ],
)
def test_what_is_no_recording_is_refused_by_name(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputRefused, match=said):
        read_trace(tmp_path / name)
    with pytest.raises(NotFound):
        read_trace(tmp_path / "absent.csv")


def test_times_of_another_type_are_refused(tmp_path: Path) -> None:
    pl.DataFrame({"at": [1, 2]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputRefused, match="row 1, at"):
        read_trace(tmp_path / "a.parquet")


def test_parameters_of_another_type_are_refused(tmp_path: Path) -> None:
    pl.DataFrame({"at_s": [1.0, 2.0], "params": [None, {"crf": 20}]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputRefused, match=r"row 2, params: \{'crf': 20\}"):
        read_trace(tmp_path / "a.parquet")
