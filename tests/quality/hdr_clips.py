"""Clips in HDR, and how bright something is."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path

from pointsman.quality.ffmpeg import ffmpeg_path, media_input, run_ffmpeg

WHITE = {"smpte2084": 573, "arib-std-b67": 721}
"""Paper white, 203 cd/m2, in ten bits of each curve (ITU-R BT.2408, table 1)."""


def hdr_clip(path: Path, transfer: str, *, all_told: bool = True) -> Path:
    """A clip in ten bits, all of it paper white; what it says of its colours is the curve alone unless `all_told`."""
    white = f"color=s=32x16:r=10:d=0.3,format=yuv420p10le,geq=lum={WHITE[transfer]}:cb=512:cr=512"
    colours = ":colorprim=bt2020:colormatrix=bt2020nc" if all_told else ""
    coded = ("-c:v", "libx265", "-x265-params", f"log-level=error:transfer={transfer}{colours}")
    made = ("-f", "lavfi", "-i", white, "-pix_fmt", "yuv420p10le", *coded, str(path))
    subprocess.run([ffmpeg_path(), "-v", "error", "-y", *made], check=True)
    return path


def luma_of(path: Path) -> float:
    """The mean luma of the first frame, in its own range: to 235 of a clip, to 255 of a picture."""
    looked = ("-vf", "signalstats,metadata=print", "-frames:v", "1", "-f", "null", "-")
    log = run_ffmpeg([*media_input(path), *looked], deadline_s=30, stop=threading.Event()).log
    found = re.search(r"signalstats\.YAVG=([\d.]+)", log)
    assert found is not None
    return float(found[1])
