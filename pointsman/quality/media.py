"""Looking at a media file: what it is, and whether it can be decoded."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path

from pointsman.quality.ffmpeg import Finished, media_input, run_ffmpeg
from pointsman.quality.graphs import INPUTS, Seen

HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
"""PQ and HLG, by the names that ffmpeg gives them (ITU-R BT.2100)."""
# Indented as ffmpeg itself does it: what it quotes of a file's metadata, which may say anything, stands further in.
_STREAM = re.compile(r"^  Stream #\d+:\d+.*?: Video: .*?, (\d+)x(\d+)\b(.*)", re.M)
_PICTURE = re.compile(r"^  Stream #\d+:\d+.*?: Video: ", re.M)
_RATE = re.compile(r"([\d.]+)(k?) fps")
_SOUND_RATE = re.compile(r"^  Stream #\d+:\d+.*?: Audio: .*?(\d+) Hz", re.M)
_LENGTH = re.compile(r"^  Duration: (\d+):(\d+):([\d.]+)", re.M)
_REACHED = r"^\[scale@{of} .*?\] w:(\d+) h:(\d+) fmt:.*? sar:(\d+)/(\d+) ->"
_TURNED = re.compile(r"display ?matrix: rotation of (-?[\d.]+) degrees", re.I)
_DECODED = re.compile(
    r"^\[in#(\d+)[^\]]*\]\s+Input stream #\d+:\d+ \((video|audio)\):.*?(\d+) frames decoded; (\d+) decode errors"
    r"(?: \((\d+) samples\))?",
    re.M,
)
_PICTURES = ("image/png", "image/jpeg", "image/webp")
_STILL_BRANDS = (b"avif", b"heic", b"heix", b"mif1")
"""What a file of the ISO base format begins with that holds one picture: AVIF and HEIC."""
_OTHER_PICTURES = (b"BM", b"II*\0", b"MM\0*")
"""BMP and TIFF."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that decodes: pixels as shown (rotated as its metadata asks), frames, frames per second if declared.

    `length_s` is how long its container says that it is, `transfer` the curve of a picture that is HDR, `sound_s` how
    long its sound is; each None when there is none. `pixel` is the width of a pixel for a height of 1.
    """

    width: int
    height: int
    frames: int
    rate: float | None
    length_s: float | None = None
    transfer: str | None = None
    sound_s: float | None = None
    pixel: float = 1.0

    @property
    def shape(self) -> float:
        """Width as shown for a height of 1."""
        return self.width * self.pixel / self.height


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something is not a clip that plays."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What ffmpeg decoded of one stream; `samples` per channel, of sound."""

    frames: int
    errors: int
    samples: int = 0


def look_at(path: Path, *, deadline_s: float, stop: threading.Event) -> Clip | Fault | None:
    """Decode all of `path`, its sound too; None when ffmpeg was stopped before it was through."""
    shown = ("-map", "0:v:0?", "-vf", "scale@output=iw:ih", "-map", "0:a:0?", "-fps_mode", "passthrough")
    seen = run_ffmpeg([*media_input(path), *shown, "-f", "null", "-"], deadline_s=deadline_s, stop=stop)
    return clip_of(seen, "output")


def clip_of(seen: Finished, of: Seen) -> Clip | Fault | None:
    """What an ffmpeg that decoded the output or its source found there; None when it was stopped.

    A single frame that cannot be decoded is enough for a fault. Its filters tell the size, by `scale@output`: some
    formats say only with the picture which way up it is.
    """
    index = INPUTS[of]
    if seen.exit_code is None:
        return None
    header = _header(seen.log, index)
    if not header:
        return Fault("undecodable: ffmpeg cannot open it")
    got = _decoded(seen.log, index, "video")
    if not _PICTURE.search(header) or (got is not None and not got.frames and not got.errors):
        return Fault("undecodable: it holds no picture")
    if got is None:
        return Fault("undecodable: ffmpeg ends abruptly on it")
    if got.errors:
        return Fault(f"undecodable: {got.errors} decode errors after {got.frames} frames")
    sound = _decoded(seen.log, index, "audio")
    if sound is not None and sound.errors:
        return Fault(f"undecodable: {sound.errors} decode errors in its sound")
    heard = _SOUND_RATE.search(header)
    reached = re.search(_REACHED.format(of=of), seen.log, re.M)
    if reached is None:
        return Fault("undecodable: ffmpeg cannot show its picture")
    return Clip(
        width=int(reached[1]),
        height=int(reached[2]),
        frames=got.frames,
        rate=declared_rate(seen.log, index),
        length_s=declared_length(seen.log, index),
        transfer=hdr_transfer(seen.log, index),
        sound_s=sound.samples / int(heard[1]) if sound is not None and sound.samples and heard is not None else None,
        pixel=int(reached[3]) / int(reached[4]) if int(reached[3]) and int(reached[4]) else 1.0,  # 0/1: not said
    )


def _decoded(log: str, index: int, kind: str) -> _Decoded | None:
    # From the statistics at the end of a verbose log, which are missing when ffmpeg did not come to its end.
    for number, of, frames, errors, samples in _DECODED.findall(log):
        if int(number) == index and of == kind:
            return _Decoded(int(frames), int(errors), int(samples or 0))
    return None


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


def _header(log: str, index: int) -> str:
    """What ffmpeg tells of input `index` when it has opened it; empty when it could not."""
    begun = re.search(rf"^Input #{index},", log, re.M)
    rest = "" if begun is None else log[begun.end() :]
    return re.split(r"^(?:Input #|Output #|Stream mapping:)", rest, maxsplit=1, flags=re.M)[0]


def is_picture(path: Path) -> bool:
    """Whether a file is by its content a picture format; one of several frames may still be a moving picture."""
    with path.open("rb") as file:
        start = file.read(16)
    return mime_type(start) in _PICTURES or _is_still(start) or start.startswith(_OTHER_PICTURES)


def is_animated_webp(path: Path) -> bool:
    """Whether a file is a WebP that moves: ffmpeg cannot decode it, and it plays all the same."""
    with path.open("rb") as file:
        start = file.read(21)
    # A flag of the extended format (WebP container specification).
    return mime_type(start) == "image/webp" and start[12:16] == b"VP8X" and len(start) == 21 and bool(start[20] & 2)


def _is_still(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and start[8:12] in _STILL_BRANDS


def mime_type(content: bytes) -> str | None:
    """The MIME type of a picture or video from its first bytes; names are not trusted. None when not recognised.

    Of pictures those alone are, that browsers and judges outside take as well: PNG, JPEG and WebP.
    """
    if _is_still(content):
        return None
    if content[4:8] == b"ftyp":
        return "video/quicktime" if content[8:12] == b"qt  " else "video/mp4"
    if content[:4] == b"RIFF":
        return {b"AVI ": "video/avi", b"WEBP": "image/webp"}.get(content[8:12])
    if content[:4] == b"\x1a\x45\xdf\xa3":
        return "video/webm"
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    return "image/jpeg" if content[:3] == b"\xff\xd8\xff" else None
