"""Which files of a folder are still to be uploaded: a small note per change, written before the change itself.

Notes outlive the process. Whoever uploads a file holds its lock, reads the notes, then the file, and takes away only
the notes that it read: a change made meanwhile has a note of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

FOLDER = ".spool"
_LOCK_DIGITS = 2
"""Files share 256 locks, so that these do not pile up."""


class Spool:
    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def note(self, relative: str) -> None:
        """On disk when this returns."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{_digest(relative)}.{uuid4().hex}"
        temporary = self._folder / f".{name}"
        with temporary.open("w") as file:
            json.dump({"path": relative}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._folder / f"{name}.json")

    def notes(self, relative: str) -> list[Path]:
        return list(self._folder.glob(f"{_digest(relative)}.*.json"))

    @staticmethod
    def clear(notes: list[Path]) -> None:
        for note in notes:
            note.unlink(missing_ok=True)

    def waiting(self, below: str = "") -> list[str]:
        """The relative paths with a note, in order: all, or those below a folder."""
        found = set()
        for note in self._folder.glob("*.json"):
            try:
                found.add(str(json.loads(note.read_bytes())["path"]))
            except FileNotFoundError:  # somebody else has just uploaded it
                continue
        return sorted(one for one in found if not below or one.startswith(f"{below}/"))

    @contextmanager
    def lock(self, relative: str) -> Iterator[None]:
        """Nobody else, in this process or another on this machine, changes or uploads the file meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"lock-{_digest(relative)[:_LOCK_DIGITS]}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _digest(relative: str) -> str:
    return hashlib.sha256(relative.encode()).hexdigest()[:32]
