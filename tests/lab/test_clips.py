"""The clips: real photographs, the same bytes every time, made once."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import imageio_ffmpeg
from hypothesis import given
from hypothesis import strategies as st

from lab.clips import Clip, make_clips
from lab.clips.pans import pan
from lab.clips.photographs import PHOTOGRAPHS, photograph


def test_clips_are_the_same_on_every_run_and_what_exists_is_kept(clips: list[Clip], tmp_path: Path) -> None:
    made = make_clips(tmp_path, 2)
    assert [clip.sha256 for clip in made] == [clip.sha256 for clip in clips]
    before = [Path(clip.path).stat().st_mtime_ns for clip in made]
    Path(made[1].path).write_bytes(b"damaged")
    assert make_clips(tmp_path, 2) == made
    after = [Path(clip.path).stat().st_mtime_ns for clip in made]
    assert after[0] == before[0], "an intact clip is not made again"
    assert hashlib.sha256(Path(made[1].path).read_bytes()).hexdigest() == made[1].sha256
    (tmp_path / "clips.json").write_text("not a list")
    assert make_clips(tmp_path, 1) == made[:1]


def test_clips_take_the_photographs_in_turn_and_move(clips: list[Clip]) -> None:
    assert [clip.cluster for clip in clips] == list(PHOTOGRAPHS)[:2]
    assert len(PHOTOGRAPHS) >= 8
    assert all(photograph(cluster).is_file() for cluster in PHOTOGRAPHS)
    for clip in clips:
        argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", clip.path, "-f", "framemd5", "-"]
        lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
        assert "#dimensions 0: 480x270" in lines
        assert "#tb 0: 1/30" in lines
        pictures = [line.rpartition(",")[2] for line in lines if not line.startswith("#")]
        assert len(set(pictures)) == len(pictures) == 36


@given(
    cluster=st.sampled_from(list(PHOTOGRAPHS)),
    number=st.integers(0, 40),
    size=st.tuples(st.integers(20, 3000), st.integers(20, 3000)),
)
def test_a_pan_never_leaves_the_photograph(cluster: str, number: int, size: tuple[int, int]) -> None:
    for left, top, right, bottom in pan(cluster, number).boxes(size, 45, 16 / 9):
        assert -1e-6 <= left < right <= size[0] + 1e-6
        assert -1e-6 <= top < bottom <= size[1] + 1e-6
        assert abs((right - left) / (bottom - top) - 16 / 9) < 1e-6
