"""run-matrix-chunk: some rounds of a matrix, in a process of its own wherever a worker is, for benchmark-matrix."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from pointsman.benchmark import matrix_turn
from tasks.benchmark import run_round_of_chunk
from tasks.chunks import as_turn
from tasks.economics import check_budget


class RunMatrixChunkRequest(BaseModel):
    """One turn of one chunk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark_id: str = Field(
        title="Benchmark",
        description="bm_<uuid> of a matrix that is being run: benchmark-matrix starts its chunks.",
        pattern=r"^bm_",
        json_schema_extra={"position": 0},
    )
    first_round: int = Field(title="First round", description="Of the chunk.", ge=0, json_schema_extra={"position": 1})
    last_round: int = Field(title="Last round", description="Of the chunk, included.", ge=0)
    turn: int = Field(1, title="Turn", description="How many runs the chunk will have had.", ge=1)
    at_once: int = Field(1, title="At once", description="Chunks that share what a provider may be given.", ge=1, le=64)
    price_book: str | None = Field(
        None,
        title="Price book",
        description="Where spending is limited: the prices by which it is looked at before each round.",
    )
    budget_usd: float | None = Field(
        None, title="Budget (USD)", description="Of the whole matrix, for which a price book is needed.", gt=0, le=1e6
    )


@flow(name="run-matrix-chunk", flow_run_name="{request.benchmark_id}-rounds-{request.first_round}-{request.last_round}")
def run_matrix_chunk(request: RunMatrixChunkRequest) -> None:
    """What came of the cells is in the database when it ends."""
    turn = matrix_turn(request.benchmark_id, request.first_round, request.last_round, request.turn)
    with as_turn(turn):
        for number in range(request.first_round, request.last_round + 1):
            if request.price_book is not None:
                check_budget(request.benchmark_id, request.price_book, request.budget_usd)
            run_round_of_chunk(request.benchmark_id, number, turn, request.at_once)
