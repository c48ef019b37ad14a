"""Makes the set of clips and its list `clips.json`; what exists with the listed hash is kept."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import imageio_ffmpeg
from PIL import Image

from lab.clips.pans import pan
from lab.clips.photographs import PHOTOGRAPHS, photograph

WIDTH, HEIGHT, RATE, FRAMES = 480, 270, 30, 36


@dataclass(frozen=True, slots=True)
class Clip:
    """One input of an effect. `path` is absolute; `cluster` is the photograph."""

    input_id: str
    path: str
    sha256: str
    bytes: int
    cluster: str


def make_clips(home: Path, count: int = 24, *, parallel: int = 2) -> list[Clip]:
    """Make `count` clips of 1.2 s under `home/clips` and list them in `home/clips.json`, photographs in turn.

    The same `count` gives the same bytes on every run. Raises ValueError for a count below 1, FileNotFoundError for a
    missing photograph and CalledProcessError when ffmpeg fails.
    """
    if count < 1:
        raise ValueError(f"clips: {count} is not allowed; allowed: 1 or more.")
    folder = home.resolve() / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    listed = _listed(home / "clips.json")
    clusters = list(PHOTOGRAPHS)
    wanted = [(clusters[index % len(clusters)], index // len(clusters)) for index in range(count)]
    with ThreadPoolExecutor(parallel) as pool:
        clips = list(pool.map(lambda clip: _make(folder, clip[0], clip[1], listed), wanted))
    _write(home / "clips.json", clips)
    return clips


def _make(folder: Path, cluster: str, number: int, listed: dict[str, str]) -> Clip:
    input_id = f"{cluster}-{number}"
    path = folder / f"{input_id}.mp4"
    if not path.is_file() or _sha256(path) != listed.get(input_id):
        with Image.open(photograph(cluster)) as picture:
            _film(picture.convert("RGB"), cluster, number, path)
    return Clip(input_id, str(path), _sha256(path), path.stat().st_size, cluster)


def _film(picture: Image.Image, cluster: str, number: int, path: Path) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    argv = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-v", "error", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), "-i", "pipe:0"),
        # Nearly lossless, and quick to decode: what an effect costs should be its own encoder, not the reading.
        *("-c:v", "libx264", "-preset", "veryfast", "-tune", "fastdecode", "-crf", "10", "-pix_fmt", "yuv420p"),
        *("-threads", "1", "-flags:v", "+bitexact", "-fflags", "+bitexact", "-map_metadata", "-1"),
        *("-f", "mp4", str(unfinished)),
    ]
    frames = (
        picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box).tobytes()
        for box in pan(cluster, number).boxes(picture.size, FRAMES, WIDTH / HEIGHT)
    )
    subprocess.run(argv, input=b"".join(frames), check=True, stdout=subprocess.DEVNULL)
    unfinished.rename(path)


def _listed(path: Path) -> dict[str, str]:
    try:
        return {clip["input_id"]: clip["sha256"] for clip in json.loads(path.read_text())}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        # An unreadable list only means that every clip is made again.
        return {}


def _write(path: Path, clips: Sequence[Clip]) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    unfinished.write_text(json.dumps([asdict(clip) for clip in clips], indent=1) + "\n")
    unfinished.rename(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
