"""An output looked at beside its source: which of its differences make it broken, and which are only noted."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pointsman.model import Json
from pointsman.quality.ffmpeg import Finished, media_input, run_ffmpeg
from pointsman.quality.media import (
    Clip,
    declared_length,
    declared_rate,
    hdr_transfer,
    is_picture,
    look_at,
    shown_size,
)
from pointsman.quality.signals import Signals, findings, read_signals

Sound = Literal["as_source", "free"]
PICTURE_S = 0.1
SOUND_S = 0.25
"""What codecs pad sound with is below this."""
SHARE = 0.02
RULES: dict[str, Json] = {
    "duration": "frames / rate, of an uneven rhythm what the container says",
    "differs": [PICTURE_S, SOUND_S, SHARE],
}
"""Everything here that decides whether an output is broken."""


@dataclass(frozen=True, slots=True)
class Source:
    """What has to be known of a source before an output is held beside it; a `picture` is a file of a picture format.

    `frames` is how many it should have, 0 where its header does not tell.
    """

    path: Path
    size: tuple[int, int]
    frames: int
    transfer: str | None
    picture: bool


def read_source(path: Path, *, deadline_s: float, stop: threading.Event) -> Source | None:
    """Of a clip only the header is read, as each comparison decodes it anyway. None for what holds no picture."""
    if is_picture(path):
        clip = look_at(path, deadline_s=deadline_s, stop=stop)
        if not isinstance(clip, Clip):
            return None
        return Source(path, (clip.width, clip.height), clip.frames, clip.transfer, True)
    # There is nothing to write, so ffmpeg ends when it has read the header.
    log = run_ffmpeg(media_input(path), deadline_s=deadline_s, stop=stop).log
    size = shown_size(log, 0)
    frames = round((declared_length(log, 0) or 0) * (declared_rate(log, 0) or 0))
    return None if size is None else Source(path, size, frames, hdr_transfer(log, 0), False)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a pass of `graphs.beside` saw of an output and of its source."""

    output: Clip
    source: Clip
    signals: Signals
    source_signals: Signals
    lacking: Mapping[str, str]

    @classmethod
    def read(cls, seen: Finished, output: Clip, source: Clip, lacking: Mapping[str, str]) -> Looked:
        output = replace(output, rate=output.rate or source.rate)
        return cls(
            output=output,
            source=source,
            signals=read_signals(seen, "output", output, lacking),
            source_signals=read_signals(seen, "source", source, lacking),
            lacking=lacking,
        )

    @property
    def in_step(self) -> bool:
        """Whether frame n of the output is frame n of its source; else only time can tell which belong together."""
        uneven = self.signals.uneven or self.source_signals.uneven
        return self.output.frames == self.source.frames and not uneven

    @property
    def _source_s(self) -> float:
        return _seconds(self.source, self.source_signals)

    @property
    def _longer_s(self) -> float:
        return _seconds(self.output, self.signals) - self._source_s

    def broken(self, sound: Sound) -> str | None:
        """Why this is no output at all, or None. Of a single picture beside another there is no duration."""
        if (self.output.frames, self.source.frames) != (1, 1) and _differs(self._longer_s, self._source_s, PICTURE_S):
            return f"wrong duration: {_signed(self._longer_s)} than its source"
        heard, hears = self.source.sound_s, self.output.sound_s
        if sound == "free" or heard is None:
            return None
        if hears is None:
            return f"no sound, and its source has {heard:.3f} s of it"
        if _differs(hears - heard, heard, SOUND_S):
            return f"wrong duration of its sound: {_signed(hears - heard)} than that of its source"
        return None

    def as_scores(self) -> dict[str, Json]:
        output, source = self.output, self.source
        found = findings(self.signals, self.source_signals, frames=output.frames, rate=output.rate or 1.0)
        if abs(output.shape - source.shape) > SHARE * source.shape:
            found["stretched"] = f"{_size(output)} is another shape than {_size(source)}, as both are shown"
        if output.sound_s is not None and source.sound_s is None:
            found["sound_added"] = f"has {output.sound_s:.3f} s of sound; its source has none"
        if output.sound_s is None and source.sound_s is not None:
            found["sound_lost"] = f"has no sound; its source has {source.sound_s:.3f} s"
        return {
            "basis": "source",
            "decodable": True,
            "frames": output.frames,
            "source_frames": source.frames,
            "duration_difference_s": round(self._longer_s, 4),
            "size": _size(output),
            "source_size": _size(source),
            "sound_s": output.sound_s,
            "source_sound_s": source.sound_s,
            "signals": self.signals.as_scores(),
            "source_signals": self.source_signals.as_scores(),
            "findings": dict(found),
            "not_measured": dict(self.lacking),
        }


def _seconds(clip: Clip, signals: Signals) -> float:
    return clip.length_s if signals.uneven and clip.length_s is not None else clip.frames / (clip.rate or 1.0)


def _differs(by_s: float, of_s: float, allowed_s: float) -> bool:
    return abs(by_s) > max(allowed_s, SHARE * of_s)


def _signed(seconds: float) -> str:
    return f"{abs(seconds):.3f} s {'longer' if seconds > 0 else 'shorter'}"


def _size(clip: Clip) -> str:
    return f"{clip.width}x{clip.height}"
