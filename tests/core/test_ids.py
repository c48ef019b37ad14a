"""Identifiers: parsing and formatting are inverse, and whatever is refused is refused by the name of its segment."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import InputRefused
from pointsman.ids import (
    RouteKey,
    VariantId,
    benchmark_id,
    check_id,
    derive,
    dispatch_id,
    routed_dispatch_id,
    scenario_context,
)

SEGMENT = st.text("ABCXYZabcxyz0189._-", min_size=1, max_size=64)
VARIANT = st.builds(VariantId, SEGMENT, SEGMENT, SEGMENT, SEGMENT, SEGMENT, SEGMENT)
ROUTE = st.builds(RouteKey, SEGMENT, SEGMENT, SEGMENT)
TEXT = "er:postcard-1:wf:x264:env:lab:stage:demo:provider:lab-cpu:exp:base"


@given(VARIANT)
def test_a_variant_id_survives_formatting_and_parsing(variant: VariantId) -> None:
    assert VariantId.parse(str(variant)) == variant


@given(ROUTE)
def test_a_route_key_survives_formatting_and_parsing(route: RouteKey) -> None:
    assert RouteKey.parse(str(route)) == route


@given(VARIANT)
def test_a_variants_route_key_holds_its_effect_environment_and_stage(variant: VariantId) -> None:
    assert variant.route_key == RouteKey(variant.effect_revision, variant.environment, variant.stage)


@given(st.text(max_size=90))
def test_any_text_is_either_refused_or_is_exactly_what_it_parses_to(text: str) -> None:
    for kind in (VariantId, RouteKey):
        try:
            parsed = kind.parse(text)
        except InputRefused:
            continue
        assert str(parsed) == text


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (TEXT.replace("postcard-1", "post card"), "segment er"),
        (TEXT.replace("x264", "a" * 65), "segment wf"),
        (TEXT.replace("lab:stage", ":stage"), "segment env"),
        (TEXT.replace("demo", "dém"), "segment stage"),
        (TEXT.replace("lab-cpu", "lab/cpu"), "segment provider"),
        (TEXT.replace("base", "base\n"), "segment exp"),
        (TEXT.replace("wf:", "workflow:"), "segment wf"),
        (TEXT + ":more:x", "variant id"),
        ("", "variant id"),
    ],
)
def test_a_malformed_variant_id_is_refused_by_the_name_of_its_segment(text: str, named: str) -> None:
    with pytest.raises(InputRefused) as refusal:
        VariantId.parse(text)
    assert named in refusal.value.message
    assert refusal.value.exit_code == 2


def test_a_variant_id_that_is_no_text_is_refused() -> None:
    with pytest.raises(InputRefused):
        VariantId.parse(None)  # type: ignore[arg-type]


def test_illegal_segments_are_refused_on_construction_as_well() -> None:
    with pytest.raises(InputRefused, match="segment stage"):
        RouteKey("postcard-1", "lab", "de:mo")


def test_the_label_of_a_variant_names_workflow_and_provider() -> None:
    assert VariantId.parse(TEXT).label == "x264@lab-cpu"


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_derived_ids_are_repeatable_version_5_uuids(names: list[str]) -> None:
    assert derive(*names) == derive(*names)
    assert uuid.UUID(derive(*names)).version == 5


def test_derived_ids_depend_on_where_one_name_ends_and_the_next_begins() -> None:
    assert derive("ab", "c") != derive("a", "bc")
    assert derive("a", 1) == derive("a", "1")


def test_dispatch_ids_have_the_form_of_the_contract_and_differ_by_run_and_sequence() -> None:
    ids = {dispatch_id(run, seq) for run in ("r1", "r2") for seq in range(3)}
    assert len(ids) == 6
    first = dispatch_id("r1", 7)
    prefix, _, tail = first.rpartition("_")
    assert prefix == "studio_load_test_r1_7"
    assert uuid.UUID(tail).version == 5
    assert first == dispatch_id("r1", 7)


def test_routed_dispatch_ids_name_the_route_and_differ_by_run() -> None:
    route = RouteKey("postcard-1", "lab", "demo")
    assert routed_dispatch_id("r1", route, 0).startswith(f"studio_routed_{route}_0_")
    assert routed_dispatch_id("r1", route, 0) != routed_dispatch_id("r2", route, 0)


def test_benchmark_and_scenario_contexts_have_the_form_of_the_contract() -> None:
    assert uuid.UUID(benchmark_id("run", "x").removeprefix("bm_")).version == 5
    assert scenario_context("smoke", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)) == "smoke-20260304T050607"
    with pytest.raises(InputRefused, match="scenario name"):
        scenario_context("two words", datetime(2026, 3, 4, tzinfo=UTC))


def test_check_id_gives_a_legal_id_back() -> None:
    assert check_id("name", "a.b_c-D9") == "a.b_c-D9"
