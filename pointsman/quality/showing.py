"""Media as every browser shows them: a clip in a codec that one lacks is a black box, which gives its maker away."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from pointsman.errors import DependencyDown, InputRefused, RunFailed
from pointsman.quality.ffmpeg import media_input, run_ffmpeg
from pointsman.quality.media import mime_type
from pointsman.quality.tone_mapping import tone_mapping

_DEADLINE_S = 300.0
_H264 = ("-c:v", "libx264", "-crf", "10", "-preset", "veryfast", "-pix_fmt", "yuv420p")
"""Of a quality at which nobody sees a difference any more, in the one form that all browsers play."""
_EVEN = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
_NOTHING_BESIDE = ("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")


@dataclass(frozen=True, slots=True)
class Shown:
    """A medium as a page holds it. `tone_mapped` tells that it is HDR, which few screens show."""

    mime: str
    content: bytes
    tone_mapped: bool = False


def bytes_of_picture(name: str, path: Path) -> int | None:
    """How many bytes of a picture are shown, which are all; None for a clip, which has yet to be made playable.

    Raises `InputRefused` as `as_browsers_show` does.
    """
    return None if _mime(name, path).startswith("video/") else path.stat().st_size


def as_browsers_show(name: str, path: Path, *, most: int) -> Shown:
    """A picture stays as it is; every clip takes one form, whatever it was before.

    A clip that would take more than `most` bytes is broken off there: what is given back is then as long or longer.

    Raises, naming `name`, `InputRefused` for what is no such file, `RunFailed` (`not_shown`) for a clip that does not
    play, and `DependencyDown` (`tone_mapping_missing`) for one in HDR where ffmpeg cannot make that fit a screen.
    """
    mime = _mime(name, path)
    if not mime.startswith("video/"):
        return Shown(mime, path.read_bytes())
    hdr = tone_mapping(path, deadline_s=_DEADLINE_S, stop=threading.Event())
    if hdr is not None and hdr.lacking is not None:
        raise DependencyDown(
            f"The clip {name} is HDR ({hdr.transfer}) and would look washed out on a page: {hdr.lacking}.",
            instruction="Unset IMAGEIO_FFMPEG_EXE, or set it to an ffmpeg that has the filters zscale and tonemap.",
            code="tone_mapping_missing",
        )
    filters = _EVEN if hdr is None else f"{_EVEN},{hdr.filters}"
    with tempfile.TemporaryDirectory(prefix="pointsman-shown-") as folder:
        shown = Path(folder) / "shown.mp4"
        streams = ("-map", "0:v:0", "-map", "0:a:0?", "-vf", filters, "-fps_mode", "passthrough")
        form = (*_H264, "-c:a", "aac", *_NOTHING_BESIDE, "-fs", str(most), "-f", "mp4")
        done = run_ffmpeg(
            [*media_input(path), *streams, *form, str(shown)], deadline_s=_DEADLINE_S, stop=threading.Event()
        )
        if done.exit_code != 0:
            raise RunFailed(
                f"The clip {name} could not be made into one that browsers play.",
                instruction="Draw up another choice of pairs with another --seed, or judge the benchmark anew.",
                code="not_shown",
            )
        return Shown("video/mp4", shown.read_bytes(), tone_mapped=hdr is not None)


def _mime(name: str, path: Path) -> str:
    with path.open("rb") as file:
        mime = mime_type(file.read(64))
    if mime is None:
        raise InputRefused("output", name, "MP4, MOV, WebM, AVI, PNG, JPEG or WebP, which a browser can show")
    return mime
