"""Whether a file is a clip or picture that ffmpeg can decode: the first frames really are decoded."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg

from pointsman.errors import InputRefused

_FRAMES = 3
_DEADLINE_S = 30.0


def refuse_unreadable(path: Path) -> None:
    """Raise `InputRefused` naming `path` when it is missing, empty, or holds no frame that ffmpeg can decode."""
    if not path.is_file():
        raise InputRefused("input file", str(path), "an existing file")
    if path.stat().st_size == 0:
        raise InputRefused("input file", str(path), "a file that is not empty")
    # The whitelist keeps a playlist from making ffmpeg fetch something over the network.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-threads", "1"]
    command += ["-protocol_whitelist", "file", "-i", f"file:{path.absolute()}", "-map", "0:v:0"]
    command += ["-frames:v", str(_FRAMES), "-f", "framecrc", "-"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_DEADLINE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise _refused(path, f"the first {_FRAMES} frames took more than {_DEADLINE_S:.0f} s") from error
    frames = [line for line in done.stdout.splitlines() if line and not line.startswith(b"#")]
    if done.returncode != 0 or not frames:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise _refused(path, lines[0] if lines else "no frame decoded")


def _refused(path: Path, why: str) -> InputRefused:
    return InputRefused("input file", str(path), f"a clip or picture that ffmpeg can read ({why})")
