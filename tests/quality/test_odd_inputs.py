"""Odd inputs: each is compared as a person would, or refused by a sentence that names what is odd."""

from __future__ import annotations

import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from pointsman.model import Missing
from pointsman.quality import NO_REFERENCE, Evaluation, LocalJudge, Sample
from pointsman.quality import graphs as graphs_module
from pointsman.quality.ffmpeg import ffmpeg_path
from tests.quality.odd_clips import make_odd_clips
from tests.quality.worlds import Clips


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return make_odd_clips(tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="module")
def judge() -> LocalJudge:
    return LocalJudge()


def evaluate(judge: LocalJudge, output: Path, source: Path | None) -> Evaluation:
    (evaluation,) = judge.judge([Sample("d-1", output, source, "label")])
    return evaluation


def findings(evaluation: Evaluation) -> dict[str, str]:
    found = evaluation.scores["findings"]
    assert isinstance(found, dict)
    return {name: str(what) for name, what in found.items()}


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_an_uneven_rhythm_is_compared_by_time_and_noted(judge: LocalJudge, odd: Clips, container: str) -> None:
    evaluation = evaluate(judge, odd.folder / f"uneven.{container}", odd.plain)
    assert isinstance(evaluation.quality, Decimal)
    assert evaluation.quality > 30
    assert evaluation.scores["frames"] == 13
    assert abs(float(str(evaluation.scores["duration_difference_s"]))) <= 0.1
    assert findings(evaluation)["uneven_rhythm"] == "its frames do not follow each other evenly"


def test_a_source_of_uneven_rhythm_and_its_even_output_are_compared_by_time(judge: LocalJudge, odd: Clips) -> None:
    uneven = odd.folder / "uneven.mp4"
    itself = evaluate(judge, uneven, uneven)
    assert isinstance(itself.quality, Decimal)
    assert itself.quality > 90
    assert findings(itself) == {}


def test_odd_sizes_are_compared_at_the_size_of_the_source(judge: LocalJudge, odd: Clips) -> None:
    evaluation = evaluate(judge, odd.odd_again, odd.odd_sized)
    assert isinstance(evaluation.quality, Decimal)
    assert evaluation.quality > 60
    assert (evaluation.scores["size"], evaluation.scores["source_size"]) == ("96x64", "97x65")
    assert "stretched" not in findings(evaluation)


def test_one_frame_is_judged_as_a_picture_is(judge: LocalJudge, odd: Clips) -> None:
    for output, source in ((odd.single_again, odd.single), (odd.folder / "picture.jpg", odd.folder / "picture.png")):
        evaluation = evaluate(judge, output, source)
        assert isinstance(evaluation.quality, Decimal)
        assert 50 < evaluation.quality < 100
        assert evaluation.quality == 100 * Decimal(str(evaluation.scores["ssim"]))
        assert float(str(evaluation.scores["psnr_db"])) > 20


def test_one_frame_of_a_clip_is_not_the_clip(judge: LocalJudge, odd: Clips) -> None:
    evaluation = evaluate(judge, odd.single, odd.plain)
    assert evaluation.quality == 0
    assert evaluation.scores["reason"] == "wrong duration: 0.950 s shorter than its source"


def test_a_picture_and_a_clip_are_not_compared(judge: LocalJudge, odd: Clips) -> None:
    picture = odd.folder / "picture.png"
    animated, poster = evaluate(judge, odd.plain, picture), evaluate(judge, picture, odd.plain)
    sentence = "the source is a {} and the output a {}; checks without a source make no quality"
    assert animated.quality == Missing(sentence.format("picture", "clip"))
    assert poster.quality == Missing(sentence.format("clip", "picture"))
    assert animated.scores["basis"] == poster.scores["basis"] == NO_REFERENCE


