"""Parameters of single dispatches: laid over the variant's, sent with every submission, and kept in the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pointsman.canonical import canonical_json
from pointsman.dispatch import (
    DriveInput,
    DrivePlan,
    Limits,
    TargetSpec,
    planned_dispatches,
    read_dispatches,
    write_drive,
)
from pointsman.dispatch.closing import close_drive
from pointsman.dispatch.overrides import canonical_overrides, overridden
from pointsman.dispatch.plan import read_planned
from pointsman.ids import VariantId
from pointsman.model import Variant
from tests.dispatch.world import OTHER_VARIANT, ROUTE, VARIANT, Crash, Service, World, carry_on

OWN = {"crf": 23, "filter": {"name": "blur", "radius": 2}, "codecs": ["h264"]}
PATCHES: list[tuple[dict[str, Any] | None, dict[str, Any]]] = [
    (None, OWN),
    ({}, OWN),
    ({"crf": 30, "seed": 7}, {**OWN, "crf": 30, "seed": 7}),
    ({"crf": None}, {"filter": OWN["filter"], "codecs": ["h264"]}),
    ({"filter": {"radius": 5, "name": None}}, {**OWN, "filter": {"radius": 5}}),
    ({"filter": "none", "codecs": []}, {**OWN, "filter": "none", "codecs": []}),
    ({"crf": {"min": 1, "max": None}}, {**OWN, "crf": {"min": 1}}),
    ({"prompt": 'a \u2028 "cat"', "absent": None}, {**OWN, "prompt": 'a \u2028 "cat"'}),
]


def as_text(patch: dict[str, Any] | None) -> str | None:
    return None if patch is None else canonical_json(patch).decode()


def write(folder: Path, *, per_s: float | None) -> Path:
    """A drive of every patch on one variant, and on either side of it dispatches that cannot have any."""
    params = [None, *(as_text(patch) for patch, _ in PATCHES), None]
    route = [ROUTE, *([VARIANT] * len(PATCHES)), OTHER_VARIANT]
    due = None if per_s is None else [round(at * 1e9 / per_s) for at in range(len(route))]
    plan = DrivePlan(
        run_id="run",
        target=TargetSpec(name="t", preset="lab", base_url="http://127.0.0.1:9"),
        variants={VARIANT: OWN, OTHER_VARIANT: {}},
        inputs={"i": DriveInput(uri="/clip", sha256="0" * 64, bytes=1, cluster="c")},
        dispatches=planned_dispatches(route=route, input_id="i", due_ns=due, params=params),
        limits=Limits(max_in_flight=3, poll_interval_s=0.3, drain_limit_s=5.0),
    )
    write_drive(folder, plan)
    return folder


@pytest.mark.parametrize(("patch", "wanted"), PATCHES[1:])
def test_they_are_laid_over_the_variants_own(patch: dict[str, Any], wanted: dict[str, Any]) -> None:
    variant = Variant(VariantId.parse(VARIANT), "t", OWN)
    text = as_text(patch)
    assert text is not None
    assert overridden(variant, text).params == wanted
    assert variant.params == OWN == PATCHES[0][1], "which they leave as they are"


def test_equal_objects_are_one_text_and_nothing_else_is_any() -> None:
    assert canonical_overrides(' {"b": 1.0, "a": "\\u00e4"} ') == '{"a":"\u00e4","b":1.0}'
    for text in ("", "null", "7", "[]", '"{}"', "{", '{"a": NaN}', '{"a": -Infinity}', '{"a":' * 100_000):
        assert canonical_overrides(text) is None, text[:20]


@pytest.mark.parametrize("per_s", [None, 2.0], ids=["closed loop", "open loop"])
def test_the_target_is_told_the_parameters_of_each_dispatch_whenever_the_drive_was_interrupted(
    tmp_path: Path, per_s: float | None
) -> None:
    whole = World()
    carry_on(write(tmp_path / "whole", per_s=per_s), whole, Service(whole))
    for ends_at in range(1, whole.steps, 17):
        drive_dir = write(tmp_path / str(ends_at), per_s=per_s)
        world = World(ends_at=ends_at)
        service = Service(world)
        with pytest.raises(Crash):
            carry_on(drive_dir, world, service)
        world.dead, world.ends_at = False, None
        carry_on(drive_dir, world, service)
        ids = read_planned(drive_dir)["dispatch_id"].to_list()
        assert [service.jobs[one][0].body["params"] for one in ids[1:-1]] == [wanted for _, wanted in PATCHES]
        assert all(len(jobs) == 1 for jobs in service.jobs.values())
        close_drive(drive_dir, "completed")
        ledger = read_dispatches(drive_dir)
        assert ledger["params"].to_list() == [None, *(as_text(patch) for patch, _ in PATCHES), None]
