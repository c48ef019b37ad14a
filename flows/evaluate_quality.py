"""evaluate-quality: judge every output of a benchmark with one judge, or with none."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from pointsman.quality import JudgeUnavailable
from tasks.cancelling import cancel_judging
from tasks.checks import check_evaluations
from tasks.chunks import runs_elsewhere
from tasks.quality import (
    assess_trust,
    close_evaluation_set,
    fall_back,
    judge_chunk,
    judge_elsewhere,
    look_again,
    mark_benchmark_ready,
    open_evaluation_set,
    pending_chunks,
    report_trust,
    sends_batches,
)


class EvaluateQualityRequest(BaseModel):
    """One benchmark, one judge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark_id: str = Field(title="Benchmark", description="bm_<uuid> of a collected matrix.", pattern=r"^bm_")
    judge: str = Field("auto", title="Judge", description="Name of a saved judge block: auto, local or gemini.")
    price_book: str = Field("default", title="Price book", description="Prices that a judge's spending cap is held to.")
    incumbent: str | None = Field(
        None, title="Incumbent", description="Id of the variant that a judge that compares holds outputs against."
    )
    reopen: bool = Field(
        False, title="Reopen", description="Ask this judge again although it was given up before, and another judged."
    )
    chunk_size: int = Field(
        250, title="Outputs per chunk", description="A chunk is one task, which is retried as one.", ge=1, le=1000
    )
    fall_back_inline: bool = Field(
        False,
        title="Fall back",
        description="Where chunks are to be judged on ECS and that cannot be used: judge in this flow run.",
    )


@flow(name="evaluate-quality", flow_run_name="judge-{request.benchmark_id}", on_cancellation=[cancel_judging])
def evaluate_quality(request: EvaluateQualityRequest) -> str:
    """Returns the evaluation set's id. An abandoned set means that no judge could see the whole comparison."""
    judge = request.judge
    set_id = open_evaluation_set(
        request.benchmark_id, judge, request.price_book, incumbent=request.incumbent, reopen=request.reopen
    )
    try:
        judge_all(set_id, judge, request)
    except JudgeUnavailable as error:
        if fall_back(set_id, str(error)) == "insufficient":
            report_trust(set_id)
            return set_id
        judge = "local"
        set_id = open_evaluation_set(request.benchmark_id, judge, request.price_book)
        judge_all(set_id, judge, request)
    unchecked = look_again(set_id, judge, request.price_book)
    # Before it is closed: no verdict may rest on a set whose judge nobody has held against the policy.
    assess_trust(set_id, request.judge, request.price_book, unchecked)
    close_evaluation_set(set_id)
    check_evaluations(set_id)
    mark_benchmark_ready(request.benchmark_id)
    report_trust(set_id)
    return set_id


def judge_all(set_id: str, judge: str, request: EvaluateQualityRequest) -> None:
    together = sends_batches(judge, request.price_book)
    if runs_elsewhere() and not together:
        judge_elsewhere(
            set_id, judge, request.price_book, request.chunk_size, fall_back_inline=request.fall_back_inline
        )
    for chunk in pending_chunks(set_id, None if together else request.chunk_size):
        judge_chunk(set_id, judge, request.price_book, chunk)
