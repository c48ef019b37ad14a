"""Recognising media by content, and telling what plays from what does not."""

from __future__ import annotations

import pytest

from pointsman.errors import DependencyDown
from pointsman.quality import ffmpeg as ffmpeg_module
from pointsman.quality.media import Clip, Fault, declared_rate, look_at, mime_type
from tests.quality.worlds import Clips, never


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("good", "video/mp4"),
        ("webm", "video/webm"),
        ("picture", "image/png"),
        ("picture_again", "image/jpeg"),
        ("garbage", None),
        ("empty", None),
    ],
)
def test_the_type_is_told_by_the_content(clips: Clips, name: str, mime: str | None) -> None:
    assert mime_type(getattr(clips, name).read_bytes()) == mime


@pytest.mark.parametrize(
    ("first", "mime"),
    [
        (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
        (b"RIFF\0\0\0\0AVI LIST", "video/avi"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
    ],
)
def test_rarer_types_are_told_by_their_first_bytes(first: bytes, mime: str | None) -> None:
    assert mime_type(first) == mime


def test_a_clip_is_described_by_what_was_decoded(clips: Clips) -> None:
    assert look_at(clips.good, deadline_s=20, stop=never()) == Clip(192, 108, 60, 30.0, 2.0)
    cut = look_at(clips.cut, deadline_s=20, stop=never())
    assert isinstance(cut, Fault)
    assert "decode errors" in cut.reason


def test_looking_that_is_stopped_knows_nothing(clips: Clips) -> None:
    stop = never()
    stop.set()
    stopped = look_at(clips.folder / "fifo-that-is-not-there.mp4", deadline_s=20, stop=stop)
    assert stopped is None or isinstance(stopped, Fault)


@pytest.mark.parametrize(
    ("header", "rate"),
    [
        ("Input #0, x\n  Stream #0:0: Video: h264, 64x64, 29.97 fps, 30 tbr", 29.97),
        ("Input #0, x\n  Stream #0:0: Video: h264, 64x64, 1k fps, 1k tbr", 1000.0),
        ("Input #0, x\n  Stream #0:0: Video: h264, 64x64, 90k tbn", None),
        ("Input #1, x\n  Stream #1:0: Video: h264, 64x64, 25 fps", None),
    ],
)
def test_the_declared_rate_is_read_from_the_header(header: str, rate: float | None) -> None:
    assert declared_rate(header, 0) == rate


def test_a_machine_without_ffmpeg_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(ffmpeg_module.imageio_ffmpeg, "get_ffmpeg_exe", none)
    ffmpeg_module.ffmpeg_path.cache_clear()
    with pytest.raises(DependencyDown, match="pip install imageio-ffmpeg"):
        ffmpeg_module.ffmpeg_path()
    ffmpeg_module.ffmpeg_path.cache_clear()
