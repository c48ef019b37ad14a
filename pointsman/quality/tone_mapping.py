"""HDR as screens without it show it. As it is, it looks grey and washed out there, and to models, which is no fault of
its maker.

The curve and the peak are the same for all clips, whatever their metadata say of their brightest frame: two clips of
one picture must not be told apart by them.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path

from pointsman.quality.ffmpeg import ffmpeg_filters, media_input, run_ffmpeg
from pointsman.quality.media import hdr_transfer

_WHITE_NITS = 203
"""Of a sheet of white paper (ITU-R BT.2408): a third of it and less stays as it is, what is brighter is compressed."""
_PEAK_NITS = 1000
"""What is brighter is white. HLG is defined for a screen of as much (ITU-R BT.2100), and PQ is mostly graded on one."""
MAP = (
    f"zscale=transfer=linear:npl={_WHITE_NITS},format=gbrpf32le,zscale=primaries=bt709,"
    f"tonemap=mobius:peak={_PEAK_NITS / _WHITE_NITS:.3f},"
    "zscale=transfer=bt709:matrix=bt709:range=tv,format=yuv420p"
)
_NEEDED = ("zscale", "tonemap")
_COLOURS = r"(\w+)/(\w+)/{transfer}\b"


@dataclass(frozen=True, slots=True)
class ToneMapping:
    """The filters for a clip of such a transfer curve, and why they cannot be used if they cannot."""

    transfer: str
    filters: str
    lacking: str | None


def tone_mapping(path: Path, *, deadline_s: float, stop: threading.Event) -> ToneMapping | None:
    """How a clip is shown; None for one that is no HDR."""
    # There is nothing to write, so ffmpeg ends when it has read the header.
    log = run_ffmpeg(media_input(path), deadline_s=deadline_s, stop=stop).log
    if (transfer := hdr_transfer(log, 0)) is None:
        return None
    absent = [name for name in _NEEDED if name not in ffmpeg_filters()]
    lacking = f"this ffmpeg has no filter {' and '.join(absent)}" if absent else None
    return ToneMapping(transfer, _untold(log, transfer) + MAP, lacking)


def _untold(log: str, transfer: str) -> str:
    """What a header leaves out beside the curve, as BT.2100 has it for both curves."""
    found = re.search(_COLOURS.format(transfer=transfer), log)
    matrix, primaries = found.groups() if found else ("unknown", "unknown")
    told = [
        *(["colorspace=bt2020nc"] if matrix == "unknown" else []),
        *(["color_primaries=bt2020"] if primaries == "unknown" else []),
    ]
    return f"setparams={':'.join(told)}," if told else ""
