"""`pointsman hud`: what a benchmark came to, whether its verdict follows from what is stored, inputs it needs."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.benchmark import list_matrix_runs, matrix_run
from pointsman.decision import (
    Assumptions,
    Audit,
    audit,
    audit_document,
    inputs_needed,
    load_verdict,
    read_hud,
    verdicts_of,
)
from pointsman.errors import NotFound
from pointsman.version import code_version
from pointsman.workspace import Workspace
from service.cli.hud_money import challenger_of, money_of, rates, show_money
from service.cli.hud_view import show_hud
from service.cli.output import JsonFlag, console, emit, open_workspace, table

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="What a benchmark came to, whether its verdict follows from what is stored, how many inputs one needs.",
)
Subject = Annotated[
    str | None,
    typer.Argument(
        help="A verdict id (vd_...), or a benchmark id (bm_...) for its newest; left out: the newest of all."
    ),
]

_LOOKED_AT = 100


def _verdict_id(ws: Workspace, subject: str | None) -> str:
    if subject is None:
        newest = next(
            (found for one in list_matrix_runs(ws, limit=_LOOKED_AT) for found in verdicts_of(ws, one.id)), None
        )
        if newest is None:
            raise NotFound("verdict", subject, "one that was reached, and none was yet", instruction="pointsman demo")
        return newest.id
    if not subject.startswith("bm_"):
        return load_verdict(ws, subject).id
    found = verdicts_of(ws, subject)
    if not found:
        matrix_run(ws, subject)  # of one that is not there nothing could be evaluated
        raise NotFound("benchmark", subject, "one with a verdict", instruction=f"pointsman evaluate {subject}")
    return found[0].id


@app.command("show")
def show_command(subject: Subject = None, as_json: JsonFlag = False) -> None:
    """Show the table per variant, the verdict and what to do."""
    ws = open_workspace()
    hud = read_hud(ws, _verdict_id(ws, subject))
    emit(as_json, hud, lambda: show_hud(hud))


@app.command("plan")
def plan_command(
    saving: Annotated[float, typer.Option(help="The true saving to find, as a share: 0.2.")],
    challengers: Annotated[int, typer.Option(help="Variants besides the incumbent.")] = 1,
    cost_spread: Annotated[float, typer.Option(help="Of log(cost / incumbent's cost), between inputs.")] = 0.3,
    input_spread: Annotated[float, typer.Option(help="Of log(cost), between inputs, alike for all.")] = 0.5,
    quality_spread: Annotated[float, typer.Option(help="Of the difference in quality, in points.")] = 3.0,
    success_rate: Annotated[float, typer.Option(help="Of every variant.")] = 1.0,
    inputs_per_cluster: Annotated[int, typer.Option(help="Inputs that share a source.")] = 1,
    cluster_share: Annotated[float, typer.Option(help="Of the spread, what these have in common.")] = 0.5,
    success_margin: Annotated[float, typer.Option(help="As in the rules.")] = 0.02,
    quality_margin: Annotated[float, typer.Option(help="As in the rules.")] = 2.0,
    min_saving: Annotated[float, typer.Option(help="As in the rules.")] = 0.05,
    alpha: Annotated[float, typer.Option(help="As in the rules.")] = 0.05,
    power: Annotated[float, typer.Option(help="The chance to find it.")] = 0.8,
    sequential: Annotated[bool, typer.Option("--sequential", help="With a look after every cluster.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the simulations.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """How many inputs a comparison needs to find a saving, by simulating it whole."""
    assumed = Assumptions(
        saving=saving,
        challengers=challengers,
        cost_spread=cost_spread,
        input_spread=input_spread,
        quality_spread=quality_spread,
        success_rate=success_rate,
        inputs_per_cluster=inputs_per_cluster,
        cluster_share=cluster_share,
        success_margin=success_margin,
        quality_margin=quality_margin,
        min_saving=min_saving,
        alpha=alpha,
        power=power,
        sequential=sequential,
    )
    size = inputs_needed(assumed, seed)
    found = f"{size.inputs} inputs of {size.clusters} sources find it with a chance of {100 * size.power:.0f} %"
    emit(
        as_json,
        {"assumptions": asdict(assumed), **asdict(size)},
        lambda: console.print(f"{found} ({size.simulations} simulated comparisons).", soft_wrap=True),
    )


@app.command("verify")
def verify_command(
    subject: Annotated[
        str | None,
        typer.Argument(
            help="A verdict id (vd_...), a benchmark id (bm_...) for its newest, or the file of a verdict document; "
            "left out: the newest of all."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compute the verdict again from what is stored, and compare hashes. A file is checked by itself alone."""
    if subject is not None and (path := Path(subject)).is_file():
        verdict, checks = audit_document(path.read_bytes())
        found = Audit(path.name, verdict, checks, code_version())
    else:
        ws = open_workspace()
        found = audit(ws, _verdict_id(ws, subject))
    emit(as_json, _audited(found), lambda: _show_audit(found))
    found.raise_unless_agreed()


