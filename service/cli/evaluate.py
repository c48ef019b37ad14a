"""`pointsman evaluate`: judge a benchmark's outputs and decide; ask people as well; look at what a judge is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pointsman.benchmark import matrix_run
from pointsman.data_classes import data_classes
from pointsman.decision import read_hud
from pointsman.errors import InputRefused, NotFound
from pointsman.quality import (
    draw_up_sheet,
    evaluation_sets_of,
    labelling_page,
    load_rubric,
    read_answers,
    reassess_trust,
    trust_of,
)
from pointsman.routing import current
from pointsman.storage import write_atomically
from service.cli.hud_view import fail_if_invalid, show_hud
from service.cli.naming import one_variant
from service.cli.output import JsonFlag, console, emit, open_workspace
from service.cli.running import connect, request, run_flow
from service.cli.trust_view import show_trust, trust_document


class _JudgeUnlessNamed(TyperGroup):
    """`pointsman evaluate bm_...` judges: the other things that can be done are named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["judge", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_JudgeUnlessNamed,
    no_args_is_help=True,
    add_completion=False,
    help="Judge a benchmark's outputs and decide; ask people as well; see what the judge is worth.",
)
Benchmark = Annotated[str, typer.Argument(help="bm_... of a matrix whose cells are all run.")]


@app.command("judge")
def evaluate(
    benchmark_id: Benchmark,
    judge: Annotated[str, typer.Option(help="auto, local or gemini (names of judge blocks).")] = "auto",
    reopen: Annotated[bool, typer.Option(help="Ask a judge again that was given up before.")] = False,
    incumbent: Annotated[str | None, typer.Option(help="Variant to beat; default: what the route has now.")] = None,
    fall_back_inline: Annotated[
        bool, typer.Option("--fall-back-inline", help="Judge here when ECS cannot be used.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Judge every output with one judge and decide: what `evaluate` does unless told otherwise.

    The same command continues an interrupted one.
    """
    ws = open_workspace()
    key = matrix_run(ws, benchmark_id).variants[0].id.route_key
    binding = current(ws, key)
    serving = binding.sole_variant if binding else None
    beaten = one_variant(ws, "--incumbent", incumbent).id if incumbent else serving
    if beaten is None:
        raise InputRefused("--incumbent", incumbent, f"a variant of {key}, whose binding names no single one")
    connect()

    def load_judging() -> Any:
        from flows.evaluate_quality import evaluate_quality

        return evaluate_quality

    def load_hud() -> Any:
        from flows.money_hud import money_hud

        return money_hud

    from flows.evaluate_quality import EvaluateQualityRequest
    from flows.money_hud import MoneyHudRequest

    judging = request(
        EvaluateQualityRequest,
        benchmark_id=benchmark_id,
        incumbent=str(beaten),
        judge=judge,
        reopen=reopen,
        fall_back_inline=fall_back_inline,
    )
    set_id = run_flow(load_judging, judging)
    asked = request(
        MoneyHudRequest, benchmark_id=benchmark_id, evaluation_set_id=set_id, incumbent=str(beaten), judge=judge
    )
    hud = read_hud(ws, run_flow(load_hud, asked).verdict_id)
    emit(as_json, hud, lambda: show_hud(hud))
    fail_if_invalid(hud)


@app.command("label")
def label_command(
    benchmark_id: Benchmark,
    answers: Annotated[list[Path] | None, typer.Option(help="A file that the page saved; may be repeated.")] = None,
    pairs: Annotated[int, typer.Option(help="Pairs of outputs on the page.", min=1, max=500)] = 20,
    rubric: Annotated[str, typer.Option(help="A built-in rubric or the path of a TOML file.")] = "video-effect",
    seed: Annotated[int, typer.Option(help="Another one chooses other pairs.", min=0)] = 1,
    data_class: Annotated[
        list[str] | None, typer.Option(help="What whoever rates may see of inputs: faces, minors; repeat for more.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the page is written.")] = Path("label.html"),
    as_json: JsonFlag = False,
) -> None:
    """Write a page on which people rate outputs side by side, not told what made them; with --answers, read it back."""
    ws = open_workspace()
    if answers:
        contents = [_content(path) for path in answers]
        labelled = sum(read_answers(ws, benchmark_id, content) for content in contents)
        found = [one for one in evaluation_sets_of(ws, benchmark_id) if one.status == "complete"]
        for one in found:
            reassess_trust(ws, one.id)
        document = {"labelled": labelled, "judges": [trust_document(ws, one) for one in found]}

        def show() -> None:
            console.print(f"{labelled} outputs are labelled.")
            for one in found:
                show_trust(ws, one)

        emit(as_json, document, show)
        return
    sees = data_classes("--data-class", data_class or ())
    sheet = draw_up_sheet(ws, benchmark_id, load_rubric(rubric), pairs=pairs, seed=seed, sees=sees)
    write_atomically(out.absolute(), labelling_page(sheet).encode())
    written = {"page": str(out), "sheet": sheet.id, "pairs": len(sheet.items)}

    def tell() -> None:
        console.print(f"{len(sheet.items)} pairs are on {out}. Open it in a browser, rate, save, then:", markup=False)
        console.print(
            f"  pointsman evaluate label {benchmark_id} --answers FILE", style="cyan", markup=False, soft_wrap=True
        )

    emit(as_json, written, tell)


@app.command("trust")
def trust_command(benchmark_id: Benchmark, as_json: JsonFlag = False) -> None:
    """Show what each judge of a benchmark is worth: agreement with itself and with people, and what it cost."""
    ws = open_workspace()
    found = [one for one in evaluation_sets_of(ws, benchmark_id) if trust_of(ws, one.id) is not None]
    if not found:
        todo = f"pointsman evaluate {benchmark_id}"
        raise NotFound("judged benchmark", benchmark_id, "one whose outputs are judged", instruction=todo)

    def show() -> None:
        for one in found:
            show_trust(ws, one)

    emit(as_json, [trust_document(ws, one) for one in found], show)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputRefused("--answers", str(path), f"a file that can be read ({error.strerror})") from error
