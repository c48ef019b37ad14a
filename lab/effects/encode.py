"""The command line of one encode: which bytes go in, and flags that make the same bytes come out every time."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg

from lab.effects.catalogue import Workflow

# What may be opened as an input: containers that hold their own pictures, no playlists that name other files.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,ivf,gif"


def encode_argv(workflow: Workflow, source: Path, output: Path) -> list[str]:
    """ffmpeg's command line for one attempt: picture only, MP4, 8 bit 4:2:0, even width and height."""
    return [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-v", "error", "-y", "-filter_threads", "1"),
        *("-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS, "-threads", "1", "-i", f"file:{source}"),
        *("-map", "0:v:0", "-an", "-vf", "scale=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p"),
        *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"),
        *("-c:v", workflow.encoder, "-crf", str(workflow.crf), *workflow.options, "-threads", "1"),
        *("-movflags", "+faststart", "-f", "mp4", f"file:{output}"),
    ]
