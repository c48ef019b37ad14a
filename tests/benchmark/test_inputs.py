"""Input sets: real files, readable, hashed, and never two contents under one name."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import wave
from pathlib import Path

import imageio_ffmpeg
import pytest

from pointsman.benchmark import (
    InputFile,
    import_inputs,
    input_set,
    named_files,
    register_input_set,
)
from pointsman.benchmark.clips import refuse_unreadable
from pointsman.errors import Conflict, InputRefused, NotFound
from pointsman.model import InputSet
from pointsman.storage import local_path
from pointsman.workspace import Workspace


def _nothing_is_registered(ws: Workspace) -> bool:
    with pytest.raises(NotFound, match="none is registered yet"):
        input_set(ws, "golden-v1")
    return True


def test_members_are_hashed_measured_and_ordered_by_id(inputs: InputSet, clips: list[Path]) -> None:
    assert [member.input_id for member in inputs.members] == [clip.stem for clip in clips]
    for member, clip in zip(inputs.members, clips, strict=True):
        assert member.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
        assert member.bytes == clip.stat().st_size
        assert local_path(member.uri) == clip
    assert [member.cluster for member in inputs.members] == ["source-0", "source-0", "source-1", "source-1"]


def test_a_registered_set_is_read_back(ws: Workspace, inputs: InputSet) -> None:
    assert input_set(ws, "golden-v1") == inputs
    with pytest.raises(NotFound, match="golden-v1"):
        input_set(ws, "golden-v2")


def test_the_same_files_in_another_order_and_place_are_the_same_set(
    ws: Workspace, inputs: InputSet, clips: list[Path], tmp_path: Path
) -> None:
    moved = [Path(shutil.copy(clip, tmp_path)) for clip in clips]
    files = [InputFile(clip, cluster=f"source-{number // 2}") for number, clip in enumerate(moved)]
    again = register_input_set(ws, "golden-v1", files[::-1])
    assert again.sha256 == inputs.sha256
    assert [local_path(member.uri) for member in input_set(ws, "golden-v1").members] == moved


def test_other_content_clusters_or_names_under_the_same_id_are_refused(
    ws: Workspace, inputs: InputSet, clips: list[Path]
) -> None:
    same = [InputFile(clip, cluster=f"source-{number // 2}") for number, clip in enumerate(clips)]
    for files, told in [
        (same[:3], "missing now: clip-3"),
        ([*same[:3], InputFile(clips[3], "source-9")], "changed: clip-3"),
        ([*same[:3], InputFile(clips[3], "source-1", "other")], "missing now: clip-3; new: other"),
    ]:
        with pytest.raises(Conflict, match=told):
            register_input_set(ws, "golden-v1", files)
    assert input_set(ws, "golden-v1") == inputs


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "an existing file"),
        (b"", "not empty"),
        (b"not a clip at all" * 50, "ffmpeg can read"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "ffmpeg can read"),
    ],
    ids=["missing", "empty", "text", "playlist of the network"],
)
def test_an_unusable_file_is_refused_by_name_before_anything_is_written(
    ws: Workspace, clips: list[Path], tmp_path: Path, content: bytes | None, why: str
) -> None:
    bad = tmp_path / "holiday.mp4"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(InputRefused, match=why) as refusal:
        register_input_set(ws, "golden-v1", [InputFile(clips[0], "a"), InputFile(bad, "b")])
    assert "holiday.mp4" in refusal.value.message
    assert _nothing_is_registered(ws)


def test_a_header_without_frames_is_refused(ws: Workspace, clips: list[Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    whole = clips[0].read_bytes()
    cut.write_bytes(whole[: whole.index(b"movi") + 4])
    with pytest.raises(InputRefused, match=r"cut\.avi"):
        register_input_set(ws, "golden-v1", [InputFile(cut, "a")])
    assert _nothing_is_registered(ws)


def test_sound_without_pictures_is_refused(ws: Workspace, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\0" * 8000)
    with pytest.raises(InputRefused, match=r"sound\.wav"):
        register_input_set(ws, "golden-v1", [InputFile(tmp_path / "sound.wav", "a")])


def test_a_clip_that_cannot_be_decoded_in_time_is_refused(
    ws: Workspace, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.benchmark.clips._DEADLINE_S", 0.0)
    with pytest.raises(InputRefused, match="took more than"):
        register_input_set(ws, "golden-v1", [InputFile(clips[0], "a")])


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (lambda a, b: [], "input set files"),
        (lambda a, b: [InputFile(a, "c", "x"), InputFile(b, "c", "x")], "input id"),
        (lambda a, b: [InputFile(a, "c", "x"), InputFile(a, "c", "y")], "input content"),
        (lambda a, b: [InputFile(a, "c", "x y")], "input id"),
        (lambda a, b: [InputFile(a, "c/d")], "cluster"),
    ],
    ids=["no files", "one id twice", "one content twice", "malformed id", "malformed cluster"],
)
def test_a_set_that_would_count_something_twice_or_under_no_name_is_refused(
    ws: Workspace, clips: list[Path], files: object, named: str
) -> None:
    with pytest.raises(InputRefused, match=named):
        register_input_set(ws, "golden-v1", files(clips[0], clips[1]))  # type: ignore[operator]
    assert _nothing_is_registered(ws)


def test_a_malformed_set_id_is_refused(ws: Workspace, clips: list[Path]) -> None:
    with pytest.raises(InputRefused, match="input set id"):
        register_input_set(ws, "golden v1", [InputFile(clips[0], "a")])


def test_own_files_are_copied_under_their_hash_each_in_its_own_cluster(clips: list[Path], tmp_path: Path) -> None:
    own = Path(shutil.copy(clips[0], tmp_path / "My clip (1).AVI"))
    root = tmp_path / "inputs"
    for _ in range(2):
        first, second = import_inputs(root, named_files([own, clips[1]]))
        assert first == InputFile(
            root / f"{hashlib.sha256(own.read_bytes()).hexdigest()}.avi", "My-clip--1-", "My-clip--1-"
        )
        assert second.cluster == "clip-1"
    assert sorted(root.iterdir()) == sorted([first.path, second.path])
    assert first.path.read_bytes() == own.read_bytes()


def test_importing_copies_nothing_when_one_file_is_bad(clips: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="nowhere"):
        import_inputs(tmp_path / "inputs", named_files([clips[0], tmp_path / "nowhere.mp4"]))
    assert not (tmp_path / "inputs").exists()


def test_a_crash_while_importing_leaves_no_partial_copy(
    clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("pointsman.benchmark.input_files.os.replace", crash)
    with pytest.raises(OSError, match="disk full"):
        import_inputs(tmp_path / "inputs", named_files([clips[0]]))
    assert list((tmp_path / "inputs").iterdir()) == []


def test_a_still_picture_is_a_readable_input(clips: list[Path], tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(clips[0]), "-frames:v", "1", str(picture)]
    subprocess.run(command, check=True, timeout=30)
    refuse_unreadable(picture)
