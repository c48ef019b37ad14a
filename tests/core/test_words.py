"""The core values, clocks, canonical documents and errors."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman import errors
from pointsman.canonical import canonical_json, sha256_of
from pointsman.clock import ManualClock, SystemClock
from pointsman.errors import InputRefused
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Attempt, Binding, Dispatch, Missing

ROUTE = RouteKey("postcard-1", "lab", "demo")
VARIANTS = [VariantId("postcard-1", name, "lab", "demo", "lab-cpu", "base") for name in ("a", "b", "c")]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_missing_number_says_why_and_is_neither_zero_nor_false() -> None:
    assert str(Missing("the target reports no usage")) == "not measured (the target reports no usage)"
    assert Missing("a") != Decimal(0)
    assert Missing("a")


def test_a_pinned_and_a_routed_dispatch_have_ids_of_their_own_forms() -> None:
    assert Dispatch("r1", 3, VARIANTS[0], "clip").id.startswith("studio_load_test_r1_3_")
    assert Dispatch("r1", 3, ROUTE, "clip").id.startswith(f"studio_routed_{ROUTE}_3_")


def test_an_attempts_id_is_its_subject_and_number() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert Attempt("d1", 2, "lab-cpu", None, "lost", at, None).id == "d1#2"


@given(st.lists(st.integers(-50, 150), min_size=0, max_size=3))
def test_a_binding_exists_only_with_whole_percents_that_sum_to_100(weights: list[int]) -> None:
    given_weights = dict(zip(VARIANTS, weights, strict=False))
    if weights and sum(weights) == 100 and min(weights) >= 0:
        binding = Binding(ROUTE, 1, given_weights, "test")
        sole = binding.sole_variant
        assert (sole is None) == (100 not in weights)
        assert sole is None or given_weights[sole] == 100
    else:
        with pytest.raises(InputRefused, match="sum to 100"):
            Binding(ROUTE, 1, given_weights, "test")


def test_a_binding_is_refused_for_foreign_variants_and_for_generation_zero() -> None:
    foreign = VariantId("other-1", "a", "lab", "demo", "lab-cpu", "base")
    with pytest.raises(InputRefused, match="other-1"):
        Binding(ROUTE, 1, {foreign: 100}, "test")
    with pytest.raises(InputRefused, match="generation"):
        Binding(ROUTE, 0, {VARIANTS[0]: 100}, "test")


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_the_canonical_form_does_not_depend_on_the_order_of_keys(document: dict[str, object]) -> None:
    backwards = dict(reversed(document.items()))
    assert canonical_json(backwards) == canonical_json(document)
    assert sha256_of(document) == hashlib.sha256(canonical_json(document)).hexdigest()


def test_the_canonical_form_is_compact_and_keeps_letters_as_they_are() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "Zürich"}) == '{"a":"Zürich","b":[1,2.5]}'.encode()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_has_no_canonical_form(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": number})


def test_the_manual_clock_moves_only_by_sleeping() -> None:
    clock = ManualClock()
    before = clock.now()
    assert (clock.now(), clock.monotonic()) == (before, 0.0)
    clock.sleep(1.5)
    clock.sleep(-3)
    assert clock.now() - before == timedelta(seconds=1.5)
    assert clock.monotonic() == 1.5


def test_the_system_clock_is_utc_and_a_negative_sleep_returns_at_once() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    before = clock.monotonic()
    clock.sleep(-5)
    assert 0 <= clock.monotonic() - before < 1


@pytest.mark.parametrize(
    ("kind", "exit_code", "code"),
    [
        (errors.PointsmanError, 1, "failed"),
        (errors.GuardRefused, 3, "guard_refused"),
        (errors.Conflict, 3, "conflict"),
        (errors.DependencyDown, 4, "dependency_down"),
        (errors.RunFailed, 1, "run_failed"),
        (errors.DataCheckFailed, 1, "data_check_failed"),
        (errors.Cancelled, 1, "cancelled"),
    ],
)
def test_every_error_carries_its_exit_code_its_code_and_what_to_do(
    kind: type[errors.PointsmanError], exit_code: int, code: str
) -> None:
    error = kind("It broke.", instruction="pointsman doctor", rows=3)
    assert error.exit_code == exit_code
    assert error.as_failure() == {"code": code, "message": "It broke.", "instruction": "pointsman doctor"}
    assert str(error) == "It broke. pointsman doctor"
    assert error.data == {"rows": 3}
    assert kind("x", code="special").code == "special"


@pytest.mark.parametrize(
    ("kind", "code"),
    [(InputRefused, "input_refused"), (errors.NotFound, "not_found"), (errors.IllegalMove, "illegal_move")],
)
def test_a_refusal_names_field_value_and_what_is_allowed(kind: type[InputRefused], code: str) -> None:
    refusal = kind("repeats", -1, "1 or more")
    assert str(refusal) == "repeats: -1 is not allowed; allowed: 1 or more."
    assert str(kind("repeats", None, "1 or more")) == "repeats: nothing is given; allowed: 1 or more."
    assert (refusal.exit_code, refusal.code) == (2, code)
    assert refusal.data == {"field": "repeats", "value": "-1", "allowed": "1 or more"}


def test_a_long_value_is_cut_in_the_message() -> None:
    refusal = InputRefused("params", "x" * 5000, "less")
    assert len(refusal.message) < 200
    assert "..." in refusal.message