def test_a_source_is_enough_to_know_that_rubbish_is_bad(judge: LocalJudge, odd: Clips, clips: Clips) -> None:
    for source in (odd.folder / "picture.png", odd.hdr):
        evaluation = evaluate(judge, clips.garbage, source)
        assert (evaluation.quality, evaluation.scores["decodable"]) == (0, False)
    assert isinstance(evaluate(judge, clips.garbage, None).quality, Missing)


def test_clips_too_small_for_vmaf_say_so_and_keep_the_rest(judge: LocalJudge, odd: Clips) -> None:
    evaluation = evaluate(judge, odd.tiny, odd.tiny)
    too_small = "a picture of 24x24 is too small; it takes 32 pixels each way"
    assert evaluation.quality == Missing(f"VMAF was not measured: {too_small}")
    assert evaluation.scores["ssim"] == 1
    assert (evaluation.scores["psnr_db"], evaluation.scores["identical"]) == (None, True)
    not_measured = evaluation.scores["not_measured"]
    assert isinstance(not_measured, dict)
    assert set(not_measured) == {"vmaf", "banding"}


def test_pictures_too_small_for_ssim_are_no_worse_than_their_equals(judge: LocalJudge, tmp_path: Path) -> None:
    dot = tmp_path / "dot.bmp"
    header = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0" + b"\1\0\0\0\1\0\0\0\1\0\x18\0" + bytes(24)
    dot.write_bytes(header + b"\0\0\xff\0")
    evaluation = evaluate(judge, dot, dot)
    assert evaluation.quality == Missing(
        "SSIM was not measured: a picture of 1x1 is too small; it takes 16 pixels each way"
    )
    assert evaluation.scores["identical"] is True


def test_pixels_that_are_no_squares_are_no_other_shape(judge: LocalJudge, odd: Clips, tmp_path: Path) -> None:
    found = []
    for name, filters in (("narrow", "scale=48:64,setsar=2"), ("false", "setsar=2")):
        path = tmp_path / f"{name}.mp4"
        argv = [ffmpeg_path(), "-v", "error", "-i", str(odd.plain), "-vf", filters, "-c:v", "libx264", str(path)]
        subprocess.run(argv, check=True)
        found.append("stretched" in findings(evaluate(judge, path, odd.plain)))
    assert found == [False, True]


def test_narrow_pictures_are_not_looked_at_for_bands() -> None:
    assert set(graphs_module.not_measured(2000, 60)) == {"banding"}
    assert graphs_module.not_measured(240, 136) == {}


def test_a_turned_clip_is_compared_as_it_is_shown(judge: LocalJudge, odd: Clips) -> None:
    evaluation = evaluate(judge, odd.upright, odd.turned)
    assert isinstance(evaluation.quality, Decimal)
    assert evaluation.quality > 90
    assert evaluation.scores["size"] == evaluation.scores["source_size"] == "64x96"
    lying = evaluate(judge, odd.plain, odd.turned)
    assert findings(lying)["stretched"] == "96x64 is another shape than 64x96, as both are shown"
    assert isinstance(lying.quality, Decimal)
    assert lying.quality < 40
    assert findings(evaluate(judge, odd.turned, odd.upright)) == {}


def test_pictures_of_every_format_are_compared_as_pictures(judge: LocalJudge, odd: Clips) -> None:
    picture = odd.folder / "picture.png"
    for name in ("still.avif", "still.bmp", "still.tiff"):
        for output, source in ((odd.folder / name, picture), (picture, odd.folder / name)):
            assert isinstance(found := evaluate(judge, output, source).quality, Decimal), name
            assert found > 95


def test_a_photograph_that_says_which_way_up_it_is_is_compared_as_it_is_shown(judge: LocalJudge, odd: Clips) -> None:
    for output, source in ((odd.standing, odd.photograph), (odd.photograph, odd.standing)):
        evaluation = evaluate(judge, output, source)
        assert isinstance(evaluation.quality, Decimal)
        assert evaluation.quality > 95
        assert evaluation.scores["size"] == evaluation.scores["source_size"] == "64x96"
        assert findings(evaluation) == {}


