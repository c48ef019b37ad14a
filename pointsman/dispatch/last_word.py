"""What the process of a drive says about itself: the status that it writes into the drive's folder twice a second."""

from __future__ import annotations

from pathlib import Path

from pointsman.dispatch.reading import STATUS, read_live_status
from pointsman.dispatch.status import DriveStatus


class LastWord:
    """Of a process that is started now: what stands in the folder already was said by an earlier one."""

    def __init__(self, drive_dir: Path) -> None:
        self._drive_dir = drive_dir
        self._before = read_live_status(drive_dir)
        self._read_ns = 0
        self.status: DriveStatus | None = None

    def look(self) -> bool:
        """Read it; whether something was said since the last look."""
        try:
            written_ns = (self._drive_dir / STATUS).stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if written_ns == self._read_ns:
            return False
        self._read_ns = written_ns
        found = read_live_status(self._drive_dir)
        if found is None or found in (self.status, self._before):
            return False
        self.status = found
        return True