@app.command("money")
def money_command(
    subject: Subject = None,
    challenger: Annotated[
        str | None, typer.Option(help="WORKFLOW@PROVIDER to show; default: the winner, else the cheapest as good.")
    ] = None,
    outputs_per_month: Annotated[
        int | None, typer.Option(min=1, help="Accepted outputs that production makes in a month.")
    ] = None,
    months: Annotated[int | None, typer.Option(min=1, help="Spread the cost of switching over so many months.")] = None,
    migration_usd: Annotated[float | None, typer.Option(min=0, help="What switching costs once.")] = None,
    dual_run_days: Annotated[
        float | None, typer.Option(min=0, help="How long the incumbent's capacity is held after the switch.")
    ] = None,
    judged_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of production's outputs that is judged.")
    ] = None,
    through_nat: Annotated[
        list[str] | None, typer.Option(help="Provider whose outputs come in through NAT; repeat, or `none`.")
    ] = None,
    fx_fee: Annotated[float | None, typer.Option(min=0, max=0.5, help="Share that changing money costs.")] = None,
    fx_rate: Annotated[
        list[str] | None, typer.Option(help="USD for one of a currency now, as EUR=1.09; repeat for more.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """What an accepted output costs in production, line by line, and where the answer would change.

    Options tell what production will be like, instead of what was told when the verdict was reached.
    """
    ws = open_workspace()
    verdict_id = _verdict_id(ws, subject)
    told = {
        "outputs_per_month": outputs_per_month,
        "months": months,
        "migration_usd": migration_usd,
        "dual_run_days": dual_run_days,
        "judged_share": judged_share,
        "through_nat": None if through_nat is None else [one for one in through_nat if one != "none"],
        "fx_fee": fx_fee,
        "fx_rates": None if fx_rate is None else rates(fx_rate),
    }
    money = money_of(ws, verdict_id, {name: value for name, value in told.items() if value is not None})
    chosen = challenger_of(money, challenger)
    emit(as_json, money, lambda: show_money(money, chosen))


def _audited(found: Audit) -> dict[str, Any]:
    return {
        "verdict_id": found.verdict_id,
        "outcome": found.verdict.outcome,
        "verified": all(check.agrees for check in found.checks),
        "decided_by": found.decided_by,
        "audited_by": found.audited_by,
        "checks": [
            {"name": one.name, "agrees": one.agrees, "said": one.said, "found": one.found, "why": one.why}
            for one in found.checks
        ],
    }


def _show_audit(found: Audit) -> None:
    rows = [(one.name, "agrees" if one.agrees else "DIFFERS", *_shortened(one.said, one.found)) for one in found.checks]
    table(f"Audit of {found.verdict_id}", ("what", "", "said", "found"), rows)
    agreed = sum(one.agrees for one in found.checks)
    text = f"{found.verdict.outcome}: {agreed} of {len(found.checks)} checks agree. "
    by = f"Decided by {found.decided_by}, computed again by {found.audited_by}."
    console.print(text + by, soft_wrap=True)


def _shortened(*texts: str) -> tuple[str, ...]:
    """Hashes by their first twelve digits, as they stand elsewhere."""
    return tuple(text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text for text in texts)
