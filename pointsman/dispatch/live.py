"""What a drive says of itself while it goes on, as texts that can be carried to a machine without its folder.

Three files: the last word, the figures, and the feed of seconds, of which only what is new is carried. Brought into a
copy of the folder they are read there as if they had been written there.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.dispatch.durable import replace_file
from pointsman.dispatch.figures import FIGURES
from pointsman.dispatch.reading import STATUS, is_running
from pointsman.dispatch.seconds import SECONDS, last_second, lines_after

_LOCK = "live.lock"


@dataclass(frozen=True, slots=True)
class LiveWords:
    """`status` and `figures` are null before the first ones; `seconds` = lines of the feed by their second."""

    status: str | None
    figures: str | None
    seconds: Sequence[tuple[int, str]]


def read_live(drive_dir: Path, *, after: int) -> LiveWords:
    """What the folder's files say, and of the seconds those behind `after`."""
    # The feed first: the status and the figures may be newer than it, and what it counted is on the disk before it.
    seconds = lines_after(drive_dir, after)
    return LiveWords(_text(drive_dir / STATUS), _text(drive_dir / FIGURES), seconds)


def bring_live(drive_dir: Path, read: Callable[[int], LiveWords]) -> None:
    """Write what is new into the folder; `read` is asked for it, from the last second that is there already.

    A folder in which a process drives is left as it is: that one knows better.
    """
    drive_dir.mkdir(parents=True, exist_ok=True)
    with (drive_dir / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several may ask for the same run at once
        if is_running(drive_dir):
            return
        words = read(last_second(drive_dir))
        if words.seconds:
            with (drive_dir / SECONDS).open("ab") as feed:
                feed.write(b"".join(line.encode() + b"\n" for _, line in words.seconds))
        for name, text in ((FIGURES, words.figures), (STATUS, words.status)):
            if text is not None and _text(drive_dir / name) != text:
                replace_file(drive_dir / name, text.encode())


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
