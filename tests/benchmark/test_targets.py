"""Matrices whose variants run on several targets: driven side by side, stored target by target."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pointsman.benchmark import cell_counts, create_matrix, register_variants, rounds, run_round
from pointsman.dispatch import TargetSpec
from pointsman.errors import Cancelled, DependencyDown, InputRefused
from pointsman.ids import VariantId
from pointsman.model import InputSet
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.benchmark.fake_drive import FakeDrive, Killed
from tests.benchmark.samples import VARIANTS

BM = "bm_two"
LAB = TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:9")
CLOUD = TargetSpec(name="cloud", preset="lab", base_url="http://127.0.0.1:10")
ON_CLOUD = replace(VARIANTS[0], id=replace(VARIANTS[0].id, provider="cloud-gpu"), target="cloud")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDrive:
    fake = FakeDrive()
    monkeypatch.setattr("pointsman.benchmark.execution.drive", fake)
    return fake


@pytest.fixture
def plan(ws: Workspace, registered: list[VariantId], inputs: InputSet) -> Callable[..., None]:
    """Creates the matrix: two variants on `lab`, one on `cloud`, and 4 inputs in 2 rounds."""
    register_variants(ws, [ON_CLOUD])

    def create(targets: list[TargetSpec]) -> None:
        create_matrix(
            ws,
            benchmark_id=BM,
            parent_run_id=None,
            variants=[*registered[:2], ON_CLOUD.id],
            inputs=inputs,
            repeats=1,
            seed=3,
            round_cells=6,
            environment_id="lab",
            targets=targets,
            in_flight_per_provider=2,
        )

    return create


def run(ws: Workspace, number: int, cancelled: Callable[[], bool] = lambda: False) -> dict[str, int]:
    return run_round(ws, BM, number, secret=None, cancelled=cancelled, on_status=lambda status: None).counts


def statuses(ws: Workspace, number: int, *, target: str) -> set[str]:
    items = tables.benchmark_matrix_run_items
    with ws.database.begin() as connection:
        rows = connection.execute(sa.select(items).where(items.c.round == number)).all()
    return {row.status for row in rows if (row.variant_id == str(ON_CLOUD.id)) == (target == "cloud")}


def test_every_target_gets_its_own_variants_at_the_same_time(
    ws: Workspace, plan: Callable[..., None], driver: FakeDrive
) -> None:
    plan([LAB, CLOUD])
    together = threading.Barrier(2, timeout=10)
    driver.before = lambda folder: together.wait() and None
    assert rounds(ws, BM) == [0, 1]
    assert run(ws, 0) == {"completed": 6}
    by_name = {header.target.name: header for header in driver.headers}
    assert {name: len(header.variants) for name, header in by_name.items()} == {"lab": 2, "cloud": 1}
    assert (by_name["lab"].limits.max_in_flight, by_name["cloud"].limits.max_in_flight) == (4, 2)
    folders = sorted(path.parent.relative_to(ws.results.root) for path in ws.results.root.rglob("plan-00000.arrow"))
    assert folders == [Path(f"lab/benchmarks/bm_two/rounds/0/{name}") for name in ("cloud", "lab")]


def test_what_one_target_did_is_kept_when_the_other_is_lost_and_only_the_lost_one_continues(
    ws: Workspace, plan: Callable[..., None], driver: FakeDrive
) -> None:
    plan([LAB, CLOUD])

    def lose(folder: Path) -> None:
        if folder.name == "cloud":
            raise DependencyDown("The target is gone.", code="target_lost")

    driver.before = lose
    with pytest.raises(DependencyDown):
        run(ws, 0)
    assert statuses(ws, 0, target="lab") == {"completed"}
    assert statuses(ws, 0, target="cloud") == {"running"}
    driver.before = lambda folder: None
    assert run(ws, 0) == {"completed": 2}
    assert [header.target.name for header in driver.headers] == ["lab", "cloud"]
    assert set(driver.sends.values()) == {1}


def test_a_cancel_stops_every_target(ws: Workspace, plan: Callable[..., None], driver: FakeDrive) -> None:
    plan([LAB, CLOUD])
    with pytest.raises(Cancelled):
        run(ws, 0, cancelled=lambda: True)
    assert cell_counts(ws, BM) == {"cancelled": 6, "pending": 6}
    assert not driver.sends


def test_a_signal_while_targets_work_side_by_side_stops_them_all_and_the_next_call_completes(
    ws: Workspace, plan: Callable[..., None], driver: FakeDrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan([LAB, CLOUD])
    signalled = threading.Event()

    def interrupted(futures: object) -> None:
        signalled.set()
        raise Killed

    driver.before = lambda folder: signalled.wait(10) and None
    with monkeypatch.context() as patch:
        patch.setattr("pointsman.benchmark.execution.wait", interrupted)
        with pytest.raises(Killed):
            run(ws, 0)
    run(ws, 0)
    assert cell_counts(ws, BM) == {"completed": 6, "pending": 6}
    assert set(driver.sends.values()) == {1}


@pytest.mark.parametrize(
    ("targets", "named"),
    [([LAB], "target of"), ([], "target of"), ([LAB, CLOUD, CLOUD], "targets")],
    ids=["one missing", "none", "one twice"],
)
def test_targets_that_do_not_fit_the_variants_are_refused(
    ws: Workspace, plan: Callable[..., None], targets: list[TargetSpec], named: str
) -> None:
    with pytest.raises(InputRefused, match=named):
        plan(targets)


def test_a_provider_with_jobs_at_two_targets_has_no_more_of_them_at_once(
    ws: Workspace, registered: list[VariantId], inputs: InputSet, driver: FakeDrive
) -> None:
    elsewhere = replace(VARIANTS[0], id=replace(VARIANTS[0].id, experiment="moved"), target="cloud")
    register_variants(ws, [elsewhere])
    create_matrix(
        ws,
        benchmark_id=BM,
        parent_run_id=None,
        variants=[registered[0], elsewhere.id],
        inputs=inputs,
        repeats=1,
        seed=3,
        round_cells=8,
        environment_id="lab",
        targets=[LAB, CLOUD],
        in_flight_per_provider=5,
    )
    run(ws, 0)
    assert [header.limits.max_in_flight_per_provider for header in driver.headers] == [2, 2]