def test_a_picture_that_became_transparent_is_not_its_source(judge: LocalJudge, odd: Clips) -> None:
    became = evaluate(judge, odd.clear, odd.folder / "picture.png").quality
    assert isinstance(became, Decimal)
    assert became < 90
    assert evaluate(judge, odd.clear, odd.clear).quality == 100


def test_an_animated_webp_is_refused_by_name_on_either_side(judge: LocalJudge, odd: Clips) -> None:
    sentence = "the {} is an animated WebP, which ffmpeg cannot decode"
    assert evaluate(judge, odd.moving, odd.plain).quality == Missing(sentence.format("output"))
    assert evaluate(judge, odd.plain, odd.moving).quality == Missing(sentence.format("source"))
    assert evaluate(judge, odd.moving, None).quality == Missing(sentence.format("output"))


def test_a_track_without_any_sound_in_it_is_no_sound(judge: LocalJudge, odd: Clips) -> None:
    for output, source in ((odd.plain, odd.soundless), (odd.soundless, odd.plain)):
        evaluation = evaluate(judge, output, source)
        assert isinstance(evaluation.quality, Decimal)
        assert evaluation.quality > 90
        assert (evaluation.scores["sound_s"], evaluation.scores["source_sound_s"]) == (None, None)


def test_hdr_is_refused_by_name_on_either_side(judge: LocalJudge, odd: Clips) -> None:
    rest = "HDR (smpte2084), which is not compared; checks without a source make no quality"
    assert evaluate(judge, odd.plain, odd.hdr).quality == Missing(f"the source is {rest}")
    assert evaluate(judge, odd.hdr, odd.hdr).quality == Missing(f"the source is {rest}")
    short = odd.folder / "short.mp4"
    short.write_bytes(odd.tiny.read_bytes())
    assert evaluate(judge, odd.hdr, short).quality == Missing(f"the output is {rest}")


def test_ten_bits_alone_are_not_hdr(judge: LocalJudge, odd: Clips) -> None:
    evaluation = evaluate(judge, odd.ten_bits, odd.plain)
    assert isinstance(evaluation.quality, Decimal)
    assert evaluation.quality > 85


def test_clips_without_sound_lack_nothing(judge: LocalJudge, odd: Clips) -> None:
    evaluation = evaluate(judge, odd.again, odd.plain)
    assert (evaluation.scores["sound_s"], evaluation.scores["source_sound_s"]) == (None, None)
    assert findings(evaluation) == {}


def test_sound_has_to_be_there_and_as_long_as_in_the_source(judge: LocalJudge, odd: Clips) -> None:
    kept = evaluate(judge, odd.heard_again, odd.heard)
    assert isinstance(kept.quality, Decimal)
    assert kept.quality > 80
    assert abs(float(str(kept.scores["sound_s"])) - 1) < 0.1
    lost, cut = evaluate(judge, odd.plain, odd.heard), evaluate(judge, odd.heard_half, odd.heard)
    assert (lost.quality, cut.quality) == (0, 0)
    assert str(lost.scores["reason"]).startswith("no sound, and its source has 1.0")
    assert str(cut.scores["reason"]).startswith("wrong duration of its sound: 0.")
    assert "sound_added" in findings(evaluate(judge, odd.heard, odd.plain))


