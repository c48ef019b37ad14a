"""Media as every browser shows them: a clip in a codec that one lacks is a black box, which gives its maker away."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from pointsman.errors import InputRefused, RunFailed
from pointsman.quality.ffmpeg import media_input, run_ffmpeg
from pointsman.quality.media import mime_type

_DEADLINE_S = 300.0
_H264 = ("-c:v", "libx264", "-crf", "10", "-preset", "veryfast", "-pix_fmt", "yuv420p")
"""Of a quality at which nobody sees a difference any more, in the one form that all browsers play."""
_EVEN = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
_NOTHING_BESIDE = ("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")


def bytes_of_picture(name: str, path: Path) -> int | None:
    """How many bytes of a picture are shown, which are all; None for a clip, which has yet to be made playable.

    Raises `InputRefused` as `as_browsers_show` does.
    """
    return None if _mime(name, path).startswith("video/") else path.stat().st_size


def as_browsers_show(name: str, path: Path, *, most: int) -> tuple[str, bytes]:
    """MIME type and content. A picture stays as it is; every clip takes one form, whatever it was before.

    A clip that would take more than `most` bytes is broken off there: what is given back is then as long or longer.

    Raises `InputRefused` naming `name` for what is no such file, and `RunFailed` (`not_shown`) for a clip that does not
    play.
    """
    mime = _mime(name, path)
    if not mime.startswith("video/"):
        return mime, path.read_bytes()
    with tempfile.TemporaryDirectory(prefix="pointsman-shown-") as folder:
        shown = Path(folder) / "shown.mp4"
        streams = ("-map", "0:v:0", "-map", "0:a:0?", "-vf", _EVEN, "-fps_mode", "passthrough")
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
        return "video/mp4", shown.read_bytes()


def _mime(name: str, path: Path) -> str:
    with path.open("rb") as file:
        mime = mime_type(file.read(64))
    if mime is None:
        raise InputRefused("output", name, "MP4, MOV, WebM, AVI, PNG, JPEG or WebP, which a browser can show")
    return mime
