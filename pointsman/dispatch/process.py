"""A drive carried out by a process that is looked at now and then: for whoever runs several at once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from pointsman.clock import Clock
from pointsman.dispatch.last_word import LastWord
from pointsman.dispatch.parent import argv, deadline_s, environment, error_of, good_bye_s
from pointsman.dispatch.plan import read_header
from pointsman.dispatch.reading import read_summary
from pointsman.dispatch.status import DriveStatus, DriveSummary
from pointsman.processes import Child, ChildResult
from pointsman.settings import Secret

_GRACE_S = 10.0


class DriveProcess:
    """A child of this process, started at once, for one drive. Call `close` in the end, whatever happens.

    With `confirm_claims` it sends nothing that it claimed before `confirm_claims` of the drive's folder says so.
    """

    task_id: str | None = None
    """It runs here, and not as a task of some other infrastructure."""

    def __init__(self, drive_dir: Path, *, secret: Secret | None, clock: Clock, confirm_claims: bool = False) -> None:
        self._drive_dir = drive_dir
        self._header = read_header(drive_dir)
        self._clock = clock
        self._ends_by = deadline_s(drive_dir, self._header)
        self._began = clock.monotonic()
        self._word = LastWord(drive_dir)
        self._child = Child(
            argv(drive_dir, confirm_claims=confirm_claims), env=environment(self._header, secret), clock=clock
        )
        self._result: ChildResult | None = None

    @property
    def id(self) -> str:
        return str(self._child.pid)

    @property
    def status(self) -> DriveStatus | None:
        """Its last word about itself."""
        return self._word.status

    def look(self) -> bool:
        """Read its last word; whether it has said something since the last look."""
        return self._word.look()

    @property
    def ended(self) -> bool:
        return self._result is not None or self._child.exited

    @property
    def overdue(self) -> bool:
        """It should have come to its end long ago."""
        return self._ends_by is not None and self._clock.monotonic() - self._began > self._ends_by

    @cached_property
    def good_bye_s(self) -> float:
        """How long it may take to end its jobs at the target."""
        return good_bye_s(read_header(self._drive_dir))

    def result(self) -> DriveSummary:
        """What the drive came to. Raises what `drive` raises when the process ended before the drive was closed."""
        self.close("exited")
        summary = read_summary(self._drive_dir)
        if summary is None:
            assert self._result is not None
            raise error_of(self._header, self._result)
        return summary

    def close(self, ended: Literal["exited", "cancelled", "deadline"] = "exited") -> None:
        """Leave nothing of it behind. Something that still runs is killed."""
        if self._result is None:
            self._result = ChildResult(*self._child.reap(), ended)

    def let_go(self) -> None:
        """Tell it to stop and to leave the drive to be continued, without waiting."""
        if self._result is None:
            self._child.let_go()

    def abandon(self) -> None:
        """`let_go`, and wait until it has stopped."""
        if self._result is None:
            self._child.abandon(_GRACE_S)
            self.close()
