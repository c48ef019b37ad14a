"""What people rate has one form: browsers play it, and it does not tell what made it."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path

import pytest

from pointsman.errors import DependencyDown, InputRefused, RunFailed
from pointsman.quality import tone_mapping
from pointsman.quality.ffmpeg import ffmpeg_path, media_input, run_ffmpeg
from pointsman.quality.media import Clip, look_at
from pointsman.quality.showing import Shown, as_browsers_show, bytes_of_picture
from tests.quality.hdr_clips import hdr_clip, luma_of

MOST = 10**8


def make(path: Path, *arguments: str) -> Path:
    subprocess.run([ffmpeg_path(), "-v", "error", "-y", "-f", "lavfi", *arguments, str(path)], check=True)
    return path


def codecs_of(path: Path) -> list[str]:
    log = run_ffmpeg([*media_input(path), "-f", "null", "-"], deadline_s=30, stop=threading.Event()).log
    return re.findall(r"(?:Video|Audio): (\w+)", log.partition("Output #0")[0].partition("Stream mapping")[0])


@pytest.mark.parametrize("codec", [["libx265", "-pix_fmt", "yuv444p", "-x265-params", "log-level=error"], ["mpeg4"]])
def test_a_clip_that_browsers_may_lack_the_codec_of_takes_the_form_of_all_others(
    tmp_path: Path, codec: list[str]
) -> None:
    made = "testsrc=s=63x47:r=10:d=0.5"
    sound = ("-f", "lavfi", "-i", "sine=d=0.5", "-metadata", "comment=made by fast-lane")
    path = make(tmp_path / "clip.mp4", "-i", made, *sound, "-c:v", *codec)
    made_playable = as_browsers_show("A", path, most=MOST)
    assert made_playable.mime == "video/mp4"
    assert not made_playable.tone_mapped
    assert b"fast-lane" not in made_playable.content
    shown = tmp_path / "shown.mp4"
    shown.write_bytes(made_playable.content)
    assert codecs_of(shown) == ["h264", "aac"]
    clip = look_at(shown, deadline_s=30, stop=threading.Event())
    assert isinstance(clip, Clip)
    assert (clip.width, clip.height, clip.frames) == (64, 48, 5)


def test_a_picture_stays_as_it_is_and_what_is_neither_or_does_not_play_is_named(tmp_path: Path) -> None:
    picture = make(tmp_path / "one.png", "-i", "testsrc2=s=16x16:d=1", "-frames:v", "1")
    assert as_browsers_show("A", picture, most=MOST) == Shown("image/png", picture.read_bytes())
    words = tmp_path / "words.txt"
    words.write_text("no medium")
    with pytest.raises(InputRefused, match=r"output: .B. is not allowed"):
        as_browsers_show("B", words, most=MOST)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 50)
    with pytest.raises(RunFailed, match="The clip B could not be made"):
        as_browsers_show("B", broken, most=MOST)


def test_what_a_picture_takes_is_known_before_and_a_clip_is_broken_off_where_it_takes_too_much(
    tmp_path: Path,
) -> None:
    picture = make(tmp_path / "one.png", "-i", "testsrc2=s=16x16:d=1", "-frames:v", "1")
    assert bytes_of_picture("A", picture) == picture.stat().st_size
    words = tmp_path / "words.txt"
    words.write_text("no medium")
    with pytest.raises(InputRefused, match=r"output: .B. is not allowed"):
        bytes_of_picture("B", words)
    noise = "color=gray:s=96x64:r=10:d=15,noise=alls=100:allf=t"
    clip = make(tmp_path / "clip.mp4", "-i", noise, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    assert bytes_of_picture("A", clip) is None
    most = 30_000
    whole, part = (len(as_browsers_show("A", clip, most=one).content) for one in (MOST, most))
    assert most <= part < whole / 2


@pytest.mark.parametrize(("transfer", "all_told"), [("smpte2084", True), ("arib-std-b67", True), ("smpte2084", False)])
def test_hdr_is_shown_as_bright_as_it_is_meant_and_as_what_it_then_is(
    tmp_path: Path, transfer: str, all_told: bool
) -> None:
    shown = as_browsers_show("A", hdr_clip(tmp_path / "hdr.mp4", transfer, all_told=all_told), most=MOST)
    assert shown.tone_mapped
    path = tmp_path / "shown.mp4"
    path.write_bytes(shown.content)
    # 90 per cent of the way to white; its ten bits cut down to eight would be at 143 or 180.
    assert 210 <= luma_of(path) <= 225
    log = run_ffmpeg(media_input(path), deadline_s=30, stop=threading.Event()).log
    assert re.search(r"Video: h264.*yuv420p\(tv, bt709, progressive", log)


def test_hdr_that_this_ffmpeg_cannot_map_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = hdr_clip(tmp_path / "hdr.mp4", "smpte2084")
    monkeypatch.setattr(tone_mapping, "ffmpeg_filters", lambda: frozenset({"tonemap", "scale"}))
    with pytest.raises(DependencyDown, match=r"A of pair 3 is HDR \(smpte2084\).*has no filter zscale\.") as refused:
        as_browsers_show("A of pair 3", clip, most=MOST)
    assert refused.value.code == "tone_mapping_missing"
