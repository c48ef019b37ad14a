"""Looking at a media file: what it is, and whether it can be decoded."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path

from pointsman.quality.ffmpeg import Finished, media_input, run_ffmpeg

HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
"""PQ and HLG, by the names that ffmpeg gives them (ITU-R BT.2100)."""
_STREAM = re.compile(r"Video: .*?, (\d+)x(\d+)\b(.*)")
_RATE = re.compile(r"([\d.]+)(k?) fps")
_SOUND_RATE = re.compile(r"Stream #\d+:\d+.*: Audio: .*?(\d+) Hz")
_LENGTH = re.compile(r"^  Duration: (\d+):(\d+):([\d.]+)", re.M)
_TURNED = re.compile(r"display ?matrix: rotation of (-?[\d.]+) degrees", re.I)
_DECODED = re.compile(
    r"^\[in#(\d+)[^\]]*\]\s+Input stream #\d+:\d+ \((video|audio)\):.*?(\d+) frames decoded; (\d+) decode errors"
    r"(?: \((\d+) samples\))?",
    re.M,
)
_PICTURES = ("image/png", "image/jpeg", "image/webp")


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that decodes: pixels as shown (rotated as its metadata asks), frames, frames per second if declared.

    `length_s` is how long its container says that it is, `transfer` the curve of a picture that is HDR, `sound_s` how
    long its sound is; each None when there is none.
    """

    width: int
    height: int
    frames: int
    rate: float | None
    length_s: float | None = None
    transfer: str | None = None
    sound_s: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something is not a clip that plays."""

    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What ffmpeg decoded of one stream; `samples` per channel, of sound."""

    frames: int
    errors: int
    samples: int = 0


def look_at(path: Path, *, deadline_s: float, stop: threading.Event) -> Clip | Fault | None:
    """Decode all of `path`; None when ffmpeg was stopped before it was through."""
    seen = run_ffmpeg(
        [*media_input(path), "-an", "-fps_mode", "passthrough", "-f", "null", "-"], deadline_s=deadline_s, stop=stop
    )
    return clip_of(seen)


def clip_of(seen: Finished) -> Clip | Fault | None:
    """What an ffmpeg that decoded its first input, and showed its picture as it is, found there; None when stopped."""
    if seen.exit_code is None:
        return None
    if (fault := fault_of(seen, 0)) is not None:
        return fault
    _, _, shown = seen.log.partition("Output #0")
    found = _STREAM.search(shown)
    if seen.exit_code != 0 or found is None:
        return Fault("undecodable: ffmpeg cannot show its picture")
    return Clip(
        width=int(found[1]),
        height=int(found[2]),
        frames=decoded(seen.log, 0).frames,
        rate=declared_rate(seen.log, 0),
        length_s=declared_length(seen.log, 0),
        transfer=hdr_transfer(seen.log, 0),
        sound_s=sound_seconds(seen.log, 0),
    )


def fault_of(seen: Finished, index: int) -> Fault | None:
    """Why input `index` counts as undecodable, or None: a single frame that cannot be decoded is enough."""
    if f"Input #{index}," not in seen.log:
        return Fault("undecodable: ffmpeg cannot open it")
    got = decoded(seen.log, index)
    if got.errors:
        return Fault(f"undecodable: {got.errors} decode errors after {got.frames} frames")
    if not got.frames:
        return Fault("undecodable: it holds no picture")
    sound = decoded(seen.log, index, "audio")
    return Fault(f"undecodable: {sound.errors} decode errors in its sound") if sound.errors else None


def decoded(log: str, index: int, kind: str = "video") -> Decoded:
    """Frames and decode errors of input `index`, from the statistics at the end of a verbose log.

    `kind` is `video` or `audio`; a stream that was not asked for counts as having nothing.
    """
    for number, of, frames, errors, samples in _DECODED.findall(log):
        if int(number) == index and of == kind:
            return Decoded(int(frames), int(errors), int(samples or 0))
    return Decoded(0, 0)


def declared_rate(log: str, index: int) -> float | None:
    """Frames per second of input `index` as its header says."""
    found = _STREAM.search(_header(log, index))
    rate = _RATE.search(found[3]) if found else None
    return None if rate is None else float(rate[1]) * (1000.0 if rate[2] else 1.0) or None


def declared_length(log: str, index: int) -> float | None:
    """Seconds that the container of input `index` says that it lasts."""
    found = _LENGTH.search(_header(log, index))
    return None if found is None else 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])


def hdr_transfer(log: str, index: int) -> str | None:
    """The transfer curve of input `index` when it is that of an HDR picture."""
    found = _STREAM.search(_header(log, index))
    return None if found is None else next((name for name in HDR_TRANSFERS if name in found[0]), None)


def shown_size(log: str, index: int) -> tuple[int, int] | None:
    """Width and height of input `index` in pixels, turned as its header asks."""
    header = _header(log, index)
    found = _STREAM.search(header)
    if found is None:
        return None
    turned = _TURNED.search(header)
    size = int(found[1]), int(found[2])
    return size[::-1] if turned and round(float(turned[1]) / 90) % 2 else size


def sound_seconds(log: str, index: int) -> float | None:
    """Seconds of sound that were decoded of input `index`; None when it has none."""
    rate = _SOUND_RATE.search(_header(log, index))
    return decoded(log, index, "audio").samples / int(rate[1]) if rate else None


def _header(log: str, index: int) -> str:
    _, _, rest = log.partition(f"Input #{index},")
    return re.split(r"^(?:Input #|Output #|Stream mapping:)", rest, maxsplit=1, flags=re.M)[0]


def is_picture(path: Path) -> bool:
    """Whether a file is by its content a picture format; one of several frames may still be a moving picture."""
    with path.open("rb") as file:
        return mime_type(file.read(16)) in _PICTURES


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
