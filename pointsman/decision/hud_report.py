"""The HUD document as a report for people. It reads the document alone, so a stored `hud.json` renders the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pointsman.economics.plain import number_of
from pointsman.model import Missing
from pointsman.reporting import (
    Cell,
    Chart,
    CostQuality,
    Figures,
    Report,
    Section,
    Table,
    Text,
    cost_quality,
    escape_markdown,
)

_DECIDING = ("variant", "role", "quality", "by people (95 %)", "USD per success", "saving (95 %)", "gates")
_FURTHER = (
    *("variant", "success", "attempts", "p95 ms", "p95 ms under load", "capacity per s"),
    *("USD per view", "margin", "frontier"),
)


def hud_table(hud: Mapping[str, Any]) -> Table:
    """One row per variant: the winner first, then the incumbent, then by cost per success."""
    rows = sorted(hud["rows"], key=_order)
    with_margin = any("margin" in row for row in rows)
    labelled = any("value" in row.get("quality_by_people", {}) for row in rows)
    columns = ["variant", "role", "success", "quality", *["by people (95 %)"] * labelled]
    columns += ["USD per success", "saving (95 %)", "USD per view"]
    columns += ["margin"] * with_margin + [
        "p95 ms",
        "p95 ms under load",
        "capacity per s",
        "attempts",
        "frontier",
        "gates",
    ]
    return Table(columns, [list(_cells(row, with_margin, labelled)) for row in rows], "Variants")


def _columns(table: Table, wanted: Sequence[str], title: str) -> Table:
    """The wanted columns of a table that would be wider than an artifact's page."""
    kept = [index for index, column in enumerate(table.columns) if column in wanted]
    return Table(
        [table.columns[index] for index in kept], [[row[index] for index in kept] for row in table.rows], title
    )


def hud_report(hud: Mapping[str, Any]) -> Report:
    """Verdict, recommendations, table, cost/quality plot with the frontier, waterfall, and what finding out cost."""
    verdict = hud["verdict"]
    winner = next((row["label"] for row in hud["rows"] if row["role"] == "winner"), None)
    headline = f"**{verdict['outcome']}**" + (f": {escape_markdown(winner)}" if winner else "")
    return Report(f"Money HUD of {hud['route_key']}", f"{headline}. {escape_markdown(verdict['why'])}", _sections(hud))


def _sections(hud: Mapping[str, Any]) -> list[Section]:
    experiment = hud["experiment_cost_usd"]
    judge = " ".join(str(part) for part in (hud["judge"].get("name"), hud["judge"].get("model")) if part)
    return [
        Text("\n".join(["## What to do", "", *_advice(hud)])),
        _columns(hud_table(hud), _DECIDING, "Variants"),
        _chart(hud),
        _columns(hud_table(hud), _FURTHER, "Latency, attempts and cost per view"),
        _waterfall(hud),
        Table(
            ("challenger", "gate", "answer", "why"),
            [
                (_label(hud, gate["challenger"]), gate["name"], gate["answer"], gate["why"])
                for gate in hud["verdict"]["gates"]
            ],
            "Gates",
        ),
        Figures(
            [
                ("deliveries per output", hud["deliveries_per_output"]),
                ("minimum saving worth a switch", f"{100 * hud['minimum_saving']:g} %"),
                ("minimum detectable saving", _percent(hud["minimum_detectable_saving"])),
                ("judge", judge),
                ("cost of finding out, USD", number_of(experiment["total"])),
                ("of which matrix", number_of(experiment["matrix"])),
                ("of which judging", number_of(experiment["judging"])),
                ("of which load runs", number_of(experiment["load"])),
                ("verdict", hud["verdict_id"]),
                ("benchmark", hud["benchmark_id"]),
                ("declared plan, sha256", hud["verdict"]["plan_sha256"]),
                ("measurements, sha256", hud["verdict"]["data_sha256"]),
                ("price book, sha256", hud["price_book_sha256"]),
            ],
            "Behind the figures",
        ),
    ]


def _by_people(found: Mapping[str, Any]) -> Cell:
    if "missing" in found:
        return Missing(found["missing"])
    return f"{found['value']:.1f} ({found['low']:.1f} to {found['high']:.1f})"


