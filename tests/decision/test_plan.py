"""The declared plan: what it refuses, and that its hash is its content."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from flows.money_hud import ComparisonRules
from pointsman.canonical import sha256_of
from pointsman.decision import PlannedInput, VerdictPlan, plans_for_benchmark
from pointsman.errors import InputRefused
from pointsman.ids import VariantId
from tests.decision.comparisons import plan, variant
from tests.decision.judged import BENCHMARK, JUDGE, Judged

elsewhere = VariantId("postcard-1", "wf9", "lab", "live", "lab-cpu", "e1")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("incumbent", "er:x"),
        ("challengers", ()),
        ("challengers", (variant(1), variant(1))),
        ("challengers", (variant(0),)),
        ("challengers", (elsewhere,)),
        ("inputs", ()),
        ("inputs", (PlannedInput("a", "x"), PlannedInput("a", "y"))),
        ("inputs", (PlannedInput("", "x"),)),
        ("inputs", (PlannedInput("a", " "),)),
        ("repeats", 0),
        ("repeats", True),
        ("repeats", 1.5),
        ("seed", -1),
        ("swaps", 0),
        ("swaps", 10),
        ("swaps", 10_000_000),
        ("alpha", 0.0),
        ("alpha", 0.9),
        ("alpha", float("nan")),
        ("alpha", "0.05"),
        ("success_margin", -0.01),
        ("success_margin", 1.01),
        ("quality_margin", -1),
        ("quality_margin", 101),
        ("min_saving", -0.1),
        ("min_saving", 1.0),
        ("deliveries_per_output", -1),
        ("judge", {}),
        ("judge", {"name": "gemini", "model": ""}),
        ("judge", "gemini"),
        ("input_set_sha256", "abc"),
        ("price_book_sha256", None),
        ("code_version", ""),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(InputRefused) as refused:
        replace(plan(), **{field: value})
    assert field in refused.value.field


def test_a_plan_that_can_never_reach_alpha_says_how_many_swaps_it_needs() -> None:
    with pytest.raises(InputRefused, match="99 or more"):
        plan(alpha=0.01, swaps=98)
    assert plan(alpha=0.01, swaps=99).swaps == 99


def test_the_hash_is_that_of_the_canonical_content_and_survives_reading_back() -> None:
    declared = plan(inputs_per_cluster=3)
    assert declared.sha256 == sha256_of(json.loads(declared.canonical()))
    again = VerdictPlan.from_document(json.loads(declared.canonical()))
    assert again == declared
    assert again.sha256 == declared.sha256


def test_a_whole_margin_and_the_same_number_as_a_fraction_are_one_plan() -> None:
    assert plan(quality_margin=2).sha256 == plan(quality_margin=2.0).sha256


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"alpha": 0.01},
        {"min_saving": 0.06},
        {"quality_margin": 1.0},
        {"success_margin": 0.0},
        {"swaps": 999},
        {"repeats": 2},
        {"judge": {"name": "gemini"}},
        {"price_book_sha256": "d" * 64},
        {"input_set_sha256": "d" * 64},
        {"deliveries_per_output": 1},
        {"code_version": "0.2.0"},
        {"challengers": (variant(1),)},
    ],
)
def test_changing_anything_changes_the_hash(change: dict[str, Any]) -> None:
    assert replace(plan(), **change).sha256 != plan().sha256


def test_a_declared_plan_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        plan().alpha = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.pop("alpha"),
        lambda document: document.update(extra=1),
        lambda document: document.update(inputs=[["a"]]),
        lambda document: document.update(inputs=7),
        lambda document: document.update(challengers=["er:x"]),
    ],
)
def test_a_document_that_is_no_plan_is_refused(spoil: Any) -> None:
    document = plan().as_document()
    spoil(document)
    with pytest.raises(InputRefused):
        VerdictPlan.from_document(document)
    with pytest.raises(InputRefused):
        VerdictPlan.from_document([])  # type: ignore[arg-type]


def test_more_swaps_than_memory_holds_are_refused_before_anything_is_measured() -> None:
    assert plan(clusters=25, swaps=1_000_000).swaps == 1_000_000
    assert plan(clusters=1000, swaps=10_000, challengers=199)
    with pytest.raises(InputRefused, match="a whole number from 1 to 50000") as refused:
        plan(clusters=500, swaps=1_000_000)
    assert refused.value.field == "verdict plan, swaps"
    with pytest.raises(InputRefused, match="swaps"):
        plan(challengers=100, swaps=1_000_000)
    assert plan(clusters=500, swaps=1_000_000, sequential=True), "which swaps nothing"


def test_an_incumbent_that_was_not_measured_is_refused_and_nothing_is_declared(migrated: Path, tmp_path: Path) -> None:
    judged = Judged(tmp_path, migrated=migrated)
    asked: dict[str, Any] = {"judges": [JUDGE], "price_book_sha256": "c" * 64, "rules": {}}
    judged.ws.results.path(f"verdict-plans/{BENCHMARK}.json").unlink()
    with pytest.raises(InputRefused, match=f"a variant that {BENCHMARK} measured"):
        plans_for_benchmark(judged.ws, BENCHMARK, incumbent=str(variant(9)), **asked)
    assert len(plans_for_benchmark(judged.ws, BENCHMARK, incumbent=str(variant(1)), **asked)) == 1


@pytest.mark.parametrize("late", [{"quality_margin": 5.0}, {"deliveries_per_output": 7}, {"scores": {"ssim": 0.1}}])
def test_margins_cannot_be_chosen_once_the_judge_was_heard(
    migrated: Path, tmp_path: Path, late: dict[str, Any]
) -> None:
    judged = Judged(tmp_path, migrated=migrated)
    asked: dict[str, Any] = {"judges": [JUDGE], "price_book_sha256": "c" * 64, "incumbent": str(variant(0))}
    judged.ws.results.path(f"verdict-plans/{BENCHMARK}.json").unlink()
    with pytest.raises(InputRefused, match="judged before its rules were declared") as refused:
        plans_for_benchmark(judged.ws, BENCHMARK, rules=late, **asked)
    assert refused.value.field == f"rules, {next(iter(late))}"
    defaults = ComparisonRules(alpha_per_year=0.25, cooldown_days=14).model_dump()
    assert plans_for_benchmark(judged.ws, BENCHMARK, rules=defaults, **asked)[0].quality_margin == 2.0
