"""Rubrics: what a file must hold, what its hash covers, and how levels become a quality."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import InputRefused, NotFound
from pointsman.quality import Criterion, Rubric, load_rubric
from pointsman.quality.rubric import quality_of


def criterion(name: str, weight: int = 1, *, needs_source: bool = False) -> Criterion:
    levels = tuple(f"level {number}" for number in range(1, 6))
    return Criterion(name=name, question="How good?", levels=levels, weight=weight, needs_source=needs_source)


def test_the_built_in_rubric_asks_for_fidelity_artefacts_and_steadiness() -> None:
    rubric = load_rubric("video-effect")
    assert [one.name for one in rubric.criteria] == ["fidelity", "artefacts", "temporal_consistency"]
    assert [one.name for one in rubric.asked(with_source=False)] == ["artefacts", "temporal_consistency"]


def test_changing_a_word_changes_the_hash() -> None:
    rubric = load_rubric("video-effect")
    changed = rubric.model_copy(update={"criteria": (criterion("fidelity"), *rubric.criteria[1:])})
    assert load_rubric("video-effect").sha256 == rubric.sha256 != changed.sha256


weights = st.lists(st.integers(1, 100), min_size=1, max_size=6)


@given(weights, st.data())
def test_quality_stays_between_0_and_100_and_grows_with_every_level(weights: list[int], data: st.DataObject) -> None:
    criteria = [criterion(f"c{number}", weight) for number, weight in enumerate(weights)]
    levels = {one.name: data.draw(st.integers(1, 5)) for one in criteria}
    before = quality_of(criteria, levels)
    assert 0 <= before <= 100
    raised = data.draw(st.sampled_from(sorted(levels)))
    if levels[raised] < 5:
        assert quality_of(criteria, {**levels, raised: levels[raised] + 1}) > before


def test_all_ones_are_0_all_fives_100_and_weights_count() -> None:
    criteria = [criterion("a", 3), criterion("b", 1)]
    assert quality_of(criteria, {"a": 1, "b": 1}) == 0
    assert quality_of(criteria, {"a": 5, "b": 5}) == 100
    assert quality_of(criteria, {"a": 5, "b": 1}) == Decimal(75)


def test_a_rubric_that_always_needs_a_source_is_refused_for_outputs_without_one() -> None:
    rubric = Rubric(name="strict", version=1, criteria=(criterion("fidelity", needs_source=True),))
    with pytest.raises(InputRefused, match="strict"):
        rubric.asked(with_source=False)


def test_a_rubric_of_ones_own_is_read_from_its_path(tmp_path: Path) -> None:
    text = Path(load_rubric.__globals__["_BUILT_IN"], "video-effect.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("version = 1", "version = 2"))
    assert load_rubric(str(path)).version == 2


def test_an_unknown_rubric_is_refused_with_those_that_exist() -> None:
    with pytest.raises(NotFound, match="video-effect, or the path"):
        load_rubric("beauty")


def test_a_path_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(InputRefused, match="a TOML file"):
        load_rubric("x" * 300)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name = ", "TOML"),
        ('name = "x"\nversion = 0\ncriteria = []', "version"),
        ('name = "x"\nversion = 1\ncriteria = []\nextra = 1', "criteria"),
        ('name = "x"\nversion = 1\n[[criteria]]\nname = "a"\nquestion = "q"\nweight = 1\nlevels = ["1"]', "levels"),
        (
            'name = "x"\nversion = 1\n[[criteria]]\nname = "a"\nquestion = "q"\nweight = 1\n'
            'levels = ["1", " ", "3", "4", "5"]',
            "levels.1",
        ),
        (
            'name = "x"\nversion = 1\n'
            + 2 * '[[criteria]]\nname = "a"\nquestion = "q"\nweight = 1\nlevels = ["1", "2", "3", "4", "5"]\n',
            "name of its own",
        ),
    ],
)
def test_a_file_that_is_no_rubric_is_refused_naming_the_field(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(InputRefused, match=named):
        load_rubric(str(path))
