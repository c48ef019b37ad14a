"""The money HUD: what it says about each variant, what it advises, and that it never turns unknown into zero."""

import json
import re
import shlex
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.decision import VerdictPlan, decide
from pointsman.decision.hud import HudContext, build_hud
from pointsman.decision.hud_report import hud_report, hud_table
from pointsman.economics import ExperimentCost, Waterfall
from pointsman.economics.plain import number_of, plain
from pointsman.model import Measurement, Missing, Verdict
from pointsman.quality import Corrected
from pointsman.reporting import to_html, to_markdown
from pointsman.scenario import Capacity
from pointsman.statistics import Interval
from tests.decision.comparisons import Cell, measured, plan, variant, wobble

AGAIN = "pointsman benchmark run --again bm_1"
UNPRICED = Missing("no price for gpu:second on 2026-11-21")


def context(**changes: Any) -> HudContext:
    return replace(
        HudContext(
            verdict_id="vd_1",
            benchmark_id="bm_1",
            evaluation_set_id="es_1",
            waterfalls=[waterfall(0), waterfall(1), waterfall(2)],
            experiment_cost=ExperimentCost(Decimal("0.5"), Decimal("0.25"), Decimal(1)),
            minimum_detectable_saving=Decimal("0.125"),
            measure_again=AGAIN,
            load_p95_ms={variant(0): Decimal(900), variant(1): Decimal(700)},
        ),
        **changes,
    )


def waterfall(number: int) -> Waterfall:
    return Waterfall(
        variant(number), 8, 8, 9, Decimal("0.07"), Decimal("0.01"), Decimal("0.0009"), Decimal("0.0000001")
    )


def cheaper(cell: Cell) -> float:
    """Challenger 1 costs half of the incumbent, challenger 2 the same."""
    return round((0.01 if cell[0] != 1 else 0.005) * wobble(cell), 6)


def hud_of(
    planned: VerdictPlan, data: list[Measurement], verdict: Verdict | None = None, **changes: Any
) -> dict[str, Any]:
    return build_hud(planned, data, decide(planned, data) if verdict is None else verdict, context(**changes))


def row(hud: dict[str, Any], number: int) -> dict[str, Any]:
    return next(row for row in hud["rows"] if row["variant"] == str(variant(number)))


def verdict(outcome: Any, why: str = "Because.") -> Verdict:
    return Verdict(outcome, None, (), "a" * 64, "b" * 64, "0.1.0", why)


def test_a_row_holds_exact_money_and_the_ratio_of_sums():
    planned = plan()
    data = measured(
        planned, cost=lambda cell: "0.012" if cell[1] == 0 else "0.004", failed=lambda cell: cell == (1, 7, 0)
    )
    one = row(hud_of(planned, data), 1)
    assert (one["cells"], one["successes"], one["attempts"]) == (8, 7, 9)
    assert one["cost_usd"] == "0.04"
    assert one["compute_per_attempt_usd"] == "0.008888888889"  # (0.07 + 0.01) / 9
    assert one["cost_per_success_usd"] == "0.005714285714"  # 0.04 / 7
    assert one["cost_per_delivered_view_usd"] == "0.000057142857"
    assert one["quality"] == "78.75"  # 7 x 90 / 8: the failed cell counts 0
    assert row(hud_of(planned, data), 0)["cost_per_success_usd"] == "0.005"
    assert one["saving"] == "-0.142857142857"  # 1 - 0.0057.. / 0.005


def test_the_winner_leads_and_the_first_advice_routes_to_it():
    planned = plan()
    hud = hud_of(planned, measured(planned, cost=cheaper))
    assert (hud["winner"], hud["verdict"]["outcome"]) == (str(variant(1)), "WINNER")
    assert hud_table(hud).rows[0][:2] == ["wf1@lab-cpu", "winner"]
    assert hud_table(hud).rows[0][-1] == "all passed"
    assert [row(hud, number)["role"] for number in range(3)] == ["incumbent", "winner", "candidate"]
    assert row(hud, 1)["gates"] == {"success": "passed", "quality": "passed", "cost": "passed"}
    first, second = hud["recommendations"][:2]
    assert first["command"] == "pointsman route apply --verdict vd_1"
    assert f"A success costs {100 * Decimal(row(hud, 1)['saving']):.1f} % less." in first["text"]
    assert "p95 under load is 700 ms against 900 ms" in first["text"]
    assert second["command"] == "pointsman route rollback er:postcard-1:env:lab:stage:demo"


