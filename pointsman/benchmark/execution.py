"""Running one round of a matrix: a closed-loop drive of its cells, and what became of each stored at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.benchmark import cells
from pointsman.benchmark.inputs import inputs_named
from pointsman.benchmark.outcomes import store_outcomes
from pointsman.benchmark.runs import MatrixRun, cancel_matrix, fail_matrix, matrix_run, start_matrix
from pointsman.benchmark.sharing import Elsewhere, doubt_what_is_lost, folder_of, sharing
from pointsman.benchmark.stopping import skips, stop_by_rule, stopped_variants, withheld
from pointsman.dispatch import (
    DriveInput,
    DrivePlan,
    DriveStatus,
    Limits,
    TargetSpec,
    VariantBound,
    drive,
    has_plan,
    planned_dispatches,
    read_header,
    write_drive,
)
from pointsman.dispatch.pace import share_of
from pointsman.errors import Cancelled, RunFailed
from pointsman.ids import VariantId
from pointsman.model import InputMember, VariantLimits
from pointsman.settings import Secret
from pointsman.storage import tables
from pointsman.workspace import Workspace

if TYPE_CHECKING:
    from pointsman.scenario.production_watch import Brakes
    from pointsman.scenario.readings import Brake

_CANCEL_LOOK_S = 1.0
_DRIVES = 2
"""The open cells of a round, and once more those that an interrupted call has cancelled."""


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What one call of `run_round` stored: how many cells ended in each item state."""

    benchmark_id: str
    round: int
    counts: dict[str, int]


def run_round(
    ws: Workspace,
    benchmark_id: str,
    number: int,
    *,
    secret: Secret | None,
    cancelled: Callable[[], bool],
    on_status: Callable[[DriveStatus], None],
    elsewhere: Elsewhere | None = None,
) -> RoundOutcome:
    """Run the cells of a round that are not terminal, and store items, attempts, usage and artifacts together.

    The targets of the round work side by side, a drive each, so that an input meets all its variants at the same time.

    Cells of a variant that was stopped, or that may not see their input, are skipped with the reason and not sent.

    Resumable: after a crash at any point the same call continues the same drive, and a round that is done is answered
    at once. A failed matrix is set running again, a cancelled one is not. Cells that an interrupted earlier call has
    cancelled at the target are planned again and run.

    A task `elsewhere` shares its drives with whoever has its next turn, through the results store. What a lost one sent
    since it shared them last is sent again under the same dispatch ids where the target takes that for a repetition;
    where it does not, cells of a round that was begun, and of which nothing is known, are unknown.

    While cells of a matrix in production are run, the safety lever and the operator's alarms are looked at: they end it
    like a cancel, and it has then failed (`RunFailed`).

    Raises `Cancelled`, after storing what was learnt and moving the
    matrix to cancelled, when `cancelled` answers true or the matrix was cancelled elsewhere; `DependencyDown` when the
    target is lost, leaving the round to be continued; `RunFailed` when the target cancels cells though nobody here
    asked; elsewhere also `Conflict` (`chunk_replaced`), and `DependencyDown` when the results store takes no outputs.
    """
    look = _CancelLook(ws, benchmark_id, cancelled)
    counts: Counter[str] = Counter()
    for _ in range(_DRIVES):
        if not _unfinished(ws, benchmark_id, number):
            return RoundOutcome(benchmark_id, number, dict(counts))
        look.watch(matrix_run(ws, benchmark_id))
        run, items, members, begun = _begin(ws, benchmark_id, number)
        drives = _drives(ws, run, items)
        spread = Counter(provider for _, _, own in drives for provider in _providers(own))
        for drive_dir, target, own in drives:
            is_ours = has_plan(drive_dir)
            if elsewhere is not None:
                ws.results.pull(folder_of(ws, drive_dir))
            at_once = elsewhere.at_once if elsewhere is not None else 1
            limits = _limits(run, own, drive_dir, at_once, len(drives), spread)
            write_drive(drive_dir, _plan(run, target, own, members, limits))
            if elsewhere is not None and begun and not is_ours:
                doubt_what_is_lost(ws, drive_dir, target)

        def carry_out(drive_dir: Path, own: Sequence[sa.Row[Any]]) -> dict[str, int]:
            with sharing(ws, drive_dir, on_status, elsewhere) as told:
                summary = drive(drive_dir, secret=secret, cancelled=look, on_status=told, clock=ws.clock)
            turn = elsewhere.turn if elsewhere is not None else None
            return store_outcomes(ws, benchmark_id, own, drive_dir, summary, turn=turn)

        for stored in _side_by_side([partial(carry_out, drive_dir, own) for drive_dir, _, own in drives], look):
            counts.update(stored)
        left = counts.pop("cancelled", 0)
        look.raise_brake()
        if left and look.seen:
            cancel_matrix(ws, benchmark_id, reason=f"asked to stop during round {number}")
            raise Cancelled(
                f"Matrix {benchmark_id} was cancelled during round {number}.",
                instruction="Run the command that created it again: it continues where this one stopped.",
            )
        if not left:
            return RoundOutcome(benchmark_id, number, dict(counts))
    raise RunFailed(
        f"The target cancelled {left} cells of round {number} of {benchmark_id} though nobody here asked for it.",
        instruction="Run the command that created it again: it continues where this one stopped.",
        code="cells_cancelled",
    )


