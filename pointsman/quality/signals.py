"""What can be seen of an output alone: repeated and frozen frames, black, sharpness, banding, an uneven rhythm.

None of it is a quality: a clip of a still life is frozen and good. Beside the source's own signals it tells what became
worse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pointsman.model import Json
from pointsman.quality.comparison import vmaf_logs
from pointsman.quality.ffmpeg import Finished
from pointsman.quality.graphs import Seen
from pointsman.quality.media import Clip

FREEZE_S = 0.5
"""A picture that stands still for so long is frozen; for less its frames are repeated."""
BLACK_S = 0.1
REPEATED_SHARE = 0.05
SOFTER = 1.25
"""Times that edges are as wide as the source's."""
BANDING = 5.0
"""CAMBI points above the source: 0 is no banding, from about 5 on people are annoyed (libvmaf's documentation)."""
UNEVEN = 0.2
"""Share of the mean by which times between frames may differ before their rhythm is uneven; and 2 ms always, because
containers round times to milliseconds."""
_REPEAT = r"^\[freezedetect@{of} .*freeze_(start|duration): ([\d.]+)"
_BLACK = r"^\[blackdetect@{of} .*black_duration:([\d.]+)"
_BLUR = r"^\[blurdetect@{of} .*blur mean: ([\d.]+)"
_RHYTHM = r"^\[vfrdet@{of} .*VFR:[\d.]+ \(\d+/\d+\) min: (\d+) max: (\d+) avg: (\d+)"
_BANDS = {"output": "cambi", "source": "cambi_source"}


@dataclass(frozen=True, slots=True)
class Signals:
    """Of one clip. None is what was not measured, and sharpness of a picture without an edge.

    `repeated` counts frames that show what the one before showed (mean difference under a thousandth), `frozen_s` the
    seconds of such stretches of half a second or more. `edge_width_px` is how many pixels edges take (Marziliano et
    al. 2002): more is softer. `banding` is CAMBI, 0 to 24. Of a clip with an `uneven` rhythm times between frames vary.
    """

    repeated: int | None
    frozen_s: float | None
    black_s: float | None
    edge_width_px: float | None
    banding: float | None
    uneven: bool | None

    def as_scores(self) -> dict[str, Json]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def read_signals(seen: Finished, of: Seen, clip: Clip, lacking: Mapping[str, str]) -> Signals:
    """What a pass saw of the `output` or of the `source`, which is the given clip."""
    rate = clip.rate or 1.0
    stretches = _stretches(_all(_REPEAT, of, seen), clip.frames)
    black = sum(1000 * float(found) for found in _all(_BLACK, of, seen))
    blur, rhythm = _all(_BLUR, of, seen), _all(_RHYTHM, of, seen)
    pooled = [found["pooled_metrics"] for found in vmaf_logs(seen)]
    bands = [found[_BANDS[of]]["mean"] for found in pooled if _BANDS[of] in found]
    return Signals(
        repeated=None if "repeats" in lacking else sum(stretch - 1 for stretch in stretches),
        frozen_s=None if "repeats" in lacking else _seconds(sum(s for s in stretches if s >= FREEZE_S * rate), rate),
        black_s=None if "black" in lacking else _seconds(round(black), rate),
        edge_width_px=round(float(blur[0]), 3) if blur else None,
        banding=round(float(bands[0]), 3) if bands else None,
        uneven=None if "frame_rate" in lacking else any(_uneven(*map(int, found)) for found in rhythm),
    )


def findings(output: Signals, source: Signals | None, *, frames: int, rate: float) -> dict[str, str]:
    """What is wrong to see, by name: beyond what the source shows too, where there is one."""
    found: dict[str, str] = {}
    before = source or Signals(0, 0.0, 0.0, None, None, False)
    where = "" if source is None else f"; its source {before.frozen_s or 0:.2f} s"
    if (output.frozen_s or 0) - (before.frozen_s or 0) >= FREEZE_S:
        found["frozen"] = f"stands still for {output.frozen_s:.2f} s{where}"
    black = (output.black_s or 0) - (before.black_s or 0)
    if output.black_s and black >= min(BLACK_S, frames / rate):
        found["black"] = f"is black for {black:.2f} s" + ("" if source is None else " more than its source")
    repeated = (output.repeated or 0) - (before.repeated or 0)
    if repeated > REPEATED_SHARE * frames and "frozen" not in found:
        found["repeated_frames"] = f"repeats {repeated} of {frames} frames" + ("" if source is None else " more")
    if output.edge_width_px and before.edge_width_px and output.edge_width_px > SOFTER * before.edge_width_px:
        found["softer"] = f"edges take {output.edge_width_px} pixels, those of its source {before.edge_width_px}"
    if output.banding is not None and output.banding - (before.banding or 0) >= BANDING:
        was = "" if before.banding is None else f"; those of its source {before.banding}"
        found["banding"] = f"its bands have {output.banding} points of CAMBI{was}"
    if output.uneven and not before.uneven:
        found["uneven_rhythm"] = "its frames do not follow each other evenly"
    return found


def _all(pattern: str, of: Seen, seen: Finished) -> list[Any]:
    return re.findall(pattern.format(of=of), seen.log, re.M)


def _stretches(repeats: list[tuple[str, str]], frames: int) -> list[int]:
    """Lengths, in frames, of the stretches that show one picture; the last may last to the end of the clip."""
    stretches: list[int] = []
    start: int | None = None
    for what, seconds in repeats:
        if what == "start":
            start = round(1000 * float(seconds))
        else:
            stretches.append(round(1000 * float(seconds)))
            start = None
    return stretches if start is None else [*stretches, frames - start]


def _seconds(frames: int, rate: float) -> float:
    return round(frames / rate, 4)


def _uneven(shortest_ms: int, longest_ms: int, mean_ms: int) -> bool:
    return longest_ms - shortest_ms > max(2.0, UNEVEN * mean_ms)
