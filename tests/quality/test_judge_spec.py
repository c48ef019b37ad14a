"""Choosing a judge: what `auto` does and says, and what is refused before anything is sent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from pointsman.errors import InputRefused, NotFound
from pointsman.model import Missing, Number
from pointsman.quality import JudgeSpec
from pointsman.settings import Settings, load_settings


def settings(tmp_path: Path, key: str | None = None) -> Settings:
    environ = {"POINTSMAN_HOME": str(tmp_path), "POINTSMAN_GEMINI_MODEL": "gemini-test"}
    return load_settings(environ | ({"GEMINI_API_KEY": key} if key else {}))


def test_auto_without_a_key_is_the_local_evaluator_and_says_so(tmp_path: Path) -> None:
    chosen = JudgeSpec().build(settings(tmp_path))
    assert chosen.judge.identity.name == "local"
    assert "GEMINI_API_KEY is not set" in chosen.reason


def test_auto_with_a_key_is_gemini_with_the_model_of_the_settings(tmp_path: Path) -> None:
    chosen = JudgeSpec().build(settings(tmp_path, "k-1"))
    assert (chosen.judge.identity.name, chosen.judge.identity.model) == ("gemini", "gemini-test")
    assert chosen.cap is None
    assert "gemini-test" in chosen.reason
    assert "k-1" not in repr(chosen)


def test_local_is_local_even_with_a_key_and_a_named_model_wins(tmp_path: Path) -> None:
    assert JudgeSpec(kind="local").build(settings(tmp_path, "k-1")).judge.identity.name == "local"
    assert JudgeSpec(model="gemini-x").build(settings(tmp_path, "k-1")).judge.identity.model == "gemini-x"


def test_gemini_without_a_key_is_refused_naming_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="GEMINI_API_KEY"):
        JudgeSpec(kind="gemini").build(settings(tmp_path))


def test_an_unknown_rubric_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="rubric"):
        JudgeSpec(rubric="beauty").build(settings(tmp_path, "k-1"))


def test_a_cap_needs_the_price_of_every_token(tmp_path: Path) -> None:
    def half(sku: str) -> Number:
        return Decimal("0.0000003") if sku.endswith("input-token") else Missing("not in the price book")

    spec = JudgeSpec(kind="gemini", max_spend_usd=Decimal(2))
    for price in (None, half):
        with pytest.raises(InputRefused, match="max_spend_usd"):
            spec.build(settings(tmp_path, "k-1"), price=price)
    chosen = spec.build(settings(tmp_path, "k-1"), price=lambda sku: Decimal("0.0000003"))
    assert chosen.cap is not None
    assert chosen.cap.usd == 2


def test_a_judge_that_may_wait_says_so_and_a_cap_of_it_needs_the_price_of_batches_too(tmp_path: Path) -> None:
    def known(sku: str) -> Number:
        return Missing("not in the price book") if ":batch:" in sku else Decimal("0.0000003")

    spec = JudgeSpec(kind="gemini", wait_hours=24)
    chosen = spec.build(settings(tmp_path, "k-1"))
    assert chosen.waits
    assert "in batches that may take 24 hours" in chosen.reason
    assert not spec.at_once().build(settings(tmp_path, "k-1")).waits
    capped = spec.model_copy(update={"max_spend_usd": Decimal(2)})
    with pytest.raises(InputRefused, match="batch:input-token has none"):
        capped.build(settings(tmp_path, "k-1"), price=known)
    assert capped.at_once().build(settings(tmp_path, "k-1"), price=known).cap is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"wait_hours": 0},
        {"wait_hours": 49},
        {"kind": "human"},
        {"max_spend_usd": 0},
        {"max_spend_usd": "-1"},
        {"model": "a/../b"},
        {"rubric": ""},
        {"x": 1},
    ],
)
def test_a_request_out_of_bounds_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        JudgeSpec.model_validate(wrong)


def test_whether_sound_matters_is_part_of_who_the_local_evaluator_is(tmp_path: Path) -> None:
    strict = JudgeSpec(kind="local").build(settings(tmp_path)).judge.identity
    free = JudgeSpec(kind="local", sound="free").build(settings(tmp_path)).judge.identity
    assert strict.model == free.model
    assert strict.rubric_sha256 != free.rubric_sha256
    assert JudgeSpec(sound="free").build(settings(tmp_path)).judge.identity == free
