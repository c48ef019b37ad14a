"""Preparing a choose-route run: the request becomes ids and declared plans, once, if everything it names fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.benchmark import (
    InputFile,
    change_variant,
    register_environment,
    register_input_set,
    register_variants,
    set_enabled,
)
from pointsman.decision import declare_plans, declared_plans, plans_for_benchmark
from pointsman.errors import Conflict, InputRefused, NotFound
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Variant
from pointsman.preparation import Preparation, prepare
from pointsman.quality import JudgeIdentity
from pointsman.routing import BindingRequest, GatewaySpec, apply_binding
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.benchmark.samples import VARIANTS, make_clip

KEY = VARIANTS[0].id.route_key
SERVING = VARIANTS[1].id
RULES = {"quality_margin": 1.5, "deliveries_per_output": 10}
LOCAL = JudgeIdentity("local", "vmaf", "a" * 64)
GEMINI = JudgeIdentity("gemini", "flash", "b" * 64)


@pytest.fixture
def ws(ws: Workspace, tmp_path: Path) -> Workspace:
    register_environment(ws, "lab", name="Lab", kind="local")
    register_variants(ws, VARIANTS)
    clips = [InputFile(make_clip(tmp_path / f"{number}.avi", 16 + number), f"source-{number}") for number in range(2)]
    register_input_set(ws, "golden-v1", clips)
    return ws


@pytest.fixture
def bound(ws: Workspace, tmp_path: Path) -> Workspace:
    _bind(ws, tmp_path, SERVING, expected=None)
    return ws


def _bind(ws: Workspace, folder: Path, variant: VariantId, *, expected: int | None) -> None:
    apply_binding(
        ws,
        GatewaySpec(path=str(folder / "flags.json")).build(),
        BindingRequest(KEY, {variant: 100}, expected, "test", f"bind {variant}"),
    )


def _prepare(ws: Workspace, **changes: Any) -> Preparation:
    asked: dict[str, Any] = {
        "run_id": "run-1",
        "request": {"seed": 4},
        "route_key": str(KEY),
        "variants": (),
        "incumbent": None,
        "input_set_id": "golden-v1",
        "under_load": True,
        "judges": [GEMINI, LOCAL],
        "price_book_sha256": "c" * 64,
        "rules": RULES,
        "repeats": 2,
        "seed": 4,
    }
    return prepare(ws, **{**asked, **changes})


def test_what_the_route_has_now_is_to_beat_and_every_enabled_variant_challenges_it(bound: Workspace) -> None:
    prepared = _prepare(bound)
    assert prepared.incumbent == str(SERVING)
    assert prepared.variants[0] == str(SERVING)
    assert set(prepared.variants) == {str(one.id) for one in VARIANTS}
    assert prepared.expected_generation == 1
    assert set(prepared.scenario_runs) == set(prepared.variants)
    assert len(set(prepared.scenario_runs.values())) == len(VARIANTS)


def test_a_plan_is_declared_for_each_judge_that_may_come_to_judge(bound: Workspace) -> None:
    prepared = _prepare(bound)
    plans = declared_plans(bound, prepared.benchmark_id)
    assert [plan.judge["name"] for plan in plans] == ["gemini", "local"]
    assert tuple(plan.sha256 for plan in plans) == prepared.plan_sha256s
    assert {plan.quality_margin for plan in plans} == {1.5}


def test_a_run_that_continues_keeps_its_incumbent_though_it_moved_the_route_itself(
    bound: Workspace, tmp_path: Path
) -> None:
    first = _prepare(bound)
    _bind(bound, tmp_path, VARIANTS[2].id, expected=1)
    assert _prepare(bound) == first


def test_another_request_under_the_same_run_id_is_a_conflict(bound: Workspace) -> None:
    _prepare(bound)
    with pytest.raises(Conflict, match="another request"):
        _prepare(bound, request={"seed": 5})


def test_a_comparison_that_data_classes_let_nobody_win_is_refused_before_it_costs_anything(
    bound: Workspace, tmp_path: Path
) -> None:
    register_input_set(bound, "known-now", [InputFile(tmp_path / "0.avi", "source-0", data_classes=("minors",))])
    for sees in ([], [SERVING], [VARIANTS[0].id, VARIANTS[2].id]):
        for one in VARIANTS:
            change_variant(bound, one.id, data_classes=["minors"] if one.id in sees else [])
        with pytest.raises(InputRefused, match=r"nobody could win .*the input is minors"):
            _prepare(bound)
    change_variant(bound, SERVING, data_classes=["minors"])
    assert len(_prepare(bound).variants) == 3


def test_a_disabled_variant_does_not_challenge_and_cannot_be_named(bound: Workspace) -> None:
    set_enabled(bound, VARIANTS[2].id, False)
    assert str(VARIANTS[2].id) not in _prepare(bound).variants
    with pytest.raises(InputRefused, match="enabled variants"):
        _prepare(bound, run_id="run-2", variants=(str(VARIANTS[2].id),))


def test_an_incumbent_that_is_disabled_or_of_another_route_is_refused_before_anything_is_declared(
    bound: Workspace,
) -> None:
    other = VariantId("other-1", "x264", "lab", "demo", "lab-cpu", "base")
    register_variants(bound, [Variant(other, "lab")])
    with pytest.raises(InputRefused, match="variants of er:postcard-1"):
        _prepare(bound, incumbent=str(other))
    with bound.database.begin() as connection:
        of_it = tables.variants.c.id == str(SERVING)
        connection.execute(sa.update(tables.variants).where(of_it).values(enabled=False))
    with pytest.raises(InputRefused, match="enabled variants"):
        _prepare(bound, rules={**RULES, "alpha_per_year": 0.25})
    assert list(bound.results.glob("**/*")) == []
    with bound.database.connect() as connection:
        assert connection.execute(sa.select(tables.alpha_draws)).all() == [], "and takes no risk of the year's"


def test_a_route_without_binding_needs_an_incumbent(ws: Workspace) -> None:
    with pytest.raises(InputRefused, match="incumbent"):
        _prepare(ws)
    assert _prepare(ws, incumbent=str(SERVING)).expected_generation is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"route_key": "er:x"}, "route key"),
        ({"route_key": str(RouteKey("other-1", "lab", "demo"))}, "variants"),
        ({"variants": ("er:a:wf:b:env:c:stage:d:provider:e:exp:f",)}, "er:a:wf:b"),
        ({"input_set_id": "nowhere-v1"}, "nowhere-v1"),
        ({"rules": {**RULES, "min_saving": 2.0}}, "min_saving"),
        ({"run_id": "no good"}, "run id"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    bound: Workspace, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputRefused) as refused:
        _prepare(bound, **changes)
    assert named in str(refused.value)
    assert list(bound.results.glob("**/*")) == []


def test_a_variant_of_another_route_is_refused(bound: Workspace) -> None:
    other = VariantId("other-1", "x264", "lab", "demo", "lab-cpu", "base")
    register_variants(bound, [Variant(other, "lab")])
    with pytest.raises(InputRefused, match="variants of er:postcard-1"):
        _prepare(bound, variants=(str(other),))


def test_a_declared_plan_cannot_be_replaced(bound: Workspace) -> None:
    prepared = _prepare(bound)
    plans = declared_plans(bound, prepared.benchmark_id)
    assert declare_plans(bound, prepared.benchmark_id, plans) == plans
    with pytest.raises(Conflict, match="declared"):
        declare_plans(bound, prepared.benchmark_id, plans[:1])
    same = plans_for_benchmark(
        bound,
        prepared.benchmark_id,
        incumbent=str(VARIANTS[0].id),
        rules={**RULES, "quality_margin": 50.0},
        judges=[LOCAL],
        price_book_sha256="d" * 64,
    )
    assert same == plans


def test_a_benchmark_without_declared_plans_says_so(bound: Workspace) -> None:
    with pytest.raises(NotFound):
        declared_plans(bound, "bm_none")
