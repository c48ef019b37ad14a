"""Sequential plans: looks at what is complete so far, each decided by p values that hold at every look together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.benchmark import plan_cells
from pointsman.decision import audit, decide, document_path, read_document, verdict_document, verify
from pointsman.decision.looking import seen
from pointsman.decision.procedure import Margins, contributions
from pointsman.errors import Conflict, InputRefused
from pointsman.model import InputMember, Measurement, Missing
from pointsman.statistics import always_valid_p_values, confidence_bound, holm, smallest_sequential_p
from pointsman.storage import tables
from tests.decision.comparisons import Cell, measured, plan, variant, wobble
from tests.decision.judged import Judged
from tests.decision.test_decide import random_totals
from tests.decision.test_hud import hud_of


def cheaper(cell: Cell) -> float:
    return 0.01 * wobble(cell, 0.05) * (0.5 if cell[0] == 1 else 1)


def first(data: Sequence[Measurement], clusters: int) -> list[Measurement]:
    return [cell for cell in data if int(cell.cluster[-3:]) < clusters]


def test_each_look_decides_on_the_clusters_that_are_complete() -> None:
    declared = plan(clusters=16, sequential=True)
    data = measured(declared, cost=cheaper)
    outcomes = [decide(declared, first(data, clusters)).outcome for clusters in range(17)]
    won = outcomes.index("WINNER")
    assert set(outcomes[:won]) == {"INSUFFICIENT_DATA"}
    assert set(outcomes[won:]) == {"WINNER"}, "evidence is kept"
    assert 5 <= won <= 12
    assert decide(declared, []).why == "None of 16 clusters is complete yet."
    assert "After 3 of 16 clusters: No challenger passes all gates." in decide(declared, first(data, 3)).why


def test_the_winner_comes_with_the_saving_that_is_sure_at_every_look() -> None:
    declared = plan(clusters=16, sequential=True)
    verdict = decide(declared, measured(declared, cost=cheaper))
    (cost,) = (gate for gate in verdict.gates if gate.name == "cost" and gate.challenger == variant(1))
    assert cost.estimate == pytest.approx(0.5, abs=0.05)
    assert "at every look, with confidence 0.95" in cost.why
    least = float(cost.why.split("lower by at least ")[1].split(" %")[0])
    assert 5 < least < 50


def test_too_few_clusters_for_any_look_to_decide_are_no_answer() -> None:
    declared = plan(clusters=5, sequential=True)
    verdict = decide(declared, measured(declared, cost=lambda cell: 0.01 * 10.0 ** -(cell[0] * cell[1] * 3)))
    assert verdict.outcome == "INSUFFICIENT_DATA"
    assert "5 clusters of inputs can never reach alpha = 0.05; 6 or more are needed." in verdict.why


@pytest.mark.parametrize("clusters", [5, 6, 9])
def test_no_p_value_of_looks_is_below_the_smallest_there_can_be(clusters: int) -> None:
    random = np.random.default_rng(5)
    sizes = np.abs(random.standard_normal((2000, clusters))) * np.r_[np.ones(5), np.full(clusters - 5, 1e6)]
    sizes[0, :5] = 1
    least = smallest_sequential_p(clusters)
    assert always_valid_p_values(sizes).min() == pytest.approx(least)
    assert (always_valid_p_values(sizes) >= least * (1 - 1e-9)).all()


def test_a_cluster_behind_one_that_is_not_complete_is_not_looked_at() -> None:
    declared = plan(clusters=16, inputs_per_cluster=2, sequential=True)
    data = measured(declared, cost=cheaper)
    hole = [cell for cell in data if cell.dispatch_id != "d-002-0009-0"]
    of_seen, cells = seen(declared, hole)
    assert [planned.cluster for planned in of_seen.inputs] == [f"photo-{at // 2:03d}" for at in range(8)]
    assert {cell.cluster for cell in cells} == {f"photo-{at:03d}" for at in range(4)}
    assert seen(declared, data) == (declared, data)
    fixed = replace(declared, sequential=False)
    assert decide(fixed, hole).outcome == "INVALID"


def test_what_is_wrong_with_the_cells_that_were_seen_is_found_at_a_look_too() -> None:
    declared = plan(clusters=16, sequential=True)
    data = first(measured(declared, cost=cheaper), 9)
    lost = [replace(data[0], outcome="infrastructure"), *data[1:]]
    assert decide(declared, lost).outcome == "INVALID"
    stray = [*data, replace(data[0], variant=variant(7), dispatch_id="stray")]
    assert "does not name (stray)" in decide(declared, stray).why
    unjudged = [replace(data[0], quality=Missing("gave up")), *data[1:]]
    assert decide(declared, unjudged).outcome == "INSUFFICIENT_DATA"


def test_at_the_last_look_nobody_winning_is_an_answer_and_so_is_being_equal() -> None:
    declared = plan(clusters=16, sequential=True)
    unclear = measured(declared, cost=lambda cell: 0.01 * wobble(cell, 0.9))
    assert decide(declared, unclear).outcome == "NO_SIGNIFICANT_WINNER"
    equal = measured(declared, cost=lambda cell: 0.01 * wobble(cell, 0.01))
    assert decide(declared, equal).outcome == "EQUIVALENT"
    assert decide(declared, first(equal, 12)).outcome == "EQUIVALENT", "no need to go on"


def test_a_look_that_decides_nothing_recommends_to_measure_on() -> None:
    declared = plan(clusters=16, sequential=True)
    advice = hud_of(declared, first(measured(declared, cost=cheaper), 3))["recommendations"][0]
    assert advice["command"] == "pointsman benchmark run --benchmark-id bm_1"
    assert "After 3 of 16 clusters" in advice["text"]


def test_looks_at_all_there_is_that_lack_a_judgement_do_not_recommend_to_measure_on() -> None:
    declared = plan(clusters=16, sequential=True)
    data = measured(declared, cost=cheaper)
    unjudged = [replace(data[0], quality=Missing("gave up")), *data[1:]]
    (advice, *_) = hud_of(declared, unjudged)["recommendations"]
    assert advice["text"].startswith("Decide nothing yet: 1 successful cells have no quality")
    assert "--benchmark-id" not in advice["command"]


def test_a_document_of_a_look_is_recomputed_with_estimates_of_what_was_seen() -> None:
    declared = plan(clusters=16, sequential=True)
    data = first(measured(declared, cost=cheaper), 9)
    verdict = decide(declared, data)
    assert verify(verdict_document(declared, data, verdict)) == verdict


def test_the_order_is_that_in_which_the_matrix_is_done_and_is_declared() -> None:
    from pointsman.decision import draw_up_plans
    from pointsman.model import InputSet
    from pointsman.quality import JudgeIdentity

    members = tuple(InputMember(f"clip-{at}", "file:///x", f"{at:064x}", 1, f"photo-{at // 2}") for at in range(8))
    ways = [variant(number) for number in range(3)]
    (declared,) = draw_up_plans(
        incumbent=ways[0],
        challengers=ways[1:],
        inputs=InputSet("set", members, "a" * 64),
        repeats=2,
        seed=5,
        judges=[JudgeIdentity("local", "vmaf", "c" * 64)],
        price_book_sha256="b" * 64,
        rules={"deliveries_per_output": 1, "sequential": True},
    )
    done: dict[str, int] = {}
    for cell in plan_cells(ways, members, repeats=2, seed=5, round_cells=6):
        done[cell.cluster] = max(done.get(cell.cluster, 0), cell.round)
    assert list(declared.clusters) == sorted(done, key=lambda cluster: done[cluster])
    with pytest.raises(InputRefused, match="sequential"):
        plan(sequential=1)


def test_a_benchmark_is_looked_at_while_it_runs_and_each_look_stays_verifiable(migrated: Path, tmp_path: Path) -> None:
    running = {"at": 6}

    def status(cell: Cell) -> tuple[str, str | None]:
        return ("completed", None) if order[f"clip-{cell[1]:03d}"] < running["at"] else ("pending", None)

    order = dict.fromkeys((f"clip-{at:03d}" for at in range(12)), 0)
    shape = Judged(tmp_path, inputs=12, rules={"sequential": True}, status=status, migrated=migrated)
    order.update({planned.input_id: at for at, planned in enumerate(shape.plan.inputs)})
    (tmp_path / "look").mkdir()
    judged = Judged(tmp_path / "look", inputs=12, rules={"sequential": True}, status=status, migrated=migrated)
    looks = []
    for running["at"] in (6, 9, 12):
        judged.go_on()
        looks.append(judged.conclude())
    assert [look.outcome for look in looks] == ["INSUFFICIENT_DATA", "WINNER", "WINNER"]
    assert len({look.id for look in looks}) == 3
    assert judged.conclude() == looks[-1]
    for look in looks:
        audit(judged.ws, look.id).raise_unless_agreed()
    data = read_document(judged.ws.results.read(document_path(looks[0].id))).data
    assert len(data) == 3 * 6


def test_looks_of_one_judge_that_could_have_decided_leave_nothing_to_another(migrated: Path, tmp_path: Path) -> None:
    done = {"until": 5}
    order: dict[int, int] = {}

    def status(cell: Cell) -> tuple[str, str | None]:
        return ("completed", None) if order.get(cell[1], 99) < done["until"] else ("pending", None)

    judged = Judged(tmp_path, inputs=12, rules={"sequential": True}, status=status, migrated=migrated)
    order.update({int(planned.input_id[-3:]): at for at, planned in enumerate(judged.plan.inputs)})
    for done["until"] in (5, 6):
        judged.go_on()
        look = judged.conclude()
        assert look.outcome == "INSUFFICIENT_DATA"
        judged.change(tables.verdicts, {"evaluation_set_id": "es_other"}, id=look.id)
    with pytest.raises(Conflict, match=f"decided about by another judge, INSUFFICIENT_DATA by {look.id}") as refused:
        judged.conclude()
    assert refused.value.code == "decided_by_another_judge"


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.floats(0.01, 100))
def test_p_values_only_fall_with_more_clusters_and_do_not_change_with_the_unit(
    values: list[float], unit: float
) -> None:
    z = np.array([round(value, 3) for value in values])
    p = [float(always_valid_p_values(z[:at])) for at in range(1, len(z) + 1)]
    assert all(later <= sooner + 1e-12 for sooner, later in pairwise(p))
    assert set(p[: int(np.flatnonzero(np.cumsum(z != 0) >= 5)[0]) if (z != 0).sum() >= 5 else len(p)]) <= {1.0}
    assert float(always_valid_p_values(unit * z)) == pytest.approx(p[-1], rel=1e-6)
    assert 0 < p[-1] <= 1


def test_the_evidence_of_fair_signs_is_a_martingale() -> None:
    """Over all 2^8 signs of the same sizes, the chance that p ever is at most a is at most a, for every a."""
    sizes = np.array([0.1, 3.0, 1.0, 0.5, 2.0, 0.7, 1.5, 4.0])
    signs = 1 - 2.0 * ((np.arange(256)[:, None] >> np.arange(8)) & 1)
    p = np.sort(always_valid_p_values(signs * sizes))
    assert (p >= np.arange(1, 257) / 256 - 1e-12).all()


def test_nothing_but_zeros_is_no_evidence() -> None:
    assert always_valid_p_values(np.zeros((2, 6))).tolist() == [1.0, 1.0]


def test_holm_multiplies_the_best_by_how_many_there_are_and_never_orders_anew() -> None:
    adjusted = holm(np.array([[0.01, 0.02, 0.5], [0.001, 0.021, 0.4]]))
    assert adjusted[0].tolist() == pytest.approx([0.03, 0.04, 0.5])
    assert adjusted[1].tolist() == pytest.approx([0.003, 0.042, 0.4])
    assert holm(np.array([[0.01, 0.004]]))[0].tolist() == pytest.approx([0.01, 0.008])
    assert holm(np.array([[0.013, 0.01]]))[0].tolist() == pytest.approx([0.02, 0.02])


def test_a_confidence_bound_is_where_the_evidence_ends() -> None:
    values = np.array([1.0, 1.2, 0.9, 1.1, 1.0, 0.8, 1.3, 1.0, 0.95, 1.05])
    found = confidence_bound(lambda margin: values - margin, 0.0, 10.0, alpha=0.05)
    assert found is not None
    assert 0.5 < found < 1.0
    assert always_valid_p_values(values - found) <= 0.05 < always_valid_p_values(values - found - 1e-6)
    assert confidence_bound(lambda margin: -values, 0.0, 1.0, alpha=0.05) is None
    assert confidence_bound(lambda margin: values, 0.0, 1.0, alpha=0.05) == 1.0


@given(st.integers(0, 1000), st.integers(1, 8))
def test_later_clusters_do_not_change_what_earlier_ones_said(seed: int, clusters: int) -> None:
    totals = random_totals(seed)
    margins: Any = Margins(0.02, 2.0, 0.05)
    cut = replace(
        totals, **{name: getattr(totals, name)[..., :clusters] for name in ("success", "quality", "cost", "inputs")}
    )
    whole = contributions(totals, margins, so_far=True)[..., :clusters]
    assert contributions(cut, margins, so_far=True) == pytest.approx(whole)


def test_a_price_is_needed_at_a_look_too() -> None:
    declared = plan(clusters=16, sequential=True)
    data = measured(declared, cost=cheaper, changed={(1, 2, 0): {"cost_usd": Missing("no price")}})
    assert decide(declared, first(data, 2)).outcome == "INSUFFICIENT_DATA"
    assert decide(declared, data).winner is None
    assert decide(declared, [replace(cell, cost_usd=Decimal(1)) for cell in data]).winner is None