def test_where_sound_is_free_its_loss_is_only_noted(odd: Clips) -> None:
    free = LocalJudge(sound="free")
    evaluation = evaluate(free, odd.plain, odd.heard)
    assert isinstance(evaluation.quality, Decimal)
    assert evaluation.quality > 90
    assert "sound_lost" in findings(evaluation)
    assert free.identity.rubric_sha256 != LocalJudge().identity.rubric_sha256


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("stands", {"frozen": "stands still for 0.75 s; its source 0.00 s"}),
        ("stutters", {"repeated_frames": "repeats 9 of 20 frames more"}),
        ("dark", {"black": "is black for 0.25 s more than its source"}),
        ("soft", {"softer": "edges take"}),
    ],
)
def test_what_became_worse_than_the_source_is_found(
    judge: LocalJudge, odd: Clips, name: str, found: dict[str, str]
) -> None:
    told = findings(evaluate(judge, getattr(odd, name), odd.plain))
    for what, sentence in found.items():
        assert told[what].startswith(sentence)
    if name != "soft":
        assert "softer" not in told


def test_what_the_source_shows_too_is_no_finding(judge: LocalJudge, odd: Clips) -> None:
    for name in ("stands", "stutters", "dark", "soft"):
        assert findings(evaluate(judge, getattr(odd, name), getattr(odd, name))) == {}


def test_bands_are_found_where_the_source_is_smooth(judge: LocalJudge, odd: Clips) -> None:
    told = findings(evaluate(judge, odd.banded, odd.smooth))
    assert told["banding"].startswith("its bands have ")
    assert "banding" not in findings(evaluate(judge, odd.smooth, odd.smooth))
    assert "banding" not in findings(evaluate(judge, odd.banded, odd.banded))


def test_without_a_source_the_signals_are_told_and_make_no_quality(judge: LocalJudge, odd: Clips) -> None:
    for name, what in (("stands", "frozen"), ("dark", "black"), ("stutters", "repeated_frames"), ("banded", "banding")):
        evaluation = evaluate(judge, getattr(odd, name), None)
        assert isinstance(evaluation.quality, Missing)
        assert what in findings(evaluation)
        assert evaluation.scores["basis"] == NO_REFERENCE


def test_vmaf_is_told_by_its_mean_its_worst_twentieth_and_its_harmonic_mean(judge: LocalJudge, odd: Clips) -> None:
    scores = evaluate(judge, odd.dark, odd.plain).scores
    mean, p5, harmonic = (float(str(scores[name])) for name in ("vmaf", "vmaf_p5", "vmaf_harmonic"))
    assert p5 < harmonic < mean
    assert scores["vmaf_frames"] == 20


def test_an_ffmpeg_without_libvmaf_is_named_and_the_rest_is_measured(
    odd: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    have = graphs_module.ffmpeg_filters()
    monkeypatch.setattr(graphs_module, "ffmpeg_filters", lambda: have - {"libvmaf"})
    judge = LocalJudge()
    assert judge.identity.model.endswith(" without libvmaf")
    assert judge.identity.rubric_sha256 != LocalJudge(sound="free").identity.rubric_sha256
    clip = evaluate(judge, odd.again, odd.plain)
    assert clip.quality == Missing("VMAF was not measured: this ffmpeg has no filter libvmaf")
    assert float(str(clip.scores["ssim"])) > 0.8
    assert float(str(clip.scores["psnr_db"])) > 20
    picture = evaluate(judge, odd.folder / "picture.jpg", odd.folder / "picture.png")
    assert isinstance(picture.quality, Decimal)


def test_an_ffmpeg_without_any_of_the_filters_still_tells_what_plays(
    odd: Clips, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    have = graphs_module.ffmpeg_filters()
    monkeypatch.setattr(graphs_module, "ffmpeg_filters", lambda: have - set(graphs_module.MEASURES.values()))
    judge = LocalJudge()
    evaluation = evaluate(judge, odd.again, odd.plain)
    assert isinstance(evaluation.quality, Missing)
    assert evaluation.scores["signals"] == {}
    not_measured = evaluation.scores["not_measured"]
    assert isinstance(not_measured, dict)
    assert set(not_measured) == set(graphs_module.MEASURES)
    assert evaluate(judge, clips.garbage, odd.plain).quality == 0
    assert isinstance(evaluate(judge, odd.folder / "uneven.mp4", odd.plain).quality, Missing)
