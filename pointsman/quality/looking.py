"""An output looked at beside its source: which of its differences make it broken, and which are only noted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pointsman.model import Json
from pointsman.quality.ffmpeg import Finished
from pointsman.quality.media import Clip, declared_length, declared_rate, decoded, shown_size, sound_seconds
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
    """A source that decodes, with what is seen of it alone; a `picture` is a file of a picture format."""

    path: Path
    clip: Clip
    signals: Signals
    picture: bool

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.clip.rate or 1.0

    @property
    def seconds(self) -> float:
        return _seconds(self.clip.frames, self.rate, self.signals, self.clip.length_s)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a pass of `graphs.beside` saw of an output beside what is known of its source."""

    source: Source
    frames: int
    rate: float
    length_s: float | None
    sound_s: float | None
    size: tuple[int, int]
    signals: Signals
    source_signals: Signals
    lacking: Mapping[str, str]

    @classmethod
    def read(cls, seen: Finished, source: Source, lacking: Mapping[str, str]) -> Looked:
        rate = declared_rate(seen.log, 0) or source.rate
        banding = read_signals(seen, rate=rate, lacking=lacking, banding="cambi_source").banding
        return cls(
            source=source,
            frames=decoded(seen.log, 0).frames,
            rate=rate,
            length_s=declared_length(seen.log, 0),
            sound_s=sound_seconds(seen.log, 0),
            size=shown_size(seen.log, 0) or (source.clip.width, source.clip.height),
            signals=read_signals(seen, rate=rate, lacking=lacking),
            source_signals=replace(source.signals, banding=banding),
            lacking=lacking,
        )

    @property
    def in_step(self) -> bool:
        """Whether frame n of the output is frame n of its source; else only time can tell which belong together."""
        uneven = self.signals.uneven or self.source_signals.uneven
        return self.frames == self.source.clip.frames and not uneven

    @property
    def _longer_s(self) -> float:
        return _seconds(self.frames, self.rate, self.signals, self.length_s) - self.source.seconds

    def broken(self, sound: Sound) -> str | None:
        """Why this is no output at all, or None. Of a single picture beside another there is no duration."""
        if (self.frames, self.source.clip.frames) != (1, 1) and _differs(
            self._longer_s, self.source.seconds, PICTURE_S
        ):
            return f"wrong duration: {_signed(self._longer_s)} than its source"
        heard = self.source.clip.sound_s
        if sound == "free" or heard is None:
            return None
        if self.sound_s is None:
            return f"no sound, and its source has {heard:.3f} s of it"
        longer = self.sound_s - heard
        if _differs(longer, heard, SOUND_S):
            return f"wrong duration of its sound: {_signed(longer)} than that of its source"
        return None

    def as_scores(self) -> dict[str, Json]:
        clip = self.source.clip
        found = findings(self.signals, self.source_signals, frames=self.frames, rate=self.rate)
        if abs(self.size[0] * clip.height - self.size[1] * clip.width) > SHARE * self.size[1] * clip.width:
            found["stretched"] = f"{_by(self.size)} is another shape than {_by((clip.width, clip.height))}"
        if self.sound_s is not None and clip.sound_s is None:
            found["sound_added"] = f"has {self.sound_s:.3f} s of sound; its source has none"
        if self.sound_s is None and clip.sound_s is not None:
            found["sound_lost"] = f"has no sound; its source has {clip.sound_s:.3f} s"
        return {
            "basis": "source",
            "decodable": True,
            "frames": self.frames,
            "source_frames": clip.frames,
            "duration_difference_s": round(self._longer_s, 4),
            "size": _by(self.size),
            "source_size": _by((clip.width, clip.height)),
            "sound_s": self.sound_s,
            "source_sound_s": clip.sound_s,
            "signals": self.signals.as_scores(),
            "source_signals": self.source_signals.as_scores(),
            "findings": dict(found),
            "not_measured": dict(self.lacking),
        }


def _seconds(frames: int, rate: float, signals: Signals, length_s: float | None) -> float:
    return length_s if signals.uneven and length_s is not None else frames / rate


def _differs(by_s: float, of_s: float, allowed_s: float) -> bool:
    return abs(by_s) > max(allowed_s, SHARE * of_s)


def _signed(seconds: float) -> str:
    return f"{abs(seconds):.3f} s {'longer' if seconds > 0 else 'shorter'}"


def _by(size: tuple[int, int]) -> str:
    return "{}x{}".format(*size)