def test_the_saving_lies_in_its_interval_and_the_incumbent_has_none():
    planned = plan(clusters=12)
    hud = hud_of(planned, measured(planned, cost=cheaper))
    low, high = (Decimal(end) for end in row(hud, 1)["saving_interval"])
    assert 0 < low <= Decimal(row(hud, 1)["saving"]) <= high < 1
    assert row(hud, 0)["saving"] == {"missing": "it is the incumbent"}


def test_variants_of_one_workflow_and_provider_are_told_apart_by_their_experiment():
    twin = replace(variant(1), experiment="e2")
    planned = plan(challengers=1)
    planned = replace(planned, challengers=(variant(1), twin))
    data = measured(planned, cost=cheaper)
    assert [row["label"] for row in hud_of(planned, data)["rows"]] == [
        "wf0@lab-cpu",
        "wf1@lab-cpu:e1",
        "wf1@lab-cpu:e2",
    ]


def test_an_unpriced_variant_is_unpriced_everywhere_and_off_the_frontier():
    planned = plan()
    data = measured(planned, cost=cheaper, changed={(1, 3, 0): {"cost_usd": UNPRICED}})
    hud = hud_of(planned, data)
    one = row(hud, 1)
    for name in ("cost_usd", "cost_per_success_usd", "cost_per_delivered_view_usd", "saving"):
        assert one[name] == {"missing": UNPRICED.reason}
    assert isinstance(number_of(one["saving_interval"][0]), Missing)
    assert str(variant(1)) not in hud["frontier"]
    assert hud["winner"] is None
    assert {"pointsman prices list"} == {
        advice["command"] for advice in hud["recommendations"] if "UNPRICED" in advice["text"]
    }
    assert "not measured (no price for gpu:second" in to_markdown(hud_report(hud))


def test_a_saving_without_enough_clusters_for_an_interval_is_shown_alone():
    planned = plan(clusters=1, inputs_per_cluster=4)
    hud = hud_of(planned, measured(planned, cost=lambda cell: "0.01" if cell[0] != 1 else "0.006"))
    (one,) = [cells for cells in hud_table(hud).rows if cells[0] == "wf1@lab-cpu"]
    assert "+40.0 %" in one


def test_measurements_of_other_variants_are_left_out():
    planned = plan(challengers=1)
    wider = plan(challengers=2)
    hud = hud_of(planned, measured(wider), verdict("INVALID"))
    assert len(hud["rows"]) == len(hud["waterfall"]) == 2


def test_an_unpriced_incumbent_leaves_every_saving_unknown():
    planned = plan()
    hud = hud_of(planned, measured(planned, changed={(0, 0, 0): {"cost_usd": UNPRICED}}))
    assert row(hud, 1)["saving"] == {"missing": f"the incumbent's cost: {UNPRICED.reason}"}


def test_an_incumbent_that_costs_nothing_leaves_every_saving_undefined():
    planned = plan()
    hud = hud_of(planned, measured(planned, cost=lambda cell: "0" if cell[0] == 0 else "0.01"), verdict("INVALID"))
    assert row(hud, 1)["saving"] == {"missing": "the incumbent costs nothing"}
    assert isinstance(number_of(row(hud, 1)["saving_interval"][0]), Missing)


def test_an_incumbent_without_a_success_leaves_every_saving_undefined_and_without_an_interval():
    planned = plan()
    hud = hud_of(planned, measured(planned, failed=lambda cell: cell[0] == 0))
    assert isinstance(number_of(row(hud, 1)["saving"]), Missing)
    assert isinstance(number_of(row(hud, 1)["saving_interval"][0]), Missing)


def test_a_variant_without_a_success_has_no_cost_per_success_but_a_bound():
    planned = plan()
    hud = hud_of(planned, measured(planned, failed=lambda cell: cell[0] == 2))
    assert row(hud, 2)["cost_per_success_usd"] == {"missing": "no success; more than 0.08 USD each"}
    assert row(hud, 2)["p95_total_ms"] == {"missing": "no successful cell has a time"}
    assert row(hud, 2)["quality"] == "0"


def test_outputs_that_were_not_judged_leave_the_quality_unknown():
    planned = plan()
    hud = hud_of(planned, measured(planned, changed={(1, 3, 0): {"quality": Missing("judge gave up")}}))
    assert row(hud, 1)["quality"] == {"missing": "1 of 8 outputs were not judged"}
    assert hud["verdict"]["outcome"] == "INSUFFICIENT_DATA"
    assert hud["recommendations"][0]["command"] == AGAIN


def test_inputs_of_too_few_sources_are_not_measured_again_but_joined_by_others():
    planned = plan(clusters=3)
    advice = hud_of(planned, measured(planned))["recommendations"][0]
    assert "add some of other sources" in advice["text"]
    assert advice["command"] == "pointsman compare --help"


