"""Variants of one effect, and tiny real clips."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg

from pointsman.ids import VariantId
from pointsman.model import Variant

VARIANTS = [
    Variant(VariantId("postcard-1", workflow, "lab", "demo", provider, "base"), "lab", {"crf": crf})
    for workflow, provider, crf in [("x264", "lab-cpu", 23), ("x264", "lab-spot", 23), ("vp9", "lab-cpu", 34)]
]


def make_clip(path: Path, hue: int) -> Path:
    """A real clip of 3 frames, different for each `hue`."""
    source = f"color=c=0x{hue:02x}8040:s=32x32:r=3:d=1"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "mjpeg", str(path)]
    subprocess.run(command, check=True, timeout=30)
    return path
