"""judge-chunk: judge some outputs of a benchmark, in a process of its own where a worker is, for evaluate-quality."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from pointsman.quality import judgement_turn
from tasks import quality
from tasks.chunks import as_turn


class JudgeChunkRequest(BaseModel):
    """One turn of one chunk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluation_set_id: str = Field(
        title="Evaluation set",
        description="One that is being judged: evaluate-quality starts its chunks.",
        max_length=64,
        json_schema_extra={"position": 0},
    )
    chunk: int = Field(title="Chunk", description="Which one, from 0.", ge=0, json_schema_extra={"position": 1})
    chunk_size: int = Field(title="Chunk size", description="Outputs in each chunk.", ge=1, le=1000)
    judge: str = Field(title="Judge", description="Name of the saved judge block that the set was opened for.")
    price_book: str = Field("default", title="Price book", description="Prices that a judge's spending cap is held to.")
    turn: int = Field(1, title="Turn", description="How many runs the chunk will have had.", ge=1)


@flow(name="judge-chunk", flow_run_name="judge-{request.evaluation_set_id}-{request.chunk}")
def judge_chunk(request: JudgeChunkRequest) -> None:
    """The judgements are in the database when it ends, each from when it was made."""
    set_id, size, chunk = request.evaluation_set_id, request.chunk_size, request.chunk
    with as_turn(judgement_turn(set_id, size, chunk, request.turn)):
        quality.judge_chunk(set_id, request.judge, request.price_book, quality.outputs_of_chunk(set_id, size, chunk))