def _begin(
    ws: Workspace, benchmark_id: str, number: int
) -> tuple[MatrixRun, Sequence[sa.Row[Any]], Sequence[InputMember], bool]:
    """Set the matrix and the open cells of the round running, but for those that are skipped by now.

    Gives the matrix, the cells and their inputs as they stand then, and whether cells ran before.
    """
    run = start_matrix(ws, benchmark_id, number=number)
    with ws.database.connect() as connection:
        used = {item.input_id for item in cells.cells_of_round(connection, benchmark_id, number)}
    members = inputs_named(ws, run.input_set_id, used)
    with ws.database.begin() as connection:
        if run.early_stop is not None:
            stop_by_rule(connection, ws, benchmark_id, run.early_stop)
        items = cells.cells_of_round(connection, benchmark_id, number)
        skipped = skips(items, stopped_variants(connection, benchmark_id), withheld(run.variants, members))
        cells.move_cells(connection, ws, [(item, "skipped", why, {"reason": why}) for item, why in skipped])
        away = {item.dispatch_id for item, _ in skipped}
        begun = any(item.status == "running" for item in items)
        left = [item for item in items if item.dispatch_id not in away]
        cells.move_cells(connection, ws, [(item, "running", f"round {number}", {}) for item in left])
        return run, cells.cells_of_round(connection, benchmark_id, number), members, begun


def _unfinished(ws: Workspace, benchmark_id: str, number: int) -> bool:
    with ws.database.connect() as connection:
        if cells.is_unfinished(connection, benchmark_id, number):
            return True
    matrix_run(ws, benchmark_id)
    return False


def _drives(
    ws: Workspace, run: MatrixRun, items: Sequence[sa.Row[Any]]
) -> list[tuple[Path, TargetSpec, list[sa.Row[Any]]]]:
    """The items by target, each with the folder of its drive."""
    runs_on = {str(one.id): one.target for one in run.variants}
    found = []
    for target in run.targets:
        own = [item for item in items if runs_on[item.variant_id] == target.name]
        if own:
            # A closed drive takes no more dispatches: cells planned again after a cancel get a folder of their own.
            again = f"-from-{own[0].seq}" if own[0].seq >= run.planned else ""
            folder = f"{run.results_path}/rounds/{own[0].round}{again}/{target.name}"
            found.append((ws.results.path(folder), target, own))
    return found


def _side_by_side(work: Sequence[Callable[[], dict[str, int]]], look: _CancelLook) -> list[dict[str, int]]:
    """Call all of `work` at once and return what each gave. The first error is raised when all have ended."""
    if len(work) < 2:
        return [one() for one in work]
    with ThreadPoolExecutor(max_workers=len(work)) as pool:
        futures = [pool.submit(one) for one in work]
        try:
            wait(futures)
        except BaseException:
            look.seen = True  # a signal in this thread: the others stop as for a cancel
            raise
    return [future.result() for future in futures]


def _providers(items: Sequence[sa.Row[Any]]) -> set[str]:
    return {VariantId.parse(text).provider for text in {item.variant_id for item in items}}


