"""Who coordinates a run: one process at a time. A heartbeat in the run's row says that it lives, a lock that it died.

The lock is let go by the machine the moment its holder dies, so on one machine nobody waits for a heartbeat to grow
old. A holder whose heartbeat is old is taken for dead even if it holds the lock: it hangs, and finds out when it wakes.
On one machine a heartbeat's age is told by the clock that cannot be set.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from pointsman.errors import Conflict
from pointsman.scenario.record import RunRecord, move_in, read_in, read_run, run_folder
from pointsman.storage import tables
from pointsman.workspace import Workspace

DEAD_AFTER_S = 15.0
"""A heartbeat older than this is that of a dead process. Coordinators beat about once a second."""
_LOCK = "coordinator.lock"
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Holder:
    """`metrics_json.runner.coordinator`."""

    token: str
    host: str
    process_id: int
    beat_at: str
    beat_monotonic_s: float
    """On its host's clock since the machine was started."""
    lock: str
    """Which file it holds: two tasks of one host, each with a disk of its own, do not see each other's."""

    def is_dead(self, *, now: datetime, monotonic_s: float, host: str, lock_is_free: bool) -> bool:
        if self.host == host:
            return lock_is_free or monotonic_s - self.beat_monotonic_s > DEAD_AFTER_S
        return (now - datetime.fromisoformat(self.beat_at)).total_seconds() > DEAD_AFTER_S


class Hold:
    """A run that this process coordinates."""

    def __init__(self, ws: Workspace, record: RunRecord, token: str, lock: str) -> None:
        self._ws = ws
        self._token = token
        self._lock = lock
        self.record = record
        """The run's row when it was taken."""

    def beat(
        self, *, state: str | None = None, reason: str = "", submitted: int, shards: Sequence[Mapping[str, Any]] = ()
    ) -> RunRecord:
        """Say in the run's row that this process lives, and how its shards do; the row as it then is.

        Raises `Conflict` when another process has taken this one for dead.
        """
        runs, shard_rows = tables.load_test_runs, tables.load_test_shards
        with self._ws.database.begin() as connection:
            record = read_in(connection, self.record.id)
            holder = _holder(record)
            if holder is None or holder.token != self._token:
                raise Conflict(
                    f"Another process coordinates the run {record.id} by now.",
                    instruction=f"Look at it: pointsman scenario status {record.id}",
                    code="run_taken_over",
                )
            metrics = _with_holder(record, _new_holder(self._ws, self._token, self._lock))
            if shards:
                tasks = dict(enumerate(metrics["runner"]["launch"]["task_arns"]))
                tasks |= {row["shard"]: row["task_id"] for row in shards}
                metrics["runner"]["launch"]["task_arns"] = [tasks[shard] for shard in sorted(tasks)]
            values = {"metrics_json": metrics, "submitted_count": submitted}
            connection.execute(sa.update(runs).where(runs.c.id == record.id).values(**values))
            for row in shards:
                mine = (shard_rows.c.run_id == record.id) & (shard_rows.c.shard == row["shard"])
                connection.execute(sa.update(shard_rows).where(mine).values(**row))
            if state is not None:
                move_in(connection, self._ws, record, state, reason=reason)
            return read_in(connection, record.id)


@contextmanager
def hold_run(ws: Workspace, run_id: str, *, wait_s: float) -> Iterator[Hold]:
    """Be the one who coordinates the run, until the block ends; a run that has ended is nobody's and everybody's.

    Waits so long for another coordinator to go. Raises `NotFound`, and `Conflict` when it does not.
    """
    record = read_run(ws, run_id)
    folder = run_folder(ws, record)
    folder.mkdir(parents=True, exist_ok=True)  # where another machine planned it there is none yet
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    token, lock = str(uuid4()), _identity(descriptor)
    try:
        give_up = ws.clock.monotonic() + wait_s
        while (taken := _take(ws, run_id, token, lock, lock_is_free=_lock(descriptor))) is None:
            if ws.clock.monotonic() >= give_up:
                raise Conflict(
                    f"Another process coordinates the run {run_id}.",
                    instruction="Wait until it has ended, then run the same command again.",
                    code="run_held",
                )
            ws.clock.sleep(_LOOK_EVERY_S)
        try:
            yield Hold(ws, taken, token, lock)
        finally:
            _release(ws, run_id, token)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _identity(descriptor: int) -> str:
    """Of the file, whatever its path is called."""
    found = os.fstat(descriptor)
    return f"{found.st_dev}:{found.st_ino}"


def _take(ws: Workspace, run_id: str, token: str, lock: str, *, lock_is_free: bool) -> RunRecord | None:
    now = ws.clock.now()
    with ws.database.begin() as connection:
        record = read_in(connection, run_id)
        if record.ended:
            return record
        holder = _holder(record)
        if holder is None:
            if not lock_is_free:
                return None
        elif not _is_dead(ws, holder, lock_is_free=lock_is_free and holder.lock == lock):
            return None
        runs = tables.load_test_runs
        metrics = _with_holder(record, new := _new_holder(ws, token, lock))
        metrics["runner"]["launch"] = {
            "host": new["host"],
            "process_id": new["process_id"],
            "at": now.isoformat(),
            "task_arn": None,
            "task_arns": [None] * metrics["runner"].get("shards", 1),
        }
        connection.execute(sa.update(runs).where(runs.c.id == run_id).values(metrics_json=metrics))
        return read_in(connection, run_id)


def _release(ws: Workspace, run_id: str, token: str) -> None:
    with ws.database.begin() as connection:
        record = read_in(connection, run_id)
        holder = _holder(record)
        if holder is not None and holder.token == token:
            runs = tables.load_test_runs
            metrics = _with_holder(record, None)
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(metrics_json=metrics))


def coordinator(ws: Workspace, record: RunRecord) -> str | None:
    """The token of whoever coordinates the run and, as far as its heartbeat tells, lives."""
    holder = _holder(record)
    if holder is None or _is_dead(ws, holder, lock_is_free=False):
        return None
    return holder.token


def _is_dead(ws: Workspace, holder: Holder, *, lock_is_free: bool) -> bool:
    return holder.is_dead(
        now=ws.clock.now(), monotonic_s=ws.clock.monotonic(), host=socket.gethostname(), lock_is_free=lock_is_free
    )


def _holder(record: RunRecord) -> Holder | None:
    found = record.metrics_json["runner"].get("coordinator")
    return Holder(**found) if found else None


def _new_holder(ws: Workspace, token: str, lock: str) -> dict[str, Any]:
    clock = ws.clock
    return {
        "token": token,
        "host": socket.gethostname(),
        "process_id": os.getpid(),
        "beat_at": clock.now().isoformat(),
        "beat_monotonic_s": round(clock.monotonic(), 3),
        "lock": lock,
    }


def _with_holder(record: RunRecord, holder: Mapping[str, Any] | None) -> dict[str, Any]:
    runner = {**record.metrics_json["runner"], "coordinator": holder}
    return {**record.metrics_json, "runner": runner}
