"""The local evaluator on real clips: closeness is measured, bad outputs score 0, the unknown is missing."""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pointsman.clock import SystemClock
from pointsman.model import Missing
from pointsman.quality import Evaluation, LocalJudge, Sample
from pointsman.quality import graphs as graphs_module
from pointsman.quality import local as local_module
from pointsman.quality import looking as looking_module
from pointsman.quality import media as media_module
from pointsman.quality.ffmpeg import Finished, media_input, run_ffmpeg
from tests.quality.worlds import Clips, never


@pytest.fixture(scope="module")
def judge() -> LocalJudge:
    return LocalJudge(clock=SystemClock())


def evaluate(judge: LocalJudge, output: Path, source: Path | None) -> Evaluation:
    (evaluation,) = judge.judge([Sample("d-1", output, source, "label")])
    return evaluation


def quality(judge: LocalJudge, output: Path, source: Path | None) -> Decimal:
    found = evaluate(judge, output, source).quality
    assert isinstance(found, Decimal), found
    return found


def test_a_copy_scores_nearly_full_and_worse_encodes_score_less(judge: LocalJudge, clips: Clips) -> None:
    same = quality(judge, clips.source, clips.source)
    good = quality(judge, clips.good, clips.source)
    poor = quality(judge, clips.poor, clips.source)
    assert 97 < same <= 100
    assert same > good > 85 > poor > 0


def test_scores_name_vmaf_ssim_and_durations(judge: LocalJudge, clips: Clips) -> None:
    evaluation = evaluate(judge, clips.good, clips.source)
    assert Decimal(str(evaluation.scores["vmaf"])) == evaluation.quality
    assert 0.9 < float(str(evaluation.scores["ssim"])) < 1
    assert evaluation.scores["frames"] == evaluation.scores["source_frames"] == 60
    assert evaluation.scores["duration_difference_s"] == 0
    assert evaluation.scores["decodable"] is True
    (attempt,) = evaluation.attempts
    assert (attempt.outcome, attempt.usage) == ("completed", ())
    assert attempt.started <= attempt.ended


def test_other_containers_are_aligned_frame_by_frame(judge: LocalJudge, clips: Clips) -> None:
    # WebM keeps times in whole milliseconds: pairing pictures by time would compare neighbours.
    evaluation = evaluate(judge, clips.webm, clips.source)
    assert float(str(evaluation.scores["ssim"])) > 0.97


def test_a_smaller_picture_is_scaled_to_the_source_before_it_is_compared(judge: LocalJudge, clips: Clips) -> None:
    assert 5 < quality(judge, clips.half, clips.source) < quality(judge, clips.good, clips.source)


def test_full_range_colours_are_not_a_difference(judge: LocalJudge, clips: Clips) -> None:
    difference = quality(judge, clips.full_range, clips.source) - quality(judge, clips.good, clips.source)
    assert abs(difference) < 3


@pytest.mark.parametrize("name", ["one_less", "slower"])
def test_another_number_of_frames_within_the_same_time_is_compared_by_time(
    judge: LocalJudge, clips: Clips, name: str
) -> None:
    evaluation = evaluate(judge, getattr(clips, name), clips.source)
    assert evaluation.scores["frames"] != 60
    assert isinstance(evaluation.quality, Decimal)
    assert evaluation.quality > 40
    assert "reason" not in evaluation.scores


def test_pictures_are_compared_like_clips_of_one_frame(judge: LocalJudge, clips: Clips) -> None:
    assert quality(judge, clips.picture_again, clips.picture) > 80


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("garbage", "undecodable"),
        ("empty", "undecodable"),
        ("cut", "undecodable"),
        ("sound", "undecodable: it holds no picture"),
        ("fifty", "wrong duration: 0.333 s shorter"),
        ("double", "wrong duration: 2.000 s longer"),
    ],
)
def test_a_broken_output_scores_zero_and_says_why(judge: LocalJudge, clips: Clips, name: str, why: str) -> None:
    evaluation = evaluate(judge, getattr(clips, name), clips.source)
    assert evaluation.quality == Decimal(0)
    assert str(evaluation.scores["reason"]).startswith(why)
    assert evaluation.attempts[0].outcome == "completed"


def test_a_playlist_that_names_other_files_is_not_followed(judge: LocalJudge, clips: Clips) -> None:
    assert evaluate(judge, clips.playlist, clips.source).quality == Decimal(0)


def test_without_a_source_quality_is_missing_and_says_why(judge: LocalJudge, clips: Clips) -> None:
    evaluation = evaluate(judge, clips.good, None)
    why = "the output has no source to compare it with; checks without a source make no quality"
    assert evaluation.quality == Missing(why)
    assert (evaluation.attempts[0].outcome, evaluation.attempts[0].code) == ("failed", "not_comparable")


