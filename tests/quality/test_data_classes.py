"""A judge outside is shown no output of an input that it may not see; the local one leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from pointsman.errors import GuardRefused
from pointsman.quality import JudgeSpec, require_may_see
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.quality.test_judge_spec import settings
from tests.quality.worlds import Matrix


def classify(ws: Workspace, input_id: str, *classes: str) -> None:
    sets = tables.input_sets
    with ws.database.begin() as connection:
        members = connection.execute(sa.select(sets.c.members)).scalar_one()
        for member in members:
            if member["input_id"] == input_id:
                member["data_classes"] = list(classes)
        connection.execute(sa.update(sets).values(members=members))


def test_only_gemini_is_outside_and_it_may_see_what_its_block_says(tmp_path: Path) -> None:
    assert JudgeSpec(kind="local", data_classes=("faces",)).build(settings(tmp_path)).sees is None
    assert JudgeSpec().build(settings(tmp_path)).sees is None, "without a key auto is the local one"
    assert JudgeSpec().build(settings(tmp_path, "k-1")).sees == ()
    assert JudgeSpec(data_classes=("faces",)).build(settings(tmp_path, "k-1")).sees == ("faces",)


def test_a_judge_outside_is_refused_as_soon_as_one_output_is_of_what_it_may_not_see(
    ws: Workspace, matrix: Matrix
) -> None:
    require_may_see(ws, matrix.id, ())
    classify(ws, "input-1", "faces", "minors")
    for sees in ((), ("faces",)):
        with pytest.raises(GuardRefused, match=r"input-1 is .*minors") as refused:
            require_may_see(ws, matrix.id, sees)
        assert refused.value.code == "data_class_not_allowed"
    require_may_see(ws, matrix.id, ("faces", "minors", "region:eu"))
    require_may_see(ws, matrix.id, None)


def test_an_input_that_has_no_output_keeps_nobody_away(ws: Workspace, matrix: Matrix) -> None:
    classify(ws, "input-1", "minors")
    items = tables.benchmark_matrix_run_items
    with ws.database.begin() as connection:
        connection.execute(sa.update(items).where(items.c.input_id == "input-1").values(status="skipped"))
    require_may_see(ws, matrix.id, ())
