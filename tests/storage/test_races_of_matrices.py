"""What matrices rest on in each kind of database: who moves a cell first, and what is known of an input."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import sqlalchemy as sa

from pointsman.benchmark import (
    InputFile,
    cell_counts,
    cells,
    create_matrix,
    end_early,
    input_set,
    register_environment,
    register_input_set,
    register_variants,
)
from pointsman.clock import ManualClock
from pointsman.dispatch import TargetSpec
from pointsman.storage import LocalResults
from pointsman.workspace import Workspace
from tests.benchmark.samples import VARIANTS

BM = "bm_test"
_NOTICED_S = 0.2


def picture(path: Path, shade: int) -> Path:
    path.write_bytes(b"P6 2 2 255\n" + bytes([shade] * 12))
    return path


def test_what_a_look_skips_and_a_task_elsewhere_begins_at_the_same_time_is_one_or_the_other(
    database: sa.Engine, tmp_path: Path
) -> None:
    ws = Workspace(database, LocalResults(tmp_path / "results"), ManualClock(), "tester")
    register_environment(ws, "lab", name="Lab", kind="local")
    register_variants(ws, VARIANTS)
    files = [InputFile(picture(tmp_path / f"{shade}.ppm", shade), f"c{shade}") for shade in range(2)]
    create_matrix(
        ws,
        benchmark_id=BM,
        parent_run_id=None,
        variants=[one.id for one in VARIANTS],
        inputs=register_input_set(ws, "golden-v1", files),
        repeats=1,
        seed=5,
        round_cells=3,
        environment_id="lab",
        targets=[TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:9")],
        in_flight_per_provider=2,
    )
    look = Thread(target=end_early, args=(ws, BM), kwargs={"why": "decided at a look"})
    with database.begin() as connection:
        begun = cells.cells_of_round(connection, BM, 0)
        look.start()
        look.join(_NOTICED_S)
        assert look.is_alive(), "it waits for whoever has the cells"
        cells.move_cells(connection, ws, [(item, "running", "round 0", {}) for item in begun])
    look.join(30)
    assert cell_counts(ws, BM) == {"running": 3, "skipped": 3}


def test_data_classes_of_a_content_hold_in_every_set(database: sa.Engine, tmp_path: Path) -> None:
    ws = Workspace(database, LocalResults(tmp_path / "results"), ManualClock(), "tester")
    one, other = picture(tmp_path / "one.ppm", 1), picture(tmp_path / "other.ppm", 2)
    register_input_set(ws, "before", [InputFile(one, "c"), InputFile(other, "d")])
    register_input_set(ws, "known", [InputFile(one, "c", data_classes=("minors",))])
    assert [member.data_classes for member in input_set(ws, "before").members] == [("minors",), ()]
