"""Claims and eras: what a drive's process promised to the disk before it sent anything.

An era is one process of the drive. A claim is a range of sequence numbers, made durable before the first of them is
sent: after a crash only claimed dispatches can have reached the target.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pointsman.dispatch.durable import write_durably


@dataclass(frozen=True, slots=True)
class Era:
    number: int
    epoch_wall_ns: int
    """Unix time of the drive's epoch: the same in all eras."""
    started_ns: int
    """After the epoch."""

    @property
    def epoch(self) -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.epoch_wall_ns // 1000)


@dataclass(frozen=True, slots=True)
class Claim:
    era: int
    first: int
    """Sequence number."""
    last: int
    """Sequence number, included."""
    shift_ns: int
    """How much later than planned the schedule runs, because of interruptions."""


def write_era(drive_dir: Path, era: Era) -> None:
    document = {"number": era.number, "epoch_wall_ns": era.epoch_wall_ns, "started_ns": era.started_ns}
    write_durably(drive_dir / "eras" / f"{era.number:04d}.json", json.dumps(document).encode())


def read_eras(drive_dir: Path) -> list[Era]:
    return [Era(**json.loads(path.read_bytes())) for path in sorted((drive_dir / "eras").glob("[0-9]*.json"))]


def write_claim(drive_dir: Path, claim: Claim) -> None:
    document = {"era": claim.era, "first": claim.first, "last": claim.last, "shift_ns": claim.shift_ns}
    write_durably(drive_dir / "claims" / f"{claim.first:012d}.json", json.dumps(document).encode())


def read_claims(drive_dir: Path) -> list[Claim]:
    """In ascending order; they never overlap."""
    return [Claim(**json.loads(path.read_bytes())) for path in sorted((drive_dir / "claims").glob("[0-9]*.json"))]