def test_a_comparison_with_missing_cells_is_shown_and_advised_against():
    planned = plan()
    data = measured(planned, changed={(1, 3, 0): {"outcome": "infrastructure", "cost_usd": Missing("not run")}})
    without = [cell for cell in data if cell.variant != variant(2)]
    hud = hud_of(planned, without)
    assert hud["verdict"]["outcome"] == "INVALID"
    assert row(hud, 1)["lost"] == 1
    assert row(hud, 1)["quality"] == "90"
    assert row(hud, 2)["cost_usd"] == {"missing": "no cell was measured"}
    assert [advice["command"] for advice in hud["recommendations"][:2]] == ["pointsman benchmark show bm_1", AGAIN]
    assert "pointsman trace d-001-0003-0" in [advice["command"] for advice in hud["recommendations"]]


@pytest.mark.parametrize(
    ("outcome", "command", "words"),
    [
        ("EQUIVALENT", "pointsman route show er:postcard-1:env:lab:stage:demo", "Keep wf0@lab-cpu"),
        ("NO_SIGNIFICANT_WINNER", AGAIN, "would find is 12.5 %"),
        ("INSUFFICIENT_DATA", AGAIN, "Decide nothing yet: Because."),
        ("INVALID", "pointsman benchmark show bm_1", "Do not use this comparison: Because."),
    ],
)
def test_every_outcome_comes_with_advice_and_its_command(outcome, command, words):
    planned = plan()
    advice = hud_of(planned, measured(planned), verdict(outcome))["recommendations"][0]
    assert advice["command"] == command
    assert words in advice["text"]


def test_advice_without_a_detectable_saving_or_load_runs_says_what_is_not_known():
    planned = plan()
    data = measured(planned)
    text = hud_of(planned, data, verdict("NO_SIGNIFICANT_WINNER"), minimum_detectable_saving=Missing("x"))
    assert "measure again with more inputs" in text["recommendations"][0]["text"]
    hud = hud_of(planned, measured(planned, cost=cheaper), load_p95_ms={})
    assert "Its p95 under load was not compared." in hud["recommendations"][0]["text"]
    assert row(hud, 1)["p95_total_ms_under_load"] == {"missing": "no load run"}


def test_every_command_can_be_run_as_it_stands():
    planned = plan()
    data = measured(planned, cost=cheaper, failed=lambda cell: cell == (2, 0, 0))
    hud = hud_of(planned, data, verdict_id="vd 1; rm -rf x")
    for advice in hud["recommendations"]:
        assert shlex.split(advice["command"])[0] == "pointsman"
    assert shlex.split(hud["recommendations"][0]["command"])[-1] == "vd 1; rm -rf x"


def test_the_margin_is_shown_only_for_views_that_are_sold():
    planned = plan()
    data = measured(planned)
    assert "margin" not in row(hud_of(planned, data), 0)
    assert "margin" not in hud_table(hud_of(planned, data)).columns
    hud = hud_of(planned, data, price_per_view_usd=Decimal("0.0004"))
    assert row(hud, 0)["margin"] == "0.75"  # 0.01 / 100 = 0.0001 of 0.0004
    assert "75.0 %" in hud_table(hud).rows[0]


def test_p95_is_the_time_that_all_but_a_twentieth_stay_within():
    planned = plan(challengers=1, clusters=20)
    times = {(0, i, 0): {"total_ms": Decimal(10 * (i + 1))} for i in range(20)}
    times |= {(1, i, 0): {"total_ms": Missing("no time was recorded")} for i in range(19)}
    hud = hud_of(planned, measured(planned, changed=times))
    assert row(hud, 0)["p95_total_ms"] == "190"
    assert row(hud, 1)["p95_total_ms"] == "250"


def test_equal_measurements_in_any_order_give_an_equal_document_of_plain_json():
    planned = plan()
    data = measured(planned, cost=cheaper, failed=lambda cell: cell[1] in (0, 3) and cell[0] == 2)
    hud = hud_of(planned, data)
    assert json.loads(json.dumps(hud, allow_nan=False)) == hud
    assert hud_of(planned, list(reversed(data))) == hud
    assert to_markdown(hud_report(json.loads(json.dumps(hud)))) == to_markdown(hud_report(hud))


