"""Label sheets: a page that tells nobody what made what, and answers read back to the outputs that they are about."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pointsman.errors import GuardRefused, InputRefused, NotFound
from pointsman.quality import draw_up_sheet, label_page, labelling_page, load_rubric, quality_by_people, read_answers
from pointsman.quality.label_sheets import Sheet
from pointsman.quality.showing import Shown
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.quality.test_data_classes import classify
from tests.quality.worlds import LEVELS, Clips, Matrix

RUBRIC = load_rubric("video-effect")


def sheet_of(ws: Workspace, matrix: Matrix, **options: int) -> Sheet:
    return draw_up_sheet(ws, matrix.id, RUBRIC, pairs=options.pop("pairs", 10), seed=options.pop("seed", 1))


def answered(sheet: Sheet, /, *, labeller: str = "maria", **changes: Any) -> bytes:
    answers = {item.token: {"left": LEVELS, "right": LEVELS} for item in sheet.items}
    return json.dumps({"sheet": sheet.id, "labeller": labeller, "answers": answers, **changes}).encode()


def test_each_input_comes_once_with_outputs_of_two_variants(ws: Workspace, clips: Clips) -> None:
    matrix = Matrix(ws, clips, inputs=6)
    sheet = sheet_of(ws, matrix)
    assert len(sheet.items) == 6
    for item in sheet.items:
        assert {item.left.read_bytes(), item.right.read_bytes()} == {clips.good.read_bytes(), clips.poor.read_bytes()}
    assert {item.left.read_bytes() for item in sheet.items} == {clips.good.read_bytes(), clips.poor.read_bytes()}
    assert sheet_of(ws, matrix) == sheet
    assert sheet_of(ws, matrix, seed=2) != sheet
    assert len(sheet_of(ws, matrix, pairs=4).items) == 4


def test_the_page_tells_nothing_of_what_made_what_and_fetches_nothing(ws: Workspace, matrix: Matrix) -> None:
    sheet = sheet_of(ws, matrix)
    page = labelling_page(sheet)
    words = re.sub(r"base64,[^\"]*", "", page)
    for telling in ("fast-lane", "slow-lane", "acme", *matrix.cells, matrix.id, "benchmark", str(ws.results.root)):
        assert telling not in words
    assert words.count("<video") == 6
    assert not re.search(r"(src|href)=\"(?!data:)", words)
    assert "http" not in words.replace('http-equiv="Content-Security-Policy"', "")
    script = re.search(r"<script>(.*)</script>", page, re.DOTALL)
    policy = re.search(r"script-src 'sha256-([^']+)'", page)
    assert script is not None
    assert policy is not None
    assert base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode() == policy[1]
    for criterion in RUBRIC.criteria:
        assert all(level in page for level in criterion.levels)


def test_a_page_asks_of_outputs_without_a_source_what_can_be_answered(ws: Workspace, matrix: Matrix) -> None:
    for source in matrix.sources:
        source.unlink()
    sheet = sheet_of(ws, matrix)
    page = labelling_page(sheet)
    assert 'data-criterion="artefacts"' in page
    assert "fidelity" not in page
    kept = {name: level for name, level in LEVELS.items() if name != "fidelity"}
    answers = {item.token: {"left": kept, "right": kept} for item in sheet.items}
    assert read_answers(ws, matrix.id, answered(sheet, answers=answers)) == 4


def test_inputs_of_a_data_class_are_shown_only_where_somebody_said_that_whoever_rates_may_see_them(
    ws: Workspace, matrix: Matrix
) -> None:
    classify(ws, "input-0", "faces")
    classify(ws, "input-1", "minors", "region:eu")
    for sees, kept_away in (((), ["faces", "minors", "region:eu"]), (("faces", "minors"), ["region:eu"])):
        with pytest.raises(GuardRefused, match="nobody said that whoever rates it may see that") as refused:
            draw_up_sheet(ws, matrix.id, RUBRIC, pairs=10, seed=1, sees=sees)
        assert refused.value.code == "data_class_not_allowed"
        assert refused.value.data["data_classes"] == kept_away
        assert refused.value.instruction.endswith("--data-class faces --data-class minors --data-class region:eu")
    assert not list(ws.results.glob("**/labels/*")), "nothing is drawn up"
    allowed = ("faces", "minors", "region:eu", "logos")
    sheet = draw_up_sheet(ws, matrix.id, RUBRIC, pairs=10, seed=1, sees=allowed)
    assert sheet.data_classes == ("faces", "minors", "region:eu")
    assert "This page shows: faces, minors, region:eu." in labelling_page(sheet)
    one = draw_up_sheet(ws, matrix.id, RUBRIC, pairs=1, seed=1, sees=allowed)
    assert one.data_classes in (("faces",), ("minors", "region:eu")), "of what is on it, and of nothing else"


def test_words_of_a_rubric_are_shown_as_text(ws: Workspace, matrix: Matrix) -> None:
    rubric = RUBRIC.model_copy(update={"task": "<script>alert(1)</script>"})
    page = labelling_page(draw_up_sheet(ws, matrix.id, rubric, pairs=1, seed=1))
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in page


def test_answers_come_back_to_the_outputs_that_they_are_about(ws: Workspace, matrix: Matrix, clips: Clips) -> None:
    sheet = sheet_of(ws, matrix)
    good = clips.good.read_bytes()
    best, worst = dict.fromkeys(LEVELS, 5), dict.fromkeys(LEVELS, 1)
    answers = {
        item.token: {
            "left": best if item.left.read_bytes() == good else worst,
            "right": best if item.right.read_bytes() == good else worst,
        }
        for item in sheet.items
    }
    assert read_answers(ws, matrix.id, answered(sheet, answers=answers)) == 4
    assert quality_by_people(ws, matrix.id) == dict(zip(matrix.cells, [100.0, 100.0, 0.0, 0.0], strict=True))


def test_newer_answers_of_a_labeller_replace_older_and_two_labellers_are_averaged(
    ws: Workspace, matrix: Matrix
) -> None:
    sheet = sheet_of(ws, matrix)
    read_answers(ws, matrix.id, answered(sheet))
    read_answers(ws, matrix.id, answered(sheet))
    rows = matrix.rows(tables.human_labels)
    assert len(rows) == 4
    assert {(row.labeller, row.quality, row.sheet_id) for row in rows} == {("maria", Decimal("77.5"), sheet.id)}
    worst = dict.fromkeys(LEVELS, 1)
    answers = {item.token: {"left": worst, "right": worst} for item in sheet.items}
    read_answers(ws, matrix.id, answered(sheet, labeller="omar", answers=answers))
    assert set(quality_by_people(ws, matrix.id).values()) == {38.75}


def test_what_is_left_out_is_not_a_label(ws: Workspace, matrix: Matrix) -> None:
    first, *_ = sheet_of(ws, matrix).items
    half = {first.token: {"left": LEVELS, "right": {"fidelity": 3}}}
    assert read_answers(ws, matrix.id, answered(sheet_of(ws, matrix), answers=half)) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"answers": {"nobody": {"left": LEVELS}}}, "item"),
        ({"answers": {"TOKEN": {"middle": LEVELS}}}, "middle"),
        ({"answers": {"TOKEN": {"left": {"fidelity": 6}}}}, "fidelity"),
        ({"answers": {"TOKEN": {"left": {"fidelity": "4"}}}}, "fidelity"),
        ({"answers": {"TOKEN": {"left": {"beauty": 4}}}}, "beauty"),
        ({"labeller": ""}, "labeller"),
        ({"labeller": "a\nb"}, "labeller"),
        ({"sheet": "../../../etc/passwd"}, "sheet"),
        ({"extra": 1}, "extra"),
    ],
)
def test_answers_that_no_page_saves_are_refused_and_nothing_is_stored(
    ws: Workspace, matrix: Matrix, change: dict[str, Any], named: str
) -> None:
    sheet = sheet_of(ws, matrix)
    told = json.loads(json.dumps(change).replace("TOKEN", sheet.items[0].token))
    with pytest.raises(InputRefused, match=named):
        read_answers(ws, matrix.id, answered(sheet, **told))
    assert matrix.rows(tables.human_labels) == []


@pytest.mark.parametrize("content", [b"", b"no json", b"[]", b"\xff\xfe"])
def test_what_is_no_file_of_answers_is_refused(ws: Workspace, matrix: Matrix, content: bytes) -> None:
    with pytest.raises(InputRefused, match="answers"):
        read_answers(ws, matrix.id, content)


def test_answers_of_an_unknown_sheet_are_refused(ws: Workspace, matrix: Matrix) -> None:
    unknown = json.dumps({"sheet": "0" * 36, "labeller": "maria", "answers": {}}).encode()
    with pytest.raises(NotFound, match="label sheet"):
        read_answers(ws, matrix.id, unknown)


def test_a_benchmark_of_one_variant_has_nothing_to_put_side_by_side(ws: Workspace, clips: Clips) -> None:
    matrix = Matrix(ws, clips, inputs=2)
    for cell in matrix.cells[2:]:
        matrix.output(cell).unlink()
    with pytest.raises(InputRefused, match="two variants"):
        sheet_of(ws, matrix)
    with pytest.raises(InputRefused, match="pairs"):
        sheet_of(ws, matrix, pairs=0)


def test_more_than_a_browser_opens_is_refused_as_soon_as_that_shows(
    ws: Workspace, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = sheet_of(ws, Matrix(ws, clips, inputs=5))
    made: list[Path] = []

    def show(name: str, path: Path, *, most: int) -> Shown:
        made.append(path)
        return Shown("video/mp4", b"x" * 30_000)

    monkeypatch.setattr(label_page, "as_browsers_show", show)
    monkeypatch.setattr(label_page, "MOST_BYTES", 300_000)  # 120,000 of each pair's clips, and the words of the page
    with pytest.raises(InputRefused, match="a page holds 300000") as refused:
        labelling_page(sheet)
    assert len(made) == 8, "the second clip of the third pair is too much"
    assert refused.value.allowed.startswith("about 2:")
    assert "--pairs 2" in refused.value.instruction
    monkeypatch.setattr(label_page, "MOST_BYTES", 50_000)
    with pytest.raises(InputRefused, match="those of the first pair are more") as refused:
        labelling_page(sheet)
    assert "--pairs" not in refused.value.instruction


@pytest.mark.parametrize(
    ("content", "told"), [(b"no medium", "which a browser can show"), (b"\x89PNG\r\n\x1a\n" + b"x" * 1000, "about 1:")]
)
def test_what_is_known_of_media_beforehand_is_told_before_a_clip_is_made_playable(
    ws: Workspace, matrix: Matrix, monkeypatch: pytest.MonkeyPatch, content: bytes, told: str
) -> None:
    sheet = sheet_of(ws, matrix)
    sheet.items[-1].right.write_bytes(content)
    monkeypatch.setattr(label_page, "MOST_BYTES", 1000)
    monkeypatch.setattr(label_page, "as_browsers_show", None)
    with pytest.raises(InputRefused, match=told):
        labelling_page(sheet)


def test_a_pair_with_hdr_says_that_it_is_tone_mapped_and_not_which_of_them(
    ws: Workspace, matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = sheet_of(ws, matrix)

    def show(name: str, path: Path, *, most: int) -> Shown:
        return Shown("video/mp4", b"x", tone_mapped=name == "B of pair 2")

    monkeypatch.setattr(label_page, "as_browsers_show", show)
    _, first, second = labelling_page(sheet).split("<section")
    assert "tone-mapped" not in first
    assert second.count("tone-mapped") == 1
    assert re.findall("<figcaption>(.*?)</figcaption>", second) == ["Source", "A", "B"]
