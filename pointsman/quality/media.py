"""Looking at a media file: what it is, and whether it can be decoded."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path

from pointsman.quality.ffmpeg import Finished, media_input, run_ffmpeg

_STREAM = re.compile(r"Video: .*?\b(\d+)x(\d+)\b(.*)")
_RATE = re.compile(r"([\d.]+)(k?) fps")
_DECODED = re.compile(
    r"^\[in#(\d+)[^\]]*\]\s+Input stream #\d+:\d+ \(video\):.*?(\d+) frames decoded; (\d+) decode errors", re.M
)


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that decodes: pixels as shown (rotated as its metadata asks), frames, frames per second if declared."""

    width: int
    height: int
    frames: int
    rate: float | None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something is not a clip that plays."""

    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What ffmpeg decoded of one input."""

    frames: int
    errors: int


def look_at(path: Path, *, deadline_s: float, stop: threading.Event) -> Clip | Fault | None:
    """Decode all of `path`; None when ffmpeg was stopped before it was through."""
    seen = run_ffmpeg(
        [*media_input(path), "-an", "-fps_mode", "passthrough", "-f", "null", "-"], deadline_s=deadline_s, stop=stop
    )
    if seen.exit_code is None:
        return None
    if (fault := fault_of(seen, 0)) is not None:
        return fault
    _, _, shown = seen.log.partition("Output #0")
    found = _STREAM.search(shown)
    if seen.exit_code != 0 or found is None:
        return Fault("undecodable: ffmpeg cannot show its picture")
    return Clip(int(found[1]), int(found[2]), decoded(seen.log, 0).frames, declared_rate(seen.log, 0))


def fault_of(seen: Finished, index: int) -> Fault | None:
    """Why input `index` counts as undecodable, or None: a single frame that cannot be decoded is enough."""
    if f"Input #{index}," not in seen.log:
        return Fault("undecodable: ffmpeg cannot open it")
    got = decoded(seen.log, index)
    if got.errors:
        return Fault(f"undecodable: {got.errors} decode errors after {got.frames} frames")
    return None if got.frames else Fault("undecodable: it holds no picture")


def decoded(log: str, index: int) -> Decoded:
    """Frames and decode errors of input `index`, from the statistics at the end of a verbose log."""
    for number, frames, errors in _DECODED.findall(log):
        if int(number) == index:
            return Decoded(int(frames), int(errors))
    return Decoded(0, 0)


def declared_rate(log: str, index: int) -> float | None:
    """Frames per second of input `index` as its header says."""
    _, _, header = log.partition(f"Input #{index},")
    found = _STREAM.search(header.partition("Output #")[0])
    rate = _RATE.search(found[3]) if found else None
    return None if rate is None else float(rate[1]) * (1000.0 if rate[2] else 1.0) or None


def mime_type(content: bytes) -> str | None:
    """The MIME type of a picture or video from its first bytes; names are not trusted. None when not recognised."""
    if content[4:8] == b"ftyp":
        return "video/quicktime" if content[8:12] == b"qt  " else "video/mp4"
    if content[:4] == b"RIFF":
        return {b"AVI ": "video/avi", b"WEBP": "image/webp"}.get(content[8:12])
    if content[:4] == b"\x1a\x45\xdf\xa3":
        return "video/webm"
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    return "image/jpeg" if content[:3] == b"\xff\xd8\xff" else None
