"""A clip as a few pictures, evenly spread over its length; one in HDR tone-mapped, as its pictures are none."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from pointsman.errors import RunFailed
from pointsman.quality.ffmpeg import media_input, run_ffmpeg
from pointsman.quality.media import Clip, look_at
from pointsman.quality.tone_mapping import tone_mapping

_DEADLINE_S = 60.0


def sample_frames(path: Path, *, per_second: float, most: int, stop: threading.Event) -> list[bytes]:
    """At most `most` JPEG pictures of the clip in order of time, `per_second` where it is short enough for that.

    Raises `RunFailed` (`frames_failed`) for a clip that does not play, or when `stop` was set meanwhile.
    """
    clip = look_at(path, deadline_s=_DEADLINE_S, stop=stop)
    if not isinstance(clip, Clip):
        raise _failed("it does not play" if clip else "it was stopped")
    hdr = tone_mapping(path, deadline_s=_DEADLINE_S, stop=stop)
    if hdr is not None and hdr.lacking is not None:
        raise _failed(f"it is HDR ({hdr.transfer}), and {hdr.lacking}")
    seconds = clip.frames / (clip.rate or per_second)
    wanted = max(1, min(most, clip.frames, round(seconds * per_second)))
    # By number, so that a clip whose clock is odd gives as many as any other: frame n of the middle of each part.
    places = sorted({int((part + 0.5) * clip.frames / wanted) for part in range(wanted)})
    chosen = "+".join(f"eq(n,{place})" for place in places)
    filters = f"select='{chosen}'" + (f",{hdr.filters}" if hdr is not None else "")
    with tempfile.TemporaryDirectory(prefix="pointsman-frames-") as folder:
        pattern = Path(folder) / "%05d.jpg"
        done = run_ffmpeg(
            [
                *media_input(path),
                *("-vf", filters, "-an", "-fps_mode", "passthrough", "-q:v", "2"),
                *("-map_metadata", "-1", "-f", "image2", str(pattern)),
            ],
            deadline_s=_DEADLINE_S,
            stop=stop,
        )
        pictures = [one.read_bytes() for one in sorted(Path(folder).glob("*.jpg"))]
    if done.exit_code != 0 or len(pictures) != len(places):
        raise _failed(f"ffmpeg gave {len(pictures)} of {len(places)} pictures")
    return pictures


def _failed(why: str) -> RunFailed:
    return RunFailed(
        f"A clip could not be taken apart into pictures: {why}.",
        instruction="Judge with `video: inline`, or with the judge `local`.",
        code="frames_failed",
    )
