"""Cells that are planned and never sent: inputs that a variant may not see, and variants that were stopped."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from pointsman.benchmark import (
    InputFile,
    MatrixRun,
    StopRule,
    VariantFilter,
    cancel_matrix,
    cell_counts,
    change_variant,
    create_matrix,
    discover_variants,
    finish_matrix,
    input_set,
    matrix_report,
    matrix_run,
    register_environment,
    register_input_set,
    register_variants,
    rounds,
    run_round,
    set_enabled,
    stop_variant,
    variant,
)
from pointsman.benchmark.stopping import withheld
from pointsman.data_classes import data_classes, unseen
from pointsman.dispatch import TargetSpec, VariantBound
from pointsman.economics import hold_spending, price_cells
from pointsman.errors import Conflict, GuardRefused, InputRefused
from pointsman.ids import VariantId
from pointsman.model import InputMember, InputSet, VariantLimits
from pointsman.reporting import to_markdown
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.benchmark.fake_drive import FakeDrive, Fate
from tests.benchmark.samples import VARIANTS
from tests.economics.price_texts import price
from tests.economics.worlds import book_of

BM = "bm_test"
ITEMS = tables.benchmark_matrix_run_items
OPEN = VARIANTS[0]
FACES = replace(VARIANTS[1], data_classes=("faces",))
BOTH = replace(VARIANTS[2], data_classes=("faces", "minors"))
WORDS = st.sets(st.sampled_from(["faces", "minors", "region:eu", "region:us"]))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDrive:
    fake = FakeDrive()
    monkeypatch.setattr("pointsman.benchmark.execution.drive", fake)
    return fake


@pytest.fixture
def classified(ws: Workspace, clips: list[Path]) -> InputSet:
    """clip-0 shows nothing special, clip-1 faces, clip-2 faces and minors, clip-3 nothing special."""
    register_environment(ws, "lab", name="Lab", kind="local")
    register_variants(ws, [OPEN, FACES, BOTH])
    shown = [(), ("faces",), ("minors", "faces"), ()]
    files = [InputFile(clip, f"source-{n}", data_classes=shown[n]) for n, clip in enumerate(clips)]
    return register_input_set(ws, "classified", files)


def create(ws: Workspace, inputs: InputSet, **changes: Any) -> MatrixRun:
    request: dict[str, Any] = {
        "benchmark_id": BM,
        "parent_run_id": "run-1",
        "variants": [one.id for one in VARIANTS],
        "inputs": inputs,
        "repeats": 1,
        "seed": 5,
        "round_cells": 6,
        "environment_id": "lab",
        "targets": [TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:9")],
        "in_flight_per_provider": 2,
    }
    return create_matrix(ws, **{**request, **changes})


def run_all(ws: Workspace) -> MatrixRun:
    for number in rounds(ws, BM):
        run_round(ws, BM, number, secret=None, cancelled=lambda: False, on_status=lambda status: None)
    return finish_matrix(ws, BM)


def items(ws: Workspace, *conditions: Any) -> list[sa.Row[Any]]:
    with ws.database.connect() as connection:
        return list(connection.execute(sa.select(ITEMS).where(*conditions).order_by(ITEMS.c.seq)))


# -- data classes -----------------------------------------------------------------------------------------------------


def test_a_variant_is_not_given_what_it_may_not_see_and_the_cell_says_so(
    ws: Workspace, classified: InputSet, driver: FakeDrive
) -> None:
    create(ws, classified)
    assert cell_counts(ws, BM) == {"pending": 9, "skipped": 3}
    done = run_all(ws)
    assert (done.status, cell_counts(ws, BM)) == ("collected", {"completed": 9, "skipped": 3})
    skipped = {(one.variant_id, one.input_id): one.reason for one in items(ws, ITEMS.c.status == "skipped")}
    assert set(skipped) == {(str(OPEN.id), "clip-1"), (str(OPEN.id), "clip-2"), (str(FACES.id), "clip-2")}
    assert skipped[str(FACES.id), "clip-2"] == "data_class: the input is minors, which the variant may not see"
    assert not set(skipped) & driver.pairs
    one = items(ws, ITEMS.c.status == "skipped")[0]
    log = tables.state_transitions
    with ws.database.connect() as connection:
        moves = connection.execute(sa.select(log.c.to_state).where(log.c.entity_id == one.dispatch_id)).scalars().all()
    assert moves == ["pending", "skipped"]
    assert "may not see" in to_markdown(matrix_report(ws, BM))


@given(shown=WORDS, seen=WORDS)
def test_an_input_goes_only_where_all_that_it_shows_may_be_seen(shown: set[str], seen: set[str]) -> None:
    one = replace(VARIANTS[0], data_classes=data_classes("x", seen))
    member = InputMember("i", "file:///i", "0" * 64, 1, "c", data_classes("x", shown))
    given_it = (str(one.id), "i") not in withheld([one], [member])
    assert given_it == (shown <= seen)
    assert set(unseen(shown, seen)) == shown - seen


def test_a_permission_that_is_withdrawn_holds_for_cells_that_were_planned_with_it(
    ws: Workspace, classified: InputSet, driver: FakeDrive
) -> None:
    create(ws, classified)
    change_variant(ws, BOTH.id, data_classes=["faces"])
    run_all(ws)
    assert cell_counts(ws, BM) == {"completed": 8, "skipped": 4}
    assert (str(BOTH.id), "clip-2") not in driver.pairs


def test_a_permission_that_comes_late_changes_nothing_that_was_planned(
    ws: Workspace, classified: InputSet, driver: FakeDrive
) -> None:
    create(ws, classified)
    change_variant(ws, OPEN.id, data_classes=["faces", "minors"])
    run_all(ws)
    assert cell_counts(ws, BM) == {"completed": 9, "skipped": 3}


def test_cells_that_are_planned_again_go_by_what_is_allowed_then(
    ws: Workspace, classified: InputSet, driver: FakeDrive
) -> None:
    create(ws, classified)
    driver.fate = lambda route, input_id, seq: Fate("cancelled_unsent")
    cancel_matrix(ws, BM, reason="a test")
    driver.fate = lambda route, input_id, seq: Fate()
    change_variant(ws, BOTH.id, data_classes=[])
    create(ws, classified)
    run_all(ws)
    assert cell_counts(ws, BM) == {"completed": 7, "skipped": 5}
    assert not {(str(BOTH.id), "clip-1"), (str(BOTH.id), "clip-2")} & driver.pairs


def test_a_matrix_of_which_nothing_could_be_sent_is_refused(ws: Workspace, clips: list[Path]) -> None:
    register_environment(ws, "lab", name="Lab", kind="local")
    register_variants(ws, VARIANTS)
    secret = register_input_set(ws, "secret", [InputFile(clips[0], "c", data_classes=("minors",))])
    with pytest.raises(InputRefused, match="may not see"):
        create(ws, secret)


def test_classes_are_part_of_what_an_input_set_is_and_words_are_checked(ws: Workspace, clips: list[Path]) -> None:
    plain = register_input_set(ws, "plain", [InputFile(clips[0], "c", "i")])
    shown = register_input_set(ws, "shown", [InputFile(clips[0], "c", "i", data_classes=("region:eu", "faces"))])
    assert plain.sha256 != shown.sha256
    assert input_set(ws, "shown").members[0].data_classes == ("faces", "region:eu")
    with pytest.raises(Conflict, match="changed: i"):
        register_input_set(ws, "plain", [InputFile(clips[0], "c", "i", data_classes=("faces",))])
    for word in ("Faces", "two words", "region:", "", "x" * 65):
        with pytest.raises(InputRefused, match="data class"):
            register_input_set(ws, "other", [InputFile(clips[0], "c", data_classes=(word,))])


def test_resuming_a_round_whose_drive_began_stops_where_a_permission_was_withdrawn(
    ws: Workspace, classified: InputSet, driver: FakeDrive
) -> None:
    create(ws, classified)

    def dies(folder: Path) -> None:
        raise KeyboardInterrupt

    driver.before = dies
    with pytest.raises(KeyboardInterrupt):
        run_all(ws)
    driver.before = lambda folder: None
    change_variant(ws, BOTH.id, data_classes=[])
    with pytest.raises(GuardRefused) as refused:
        run_all(ws)
    assert refused.value.code == "data_class_not_allowed"
    assert not driver.sends


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_a_variant_whose_first_cells_fail_is_stopped_by_the_declared_rule_and_the_rest_is_marked(
    ws: Workspace, registered: list[VariantId], inputs: InputSet, driver: FakeDrive
) -> None:
    bad = registered[2]
    driver.fate = lambda route, input_id, seq: Fate("failed", "http_500", ("failed",)) if route == bad else Fate()
    created = create(ws, inputs, repeats=2, early_stop=StopRule(failures=2, of_first=3))
    assert created.early_stop == StopRule(2, 3)
    done = run_all(ws)
    own = items(ws, ITEMS.c.variant_id == str(bad))
    assert [one.status for one in own] == ["failed"] * 2 + ["skipped"] * 6
    assert {one.reason for one in own[2:]} == {"early_stop: 2 of its first 3 cells failed (failed: http_500)"}
    assert cell_counts(ws, BM) == {"completed": 16, "failed": 2, "skipped": 6}
    assert list(done.stopped) == [str(bad)]
    with ws.database.connect() as connection:
        logs = tables.action_logs
        told = connection.execute(sa.select(logs).where(logs.c.event == "benchmark_variant_stopped")).all()
    assert [one.data["variant"] for one in told] == [str(bad)]
    run_all(ws)
    assert cell_counts(ws, BM) == {"completed": 16, "failed": 2, "skipped": 6}


def test_our_own_faults_and_late_failures_stop_nothing(
    ws: Workspace, registered: list[VariantId], inputs: InputSet, driver: FakeDrive
) -> None:
    bad = registered[2]
    seen: Counter[VariantId] = Counter()

    def fate(route: VariantId, input_id: str, seq: int) -> Fate:
        seen[route] += 1
        if route == bad:
            return Fate("failed", "http_500", ("failed",)) if seen[route] > 3 else Fate("unknown", "lost", ("unknown",))
        return Fate()

    driver.fate = fate
    create(ws, inputs, repeats=2, early_stop=StopRule(failures=1, of_first=3))
    done = run_all(ws)
    assert "skipped" not in cell_counts(ws, BM)
    assert done.stopped == {}


@pytest.mark.parametrize(("failures", "of_first"), [(0, 3), (4, 3), (1, 0), (1, 100_001)])
def test_a_rule_that_makes_no_sense_is_refused(failures: int, of_first: int) -> None:
    with pytest.raises(InputRefused, match="early stop"):
        StopRule(failures, of_first)


def test_another_rule_under_the_same_id_is_another_matrix(
    ws: Workspace, registered: list[VariantId], inputs: InputSet
) -> None:
    create(ws, inputs)
    with pytest.raises(Conflict) as conflict:
        create(ws, inputs, early_stop=StopRule(1, 1))
    assert conflict.value.data["differs"] == ["early_stop"]


def test_the_first_reason_for_which_a_variant_was_stopped_stays(
    ws: Workspace, registered: list[VariantId], inputs: InputSet, driver: FakeDrive
) -> None:
    create(ws, inputs)
    for reason in ("first", "second"):
        with ws.database.begin() as connection:
            stop_variant(connection, ws, BM, str(registered[0]), reason)
    assert matrix_run(ws, BM).stopped == {str(registered[0]): "first"}
    run_all(ws)
    assert cell_counts(ws, BM) == {"completed": 8, "skipped": 4}


# -- limits -----------------------------------------------------------------------------------------------------------


def test_a_drive_keeps_the_limits_of_its_variants(
    ws: Workspace, registered: list[VariantId], inputs: InputSet, driver: FakeDrive
) -> None:
    change_variant(ws, registered[0], limits=VariantLimits(per_s=0.02, in_flight=3))
    create(ws, inputs, drain_limit_s=50.0)
    run_all(ws)
    limits = driver.headers[0].limits
    assert limits.variants == {str(registered[0]): VariantBound(max_in_flight=3, per_s=0.02)}
    assert limits.drain_limit_s == 100.0, "as long as the slow one waits nothing may be learnt"


@pytest.mark.parametrize(
    "limits",
    [VariantLimits(per_s=0.0), VariantLimits(in_flight=0), VariantLimits(per_s=float("nan"))],
)
def test_limits_out_of_range_are_refused_and_change_nothing(
    ws: Workspace, registered: list[VariantId], limits: VariantLimits
) -> None:
    with pytest.raises(InputRefused, match="limit"):
        change_variant(ws, registered[0], limits=limits)
    assert variant(ws, registered[0]) == VARIANTS[0]


def test_what_is_changed_of_a_variant_is_what_was_given(ws: Workspace, registered: list[VariantId]) -> None:
    changed = change_variant(ws, registered[0], tags=["fast", "cheap", "fast"], limits=VariantLimits(in_flight=2))
    assert changed == replace(VARIANTS[0], tags=("cheap", "fast"), limits=VariantLimits(in_flight=2))
    assert change_variant(ws, registered[0], data_classes=["faces"]).tags == ("cheap", "fast")
    assert register_variants(ws, VARIANTS) == 0
    assert variant(ws, registered[0]).data_classes == ("faces",), "registering again takes nothing away"
    with pytest.raises(InputRefused, match="tag"):
        change_variant(ws, registered[0], tags=["two words"])
    with pytest.raises(InputRefused, match="data class"):
        change_variant(ws, registered[0], data_classes=["Two"])


PRICES = price("lab-cpu:vcpu-second", "0.01")


def test_a_variant_that_has_spent_its_limit_is_given_nothing_more(
    ws: Workspace, registered: list[VariantId], inputs: InputSet, driver: FakeDrive, tmp_path: Path
) -> None:
    book = book_of(tmp_path, PRICES)
    dear = registered[0]
    change_variant(ws, dear, limits=VariantLimits(usd=Decimal("0.05")))
    create(ws, inputs, repeats=2)
    for number in rounds(ws, BM):  # two cells of each variant in a round, each 1.5 vcpu-seconds
        hold_spending(ws, BM, book, None)
        run_round(ws, BM, number, secret=None, cancelled=lambda: False, on_status=lambda status: None)
    done = finish_matrix(ws, BM)
    assert cell_counts(ws, BM) == {"completed": 18, "skipped": 6}
    assert done.stopped == {
        str(dear): "spend_limit: its cells have cost 0.030000 USD, its next 2 would cost about 0.030000 USD, "
        "and its limit in one matrix is 0.05 USD"
    }
    cells = price_cells(ws, BM, book, deliveries_per_output=0)
    skipped = [one for one in cells if one.status == "skipped"]
    assert {(one.variant, one.outcome) for one in skipped} == {(dear, "refused")}
    assert all("spend_limit" in str(one.cost) for one in skipped), "what was not given all cells has no cost, so no win"
    with pytest.raises(GuardRefused, match="of a budget"):
        hold_spending(ws, BM, book, Decimal("0.1"))


def test_what_cells_before_have_cost_says_of_the_first_round_whether_it_would_be_too_dear(
    ws: Workspace, registered: list[VariantId], inputs: InputSet, driver: FakeDrive, tmp_path: Path
) -> None:
    book = book_of(tmp_path, PRICES)
    create(ws, inputs, round_cells=12)
    run_all(ws)
    create(ws, inputs, benchmark_id="bm_next", round_cells=12)
    for usd, sent in (("0.061", True), ("0.059", False)):  # four cells of 0.015 USD in the only round
        change_variant(ws, registered[0], limits=VariantLimits(usd=Decimal(usd)))
        hold_spending(ws, "bm_next", book, None)
        assert (matrix_run(ws, "bm_next").stopped == {}) is sent
    (why,) = matrix_run(ws, "bm_next").stopped.values()
    assert why.startswith("spend_limit: its cells have cost 0.000000 USD, its next 4 would cost about 0.060000 USD")


def test_spending_that_is_not_known_cannot_be_held_and_stops_the_variant(
    ws: Workspace, registered: list[VariantId], inputs: InputSet, driver: FakeDrive, tmp_path: Path
) -> None:
    driver.fate = lambda route, input_id, seq: Fate(usage=())
    change_variant(ws, registered[0], limits=VariantLimits(usd=Decimal(100)))
    create(ws, inputs)
    hold_spending(ws, BM, book_of(tmp_path, PRICES), None)
    assert matrix_run(ws, BM).stopped == {}, "nothing was sent yet"
    run_round(ws, BM, 0, secret=None, cancelled=lambda: False, on_status=lambda status: None)
    hold_spending(ws, BM, book_of(tmp_path, PRICES), None)
    assert list(matrix_run(ws, BM).stopped) == [str(registered[0])]


# -- discovering ------------------------------------------------------------------------------------------------------


def test_the_variants_of_a_matrix_are_found_by_what_they_are(ws: Workspace, registered: list[VariantId]) -> None:
    change_variant(ws, registered[1], tags=["spot", "night"])

    def found(**wanted: Any) -> set[VariantId]:
        return {one.id for one in discover_variants(ws, VariantFilter(**wanted), benchmark_id=BM)}

    assert found(workflow="x264") == set(registered[:2])
    assert found(provider="lab-cpu", environment="lab", effect_revision="postcard-1") == {registered[0], registered[2]}
    assert found(tags=("spot",)) == {registered[1]}
    assert found(experiment="base", stage="demo") == set(registered)
    set_enabled(ws, registered[0], False)
    assert found(workflow="x264") == {registered[1]}
    with pytest.raises(InputRefused, match="enabled variant matches"):
        found(tags=("spot", "day"))
    register_variants(ws, [replace(VARIANTS[0], id=replace(VARIANTS[0].id, stage="live"))])
    with pytest.raises(InputRefused, match="one route"):
        found(workflow="x264")


def test_a_matrix_that_exists_keeps_the_variants_that_its_filters_found_first(
    ws: Workspace, registered: list[VariantId], inputs: InputSet
) -> None:
    create(ws, inputs, variants=registered[:2])
    found = discover_variants(ws, VariantFilter(workflow="vp9"), benchmark_id=BM)
    assert [one.id for one in found] == [one.id for one in matrix_run(ws, BM).variants]
