"""`pointsman compare`: what its words ask of the chain."""

from types import SimpleNamespace

import pytest

from flows.choose_route import ChooseRouteRequest
from pointsman.benchmark import change_variant, input_set
from pointsman.ids import VariantId
from service.cli import compare
from tests.service.worlds import INCUMBENT, OTHER, registered


@pytest.fixture
def asked(home, monkeypatch):
    """The requests that were made; nothing is started, and nothing comes of them."""
    requests = []

    def note(ws, run_id, given, *, quiet):
        requests.append(ChooseRouteRequest(run_id=run_id, **given))
        return {"hud": {}}

    nothing = SimpleNamespace(processes={}, stop=lambda names: None)
    monkeypatch.setattr(compare.World, "load", lambda home: nothing)
    monkeypatch.setattr(compare, "prepare_lab", lambda *_, **__: VariantId.parse(INCUMBENT))
    monkeypatch.setattr(compare, "_run", note)
    for name in ("write_report", "show_hud", "fail_if_invalid"):
        monkeypatch.setattr(compare, name, lambda *_: None)
    return requests


def test_its_words_become_the_rules_that_are_declared(home, pointsman, asked):
    registered(home)
    words = ["--input-set", "some-clips", "--min-saving", "0.1", "--quality-margin", "1", "--success-margin", "0"]
    words += ["--alpha", "0.01", "--until-decided", "--stop-after", "3/5", "--in-flight", "8", "--budget", "3USD"]
    words += ["--drain-limit-s", "900"]
    assert pointsman("compare", *words).code == 0
    (request,) = asked
    rules = request.rules
    assert (rules.min_saving, rules.quality_margin, rules.success_margin, rules.alpha) == (0.1, 1, 0, 0.01)
    assert (rules.sequential, request.early_stop.model_dump()) == (True, {"failures": 3, "of_first": 5})
    assert (request.in_flight_per_provider, request.budget_usd, request.input_set) == (8, 3, "some-clips")
    assert (request.round_cells, request.dry_run, request.drain_limit_s) == (2, True, 900)


def test_left_out_they_mean_what_the_flow_means(home, pointsman, asked):
    registered(home)
    assert pointsman("compare", "--input-set", "some-clips").code == 0
    (request,) = asked
    given = {name: getattr(request, name) for name in ("route_key", "input_set", "variants", "incumbent", "run_id")}
    assert request == ChooseRouteRequest(**given)


def test_a_folder_of_clips_is_a_set_and_filters_narrow_what_the_targets_name(home, pointsman, asked, tmp_path):
    ws = registered(home)
    change_variant(ws, OTHER, tags=["cheap"])
    for shade in (1, 2):
        (tmp_path / f"{shade}.ppm").write_bytes(b"P6 2 2 255\n" + bytes([shade] * 12))
    words = ["compare", "--input", tmp_path / "1.ppm", "--input", tmp_path / "2.ppm", "--tag", "cheap"]
    assert pointsman(*words, "--data-class", "faces").code == 0
    (request,) = asked
    assert request.variants == (OTHER,)
    assert [one.data_classes for one in input_set(ws, request.input_set).members] == [("faces",), ("faces",)]


def test_rounds_are_as_small_as_what_is_looked_at_after_each_asks(home, pointsman, asked):
    registered(home)
    for words, cells in (
        (["--stop-after", "1/3"], 6),
        (["--stop-after", "1/90"], 84),
        (["--until-decided"], 2),
        (["--until-decided", "--repeats", "100"], 4),
        (["--until-decided", "--repeats", "100", "--stop-after", "1/1"], 2),
        (["--stop-after", "1/3", "--budget", "3"], 2),
    ):
        assert pointsman("compare", "--input-set", "some-clips", *words).code == 0
        assert asked[-1].round_cells == cells, words


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "--input, --input-set"),
        (["--input-set", "some-clips", "--input", "x.mp4"], "--input, --input-set"),
        (["--input-set", "none"], "some-clips"),
        (["--input-set", "some-clips", "--data-class", "faces"], "--data-class"),
        (["--input-set", "some-clips", "--tag", "nobody"], "nobody"),
        (["--input-set", "some-clips", "--stop-after", "5/3x"], "--stop-after"),
        (["--input-set", "some-clips", "--alpha", "2"], "--alpha"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_starts(home, pointsman, asked, words, named):
    registered(home)
    answer = pointsman("compare", *words)
    assert (answer.code, asked) == (2, [])
    assert named in answer.err
