"""Running the ffmpeg that the wheel of imageio-ffmpeg carries, on files that came from somewhere else.

Such a file may claim to be a playlist that names other files or addresses, so only media containers are opened and
nothing but the file itself is read.

The whole log is the result here and a run takes a tenth of a second: `processes.supervise`, which keeps the tail and
looks twenty times a second, serves the long-lived children.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

from pointsman.errors import DependencyDown

_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,ivf,ogg,mpeg,mpegts,asf,gif,"
    "image2,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
)
_STAMPED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ (.*\n?)", re.M)
_POLL_S = 0.25
_NICENESS = 10


@dataclass(frozen=True, slots=True)
class Finished:
    """How one ffmpeg ended. `exit_code` is None when it was stopped: past its deadline, or because it was asked to.

    `out` is what it wrote to its standard output.
    """

    exit_code: int | None
    log: str
    out: str = ""


@functools.cache
def ffmpeg_path() -> str:
    """Raises `DependencyDown` when there is no ffmpeg."""
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise DependencyDown(
            f"There is no ffmpeg: {error}.",
            instruction="Run `pip install imageio-ffmpeg` on a platform it has a binary for, or set "
            "IMAGEIO_FFMPEG_EXE.",
            code="ffmpeg_missing",
        ) from error


@functools.cache
def ffmpeg_version() -> str:
    """The version word of ffmpeg's banner."""
    banner = subprocess.run([ffmpeg_path(), "-version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"ffmpeg version (\S+)", banner)
    return found[1] if found else "unknown"


@functools.cache
def ffmpeg_filters() -> frozenset[str]:
    """The filters that this ffmpeg has: builds differ, and libvmaf is the one that is most often left out."""
    listed = subprocess.run([ffmpeg_path(), "-hide_banner", "-filters"], capture_output=True, text=True, check=False)
    return frozenset(re.findall(r"^ [A-Z.|]{2,3} (\w+) +\S+->\S+", listed.stdout, re.M))


@functools.cache
def _stamps_lines() -> bool:
    """Whether this ffmpeg can put the time before each line that it writes itself (since 7.1)."""
    return not subprocess.run([ffmpeg_path(), "-v", "datetime+info", "-version"], capture_output=True).returncode


def _own_lines(log: str) -> str:
    """The log without what only looks like lines of it: a file's metadata are quoted there, with their line breaks.

    What they say was written before this run, so it cannot bear its times.
    """
    return "".join(_STAMPED.findall(log)) if _stamps_lines() else log


def media_input(path: Path) -> list[str]:
    """The arguments that open `path` as media and nothing else, decoded by one thread."""
    return [
        *("-threads", "1", "-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS),
        *("-i", f"file:{path}"),
    ]


def run_ffmpeg(arguments: list[str], *, deadline_s: float, stop: threading.Event) -> Finished:
    """Run ffmpeg in a process group of its own and return its log and output.

    It is killed with its group when `stop` is set or after `deadline_s`; its own limit on CPU seconds ends it also
    when this process is no longer there to do so.
    """
    level = "datetime+verbose" if _stamps_lines() else "verbose"
    argv = [ffmpeg_path(), "-hide_banner", "-nostdin", "-nostats", "-v", level, "-timelimit", str(int(deadline_s))]
    child = subprocess.Popen(
        [*argv, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        errors="replace",
    )
    with contextlib.suppress(ProcessLookupError):
        # Decoding is work ahead: calls that are in flight, whose answers have to be read, go first.
        os.setpriority(os.PRIO_PROCESS, child.pid, _NICENESS)
    waited = 0.0
    while True:
        try:
            out, log = child.communicate(timeout=_POLL_S)
            return Finished(child.returncode, _own_lines(log), out)
        except subprocess.TimeoutExpired:
            waited += _POLL_S
        except BaseException:
            _kill(child)
            raise
        if stop.is_set() or waited >= deadline_s:
            return Finished(None, _own_lines(_kill(child)))


def _kill(child: subprocess.Popen[str]) -> str:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.communicate()[1]
