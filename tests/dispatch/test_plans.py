"""Plans that are refused before anything is written, and folders that hold exactly one plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pointsman.dispatch import (
    DriveInput,
    DrivePlan,
    Limits,
    TargetSpec,
    find_inputs_here,
    planned_dispatches,
    read_dispatches,
    read_status,
    write_drive,
)
from pointsman.dispatch.plan import read_header, read_planned
from pointsman.errors import Conflict, GuardRefused, InputRefused, NotFound
from tests.dispatch.world import ROUTE, VARIANT


def plan(dispatches: pl.DataFrame | None = None, **other: Any) -> DrivePlan:
    given: dict[str, Any] = {
        "run_id": "run",
        "target": TargetSpec(name="t", preset="lab", base_url="http://127.0.0.1:9"),
        "variants": {VARIANT: {}},
        "inputs": {"i": DriveInput(uri="/clip", sha256="0" * 64, bytes=1, cluster="c")},
        "dispatches": planned_dispatches(route=[VARIANT, ROUTE], input_id="i") if dispatches is None else dispatches,
    }
    return DrivePlan(**(given | other))


def test_the_same_plan_again_is_a_no_op_and_another_one_is_refused(tmp_path: Path) -> None:
    write_drive(tmp_path, plan())
    before = (tmp_path / "plan-00000.arrow").stat().st_mtime_ns
    write_drive(tmp_path, plan())
    assert (tmp_path / "plan-00000.arrow").stat().st_mtime_ns == before
    for other in (
        plan(limits=Limits(max_in_flight=7)),
        plan(planned_dispatches(route=VARIANT, input_id="i")),
        plan(planned_dispatches(route=[ROUTE, VARIANT], input_id="i")),
        plan(run_id="other"),
    ):
        with pytest.raises(Conflict, match="another plan"):
            write_drive(tmp_path, other)


def test_a_target_that_moved_does_not_make_another_plan(tmp_path: Path) -> None:
    write_drive(tmp_path, plan())
    moved = TargetSpec(name="t", preset="lab", base_url="http://127.0.0.1:10")
    write_drive(tmp_path, plan(target=moved))
    assert read_header(tmp_path).target == moved


def test_a_drive_that_goes_on_elsewhere_names_the_copies_of_its_inputs_there(tmp_path: Path) -> None:
    clip = {"uri": "s3://results/clip", "sha256": "0" * 64, "bytes": 1, "cluster": "c"}
    inputs = {"i": DriveInput(**clip, copy_here="/planned/clip"), "j": DriveInput(**clip)}
    write_drive(tmp_path, plan(inputs=inputs))
    find_inputs_here(tmp_path, lambda uri: tmp_path / uri.removeprefix("s3://"))
    found = {name: one.copy_here for name, one in read_header(tmp_path).inputs.items()}
    assert found == {"i": str(tmp_path / "results/clip"), "j": None}
    write_drive(tmp_path, plan(inputs=inputs))


def test_no_plan_gives_a_variant_an_input_that_it_may_not_see() -> None:
    clip = {"uri": "/clip", "sha256": "0" * 64, "bytes": 1, "cluster": "c"}
    inputs = {"i": DriveInput(**clip, data_classes=("faces", "minors")), "j": DriveInput(**clip)}

    def give(route: str, input_id: str, sees: dict[str, tuple[str, ...]]) -> DrivePlan:
        return plan(planned_dispatches(route=route, input_id=input_id), inputs=inputs, sees=sees)

    for refused in (
        lambda: give(VARIANT, "i", {}),
        lambda: give(VARIANT, "i", {VARIANT: ("faces",)}),
        lambda: give(ROUTE, "i", {VARIANT: ("faces", "minors")}),
        lambda: plan(inputs=inputs),
    ):
        with pytest.raises(GuardRefused) as refusal:
            refused()
        assert refusal.value.code == "data_class_not_allowed"
    assert "minors" in refusal.value.message
    give(VARIANT, "j", {})
    give(VARIANT, "i", {VARIANT: ("faces", "minors", "region:eu")})
    give(ROUTE, "i", {ROUTE: ("faces", "minors")})


def test_a_plan_whose_writing_was_cut_short_is_written_again(tmp_path: Path) -> None:
    write_drive(tmp_path, plan())
    (tmp_path / "plan.json").unlink()
    (tmp_path / "plan-00000.arrow").write_bytes(b"half")
    write_drive(tmp_path, plan())
    assert read_planned(tmp_path)["route"].to_list() == [VARIANT, ROUTE]


def test_columns_come_from_sequences_arrays_and_single_values() -> None:
    found = planned_dispatches(
        route=VARIANT, input_id=["a", "b"], due_ns=np.array([5, 9]), seq=range(3, 5), stage=pl.Series([0, 1])
    )
    assert found.rows() == [(3, 5, VARIANT, "a", 0, 0, None), (4, 9, VARIANT, "b", 0, 1, None)]
    assert planned_dispatches(route=VARIANT, input_id="a").rows() == [(0, None, VARIANT, "a", 0, 0, None)]
    with pytest.raises(InputRefused, match="one length"):
        planned_dispatches(route=[VARIANT] * 2, input_id=["a"] * 3)


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"route": [], "input_id": []}, "planned dispatches"),
        ({"route": [VARIANT] * 2, "input_id": "i", "seq": [1, 1]}, "seq"),
        ({"route": [VARIANT] * 2, "input_id": "i", "seq": [-1, 1]}, "seq"),
        ({"route": [VARIANT] * 2, "input_id": "i", "due_ns": [2, 1]}, "due_ns"),
        ({"route": [VARIANT] * 2, "input_id": "i", "due_ns": [-1, 1]}, "due_ns"),
        ({"route": [VARIANT] * 2, "input_id": "i", "due_ns": [None, 1]}, "due_ns"),
        ({"route": [VARIANT, None], "input_id": "i"}, "route"),
        ({"route": "er:e:wf:bad", "input_id": "i"}, "variant id"),
        ({"route": VARIANT.replace("exp:x", "exp:y"), "input_id": "i"}, "planned route"),
        ({"route": VARIANT, "input_id": "nobody"}, "planned input"),
        ({"route": VARIANT, "input_id": "i", "params": ["[1]"]}, "params.*a JSON object"),
        ({"route": VARIANT, "input_id": "i", "params": ['{"a": 1}']}, "params.*canonical"),
        ({"route": ROUTE, "input_id": "i", "params": ["{}"]}, "params.*gateway"),
    ],
)
def test_dispatches_that_do_not_fit_are_refused(columns: dict[str, Any], field: str) -> None:
    with pytest.raises(InputRefused, match=field):
        plan(planned_dispatches(**columns))


def test_a_frame_with_other_columns_is_refused() -> None:
    with pytest.raises(InputRefused, match="the columns"):
        plan(pl.DataFrame({"seq": [1]}))


def test_a_run_id_that_no_identifier_can_carry_is_refused() -> None:
    with pytest.raises(InputRefused, match="run id"):
        plan(run_id="a b")


@pytest.mark.parametrize(
    "limit", [{"max_in_flight": 0}, {"drain_limit_s": 0}, {"poll_interval_s": -1}, {"request_timeout_s": 1e9}]
)
def test_limits_are_bounded(limit: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Limits(**limit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "http://",
        "localhost:80",
        "http://host:99999",
        "http://user:hunter2@host",
        "http://host/?token=hunter2",
        "http://host/#x",
    ],
)
def test_a_base_url_is_plain_http_and_a_refusal_repeats_no_password(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TargetSpec(name="t", preset="lab", base_url=url)
    assert "hunter2" not in str(refused.value)


def test_a_folder_without_a_drive_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_status(tmp_path)
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(InputRefused, match=r"plan\.json"):
        read_status(tmp_path)


def test_an_open_drive_has_a_status_but_no_dispatches_yet(tmp_path: Path) -> None:
    write_drive(tmp_path, plan())
    status = read_status(tmp_path)
    assert status.phase == "waiting"
    assert status.counts["planned"] == status.counts["still_planned"] == 2
    with pytest.raises(NotFound, match="closed drive"):
        read_dispatches(tmp_path)


def test_a_variant_that_lacks_what_the_preset_needs_is_refused_before_anything_is_written() -> None:
    target = TargetSpec(name="t", preset="fal", base_url="https://queue.fal.run")
    with pytest.raises(InputRefused, match="variant parameter endpoint"):
        plan(target=target, variants={VARIANT: {"input": {}}})


def test_so_are_parameters_of_a_single_dispatch() -> None:
    target = TargetSpec(name="t", preset="fal", base_url="https://queue.fal.run")
    params = [None, '{"endpoint":"fal-ai/flux"}', '{"endpoint":"../secret"}']
    dispatches = planned_dispatches(route=[VARIANT] * 3, input_id="i", params=params)
    with pytest.raises(InputRefused, match=r"variant parameter endpoint: '\.\./secret'"):
        plan(dispatches, target=target, variants={VARIANT: {"endpoint": "fal-ai/other", "input": {}}})
