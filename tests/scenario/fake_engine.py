"""A run to plan, and a stand-in for the dispatch driver whose every second is told by the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from pointsman.clock import ManualClock
from pointsman.dispatch import DriveStatus, DriveSummary, Figures, Interruption, Percentiles, Second, TargetSpec
from pointsman.dispatch.orders import cancel_ordered
from pointsman.dispatch.status import Phase
from pointsman.errors import DataCheckFailed, DependencyDown, RunFailed
from pointsman.ids import VariantId
from pointsman.model import InputMember, InputSet, Variant
from pointsman.scenario import Scenario, Stage, plan_run
from pointsman.scenario.record import advance
from pointsman.statistics.sketch import Sketch
from pointsman.workspace import Workspace

VARIANT = Variant(VariantId.parse("er:e1:wf:fast:env:lab:stage:demo:provider:cpu:exp:base"), "lab", {"preset": "fast"})
TARGET = TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:9")
SCENARIO = Scenario(
    name="smoke",
    stages=(Stage(name="up", kind="ramp", to_rate=4, duration_s=2), Stage(name="hold", kind="hold", duration_s=3)),
)
PLANNED = 16
INPUTS = InputSet(
    "golden",
    tuple(InputMember(f"clip{n}", f"file:///clips/{n}.mp4", "0" * 64, 10, f"c{n}") for n in range(3)),
    "f" * 64,
)


def plan(ws: Workspace, run_id: str = "run1", *, admitted: bool = True, **changes: Any) -> str:
    """Plan a run of `SCENARIO`, with some arguments changed, as one that was held against the limits."""
    usual: dict[str, Any] = {
        "run_id": run_id,
        "parent_run_id": None,
        "scenario": SCENARIO,
        "seed": 1,
        "environment_id": "lab",
        "variant": VARIANT,
        "target": TARGET,
        "inputs": INPUTS,
    }
    plan_run(ws, **{**usual, **changes})
    if admitted:
        advance(ws, run_id, None, metrics={"admitted": True})
    return run_id


@dataclass
class Journal:
    """What the stand-in remembers of one drive between calls, as the real one does on disk."""

    rows: pl.DataFrame
    states: dict[int, str] = field(default_factory=dict)
    sent_at: dict[int, int] = field(default_factory=dict)
    second: int = 0
    outcome: str | None = None
    interruptions: list[Interruption] = field(default_factory=list)


class FakeProcess:
    """Is as far as the clock whenever it is looked at."""

    id = "1"
    task_id = None
    overdue = False
    good_bye_s = 5.0

    def __init__(self, engine: FakeEngine, drive_dir: Path, journal: Journal, clock: ManualClock) -> None:
        self._engine = engine
        self._drive_dir = drive_dir
        self._journal = journal
        self._clock = clock
        self._zero = clock.monotonic() - journal.second
        self._error: Exception | None = None
        self.status: DriveStatus | None = None

    def look(self) -> bool:
        engine, journal = self._engine, self._journal
        try:
            while journal.outcome is None and self._error is None:
                if engine.stillborn:
                    raise RunFailed("The dispatch driver died.", code="driver_died")
                if engine.breaks:
                    raise DataCheckFailed("The dispatches do not add up.", code="conservation_broken")
                if cancel_ordered(self._drive_dir) and engine.deaf:
                    raise DependencyDown("The target is gone.", code="target_lost")
                if cancel_ordered(self._drive_dir):
                    engine.close(journal, "cancelled")
                elif journal.second > self._clock.monotonic() - self._zero:
                    break
                else:
                    engine.one_second(journal)
        except (DependencyDown, RunFailed) as error:
            self._error = error
            if engine.stillborn:
                return False
        before, self.status = self.status, engine.read_status(self._drive_dir)
        return before != self.status

    @property
    def ended(self) -> bool:
        return self._journal.outcome is not None or self._error is not None

    def result(self) -> DriveSummary:
        if self._error is not None:
            raise self._error
        return self._engine.summary(self._drive_dir)

    def close(self) -> None:
        """There is nothing to reap."""

    let_go = abandon = close


@dataclass
class FakeEngine:
    """Sends what is due in each second and answers it at once. `at_second` is called at the start of each."""

    at_second: Callable[[int], None] = lambda second: None
    lose_target_in: set[int] = field(default_factory=set)
    die_in: list[int] = field(default_factory=list)
    """Seconds in which the process dies, one after the other."""
    stillborn: bool = False
    """Processes die before they say a word."""
    deaf: bool = False
    """Nothing can be ended at the target."""
    breaks: bool = False
    """The drive's books do not add up."""
    drop_row: int | None = None
    late_ns: int = 2_000_000
    """A row that the ledger loses."""
    journals: dict[Path, Journal] = field(default_factory=dict)
    drives: int = 0

    def start(self, drive_dir: Path, *, secret: object, clock: ManualClock) -> FakeProcess:
        self.drives += 1
        journal = self._journal(drive_dir)
        if journal.second and journal.outcome is None:
            journal.interruptions.append(
                Interruption(after_s=journal.second, resumed_s=journal.second + 7, first_seq=0, unsettled=0)
            )
        return FakeProcess(self, drive_dir, journal, clock)

    def one_second(self, journal: Journal) -> None:
        """Send what is due, and answer it."""
        self.at_second(journal.second)
        if self.die_in and self.die_in[0] == journal.second:
            self.die_in.pop(0)
            raise RunFailed("The dispatch driver died.", code="driver_died")
        if journal.second in self.lose_target_in:
            self.lose_target_in.discard(journal.second)
            raise DependencyDown("The target is gone.", instruction="pointsman doctor", code="target_lost")
        for seq, due in journal.rows.select("seq", "due_ns").iter_rows():
            if journal.second == due // 10**9:
                journal.states[seq], journal.sent_at[seq] = "completed", due
        journal.second += 1
        if len(journal.states) == journal.rows.height:
            journal.outcome = "completed"

    def settle(self, drive_dir: Path, *, clock: ManualClock) -> DriveSummary:
        journal = self._journal(drive_dir)
        if journal.outcome is None:
            self.close(journal, "settled")
        return self.summary(drive_dir)

    def read_status(self, drive_dir: Path, phase: Phase = "sending") -> DriveStatus:
        journal = self._journal(drive_dir)
        timed = Percentiles(count=len(journal.sent_at), p50=90.0, p95=95.0, p99=99.0, max=99.0)
        return DriveStatus(
            phase="closed" if journal.outcome else phase,
            at=datetime(2026, 1, 1, tzinfo=UTC),
            elapsed_s=journal.second,
            counts=self._counts(journal),
            total_ms=timed if journal.sent_at else Percentiles(),
        )

    def read_summary(self, drive_dir: Path) -> DriveSummary | None:
        return self.summary(drive_dir) if self._journal(drive_dir).outcome else None

    def summary(self, drive_dir: Path) -> DriveSummary:
        journal = self._journal(drive_dir)
        return DriveSummary(
            outcome=journal.outcome,  # type: ignore[arg-type]
            epoch=datetime(2026, 1, 1, tzinfo=UTC),
            wall_s=journal.second,
            counts=self._counts(journal),
            answered={},
            achieved_per_s=1.0,
            queue_ms=Percentiles(),
            run_ms=Percentiles(),
            total_ms=Percentiles(),
            raw_total_ms=Percentiles(),
            lateness_ms=Percentiles(),
            interruptions=tuple(journal.interruptions),
        )

    def read_dispatches(self, drive_dir: Path) -> pl.DataFrame:
        journal = self._journal(drive_dir)
        sent = pl.col("sent_ns").is_not_null()
        return (
            journal.rows.with_columns(
                pl.col("due_ns").alias("planned_ns"),
                pl.lit(None, pl.String).alias("version"),
                pl.col("seq").replace_strict(journal.states, default=None, return_dtype=pl.String).alias("state"),
                pl.col("seq").replace_strict(journal.sent_at, default=None, return_dtype=pl.Int64).alias("sent_ns"),
            )
            .with_columns(
                pl.when(sent).then(self.late_ns).alias("lateness_ns"),
                pl.when(sent).then(20.0).alias("queue_ms"),
                pl.when(sent).then(60.0).alias("run_ms"),
                pl.when(sent).then(80.0 + pl.col("seq")).alias("total_ms"),
                pl.when(sent).then(78.0 + pl.col("seq")).alias("raw_total_ms"),
                pl.when(sent).then(pl.col("sent_ns") + 1_000_000).alias("ack_ns"),
                pl.when(sent).then(pl.col("sent_ns") + (78 + pl.col("seq")) * 1_000_000).alias("done_ns"),
            )
            .filter(pl.col("seq") != (-1 if self.drop_row is None else self.drop_row))
        )

    def read_epoch(self, drive_dir: Path) -> datetime | None:
        return datetime(2026, 1, 1, tzinfo=UTC) if self._journal(drive_dir).second else None

    def read_figures(self, drive_dir: Path) -> Figures:
        figures = Figures()
        figures.count(self.read_seconds(drive_dir))
        return figures

    def read_seconds(self, drive_dir: Path, after: int = -1) -> list[Second]:
        journal = self._journal(drive_dir)
        found = []
        for at in range(after + 1, journal.second):
            sent = sum(ns // 10**9 == at for ns in journal.sent_at.values())
            times = Sketch([90.0] * sent)
            found.append(Second(at, 0, {"sent": sent, "completed": sent}, 0, 0, times, times, times, times))
        return found

    def scan_dispatches(self, drive_dir: Path) -> pl.LazyFrame:
        return self.read_dispatches(drive_dir).lazy()

    def _journal(self, drive_dir: Path) -> Journal:
        if drive_dir not in self.journals:
            self.journals[drive_dir] = Journal(pl.read_ipc(drive_dir / "plan-00000.arrow"))
        return self.journals[drive_dir]

    def close(self, journal: Journal, outcome: str) -> None:
        for seq in journal.rows["seq"].to_list():
            journal.states.setdefault(seq, "cancelled_unsent")
        journal.outcome = outcome

    def _counts(self, journal: Journal) -> dict[str, int]:
        states = Counter(journal.states.values())
        height = journal.rows.height
        named = ("dropped", "cancelled_unsent", "awaiting_ack", "submitted", "queued", "leased", "completed", "failed")
        counts = {name: states[name] for name in (*named, "cancelled_sent", "unknown")}
        return {
            "planned": height,
            "still_planned": height - len(journal.states),
            "sent": len(journal.sent_at),
            **counts,
        }
