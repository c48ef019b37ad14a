"""A matrix whose rounds are run by tasks elsewhere: what a chunk is, starting them, and running one.

A chunk is one round or several that follow each other. A round is never split, so blocks stay paired in time and cells
interleaved as they were drawn; rounds of one chunk go one after the other. Chunks at work at the same time share what a
provider may be given, so that together they put it under no more load than one process would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pointsman.benchmark import cells
from pointsman.benchmark.chunks import Turn
from pointsman.benchmark.execution import run_round
from pointsman.benchmark.runs import matrix_run, start_matrix
from pointsman.benchmark.sharing import Elsewhere
from pointsman.benchmark.spreading import Chunk, Spreading
from pointsman.dispatch import DriveStatus
from pointsman.errors import InputRefused
from pointsman.settings import Secret
from pointsman.workspace import Workspace

if TYPE_CHECKING:
    from pointsman.scenario import RunLauncher

FLOW = "run-matrix-chunk"
AT_ONCE = 4


def matrix_chunks(ws: Workspace, benchmark_id: str) -> list[range]:
    """The rounds of each chunk: as many as hold the matrix's `chunk_size` cells, and at least one."""
    size = matrix_run(ws, benchmark_id).chunk_size
    with ws.database.connect() as connection:
        rounds = cells.sizes_of_rounds(connection, benchmark_id)
    found: list[range] = []
    held = 0
    for number, count in rounds.items():
        if found and held + count <= size:
            found[-1] = range(found[-1].start, number + 1)
            held += count
        else:
            found.append(range(number, number + 1))
            held = count
    return found


def run_matrix_elsewhere(
    ws: Workspace,
    benchmark_id: str,
    runs: RunLauncher,
    *,
    on_done: Callable[[], None] = lambda: None,
    spending: Mapping[str, Any] | None = None,
) -> None:
    """Have every chunk that is not done run, some at once, and return when all cells are terminal.

    The cells of a chunk whose runs vanish one after the other are failed with the reason `chunk_lost`. Raises what
    `Spreading.run` does; `on_done` is called after each chunk. `spending` goes into the requests of chunks: what they
    hold their spending to. Resumable like `run_round`, also while chunks run that an earlier call started.
    """
    run = start_matrix(ws, benchmark_id)
    left = [chunk for chunk in matrix_chunks(ws, benchmark_id) if not _is_done(ws, benchmark_id, chunk)]
    alone = [one.limits.in_flight for one in run.variants if one.limits.in_flight is not None]
    at_once = min(AT_ONCE, run.in_flight_per_provider, len(left) or 1, *alone)
    if run.consent is not None:  # each drive sends at least one in a second
        at_once = min(at_once, max(1, run.consent.per_s // len(run.targets)))

    def planned(rounds: range) -> Chunk:
        return Chunk(
            id=_id(benchmark_id, rounds),
            flow=FLOW,
            request={
                "benchmark_id": benchmark_id,
                "first_round": rounds.start,
                "last_round": rounds.stop - 1,
                "at_once": at_once,
                **(spending or {}),
            },
            done=lambda: _is_done(ws, benchmark_id, rounds),
            give_up=lambda how: _fail_cells(ws, benchmark_id, rounds, how),
        )

    spreading = Spreading(
        ws,
        benchmark_id,
        runs,
        at_once=at_once,
        stopped=lambda: matrix_run(ws, benchmark_id).status == "cancelled",
        on_done=on_done,
    )
    spreading.run([planned(rounds) for rounds in left])


def matrix_turn(benchmark_id: str, first_round: int, last_round: int, turn: int) -> Turn:
    """The turn that a task elsewhere was started for."""
    return Turn(_id(benchmark_id, range(first_round, last_round + 1)), turn)


def run_round_elsewhere(
    ws: Workspace,
    benchmark_id: str,
    number: int,
    *,
    turn: Turn,
    at_once: int,
    secret: Secret | None,
    cancelled: Callable[[], bool],
    on_status: Callable[[DriveStatus], None],
) -> None:
    """`run_round`, as the turn of a chunk and with its share of what a provider may be given."""
    if at_once < 1:
        raise InputRefused("at_once", at_once, "1 or more")
    run_round(
        ws,
        benchmark_id,
        number,
        secret=secret,
        cancelled=cancelled,
        on_status=on_status,
        elsewhere=Elsewhere(turn, at_once),
    )


def _id(benchmark_id: str, rounds: range) -> str:
    return f"{benchmark_id}-rounds-{rounds.start}-{rounds.stop - 1}"


def _is_done(ws: Workspace, benchmark_id: str, rounds: range) -> bool:
    with ws.database.connect() as connection:
        return not set(rounds) & set(cells.unfinished_rounds(connection, benchmark_id))


def _fail_cells(ws: Workspace, benchmark_id: str, rounds: range, how: str) -> None:
    why = f"chunk_lost: the tasks that were to run it ended without a word ({how})"
    with ws.database.begin() as connection:
        lost = [item for number in rounds for item in cells.cells_of_round(connection, benchmark_id, number)]
        cells.move_cells(connection, ws, [(item, "failed", why, {"reason": why}) for item in lost])
