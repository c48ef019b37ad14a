"""What a matrix leaves behind is read on another machine: only the database and a bucket are common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.benchmark import (
    InputFile,
    create_matrix,
    finish_matrix,
    input_set,
    register_input_set,
    rounds,
    run_round,
)
from pointsman.dispatch import DriveInput, TargetSpec
from pointsman.dispatch.targets.inputs import input_values
from pointsman.errors import DependencyDown, InputRefused
from pointsman.ids import VariantId
from pointsman.quality.samples import every_output_has_a_source, load_samples
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.benchmark.fake_drive import FakeDrive, Fate
from tests.storage import buckets
from tests.storage.buckets import World

BM = "bm_test"
TARGET = TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:9")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with buckets.world(tmp_path / "machines") as found:
        yield found


@pytest.fixture
def machine(ws: Workspace, world: World) -> Callable[[str], Workspace]:
    return lambda name: replace(ws, results=world.machine(name))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDrive:
    fake = FakeDrive(fate=lambda route, input_id, seq: Fate(output=f"{route} {input_id} {seq}".encode()))
    monkeypatch.setattr("pointsman.benchmark.execution.drive", fake)
    return fake


def register(ws: Workspace, clips: list[Path]) -> None:
    register_input_set(ws, "golden-v1", [InputFile(clip, f"source-{n // 2}") for n, clip in enumerate(clips)])


def run_all(ws: Workspace, registered: list[VariantId]) -> None:
    create_matrix(
        ws,
        benchmark_id=BM,
        parent_run_id="run-1",
        variants=registered,
        inputs=input_set(ws, "golden-v1"),
        repeats=1,
        seed=5,
        round_cells=6,
        environment_id="lab",
        targets=[TARGET],
        in_flight_per_provider=2,
    )
    for number in rounds(ws, BM):
        run_round(ws, BM, number, secret=None, cancelled=lambda: False, on_status=lambda status: None)
    finish_matrix(ws, BM)


def select(ws: Workspace, table: sa.Table) -> list[Any]:
    with ws.database.connect() as connection:
        return list(connection.execute(sa.select(table).order_by(*table.primary_key)))


def test_inputs_are_taken_into_the_bucket_and_another_machine_has_them_at_hand(
    machine: Callable[[str], Workspace], world: World, clips: list[Path]
) -> None:
    one, two = machine("one"), machine("two")
    register(one, clips)
    found = input_set(two, "golden-v1")
    for member, clip in zip(found.members, clips, strict=True):
        assert member.uri == f"s3://results/team/inputs/{member.sha256}.avi"
        assert member.copy_here is not None
        assert Path(member.copy_here).is_relative_to(two.results.root)
        assert Path(member.copy_here).read_bytes() == clip.read_bytes() == world.kept[f"inputs/{member.sha256}.avi"]
    (row,) = select(one, tables.input_sets)
    assert set(row.members[0]) == {"input_id", "uri", "sha256", "bytes", "cluster"}


def test_the_same_files_are_the_same_set_wherever_they_lie_and_go_up_once(
    ws: Workspace, machine: Callable[[str], Workspace], world: World, clips: list[Path]
) -> None:
    register(ws, clips)
    before = input_set(ws, "golden-v1")
    register(machine("one"), clips)
    assert input_set(machine("one"), "golden-v1").sha256 == before.sha256
    register(machine("two"), clips)
    assert world.client.calls.count("put_object") == len(clips)


def test_a_file_that_cannot_go_up_now_waits_and_the_set_is_registered(
    machine: Callable[[str], Workspace], world: World, clips: list[Path]
) -> None:
    one = machine("one")
    world.go_out()
    register(one, clips)
    assert len(input_set(one, "golden-v1").members) == 4, "here they can be read all the same"
    with pytest.raises(DependencyDown, match="does not answer"):
        input_set(machine("two"), "golden-v1")
    world.come_back()
    assert one.results.drain().uploaded == 4
    assert len(input_set(machine("two"), "golden-v1").members) == 4


def test_what_a_request_may_hold_of_an_input_is_read_from_the_copy(
    ws: Workspace, machine: Callable[[str], Workspace], clips: list[Path]
) -> None:
    register(machine("one"), clips)
    member = input_set(machine("two"), "golden-v1").members[0]
    entry = DriveInput.of(member)
    assert entry.member(member.input_id) == member
    values = input_values(member, {"input_base64"})
    assert values["input_uri"] == member.uri
    assert values["input_type"] == "video/x-msvideo"
    assert values["input_base64"]
    with pytest.raises(InputRefused, match="a file"):
        input_values(replace(member, copy_here=None), {"input_base64"})
    with pytest.raises(InputRefused, match="s3://"):
        input_set(ws, "golden-v1")


def test_outputs_and_sources_are_judged_on_another_machine(
    machine: Callable[[str], Workspace],
    world: World,
    clips: list[Path],
    registered: list[VariantId],
    driver: FakeDrive,
) -> None:
    one, two = machine("one"), machine("two")
    register(one, clips)
    run_all(one, registered)
    artifacts = select(one, tables.run_artifacts)
    assert len(artifacts) == 12
    cells = [row.subject_id for row in artifacts]
    for row in artifacts:
        assert row.uri.startswith(f"s3://results/team/lab/benchmarks/{BM}/rounds/")
        assert row.uri.endswith(f"/lab/outputs/{row.subject_id}")
    assert every_output_has_a_source(two, BM)
    samples, absent = load_samples(two, BM, "set", cells)
    assert absent == []
    for sample in samples:
        assert sample.output.is_relative_to(two.results.root)
        assert sample.output.read_bytes() == world.kept[sample.output.relative_to(two.results.root).as_posix()]
        assert sample.source is not None


def test_an_output_that_is_gone_or_damaged_in_the_bucket_is_absent_and_an_s3_that_is_out_is_not(
    machine: Callable[[str], Workspace],
    world: World,
    clips: list[Path],
    registered: list[VariantId],
    driver: FakeDrive,
) -> None:
    one = machine("one")
    register(one, clips)
    run_all(one, registered)
    first, second, third, *_ = select(one, tables.run_artifacts)
    key = first.uri.removeprefix("s3://results/")
    world.client.put_object(Bucket="results", Key=key, Body=b"another", Metadata={"sha256": "0" * 64})
    world.client.delete_object(Bucket="results", Key=second.uri.removeprefix("s3://results/"))
    two = machine("two")
    _, absent = load_samples(two, BM, "set", [first.subject_id, second.subject_id, third.subject_id])
    assert [cell.dispatch_id for cell in absent] == [first.subject_id, second.subject_id]
    world.go_out()
    with pytest.raises(DependencyDown, match="does not answer"):
        load_samples(machine("three"), BM, "set", [third.subject_id])
