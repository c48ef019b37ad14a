"""A run's watchers as its coordinator calls them: built from the scenario, and kept in the run's row between calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.dispatch import RunSeconds
from pointsman.errors import PointsmanError
from pointsman.scenario.faults.director import FaultDirector
from pointsman.scenario.faults.environment import aws_place, faulty_stages
from pointsman.scenario.judging import conditions_of
from pointsman.scenario.model import Scenario
from pointsman.scenario.production_watch import ProductionWatcher
from pointsman.scenario.readings import aws_sources
from pointsman.scenario.record import RunRecord, advance, overlay, read_in, run_scenario
from pointsman.scenario.spending import SpendingWatcher, SpendMeter
from pointsman.scenario.trace import kept_traces
from pointsman.scenario.watching import Stop, Watcher
from pointsman.storage import tables
from pointsman.workspace import Workspace


def build_watchers(ws: Workspace, record: RunRecord, scenario: Scenario) -> list[Watcher]:
    """What watches this run, in the order in which it is asked. Every part that watches runs adds its own here."""
    place = aws_place(ws, record.environment_id)
    sources = aws_sources(scenario.observe, place, usd_per_dispatch=SpendMeter.of(record).unit_usd)
    conditions = conditions_of(record.id, scenario, record.seed, sources, kept_traces(ws, scenario))
    faults = FaultDirector(ws, record, scenario) if faulty_stages(scenario) else None
    production = ProductionWatcher.of(record, place)
    return [SpendingWatcher(record), *(one for one in (production, conditions, faults) if one is not None)]


class Watch:
    """All watchers of one run. What they know is in `metrics_json.watchers`, by name."""

    def __init__(self, ws: Workspace, record: RunRecord) -> None:
        self._ws = ws
        self._run_id = record.id
        self._watchers = build_watchers(ws, record, run_scenario(ws, record))
        self._kept: Mapping[str, Any] = record.metrics_json.get("watchers", {})
        self._epoch: datetime | None = None
        self._zero_s = 0.0
        """The epoch on the monotonic clock: one that is set while the run goes on must not move its windows."""
        self._feed = RunSeconds(record.metrics_json.get("seconds_seen"))

    @property
    def begun(self) -> bool:
        return self._epoch is not None

    def begin(self, epoch: datetime) -> None:
        """The run starts, or is taken over."""
        # First the row, so that whoever comes after a crash knows that an end is owed.
        advance(self._ws, self._run_id, None, metrics={"epoch": epoch.isoformat()})
        for watcher in self._watchers:
            watcher.begin(epoch, self._kept.get(watcher.name, {}))
        self._zero_s = self._ws.clock.monotonic() - (self._ws.clock.now() - epoch).total_seconds()
        self._epoch = epoch

    def look(self, drive_dirs: Sequence[Path], *, last: bool = False) -> None:
        """Show every watcher what is new, all of it when it is the `last` look, and keep what they then know.

        The first that wants the run to stop says why: `metrics_json.stopped`, and its event in the action log.
        """
        assert self._epoch is not None
        now_s = self._ws.clock.monotonic() - self._zero_s
        seconds = self._feed.new(drive_dirs, last=last)
        stops = [watcher.look(now_s, seconds) for watcher in self._watchers]
        self._keep(next((stop for stop in stops if stop is not None), None))

    def _keep(self, stop: Stop | None) -> None:
        """In one transaction, so that a watcher that said stop is not taken for one that did not."""
        with self._ws.database.begin() as connection:
            record = read_in(connection, self._run_id)
            if record.ended:
                return
            metrics = {**record.metrics_json, "seconds_seen": self._feed.seen, "watchers": self._states()}
            if stop is not None and "stopped" not in metrics and record.status != "cancelling":
                failure = {"code": stop.code, "message": stop.message, "instruction": stop.instruction}
                metrics["stopped"] = failure
                data = {**failure, **stop.data}
                ActionLog(self._ws).record_in(connection, stop.event, run_id=record.id, context=record.context, **data)
            runs = tables.load_test_runs
            connection.execute(sa.update(runs).where(runs.c.id == record.id).values(metrics_json=metrics))

    def _states(self) -> dict[str, Any]:
        return {watcher.name: dict(watcher.state()) for watcher in self._watchers}

    def halt(self) -> None:
        """Let every watcher end what does harm, before the run's jobs are ended."""
        for watcher in self._watchers:
            watcher.halt()

    def end(self) -> dict[str, Any]:
        """End every watcher, also when one of them cannot, and return what `metrics_json` shall hold.

        Raises the first error of a watcher: the run has not ended before all that was begun for it has.
        """
        found: dict[str, Any] = {}
        errors: list[PointsmanError] = []
        for watcher in self._watchers:
            try:
                found = overlay(found, watcher.end())
            except PointsmanError as error:
                errors.append(error)
        self._keep(None)
        if errors:
            raise errors[0]
        return found


def halt_faults(ws: Workspace, record: RunRecord) -> None:
    """The same for the faults of a run that somebody else coordinates, or nobody: by what its row says of them."""
    scenario = run_scenario(ws, record)
    if "epoch" in record.metrics_json and faulty_stages(scenario):
        director = FaultDirector(ws, record, scenario)
        kept = record.metrics_json.get("watchers", {}).get(director.name, {})
        director.begin(datetime.fromisoformat(record.metrics_json["epoch"]), kept)
        director.halt()


def end_watchers(ws: Workspace, record: RunRecord, watch: Watch | None = None) -> dict[str, Any]:
    """End what was begun for the run, by this coordinator (`watch`) or by one that is gone. May be repeated."""
    if "epoch" not in record.metrics_json:
        return {}
    if watch is None or not watch.begun:
        watch = Watch(ws, record)
        watch.begin(datetime.fromisoformat(record.metrics_json["epoch"]))
    return watch.end()


def laid_over(figures: Mapping[str, Any], ended: Mapping[str, Any]) -> dict[str, Any]:
    """A run's figures with what its watchers have to say, stage by stage and of the whole."""
    of_stages = ended.get("stages", {})
    stages = [overlay(stage, of_stages.get(stage["name"], {})) for stage in figures["stages"]]
    return overlay(figures, {**ended, "stages": stages})
