"""Finding and killing every process of a task: those that carry its marker, and whatever these started.

`python -I marked.py MARKER FOLDER` waits until its standard input ends, which is when the lab's process is gone however
it went; then it kills all processes whose marker begins so, and removes the folder. Only the standard library, and no
import of the lab, so that this second process is small.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_WITHIN_S = 5.0


def marked(marker: str) -> set[int]:
    """The living processes with a variable `marker` (`NAME=beginning of the value`), and their descendants.

    Where the system has no /proc, none is found.
    """
    wanted = marker.encode()
    children: dict[int, list[int]] = {}
    found: set[int] = set()
    for folder in Path("/proc").glob("*"):
        if not folder.name.isdigit():
            continue
        try:
            state, parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
            if state in "ZX":
                continue
            pid = int(folder.name)
            children.setdefault(int(parent), []).append(pid)
            if any(one.startswith(wanted) for one in (folder / "environ").read_bytes().split(b"\0")):
                found.add(pid)
        except OSError:
            continue  # it has just ended, or is somebody else's
    frontier = list(found)
    while frontier:
        frontier = [child for parent in frontier for child in children.get(parent, ()) if child not in found]
        found.update(frontier)
    return found


def kill_marked(marker: str) -> None:
    """SIGKILL to all of them, until there are none: a process may have started another meanwhile."""
    until = time.monotonic() + _WITHIN_S
    while (pids := marked(marker)) and time.monotonic() < until:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    kill_marked(sys.argv[1])
    shutil.rmtree(sys.argv[2], ignore_errors=True)
