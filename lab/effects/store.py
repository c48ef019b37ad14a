"""The backend's memory: jobs, attempts and leases in a SQLite file, so that a kill loses nothing that was accepted.

WAL with synchronous=NORMAL: a commit is in the operating system's hands when the call returns, hence survives the death
of the process (not of the machine). Only the backend's one thread uses a store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from lab.effects.catalogue import Provider
from lab.effects.records import TERMINAL, AttemptRecord, Job, NewJob
from pointsman.clock import Clock

LOST_LIMIT = 6
"""A job whose attempts were lost this often fails: its effect probably kills its workers."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  seq INTEGER PRIMARY KEY,
  dispatch_id TEXT NOT NULL UNIQUE, job_id TEXT NOT NULL UNIQUE, content_sha256 TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('queued', 'leased', 'completed', 'failed', 'cancelled')), reason TEXT,
  variant TEXT NOT NULL, route_key TEXT, generation INTEGER, provider TEXT NOT NULL, workflow TEXT NOT NULL,
  params TEXT NOT NULL, source TEXT NOT NULL, cancel_asked INTEGER NOT NULL DEFAULT 0,
  submissions INTEGER NOT NULL DEFAULT 1,
  created_at REAL NOT NULL, started_at REAL, ended_at REAL, output_sha256 TEXT, output_bytes INTEGER
);
CREATE INDEX IF NOT EXISTS queue ON jobs (provider, seq) WHERE status = 'queued';
CREATE TABLE IF NOT EXISTS attempts (
  dispatch_id TEXT NOT NULL REFERENCES jobs (dispatch_id), number INTEGER NOT NULL, provider TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('running', 'completed', 'failed', 'lost')),
  started_at REAL NOT NULL, last_seen REAL NOT NULL, lease_expires REAL NOT NULL, ended_at REAL,
  wall_seconds REAL, cpu_seconds REAL, output_bytes INTEGER, vcpus REAL NOT NULL, memory_gb REAL NOT NULL,
  PRIMARY KEY (dispatch_id, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS one_running_attempt ON attempts (dispatch_id) WHERE outcome = 'running';
"""
_JOB = ", ".join(field.name for field in fields(Job))
_ATTEMPT = ", ".join(field.name for field in fields(AttemptRecord))


class Store:
    def __init__(self, path: Path, clock: Clock, lease_s: float) -> None:
        self._clock = clock
        self._lease_s = lease_s
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def job(self, dispatch_id: str) -> Job | None:
        found = self._jobs("WHERE dispatch_id = ?", dispatch_id)
        return found[0] if found else None

    def jobs(self, dispatch_ids: Sequence[str]) -> list[Job]:
        return self._jobs(f"WHERE dispatch_id IN ({','.join('?' * len(dispatch_ids))}) ORDER BY seq", *dispatch_ids)

    def attempts(self, dispatch_ids: Sequence[str]) -> dict[str, list[AttemptRecord]]:
        """The attempts of each of these jobs, in order."""
        found: dict[str, list[AttemptRecord]] = {dispatch_id: [] for dispatch_id in dispatch_ids}
        marks = ",".join("?" * len(dispatch_ids))
        for attempt in self._attempts(f"WHERE dispatch_id IN ({marks}) ORDER BY dispatch_id, number", *dispatch_ids):
            found[attempt.dispatch_id].append(attempt)
        return found

    def accept(self, new: NewJob) -> bool:
        """Queue a job unless its dispatch id is taken; whether it was queued."""
        values = {**asdict(new), "created_at": self._now()}
        marks = ", ".join(f":{name}" for name in values)
        added = self._db.execute(
            f"INSERT INTO jobs (status, {', '.join(values)}) VALUES ('queued', {marks})"
            " ON CONFLICT (dispatch_id) DO NOTHING",
            values,
        )
        return added.rowcount == 1

    def count_repeat(self, dispatch_id: str) -> None:
        self._db.execute("UPDATE jobs SET submissions = submissions + 1 WHERE dispatch_id = ?", (dispatch_id,))

    def lease_next(self, provider: Provider) -> tuple[Job, int] | None:
        """The longest waiting job of a provider, now leased, and the number of the attempt that starts; or None."""
        with self._transaction():
            waiting = self._jobs("WHERE status = 'queued' AND provider = ? ORDER BY seq LIMIT 1", provider.name)
            if not waiting:
                return None
            job, now = waiting[0], self._now()
            self._db.execute(
                "UPDATE jobs SET status = 'leased', started_at = coalesce(started_at, ?) WHERE dispatch_id = ?",
                (now, job.dispatch_id),
            )
            (before,) = self._db.execute(
                "SELECT count(*) FROM attempts WHERE dispatch_id = ?", (job.dispatch_id,)
            ).fetchone()
            self._db.execute(
                "INSERT INTO attempts (dispatch_id, number, provider, outcome, started_at, last_seen, lease_expires,"
                " vcpus, memory_gb) VALUES (?1, ?2, ?3, 'running', ?4, ?4, ?5, ?6, ?7)",
                (
                    *(job.dispatch_id, before + 1, provider.name, now, now + self._lease_s),
                    *(provider.vcpus, provider.memory_gb),
                ),
            )
        return job, before + 1

    def renew(self, dispatch_id: str, number: int) -> None:
        """A heartbeat: the worker was alive just now, and its lease starts over."""
        now = self._now()
        self._db.execute(
            "UPDATE attempts SET last_seen = ?, lease_expires = ?"
            " WHERE dispatch_id = ? AND number = ? AND outcome = 'running'",
            (now, now + self._lease_s, dispatch_id, number),
        )

    def seen_dying(self, dispatch_id: str, number: int) -> None:
        """The worker died just now: its time is billed until this moment; the lease runs out by itself."""
        self._db.execute(
            "UPDATE attempts SET last_seen = ? WHERE dispatch_id = ? AND number = ? AND outcome = 'running'",
            (self._now(), dispatch_id, number),
        )

    def finish(
        self,
        dispatch_id: str,
        number: int,
        *,
        completed: bool,
        reason: str | None,
        wall_seconds: float,
        cpu_seconds: float,
        output_sha256: str | None,
        output_bytes: int | None,
    ) -> bool:
        """Record the worker's result and end the job; False if the attempt was given up as lost before."""
        now = self._now()
        with self._transaction():
            ended = self._db.execute(
                "UPDATE attempts SET outcome = ?, ended_at = ?, last_seen = ?, wall_seconds = ?, cpu_seconds = ?,"
                " output_bytes = ? WHERE dispatch_id = ? AND number = ? AND outcome = 'running'",
                (
                    *("completed" if completed else "failed", now, now, wall_seconds, cpu_seconds, output_bytes),
                    *(dispatch_id, number),
                ),
            )
            if ended.rowcount == 0:
                return False
            self._db.execute(
                "UPDATE jobs SET status = CASE WHEN ? THEN 'completed' WHEN cancel_asked THEN 'cancelled'"
                " ELSE 'failed' END, reason = ?, ended_at = ?, output_sha256 = ?, output_bytes = ?"
                " WHERE dispatch_id = ?",
                (completed, reason, now, output_sha256, output_bytes, dispatch_id),
            )
        return True

    def expire_leases(self) -> list[AttemptRecord]:
        """Give up attempts whose lease ran out: each is lost and billed until its last sign of life, and its job waits
        again (or ends, if it was cancelled or lost too many). Returns them as they were."""
        now = self._now()
        with self._transaction():
            expired = self._attempts("WHERE outcome = 'running' AND lease_expires <= ?", now)
            for attempt in expired:
                key = (attempt.dispatch_id, attempt.number)
                self._db.execute(
                    "UPDATE attempts SET outcome = 'lost', ended_at = last_seen, wall_seconds = last_seen - started_at"
                    " WHERE dispatch_id = ? AND number = ?",
                    key,
                )
                self._db.execute(
                    "UPDATE jobs SET status = 'queued' WHERE dispatch_id = ?1 AND NOT cancel_asked AND ?2 < ?3",
                    (*key, LOST_LIMIT),
                )
                self._db.execute(
                    "UPDATE jobs SET ended_at = ?2, status = CASE WHEN cancel_asked THEN 'cancelled' ELSE 'failed' END,"
                    " reason = CASE WHEN cancel_asked THEN 'cancelled' ELSE ?3 END"
                    " WHERE dispatch_id = ?1 AND status = 'leased'",
                    (attempt.dispatch_id, now, f"its worker was lost {attempt.number} times"),
                )
        return expired

    def cancel(self, dispatch_id: str) -> Job | None:
        """A waiting job is cancelled, a leased one is marked so that its attempt's end cancels it. Returns the job as
        it is afterwards."""
        with self._transaction():
            self._db.execute(
                "UPDATE jobs SET status = 'cancelled', reason = 'cancelled', ended_at = ?"
                " WHERE dispatch_id = ? AND status = 'queued'",
                (self._now(), dispatch_id),
            )
            self._db.execute(
                "UPDATE jobs SET cancel_asked = 1 WHERE dispatch_id = ? AND status = 'leased'", (dispatch_id,)
            )
        return self.job(dispatch_id)

    def running_attempt(self, dispatch_id: str) -> int | None:
        found = self._attempts("WHERE dispatch_id = ? AND outcome = 'running'", dispatch_id)
        return found[0].number if found else None

    def stats(self) -> dict[str, object]:
        by_status = dict.fromkeys(("queued", "leased", *sorted(TERMINAL)), 0)
        by_status.update(self._db.execute("SELECT status, count(*) FROM jobs GROUP BY status").fetchall())
        accepted, submissions = self._db.execute("SELECT count(*), coalesce(sum(submissions), 0) FROM jobs").fetchone()
        (attempts,) = self._db.execute("SELECT count(*) FROM attempts").fetchone()
        return {"accepted": accepted, "submissions": submissions, "attempts": attempts, "by_status": by_status}

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _jobs(self, where: str, *values: Any) -> list[Job]:
        rows = self._db.execute(f"SELECT {_JOB} FROM jobs {where}", values)
        return [Job(**{**row, "cancel_asked": bool(row["cancel_asked"])}) for row in map(dict, rows)]

    def _attempts(self, where: str, *values: Any) -> list[AttemptRecord]:
        rows = self._db.execute(f"SELECT {_ATTEMPT} FROM attempts {where}", values)
        return [AttemptRecord(**dict(row)) for row in rows]

    def _transaction(self) -> AbstractContextManager[object]:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db
