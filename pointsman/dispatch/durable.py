"""Writing files so that a crash leaves the old content or the new one, and locking a folder for one process.

The engine's child writes its own files instead of going through the storage room: importing that room loads the
database toolkit, which takes longer than a matrix round may need to start.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pointsman.clock import Clock
from pointsman.errors import Conflict


def write_durably(path: Path, content: bytes) -> None:
    """Write the file whole (temporary name, fsync, rename, fsync of the folder)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    sync_folder(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Write the file whole, without waiting for the disk: for what may be lost in a crash, such as a live status."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def sole_process(drive_dir: Path, *, wait_s: float, clock: Clock) -> Iterator[None]:
    """Hold the drive's lock. Waits `wait_s` for an orphan to go; raises `Conflict` when it does not."""
    descriptor = os.open(drive_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        give_up = clock.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if clock.monotonic() >= give_up:
                    raise Conflict(
                        f"Another process is dispatching {drive_dir.name}.",
                        instruction="Wait until it has ended, then run the same command again.",
                        code="drive_locked",
                    ) from None
                clock.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def await_nobody(drive_dir: Path, *, within_s: float, clock: Clock) -> bool:
    """Wait until no process carries the drive; whether that came about in time."""
    try:
        with sole_process(drive_dir, wait_s=within_s, clock=clock):
            return True
    except Conflict:
        return False