def test_the_report_shows_verdict_advice_table_plot_waterfall_and_cost_of_finding_out():
    planned = plan()
    hud = hud_of(planned, measured(planned, cost=cheaper))
    text = to_markdown(hud_report(hud))
    assert text.startswith("# Money HUD of er:postcard-1:env:lab:stage:demo\n\n**WINNER**: wf1@lab-cpu.")
    assert "`pointsman route apply --verdict vd_1`" in text
    assert "| wf1@lab-cpu | winner | 90 |" in text
    assert "| wf1@lab-cpu | 8/8 |" in text
    assert text.count("data:image/svg+xml;base64,") == 1
    assert "| wf0@lab-cpu | 0.07 | 0.01 | 0.0009 | 0.0000001 | 0.0809 |" in text
    assert "**cost of finding out, USD**: 1.75" in text
    assert "**minimum detectable saving**: 12.5 %" in text
    assert "sha256" in text


def test_the_report_of_fifty_variants_fits_one_artifact():
    planned = plan(challengers=49, clusters=8)
    hud = hud_of(planned, measured(planned, cost=lambda cell: round(0.01 * wobble(cell), 6)))
    text = to_markdown(hud_report(hud))
    assert len(text.encode()) < 200_000
    assert "left out" not in text
    assert len(re.findall(r"^\| wf\d+@lab-cpu \|", text, re.MULTILINE)) > 150


def test_commands_with_backticks_survive_the_markdown_and_the_page():
    planned = plan()
    again = "pointsman compare --input 'odd``name.mp4'"
    hud = hud_of(planned, measured(planned), verdict("NO_SIGNIFICANT_WINNER"), measure_again=again)
    assert f"``` {again} ```" in to_markdown(hud_report(hud))
    assert "<code>pointsman compare --input 'odd``name.mp4'</code>" in to_html([hud_report(hud)], "HUD")


def test_an_empty_waterfall_and_unknown_attempts_are_said_to_be_so():
    planned = plan()
    text = to_markdown(hud_report(hud_of(planned, measured(planned), waterfalls=[])))
    assert "not measured (no waterfall)" in text
    assert "_No rows._" in text


@given(st.one_of(st.decimals(min_value=-(10**9), max_value=10**9, places=12), st.text().map(Missing)))
def test_a_number_survives_the_document(number):
    assert number_of(json.loads(json.dumps(plain(number)))) == number


def test_a_capacity_is_shown_with_its_interval_or_why_there_is_none():
    planned = plan()
    searched = Capacity("cap1", variant(1), Decimal("4.85"), Decimal("5.25"), ("p95 total_ms < 5000",), (), "", None)
    open_ended = replace(searched, variant=variant(2), high=Missing("the highest rate of the search is sustained"))
    hud = hud_of(planned, measured(planned), capacities={variant(1): searched, variant(2): open_ended})
    assert row(hud, 0)["capacity_per_s"] == {"missing": "no capacity search"}
    assert row(hud, 1)["capacity_per_s"] == "4.85"
    assert row(hud, 1)["capacity_interval"] == ["4.85", "5.25"]
    assert row(hud, 2)["capacity_interval"][1] == {"missing": "the highest rate of the search is sustained"}
    table = hud_table(hud)
    column = table.columns.index("capacity per s")
    shown = {str(cells[0]): cells[column] for cells in table.rows}
    assert sorted(str(cell) for cell in shown.values()) == ["4.85", "4.85 to 5.25", "not measured (no capacity search)"]
    for old in hud["rows"]:
        del old["capacity_interval"]
    assert hud_table(hud).rows[0][column] == Missing("no capacity search")


def test_what_people_would_say_is_shown_beside_the_judge_where_they_labelled_something():
    planned = plan(challengers=1)
    data = measured(planned)
    assert "by people (95 %)" not in hud_table(hud_of(planned, data)).columns
    people = {variant(0): Corrected(Interval(71.25, 65.0, 77.5), 18.75, 4, 8)}
    hud = hud_of(planned, data, by_people=people)
    table = hud_table(hud)
    column = table.columns.index("by people (95 %)")
    shown = {cells[0]: cells[column] for cells in table.rows}
    assert shown["wf0@lab-cpu"] == "71.2 (65.0 to 77.5)"
    assert shown["wf1@lab-cpu"] == Missing("people labelled too little of it")
    assert row(hud, 0)["quality_by_people"]["bias"] == 18.75
    assert "71.2 (65.0 to 77.5)" in to_markdown(hud_report(hud))
    half = measured(planned, failed=lambda cell: cell[0] == 0 and cell[1] % 2 == 0)
    found = row(hud_of(planned, half, by_people=people), 0)
    assert (found["quality"], found["quality_by_people"]["value"]) == ("45", 35.625), "both count 0 for no output"


def test_a_number_that_rounds_to_nothing_has_no_sign():
    assert plain(Decimal("-0.0000000000001")) == "0"