def test_a_broken_source_is_not_the_fault_of_the_output(judge: LocalJudge, clips: Clips) -> None:
    for source in (clips.garbage, clips.cut, clips.sound):
        evaluation = evaluate(judge, clips.good, source)
        assert evaluation.quality == Missing("the source of the output cannot be decoded")
    # Nor is it known then whether a broken output was ever meant to be anything.
    assert isinstance(evaluate(judge, clips.garbage, clips.cut).quality, Missing)


def test_an_ffmpeg_that_ends_abruptly_says_nothing_about_the_output(
    judge: LocalJudge, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs_module, "beside", lambda *_, **__: "no such filter")
    unknown = Missing("ffmpeg could not compare the output with its source")
    assert evaluate(judge, clips.good, clips.source).quality == unknown
    assert evaluate(judge, clips.cut, clips.source).quality == 0


def test_a_source_is_decoded_no_more_often_than_its_outputs(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[list[str]] = []

    def counted(arguments: list[str], **rest: Any) -> Finished:
        runs.append(arguments)
        return run_ffmpeg(arguments, **rest)

    for module in (local_module, looking_module, media_module):
        monkeypatch.setattr(module, "run_ffmpeg", counted)
    samples = [Sample(str(n), clips.good, clips.source, "label") for n in range(3)]
    assert len({str(one.scores) for one in LocalJudge(workers=1).judge(samples)}) == 1
    header, *compared = runs
    assert "-f" not in header
    assert [one.count("-i") for one in compared] == [2, 2, 2]


def test_an_encode_that_is_compared_for_too_long_is_missing_not_a_hang(
    clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = LocalJudge(clock=SystemClock())
    whole = evaluate(judge, clips.good, clips.source)
    assert isinstance(whole.quality, Decimal)
    monkeypatch.setattr(judge, "_deadline_s", 1)
    # Reading at the clip's own speed takes two seconds, which is past the deadline.
    monkeypatch.setattr(local_module, "media_input", lambda path: ["-re", *media_input(path)])
    stopped = evaluate(judge, clips.good, clips.source)
    assert stopped.quality == Missing("ffmpeg was stopped; its limit is 1 s for one output")


def test_closing_the_generator_stops_the_running_ffmpeg(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(path: Path) -> list[str]:
        return ["-re", "-stream_loop", "-1", *media_input(path)] if path == clips.poor else media_input(path)

    monkeypatch.setattr(local_module, "media_input", endless)
    samples = [Sample("quick", clips.garbage, clips.source, "a"), Sample("endless", clips.poor, clips.source, "b")]
    evaluations = LocalJudge(clock=SystemClock()).judge(samples)
    assert next(evaluations).dispatch_id == "quick"
    started = time.monotonic()
    evaluations.close()
    assert time.monotonic() - started < 5


def test_stopping_kills_the_process_at_once(clips: Clips) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    endless = ["-re", "-stream_loop", "-1", *media_input(clips.source), "-f", "null", "-"]
    finished = run_ffmpeg(endless, deadline_s=30, stop=stop)
    assert finished.exit_code is None
    assert time.monotonic() - started < 3


def test_an_interrupt_leaves_no_process_behind(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    children = []
    real = run_ffmpeg.__globals__["subprocess"].Popen

    class Interrupted(real):  # type: ignore[misc, valid-type]
        def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
            if timeout is not None:
                children.append(self)
                raise KeyboardInterrupt
            return super().communicate(input, timeout)  # type: ignore[no-any-return]

    monkeypatch.setattr("pointsman.quality.ffmpeg.subprocess.Popen", Interrupted)
    endless = ["-re", "-stream_loop", "-1", *media_input(clips.source), "-f", "null", "-"]
    with pytest.raises(KeyboardInterrupt):
        run_ffmpeg(endless, deadline_s=30, stop=never())
    assert children[0].returncode is not None


def test_every_core_of_the_machine_is_used_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(local_module, "judge_concurrently", lambda *_, workers: asked.append(workers))
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    LocalJudge().judge([])
    LocalJudge(workers=3).judge([])
    assert asked == [5, 3]


def test_the_identity_names_ffmpeg_and_the_model_and_changes_with_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    before = LocalJudge().identity
    assert before == LocalJudge().identity
    assert before.name == "local"
    assert before.model.startswith("ffmpeg ")
    assert before.model.endswith("vmaf_v0.6.1")
    monkeypatch.setattr(graphs_module, "VMAF_EVERY", 7)
    assert LocalJudge().identity.rubric_sha256 != before.rubric_sha256