def _limits(
    run: MatrixRun,
    items: Sequence[sa.Row[Any]],
    drive_dir: Path,
    at_once: int,
    drives: int,
    spread: Mapping[str, int],
) -> Limits:
    """Of `at_once` processes that share what a provider may be given, and of `drives` that go side by side here, in
    `spread` of which each provider has jobs.

    A drive that was begun keeps its own.
    """
    if has_plan(drive_dir):
        return read_header(drive_dir).limits
    used = {item.variant_id for item in items}
    providers = _providers(items)
    per_provider = max(1, run.in_flight_per_provider // (at_once * max(spread[one] for one in providers)))
    bounds = {str(one.id): _bound(one.limits, at_once) for one in run.variants if str(one.id) in used}
    # As long as a slow variant waits for its turn nothing may be learnt.
    longest_s = max((2 / bound.per_s for bound in bounds.values() if bound.per_s is not None), default=0.0)
    return Limits(
        max_in_flight=per_provider * len(providers),
        max_in_flight_per_provider=per_provider,
        drain_limit_s=max(run.drain_limit_s, longest_s),
        fetch_outputs=True,
        rate_share=1 / at_once,
        submits_per_s=None if run.consent is None else share_of(run.consent.per_s, 1 / (at_once * drives)),
        variants={name: bound for name, bound in bounds.items() if bound != VariantBound()},
    )


def _bound(limits: VariantLimits, at_once: int) -> VariantBound:
    """The share of one of `at_once` drives in what a variant may be given."""
    return VariantBound(
        max_in_flight=None if limits.in_flight is None else max(1, limits.in_flight // at_once),
        per_s=None if limits.per_s is None else limits.per_s / at_once,
    )


def _plan(
    run: MatrixRun,
    target: TargetSpec,
    items: Sequence[sa.Row[Any]],
    members: Sequence[InputMember],
    limits: Limits,
) -> DrivePlan:
    used = {item.variant_id for item in items}
    needed = {item.input_id for item in items}
    return DrivePlan(
        run_id=run.id,
        target=target,
        variants={str(one.id): one.params for one in run.variants if str(one.id) in used},
        inputs={member.input_id: DriveInput.of(member) for member in members if member.input_id in needed},
        dispatches=planned_dispatches(
            seq=[item.seq for item in items],
            route=[item.variant_id for item in items],
            input_id=[item.input_id for item in items],
            repeat=[item.repeat for item in items],
            stage=items[0].round,
        ),
        limits=limits,
        sees={str(one.id): one.data_classes for one in run.variants},
    )


class _CancelLook:
    """Whether to stop: the caller says so, or the matrix's own row, which is read at most once a second, or the brakes
    of production."""

    def __init__(self, ws: Workspace, benchmark_id: str, cancelled: Callable[[], bool]) -> None:
        self._ws = ws
        runs = tables.benchmark_matrix_runs
        self._status = sa.select(runs.c.status).where(runs.c.id == benchmark_id)
        self._cancelled = cancelled
        self._next = ws.clock.monotonic() + _CANCEL_LOOK_S
        self._benchmark_id = benchmark_id
        self._brakes: Brakes | None = None
        self._brake: Brake | None = None
        self._zero_s = ws.clock.monotonic()
        self.seen = False

    def watch(self, run: MatrixRun) -> None:
        """Look at the brakes from now on, and now, if the matrix is in production."""
        if run.consent is None:
            return
        if self._brakes is None:
            from pointsman.scenario.production_watch import brakes_of  # takes a second to import, which few need

            self._brakes = brakes_of(self._ws, run.consent)
        self()
        self.raise_brake()

    def raise_brake(self) -> None:
        """End the matrix, if a brake has stopped it: raises `RunFailed`."""
        if self._brake is None:
            return
        error = RunFailed(
            f"The matrix {self._benchmark_id} was stopped in production: {self._brake.message}",
            instruction=f"See what was sent: pointsman benchmark show {self._benchmark_id}",
            code=self._brake.code,
        )
        fail_matrix(self._ws, self._benchmark_id, **error.as_failure())
        ActionLog(self._ws).record(
            "benchmark_stopped",
            run_id=self._benchmark_id,
            context=self._benchmark_id,
            code=error.code,
            why=self._brake.message,
        )
        raise error

    def __call__(self) -> bool:
        if not self.seen and self._brakes is not None:
            self._brake = self._brakes.look(self._ws.clock.monotonic() - self._zero_s)
            self.seen = self._brake is not None
        if not self.seen and self._cancelled():
            self.seen = True
        if not self.seen and self._ws.clock.monotonic() >= self._next:
            self._next = self._ws.clock.monotonic() + _CANCEL_LOOK_S
            with self._ws.database.begin() as connection:
                self.seen = connection.execute(self._status).scalar_one() == "cancelled"
        return self.seen
