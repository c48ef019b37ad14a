"""The coordinator of a run: keeps its shards going, its row true and its watchers informed, until all drives closed."""

from __future__ import annotations

from collections.abc import Callable

from pointsman.dispatch import read_epoch
from pointsman.scenario.cancelling import request_stop
from pointsman.scenario.holding import Hold
from pointsman.scenario.launching import ShardLauncher
from pointsman.scenario.record import RunRecord, is_ending, read_run, run_drives
from pointsman.scenario.shards import Shards
from pointsman.scenario.watchers import Watch, halt_faults
from pointsman.settings import Secret
from pointsman.workspace import Workspace

_TICK_S = 0.05
_EVERY_S = 1.0
_DRAINING = ("draining", "closing", "closed")


class Coordinator:
    """One process's turn at coordinating a run that it holds."""

    def __init__(
        self,
        ws: Workspace,
        hold: Hold,
        record: RunRecord,
        *,
        secret: Secret | None,
        cancelled: Callable[[], bool],
        launcher: ShardLauncher | None,
    ) -> None:
        self._ws = ws
        self._hold = hold
        self._run_id = record.id
        self._cancelled = cancelled
        self._drive_dirs = run_drives(ws, record)
        self._shards = Shards(ws, record, secret=secret, launcher=launcher)
        self._next_s = ws.clock.monotonic() + _EVERY_S
        self.watch = Watch(ws, record)
        self.ending = is_ending(record)
        """Somebody wants the run to end."""

    @property
    def begun(self) -> bool:
        """Something may have been sent."""
        return self._shards.begun

    def run(self) -> None:
        """Return when every drive has closed. Raises what `Shards.look` raises; nothing is left running then."""
        try:
            if self.ending:
                self._cancel()
            self._shards.begin(self._beat_when_due)
            self._next_s = self._ws.clock.monotonic()
            while not self._shards.closed:
                self._shards.look()
                self._beat_when_due()
                self._ws.clock.sleep(_TICK_S)
            self._beat(last=True)
        finally:
            self._shards.abandon()

    def _beat_when_due(self) -> None:
        now_s = self._ws.clock.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + _EVERY_S
            self._beat()

    def _beat(self, *, last: bool = False) -> None:
        """Once a second: the heartbeat, what the run has come to, and who wants it to end."""
        if not self.ending and self._cancelled():
            request_stop(self._ws, self._run_id, reason="asked for by the process that executes the run")
        record = self._tell()
        self._shards.tell_others()
        if not self.watch.begun:
            epochs = [epoch for drive_dir in self._drive_dirs if (epoch := read_epoch(drive_dir)) is not None]
            if epochs:
                self.watch.begin(min(epochs))
        if self.watch.begun and not is_ending(record):
            self.watch.look(self._drive_dirs, last=last)
            record = read_run(self._ws, self._run_id)
        if is_ending(record) and not self.ending:
            self.ending = True
            self._cancel()

    def _cancel(self) -> None:
        """Faults first: jobs are ended, and answered for, by machines that are there."""
        if self.watch.begun:
            self.watch.halt()
        else:
            halt_faults(self._ws, read_run(self._ws, self._run_id))
        self._shards.cancel()

    def _tell(self) -> RunRecord:
        statuses = self._shards.statuses
        known = [status for status in statuses if status is not None]
        phases = [status.phase for status in known]
        sent = sum(status.counts.get("sent", 0) for status in known)
        rows = self._shards.rows()
        if self._shards.closed or (len(known) == len(statuses) and all(phase in _DRAINING for phase in phases)):
            # Both moves are recorded, also when the drive was faster than the status.
            self._hold.beat(state="running", reason="dispatching", submitted=sent)
            state, reason = "draining", "all is sent; waiting for answers"
        elif any(phase in ("sending", *_DRAINING) for phase in phases):
            state, reason = "running", "dispatching"
        else:
            state, reason = "starting", "preparing"
        return self._hold.beat(state=state, reason=reason, submitted=sent, shards=rows)