def _order(row: Mapping[str, Any]) -> tuple[int, bool, Any, str]:
    cost = number_of(row["cost_per_success_usd"])
    unpriced = isinstance(cost, Missing)
    return {"winner": 0, "incumbent": 1}.get(row["role"], 2), unpriced, 0 if unpriced else cost, row["label"]


def _cells(row: Mapping[str, Any], with_margin: bool, labelled: bool) -> Iterator[Cell]:
    yield row["label"]
    yield "" if row["role"] == "candidate" else row["role"]
    yield f"{row['successes']}/{row['cells']}"
    yield number_of(row["quality"])
    if labelled:
        yield _by_people(row["quality_by_people"])
    yield number_of(row["cost_per_success_usd"])
    yield _saving(row)
    yield number_of(row["cost_per_delivered_view_usd"])
    if with_margin:
        yield _percent(row["margin"])
    yield _whole(row["p95_total_ms"])
    yield _whole(row["p95_total_ms_under_load"])
    yield _capacity(row)
    yield Missing("no waterfall") if row["attempts"] is None else row["attempts"]
    yield "yes" if row["on_frontier"] else ""
    yield _gates(row["gates"])


def _gates(answers: Mapping[str, str]) -> str:
    stopped = [f"{name} {answer}" for name, answer in answers.items() if answer in ("failed", "not known")]
    return stopped[0] if stopped else "all passed" if answers else ""


def _capacity(row: Mapping[str, Any]) -> Cell:
    """Also of documents that are older than capacities."""
    low, high = (number_of(end) for end in row.get("capacity_interval", [{"missing": "no capacity search"}] * 2))
    return low if isinstance(low, Missing) else f"{low:g} to {high:g}" if not isinstance(high, Missing) else f"{low:g}"


def _whole(value: Any) -> Cell:
    number = number_of(value)
    return number if isinstance(number, Missing) else round(number)


def _percent(value: Any) -> Cell:
    share = number_of(value)
    return share if isinstance(share, Missing) else f"{100 * share:.1f} %"


def _saving(row: Mapping[str, Any]) -> Cell:
    if row["role"] == "incumbent":
        return ""
    share = number_of(row["saving"])
    low, high = (number_of(end) for end in row["saving_interval"])
    if isinstance(share, Missing):
        return share
    if isinstance(low, Missing) or isinstance(high, Missing):
        return f"{100 * share:+.1f} %"
    return f"{100 * share:+.1f} % ({100 * low:+.1f} to {100 * high:+.1f})"


def _label(hud: Mapping[str, Any], variant: str) -> str:
    return next((str(row["label"]) for row in hud["rows"] if row["variant"] == variant), variant)


def _advice(hud: Mapping[str, Any]) -> Iterator[str]:
    for number, advice in enumerate(hud["recommendations"], 1):
        yield f"{number}. {escape_markdown(advice['text'])}  "
        yield f"   {_code(advice['command'])}"


def _code(command: str) -> str:
    # A code span that holds backticks is fenced by one more of them than the longest run inside.
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return f"{fence} {command} {fence}" if len(fence) > 1 else f"{fence}{command}{fence}"


def _chart(hud: Mapping[str, Any]) -> Chart:
    points = [
        CostQuality(row["label"], number_of(row["cost_per_success_usd"]), number_of(row["quality"]), row["role"])
        for row in hud["rows"]
    ]
    frontier = [_label(hud, variant) for variant in hud["frontier"]]
    svg = cost_quality(points, frontier, cost_title="cost per success, USD")
    undrawn = sum(isinstance(point.cost_usd, Missing) or isinstance(point.quality, Missing) for point in points)
    alt = f"{len(points) - undrawn} variants by cost per success and mean quality; frontier: {', '.join(frontier)}"
    if undrawn:
        alt += f"; {undrawn} cannot be drawn because cost or quality is not known"
    return Chart("Cost and quality", svg, alt)


def _waterfall(hud: Mapping[str, Any]) -> Table:
    falls = hud["waterfall"]
    names = [step["name"] for step in falls[0]["steps"]] if falls else []
    rows = [
        [fall["label"], *(number_of(step["usd"]) for step in fall["steps"]), number_of(fall["total_usd"])]
        for fall in falls
    ]
    return Table(["variant", *names, "total"], rows, "From list price to what is paid, USD over all cells")
