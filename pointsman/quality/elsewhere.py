"""Judging by tasks elsewhere: a chunk is some outputs that follow each other in the plan of the matrix.

All chunks belong to one set and so to one judge: a task whose settings make another judge is refused. Every judgement
is stored as it is made, so a chunk that is started again goes on where it stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pointsman.benchmark.chunks import Turn
from pointsman.benchmark.spreading import Chunk, Spreading
from pointsman.errors import RunFailed
from pointsman.quality.evaluation import evaluation_set, pending_chunks
from pointsman.workspace import Workspace

if TYPE_CHECKING:
    from pointsman.scenario import RunLauncher

FLOW = "judge-chunk"
AT_ONCE = 4


def judge_elsewhere(
    ws: Workspace, set_id: str, runs: RunLauncher, *, judge: str, price_book: str, chunk_size: int
) -> None:
    """Have every chunk of the set that is not judged yet judged, some at once, and return when nothing is pending.

    `judge` and `price_book` name the blocks that a task opens. Raises what `Spreading.run` does: `JudgeUnavailable`
    when a chunk says so, and the whole comparison needs another judge; `RunFailed` (`chunk_lost`) when the runs of a
    chunk vanish one after the other, which leaves the set to be continued.
    """
    benchmark_id = evaluation_set(ws, set_id).benchmark_id

    def planned(number: int) -> Chunk:
        return Chunk(
            id=_id(set_id, chunk_size, number),
            flow=FLOW,
            request={
                "evaluation_set_id": set_id,
                "chunk": number,
                "chunk_size": chunk_size,
                "judge": judge,
                "price_book": price_book,
            },
            done=lambda: number not in pending_chunks(ws, set_id, chunk_size),
            give_up=lambda how: _lost(benchmark_id, number, how),
        )

    spreading = Spreading(ws, benchmark_id, runs, at_once=AT_ONCE)
    spreading.run([planned(number) for number in pending_chunks(ws, set_id, chunk_size)])


def judgement_turn(set_id: str, chunk_size: int, chunk: int, turn: int) -> Turn:
    """The turn that a task elsewhere was started for."""
    return Turn(_id(set_id, chunk_size, chunk), turn)


def _id(set_id: str, chunk_size: int, number: int) -> str:
    return f"{set_id}-{chunk_size}-{number}"


def _lost(benchmark_id: str, number: int, how: str) -> NoReturn:
    raise RunFailed(
        f"The tasks that were to judge chunk {number} of {benchmark_id} ended without a word ({how}).",
        instruction=f"Continue with `pointsman evaluate {benchmark_id}`.",
        code="chunk_lost",
    )
