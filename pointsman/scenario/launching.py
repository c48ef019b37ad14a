"""Starting what drives a shard, here or elsewhere, and what its coordinator asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pointsman.clock import Clock
from pointsman.dispatch import DriveProcess, DriveStatus, DriveSummary
from pointsman.settings import Secret


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """One process to start."""

    run_id: str
    shard: int
    turn: int
    """How many processes the shard will have had: a later one takes over from an earlier one."""
    drive_dir: Path


class ShardProcess(Protocol):
    """What drives a shard, as its coordinator sees it some twenty times a second. No call waits for long but
    `abandon`."""

    @property
    def id(self) -> str | None:
        """Of the process on its machine; None when another machine knows."""

    @property
    def task_id(self) -> str | None:
        """What it is to the infrastructure that runs it; None for a child of this process."""

    @property
    def status(self) -> DriveStatus | None:
        """Its last word about itself."""

    @property
    def good_bye_s(self) -> float:
        """How long it may take to end its jobs at the target."""

    @property
    def ended(self) -> bool: ...

    @property
    def overdue(self) -> bool:
        """It should have come to its end long ago."""

    def look(self) -> bool:
        """Hear its last word; whether it has said something since the last look."""

    def result(self) -> DriveSummary:
        """What the drive came to. Raises what `drive` raises when the process ended before the drive was closed."""

    def close(self) -> None:
        """Leave nothing of it behind, whether or not it has ended."""

    def let_go(self) -> None:
        """Tell it to stop and to leave the drive to be continued, without waiting."""

    def abandon(self) -> None:
        """`let_go`, and wait until it has stopped."""


class ShardLauncher(Protocol):
    """Where the processes of shards are started.

    Coordinator and shard agree through the run's rows and the drive's folder, which both must see. An infrastructure
    without a common disk brings the status, the orders and the closed drive across itself.
    """

    @property
    def mode(self) -> str:
        """`inline` or `ecs`."""

    @property
    def starts_within_s(self) -> float:
        """How long a process may take to say its first word: it reads its plan first, while all the others start."""

    def launch(self, order: ShardOrder) -> ShardProcess:
        """Start a process; whatever becomes of it is told by what is returned.

        Raises `InputRefused` when a secret or a setting is missing, and `DependencyDown` when nothing can be started
        there now.
        """


@dataclass(frozen=True, slots=True)
class ChildLauncher:
    """Starts them as children of this process."""

    secret: Secret | None
    clock: Clock
    mode: str = "inline"
    starts_within_s: float = 60.0

    def launch(self, order: ShardOrder) -> ShardProcess:
        return DriveProcess(order.drive_dir, secret=self.secret, clock=self.clock)
