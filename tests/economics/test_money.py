"""The money behind a verdict: a line for everything that is paid, known or not, and where the answer would change."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.economics import (
    PriceBook,
    Production,
    money_document,
    money_sections,
    price_cells,
    read_money,
    record_money,
    total,
    weigh,
    with_money,
)
from pointsman.economics.comparison import payback
from pointsman.economics.measurements import qualities_of
from pointsman.economics.money import EXAMINED
from pointsman.economics.parts import parts_of
from pointsman.economics.plain import number_of
from pointsman.economics.sensitivity import crossing
from pointsman.economics.utilisation_chart import utilisation_chart
from pointsman.ids import VariantId
from pointsman.model import Missing
from pointsman.reporting import Report, to_html, to_markdown
from tests.economics.price_texts import EASY_PRICES, price, price_in_euros
from tests.economics.worlds import BENCHMARK, JUDGED, NOW, Tried, World, book_of

HOSTED = VariantId("effect-1", "a", "lab", "demo", "gpu", "default")
PAID = VariantId("effect-1", "b", "lab", "demo", "api", "default")
ABROAD = VariantId("effect-1", "c", "lab", "demo", "abroad", "default")

PRICES = (
    EASY_PRICES
    + price("gpu:gpu-second", "1.006", "gpu-hour")
    + price("api:video", "0.010")
    + price_in_euros("abroad:video", "0.010", "1.10")
    + price("nat:gb", "0.05")
)
GPU_FLEET = """
[[hosting]]
provider = "gpu"
utilisation = "0.35"
source = "made up"
"""
TOLD = Production(
    outputs_per_month=100_000,
    months=10,
    migration_usd=500,
    dual_run_days=0,
    judged_share=0.01,
    through_nat=("api",),
)
DONE = {"gpu": ("gpu:gpu-second", "20"), "api": ("api:video", "1"), "abroad": ("abroad:video", "1")}


def fill(world: World, *variants: VariantId, each: int = 4, output_bytes: int = 1_000_000) -> None:
    for variant in variants:
        for _ in range(each):
            tried = Tried("completed", [DONE[variant.provider]])
            world.cell(variant, tried, output_bytes=output_bytes, quality="90")


def hud_of(*variants: VariantId, incumbent: VariantId = HOSTED, winner: VariantId | None = None) -> dict[str, Any]:
    """As much of a HUD document as the money behind it is put together from."""
    return {
        "verdict_id": "vd_1",
        "benchmark_id": BENCHMARK,
        "evaluation_set_id": JUDGED,
        "incumbent": str(incumbent),
        "winner": None if winner is None else str(winner),
        "deliveries_per_output": 0,
        "minimum_saving": 0.0,
        "rows": [{"variant": str(one), "label": one.label, "gates": {}} for one in variants],
        "verdict": {"data_sha256": "0" * 64},
        "experiment_cost_usd": {"total": "2", "judging": "0.08", "matrix": "1", "load": "0.92"},
    }


def money(world: World, book: PriceBook, told: Production = TOLD, *variants: VariantId) -> dict[str, Any]:
    document: dict[str, Any] = weigh(world.ws, hud_of(*(variants or (HOSTED, PAID))), book, told)
    return document


def lines(document: dict[str, Any], variant: VariantId) -> dict[str, Any]:
    (found,) = [one for one in document["variants"] if one["variant"] == str(variant)]
    return {line["name"]: line for line in found["lines"]}


def usd(line: dict[str, Any]) -> Decimal | Missing:
    return number_of(line["usd"])


def of(document: dict[str, Any], name: str) -> Decimal | Missing:
    (found,) = document["comparisons"]
    return number_of(found[name])


def test_every_line_from_the_list_price_to_what_is_paid(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET))
    old, new = lines(document, HOSTED), lines(document, PAID)
    assert list(old) == [
        *("list price", "retries", "failed and refused outputs", "Spot loss", "idle", "cold start", "minimum billing"),
        *("commitments", "egress", "NAT", "storage", "production judging", "foreign exchange"),
        *("migration", "dual running"),
    ]
    busy = Decimal("1.006") * 20 / 3600
    assert usd(old["list price"]) == round(busy, 12)
    assert usd(old["idle"]) == pytest.approx(busy / Decimal("0.35") - busy)
    assert (old["list price"]["basis"], old["idle"]["basis"]) == ("measured", "estimated")
    assert (usd(new["list price"]), usd(new["idle"]), new["idle"]["basis"]) == (Decimal("0.01"), 0, "measured")
    assert usd(new["NAT"]) == Decimal("0.00005")  # 0.001 GB
    assert usd(old["NAT"]) == 0
    assert usd(new["storage"]) == Decimal("0.00002")
    assert usd(new["production judging"]) == Decimal("0.0001")  # 1 % of 0.08 USD for 8 outputs
    assert usd(new["migration"]) == Decimal("0.0005")  # 500 USD over a million outputs
    assert usd(old["migration"]) == usd(new["dual running"]) == 0


def test_what_is_not_told_is_missing_and_says_what_to_tell(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    document = money(world, book_of(tmp_path, PRICES), Production())
    old, new = lines(document, HOSTED), lines(document, PAID)
    missing = {name for name, line in new.items() if line["basis"] == "missing"}
    assert missing == {"NAT", "production judging", "migration", "dual running"}
    assert {name for name, line in old.items() if line["basis"] == "missing"} == {
        *("idle", "cold start", "minimum billing", "commitments", "NAT", "production judging")
    }
    assert old["idle"]["why"] == "how gpu is hosted is not declared in a price file"
    assert all(line["usd"] == {"missing": line["why"]} for line in new.values() if line["basis"] == "missing")
    (one,) = [one for one in document["variants"] if one["variant"] == str(HOSTED)]
    assert isinstance(number_of(one["total_usd"]), Missing)
    assert isinstance(of(document, "payback_months"), Missing)
    (comparison,) = document["comparisons"]
    assert set(comparison["left_out"]) == {"idle", "cold start", "minimum billing", "commitments"} | missing


def test_the_saving_the_cash_in_it_and_when_the_switch_has_paid_itself_back(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET))
    saved = Decimal("1.006") * 20 / 3600 / Decimal("0.35") - Decimal("0.010") - Decimal("0.00005")
    assert of(document, "allocated_saving") == pytest.approx(saved)
    assert of(document, "cash_saving") == pytest.approx(saved)
    assert of(document, "payback_months") == pytest.approx(500 / (saved * 100_000))


def test_while_both_run_the_incumbents_capacity_is_held_and_paid(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    told = TOLD.model_copy(update={"dual_run_days": 365 / 12})  # a month
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET), told)
    held = Decimal("1.006") * 20 / 3600 / Decimal("0.35") * 100_000
    assert of(document, "one_off_usd") == pytest.approx(500 + held)
    assert usd(lines(document, PAID)["dual running"]) == pytest.approx(held / 1_000_000)
    monthly = of(document, "cash_saving_usd_per_month")
    assert of(document, "payback_months") == pytest.approx((500 + held) / monthly)
    assert of(document, "payback_months_with_experiment") == pytest.approx((502 + held) / monthly)


@pytest.mark.parametrize(
    ("more", "cash"),
    [
        ("fixed = true\n", Decimal(0)),
        # It buys 1400 USD of the month's 1597 on demand, and its 980 USD are paid on.
        ('commitment_usd_per_hour = "1.342465753424657534"\ncommitment_discount = "0.3"\n', Decimal("0.00197")),
    ],
)
def test_what_is_paid_on_is_saved_on_paper_only(world: World, tmp_path: Path, more: str, cash: Decimal):
    fill(world, HOSTED, PAID)
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET + more))
    old, new = lines(document, HOSTED), lines(document, PAID)
    running = Decimal("1.006") * 20 / 3600 / Decimal("0.35") + usd(old["commitments"])
    assert of(document, "allocated_saving") == pytest.approx(running - Decimal("0.01") - Decimal("0.00005"))
    assert of(document, "cash_saving") == pytest.approx(cash - Decimal("0.01005"), abs=Decimal("0.00001"))
    assert usd(new["dual running"]) == 0


def test_a_commitment_is_paid_on_against_capacity_of_which_nothing_is_declared_too(world: World, tmp_path: Path):
    """It buys all of the fleet: whatever the other costs in cash is lost."""
    undeclared = VariantId("effect-1", "z", "lab", "demo", "cpu", "default")
    fill(world, HOSTED)
    world.cell(undeclared, Tried("completed", [("cpu:vcpu-second", "2")]), output_bytes=1_000_000, quality="90")
    more = 'commitment_usd_per_hour = "10"\ncommitment_discount = "0.3"\n'
    book = book_of(tmp_path, PRICES + GPU_FLEET + more)
    document = money(world, book, TOLD, HOSTED, undeclared)
    assert "commitments" in document["comparisons"][0]["left_out"]
    saved = Decimal("1.006") * 20 / 3600 - Decimal("0.002")
    assert of(document, "allocated_saving") == pytest.approx(saved)
    assert of(document, "cash_saving") == Decimal("-0.002")
    assert of(document, "payback_months") == Missing("never: it saves no cash")
    unsaid = money(world, book, Production(), HOSTED, undeclared)
    assert of(unsaid, "cash_saving") == Missing("outputs per month are not declared")


def test_a_commitment_is_cheaper_than_on_demand_when_it_is_used_up(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    more = 'commitment_usd_per_hour = "1"\ncommitment_discount = "0.3"\n'
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET + more))
    assert usd(lines(document, HOSTED)["commitments"]) == pytest.approx((730 - 730 / Decimal("0.7")) / 100_000)
    unknown = money(world, book_of(tmp_path, PRICES + GPU_FLEET + more), Production())
    assert "outputs per month" in lines(unknown, HOSTED)["commitments"]["why"]


def test_retries_failures_and_spot_losses_stand_apart(world: World, tmp_path: Path):
    done, half = [("gpu:gpu-second", "20")], [("gpu:gpu-second", "10")]
    world.cell(HOSTED, Tried("failed", half), Tried("completed", done), output_bytes=0)
    world.cell(HOSTED, Tried("lost", half), Tried("completed", done), output_bytes=0)
    world.cell(HOSTED, Tried("failed", done), status="failed", reason="boom")
    fill(world, PAID, each=1)
    document = money(world, book_of(tmp_path, PRICES))
    found = lines(document, HOSTED)
    second = Decimal("1.006") / 3600
    assert usd(found["retries"]) == pytest.approx(second * 10 / 2)
    assert usd(found["Spot loss"]) == pytest.approx(second * 10 / 2)
    assert usd(found["failed and refused outputs"]) == pytest.approx(second * 20 / 2)
    assert found["Spot loss"]["basis"] == "measured"


def test_interruptions_that_are_declared_are_an_estimate_where_none_was_measured(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET + 'interruptions_per_hour = "1.8"\n'))
    found = lines(document, HOSTED)["Spot loss"]
    assert (usd(found), found["basis"]) == (pytest.approx(Decimal("1.006") / 3600 * 20 * Decimal("0.005")), "estimated")


def test_changing_money_costs_its_fee_and_what_the_rate_moved(world: World, tmp_path: Path):
    fill(world, HOSTED, ABROAD)
    book = book_of(tmp_path, PRICES + GPU_FLEET)
    for half in (Production(), Production(fx_rates={"EUR": 1.21})):
        untold = lines(money(world, book, half, HOSTED, ABROAD), ABROAD)["foreign exchange"]
        assert (untold["basis"], untold["why"]) == ("missing", "what changing EUR costs is not declared")
    told = Production(fx_fee=0.02, fx_rates={"EUR": 1.21})
    found = lines(money(world, book, told, HOSTED, ABROAD), ABROAD)
    assert usd(found["list price"]) == Decimal("0.011")
    assert usd(found["foreign exchange"]) == Decimal("0.0121") * Decimal("1.02") - Decimal("0.011")
    assert usd(lines(money(world, book, Production(fx_fee=0.02), HOSTED, ABROAD), ABROAD)["foreign exchange"]) == (
        Decimal("0.00022")
    )


def test_delivery_that_is_paid_in_euros_changes_money_too(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    book = book_of(tmp_path, PRICES.replace(price("egress:gb", "0.09"), price_in_euros("egress:gb", "0.08", "1.1")))
    hud = hud_of(HOSTED, PAID) | {"deliveries_per_output": 10}
    untold = lines(weigh(world.ws, hud, book, Production()), PAID)["foreign exchange"]
    assert untold["why"] == "what changing EUR costs is not declared"
    told = Production(fx_fee=0.02, fx_rates={"EUR": 1.2})
    document = weigh(world.ws, hud, book, told)
    new = lines(document, PAID)
    assert usd(new["egress"]) == Decimal("0.00088")
    assert usd(new["foreign exchange"]) == Decimal("0.00096") * Decimal("1.02") - Decimal("0.00088")
    assert usd(lines(document, HOSTED)["foreign exchange"]) == usd(new["foreign exchange"])
    assert usd(lines(money(world, book, told), PAID)["foreign exchange"]) == 0, "nothing is delivered"


def test_a_fleet_that_is_paid_in_euros_changes_money_for_its_idle_time_too(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    euros = 'amount = "1.006"\ncurrency = "EUR"\nfx_rate = "1"\nfx_date = 2026-11-01\n'
    book = book_of(tmp_path, PRICES.replace('usd = "1.006"\n', euros) + GPU_FLEET + 'cold_start_s = "10"\n')
    found = lines(money(world, book, Production(fx_fee=0.02)), HOSTED)
    paid = total(usd(found[name]) for name in ("list price", "idle", "cold start"))
    assert usd(found["foreign exchange"]) == pytest.approx(paid * Decimal("0.02"), abs=Decimal("1e-12"))
    assert usd(lines(money(world, book, Production()), HOSTED)["foreign exchange"]) == Missing(
        "what changing EUR costs is not declared"
    )


def test_a_capacity_that_is_committed_to_is_not_paid_twice_while_both_run(world: World, tmp_path: Path):
    """It buys 1042.86 USD a month of the 1596.83 that are needed: for half a month, half of the rest is paid more."""
    fill(world, HOSTED, PAID)
    more = 'commitment_usd_per_hour = "1"\ncommitment_discount = "0.3"\n'
    told = TOLD.model_copy(update={"dual_run_days": 365 / 24})
    dual = lines(money(world, book_of(tmp_path, PRICES + GPU_FLEET + more), told), PAID)["dual running"]
    needed = Decimal("1.006") * 20 / 3600 / Decimal("0.35") * 100_000
    assert usd(dual) == pytest.approx((needed - 730 / Decimal("0.7")) / 2 / 1_000_000)
    assert "276.98" in dual["why"]


@pytest.mark.parametrize("told", [TOLD, Production(), TOLD.model_copy(update={"dual_run_days": 7.3, "fx_fee": 0.013})])
def test_the_lines_as_they_are_written_add_up_to_the_total_exactly(world: World, tmp_path: Path, told: Production):
    """Thirds of a dollar, and sevenths."""
    fill(world, HOSTED, PAID, ABROAD, each=3)
    world.cell(HOSTED, Tried("failed", [("gpu:gpu-second", "7")]), status="failed", reason="boom")
    fleet = GPU_FLEET + 'cold_start_s = "7"\njobs_per_start = "3"\nminimum_billing_s = "300"\n'
    hud = hud_of(HOSTED, PAID, ABROAD) | {"deliveries_per_output": 7}
    for one in weigh(world.ws, hud, book_of(tmp_path, PRICES + fleet), told)["variants"]:
        amounts = [number_of(line["usd"]) for line in one["lines"]]
        missing = [line for line in one["lines"] if line["basis"] == "missing"]
        assert {line["basis"] for line in one["lines"]} <= {"measured", "estimated", "missing"}
        assert sum(isinstance(amount, Missing) for amount in amounts) == len(missing)
        assert all(line["why"] for line in missing)
        known = number_of(one["total_usd"])
        assert isinstance(known, Missing) if missing else known == sum(amounts)


def test_seconds_of_a_video_are_output_and_no_capacity_that_could_be_idle(world: World, tmp_path: Path):
    fill(world, HOSTED)
    for _ in range(4):
        world.cell(PAID, Tried("completed", [("api:video-second", "8")]), output_bytes=1_000_000, quality="90")
    book = book_of(tmp_path, PRICES + price("api:video-second", "0.001") + GPU_FLEET)
    document = money(world, book)
    new = lines(document, PAID)
    assert [(usd(new[name]), new[name]["basis"]) for name in ("idle", "commitments")] == [(0, "measured")] * 2
    assert [(one["label"], one["against"]) for one in document["utilisation"]["break_even"]] == [("a@gpu", "b@api")]
    back = weigh(world.ws, hud_of(HOSTED, PAID, incumbent=PAID), book, TOLD)
    assert "holding it costs nothing" in lines(back, HOSTED)["dual running"]["why"]


def test_the_answer_does_change_where_it_is_said_to(world: World, tmp_path: Path):
    """Everything is put together again a thousandth before and after each turn."""
    fill(world, HOSTED, PAID, output_bytes=2_000_000)
    fleet = GPU_FLEET + 'cold_start_s = "20"\njobs_per_start = "3"\nminimum_billing_s = "120"\n'
    hud = hud_of(HOSTED, PAID) | {"deliveries_per_output": 3, "minimum_saving": 0.05}
    told = TOLD.model_copy(update={"dual_run_days": 3})

    def turns_of(text: str, production: Production = told) -> dict[str, Any]:
        document: dict[str, Any] = weigh(world.ws, hud, book_of(tmp_path, text), production)
        return {turn["lever"]: turn for turn in document["sensitivity"]}

    def worth_it(lever: str, to: Decimal) -> bool:
        text, production = PRICES + fleet, told
        if lever == "outputs per month":
            production = told.model_copy(update={"outputs_per_month": round(to)})
        else:
            old = {"price of gpu": '"1.006"', "price of api": '"0.010"', "utilisation of gpu": '"0.35"'}[lever]
            now = Decimal(old.strip('"')) if lever.startswith("price") else Decimal(1)
            text = text.replace(old, f'"{now * to:.12f}"', 1)
        return bool(turns_of(text, production)[lever]["worth_it_now"])

    turns = turns_of(PRICES + fleet)
    for lever in ("price of gpu", "price of api", "utilisation of gpu", "outputs per month"):
        at = number_of(turns[lever]["at"])
        assert not isinstance(at, Missing), lever
        before, after = worth_it(lever, at * Decimal("0.999")), worth_it(lever, at * Decimal("1.001"))
        assert before != after, lever
        assert turns[lever]["worth_it_now"] == (before if Decimal(turns[lever]["now"]) < at else after), lever


def test_a_fleet_that_is_hardly_used_and_a_volume_beyond_all_are_where_they_are(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID, output_bytes=0)
    told = TOLD.model_copy(update={"outputs_per_month": 10**11, "judged_share": 0})
    hardly = PRICES + GPU_FLEET.replace('"0.35"', '"0.002"')
    document = money(world, book_of(tmp_path, hardly), told)
    turns = {one["lever"]: one for one in document["sensitivity"]}
    assert number_of(turns["utilisation of gpu"]["now"]) == Decimal("0.002")
    assert number_of(turns["utilisation of gpu"]["at"]) == pytest.approx(Decimal("0.5589"), abs=Decimal("0.0001"))
    assert number_of(turns["outputs per month"]["now"]) == 10**11
    assert not isinstance(number_of(turns["outputs per month"]["at"]), Missing), "one output does not pay the switch"


def test_the_break_even_is_what_can_be_solved_by_hand(world: World, tmp_path: Path):
    """An instance is paid for max(cold + jobs x ready, least) seconds = jobs x payable, and ready = busy / share."""
    fill(world, HOSTED, PAID, output_bytes=0)
    told = Production(judged_share=0, through_nat=())
    payable = Decimal("0.010") / (Decimal("1.006") / 3600)

    def found(more: str) -> Decimal | Missing:
        document = money(world, book_of(tmp_path, PRICES + GPU_FLEET + more), told)
        (even,) = document["utilisation"]["break_even"]
        return number_of(even["utilisation"])

    for cold, jobs, least in ((0, 1, 0), (9, 2, 0), (9, 2, 60)):
        more = f'cold_start_s = "{cold}"\njobs_per_start = "{jobs}"\nminimum_billing_s = "{least}"\n'
        assert found(more) == pytest.approx(20 / (payable - Decimal(cold) / jobs), rel=Decimal("1e-5"))
    assert isinstance(found('minimum_billing_s = "36"\n'), Missing), "36 s are billed at least, and 35.8 may be paid"


def test_a_break_even_names_the_lines_that_it_leaves_out(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    book = book_of(tmp_path, PRICES + GPU_FLEET + 'commitment_usd_per_hour = "10"\ncommitment_discount = "0.3"\n')
    document = money(world, book, Production(judged_share=0, through_nat=()))
    (even,) = document["utilisation"]["break_even"]
    assert even["left_out"] == ["commitments"]
    assert "% | commitments |" in to_markdown(Report("", "", money_sections(document)))
    (even,) = money(world, book)["utilisation"]["break_even"]
    assert even["left_out"] == []


def test_where_the_answer_changes(world: World, tmp_path: Path):
    """By the worked example: 0.010 USD an output is met at 56 % use of a fleet that costs 1.006 USD an hour."""
    fill(world, HOSTED, PAID, output_bytes=0)
    told = TOLD.model_copy(update={"judged_share": 0, "migration_usd": 0})
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET), told)
    at = {turn["lever"]: number_of(turn["at"]) for turn in document["sensitivity"]}
    hosted = Decimal("1.006") * 20 / 3600 / Decimal("0.35")
    assert at["utilisation of gpu"] == pytest.approx(Decimal("0.5589"), abs=Decimal("0.0001"))
    assert at["price of api"] == pytest.approx(hosted / Decimal("0.01"), rel=Decimal("1e-5"))
    assert at["price of gpu"] == pytest.approx(Decimal("0.01") / hosted, rel=Decimal("1e-5"))
    assert "deliveries per output" not in at, "nothing is delivered"
    ((paid,),) = [turn["prices"] for turn in document["sensitivity"] if turn["lever"] == "price of api"]
    assert (paid["sku"], paid["unit"], paid["usd"]) == ("api:video", "video", "0.01")
    assert Decimal(paid["at_usd"]) == pytest.approx(hosted, rel=Decimal("1e-5"))
    assert all(turn["worth_it_now"] for turn in document["sensitivity"])
    (even,) = document["utilisation"]["break_even"]
    assert number_of(even["utilisation"]) == pytest.approx(Decimal("0.5589"), abs=Decimal("0.0001"))


def test_a_price_that_changed_meanwhile_is_told_before_and_after_and_is_no_break_even(world: World, tmp_path: Path):
    fill(world, HOSTED)
    for started in (NOW - timedelta(days=1), NOW):
        world.cell(PAID, Tried("completed", [DONE["api"]], started=started), output_bytes=1_000_000, quality="90")
    old, new = price("api:video", "0.010"), price("api:video", "0.020").replace("2026-01-01", "2026-11-21")
    changing = PRICES.replace(old, old.replace("2026-01-01\n", "2026-01-01\nvalid_to = 2026-11-21\n") + new)
    document = money(world, book_of(tmp_path, changing + GPU_FLEET))
    assert usd(lines(document, PAID)["list price"]) == Decimal("0.015")
    assert [one["usd"] for one in document["prices"] if one["sku"] == "api:video"] == ["0.01", "0.02"]
    (turn,) = [turn for turn in document["sensitivity"] if turn["lever"] == "price of api"]
    assert (number_of(turn["at"]) > 1, turn["prices"]) == (True, []), "0.02 USD per video would be too dear already"


def test_a_volume_too_small_does_not_pay_for_the_switch(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID, output_bytes=0)
    told = TOLD.model_copy(update={"judged_share": 0})
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET + "fixed = true\n"), told)
    (volume,) = [turn for turn in document["sensitivity"] if turn["lever"] == "outputs per month"]
    saved = Decimal("1.006") * 20 / 3600 / Decimal("0.35") - Decimal("0.01")
    assert number_of(volume["at"]) == pytest.approx(Decimal(50) / saved, rel=Decimal("0.001"))


def test_the_curve_goes_through_what_the_declared_utilisation_costs(world: World, tmp_path: Path):
    """A fleet that is hardly used costs far more than one at the 10 % with which a curve begins otherwise."""
    fill(world, HOSTED, PAID)
    book = book_of(tmp_path, PRICES + GPU_FLEET.replace("0.35", "0.030") + 'minimum_billing_s = "700"\n')
    document = money(world, book)
    (curve,) = document["utilisation"]["curves"]
    (hosted,) = [one for one in document["variants"] if one["variant"] == str(HOSTED)]
    assert dict(curve["points"])[curve["declared"]] == hosted["total_usd"]
    assert "mark-symbol role-mark" in utilisation_chart(document["utilisation"]).svg


def test_the_curve_shows_idle_capacity_even_where_none_is_declared(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID, output_bytes=0)
    document = money(world, book_of(tmp_path, PRICES), Production())
    (curve,) = document["utilisation"]["curves"]
    points = {Decimal(share): Decimal(cost) for share, cost in curve["points"]}
    busy = Decimal("1.006") * 20 / 3600
    assert curve["declared"] is None
    assert points[Decimal(1)] == pytest.approx(busy)
    assert points[Decimal("0.35")] == pytest.approx(busy / Decimal("0.35"))
    assert list(points) == sorted(points)
    assert list(points.values()) == sorted(points.values(), reverse=True)
    assert document["utilisation"]["per_output"] == [{"variant": str(PAID), "label": PAID.label, "usd": "0.01"}]


def test_a_fleet_that_is_dearer_even_when_busy_never_breaks_even(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID, output_bytes=0)
    dear = book_of(tmp_path, PRICES.replace('"1.006"', '"10"'))
    (even,) = money(world, dear)["utilisation"]["break_even"]
    assert number_of(even["utilisation"]) == Missing("dearer even when it is always busy")
    cheap = book_of(tmp_path, PRICES.replace('"1.006"', '"0.001"'))
    (even,) = money(world, cheap)["utilisation"]["break_even"]
    assert number_of(even["utilisation"]) == Missing("cheaper at any utilisation")


def test_an_unpriced_variant_is_compared_in_nothing(world: World, tmp_path: Path):
    fill(world, HOSTED)
    world.cell(PAID, Tried("completed", [("api:unheard-of", "1")]), output_bytes=0, quality="90")
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET))
    assert of(document, "allocated_saving") == Missing("no price for api:unheard-of on 2026-11-21")
    assert document["sensitivity"] == document["utilisation"]["break_even"] == []
    (unpriced,) = [one for one in document["frontier_membership"] if one["variant"] == str(PAID)]
    assert unpriced["probability"] == {"missing": "no price for api:unheard-of on 2026-11-21"}


def test_without_an_accepted_output_there_is_no_cost_of_one(world: World, tmp_path: Path):
    fill(world, HOSTED)
    world.cell(PAID, Tried("failed", [("api:video", "1")]), status="failed", reason="boom")
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET))
    assert usd(lines(document, PAID)["list price"]) == Missing("no output was accepted")
    for name in ("cash_saving", "cash_saving_usd_per_month", "payback_months"):
        assert of(document, name) == Missing("no output was accepted")


def test_how_sure_the_frontier_is(world: World, tmp_path: Path):
    """Two clusters: on one the API is cheaper and as good, on the other it is dearer and better."""
    costs = {HOSTED: ("10", "10"), PAID: ("1", "4")}
    for variant, usage in costs.items():
        for cluster, quantity in enumerate(usage):
            sku = DONE[variant.provider][0]
            quality = "90" if variant == HOSTED or cluster == 0 else "99"
            world.cell(variant, Tried("completed", [(sku, quantity)]), output_bytes=0, quality=quality)
    book = book_of(tmp_path, PRICES.replace('"1.006"', '"7.2"'))  # 0.02 USD
    found = {one["variant"]: one["probability"] for one in money(world, book)["frontier_membership"]}
    assert found[str(PAID)] == 1
    assert 0.15 < found[str(HOSTED)] < 0.85, "off the frontier where only the first cluster is drawn"


def test_of_a_variant_that_was_not_given_all_cells_nothing_is_compared(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    world.cell(PAID, status="skipped", reason="early_stop: 1 of its first 2 cells failed")
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET))
    why = "not all of its cells were run: early_stop: 1 of its first 2 cells failed"
    assert usd(lines(document, PAID)["list price"]) == of(document, "cash_saving") == Missing(why)
    assert document["sensitivity"] == document["utilisation"]["break_even"] == []
    assert "known of both |" not in to_markdown(Report("", "", money_sections(document, str(PAID))))
    found = {one["variant"]: one["probability"] for one in document["frontier_membership"]}
    assert found == {str(HOSTED): 1.0, str(PAID): {"missing": why}}


def test_no_frontier_is_sure_of_what_was_lost_or_rests_on_one_source(world: World, tmp_path: Path):
    book = book_of(tmp_path, PRICES + GPU_FLEET)
    tried = Tried("completed", [DONE["gpu"]])
    world.cell(HOSTED, tried, output_bytes=0, quality="90")
    (alone,) = money(world, book, TOLD, HOSTED)["frontier_membership"]
    assert alone["probability"] == {"missing": "inputs of a single source show no spread"}
    fill(world, HOSTED, PAID)
    world.cell(PAID, Tried("lost", [DONE["api"]]), status="failed", reason="target_lost")
    found = [one["probability"] for one in money(world, book)["frontier_membership"]]
    assert found == [1.0, {"missing": "a cell of it was lost by our own infrastructure"}]


def test_the_cheapest_is_so_with_its_idle_time(world: World, tmp_path: Path):
    """The fleet is half the price of the API while it is busy, and half as much again with its idle time."""
    fill(world, ABROAD, HOSTED, PAID)
    hud = hud_of(ABROAD, HOSTED, PAID, incumbent=ABROAD)
    assert weigh(world.ws, hud, book_of(tmp_path, PRICES + GPU_FLEET), TOLD)["challenger"] == str(PAID)


def test_the_document_is_kept_beside_the_hud_and_read_back(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    book = book_of(tmp_path, PRICES + GPU_FLEET)
    assert read_money(world.ws, "vd_1") is None
    kept = record_money(world.ws, hud_of(HOSTED, PAID), book, TOLD)
    assert read_money(world.ws, "vd_1") == kept
    assert kept["production"]["outputs_per_month"] == 100_000
    assert record_money(world.ws, hud_of(HOSTED, PAID), book, TOLD) == kept


def test_the_report_shows_waterfall_saving_sensitivity_payback_and_curve(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    told = TOLD.model_copy(update={"judged_share": None})
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET), told)
    report = with_money(Report("Money HUD", "**WINNER**"), document)
    text = to_markdown(report)
    assert "## From list price to an accepted output in production, USD each" in text
    assert "| list price | 0.005589 | measured | 0.01 | measured | -0.004411 |" in text
    assert "| production judging |  | missing |  | missing |  |" in text
    assert "| known of both | 0.01599 |  | 0.01057 |  | 0.005418 |" in text
    assert "| total | not known | missing | not known | missing |  |" in text
    assert "What switching to b@api is worth, in what is known of both" in text
    assert "is b@api cheaper by 0 %, in what is known of both?" in text
    assert "| api:video | 0.01 | video | 2026-01-01 | made up |" in text
    whole = to_markdown(with_money(Report("", ""), money(world, book_of(tmp_path, PRICES + GPU_FLEET))))
    assert "known of both" not in whole
    assert "| total | 0.01609 |  | 0.01067 |  | 0.005418 |" in whole
    assert "- production judging: which share of outputs is judged is not declared" in text
    assert "payback, months" in text
    assert "| utilisation of gpu | 35 % | yes |" in text
    assert text.count("data:image/svg+xml;base64,") == 1
    assert "| a@gpu | b@api | 55." in text
    assert "on the frontier in" in text
    assert "What an accepted output costs by utilisation" in to_html([report], "Money")
    assert with_money(report, None) is report


def test_the_winner_is_shown_or_else_the_cheapest_that_is_as_good(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID, ABROAD)
    book = book_of(tmp_path, PRICES)
    hud = hud_of(HOSTED, PAID, ABROAD)
    assert weigh(world.ws, hud, book, TOLD)["challenger"] == str(PAID)
    hud["rows"][2]["gates"] = {"success": "passed", "quality": "passed", "cost": "failed"}
    assert weigh(world.ws, hud, book, TOLD)["challenger"] == str(ABROAD)
    assert weigh(world.ws, hud | {"winner": str(PAID)}, book, TOLD)["challenger"] == str(PAID)
    assert weigh(world.ws, hud_of(HOSTED), book, TOLD)["challenger"] is None
    assert "on the frontier" in to_markdown(with_money(Report("", ""), weigh(world.ws, hud_of(HOSTED), book, TOLD)))


def test_the_document_follows_from_its_arguments_alone(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    book = book_of(tmp_path, PRICES + GPU_FLEET)
    cells = price_cells(world.ws, BENCHMARK, book, deliveries_per_output=0)
    qualities = qualities_of(world.ws, BENCHMARK, JUDGED)
    first = money_document(hud_of(HOSTED, PAID), cells, qualities, book, TOLD)
    assert money_document(hud_of(HOSTED, PAID), cells[::-1], qualities, book, TOLD) == first


def test_what_is_never_saved_is_never_paid_back():
    assert payback(Decimal(10), Decimal(4)) == Decimal("2.5")
    assert payback(Decimal(10), Decimal(0)) == Missing("never: it saves no cash")
    assert payback(Decimal(0), Decimal(1)) == payback(Decimal(0), Decimal(0)) == 0
    assert payback(Decimal(0), Decimal(-1)) == Missing("never: it saves no cash"), "it loses money month by month"
    assert payback(Missing("unknown"), Decimal(-1)) == Missing("never: it saves no cash"), "whatever it costs"
    assert payback(Missing("unknown"), Decimal(4)) == Missing("unknown")


@settings(max_examples=50)
@given(st.floats(0.02, 90), st.sampled_from([-1.0, 1.0]))
def test_a_crossing_is_found_wherever_it_is(at: float, sign: float):
    found = crossing(lambda x: sign * (x - at), 0.01, 100)
    assert found == pytest.approx(at, rel=1e-6)
    assert crossing(lambda x: x - at, at * 1.01, 100) is None


MINIMAL_BILLING = GPU_FLEET + 'cold_start_s = "30"\njobs_per_start = "2"\nminimum_billing_s = "300"\n'


def test_another_utilisation_is_put_together_as_the_declared_one_was(world: World, tmp_path: Path):
    """At the utilisation that is declared, both ways to the idle time, cold starts and minimum billing agree."""
    for seconds in ("5", "20", "90"):
        world.cell(HOSTED, Tried("completed", [("gpu:gpu-second", seconds)]), output_bytes=0, quality="90")
    book = book_of(tmp_path, PRICES + MINIMAL_BILLING)
    (parts,) = parts_of(price_cells(world.ws, BENCHMARK, book, deliveries_per_output=0), book, [HOSTED]).values()
    again = parts.at_utilisation(Decimal("0.35"))
    for name in ("idle", "cold_start", "minimum_billing"):
        assert getattr(again, name) == pytest.approx(getattr(parts, name), abs=Decimal("1e-11"))
        assert getattr(parts, name) > 0
    busier = parts.at_utilisation(Decimal(1))
    assert busier.minimum_billing > parts.minimum_billing, "jobs that are done sooner leave more of it unused"
    assert busier.idle == pytest.approx(Decimal(0), abs=Decimal("1e-12"))


def test_what_depends_on_an_unknown_is_unknown_with_its_reason(world: World, tmp_path: Path):
    world.cell(HOSTED, Tried("completed", [("gpu:gpu-second", "worker died")]), output_bytes=0, quality="90")
    fill(world, PAID)
    more = 'commitment_usd_per_hour = "1"\ninterruptions_per_hour = "1"\n'
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET + more))
    found = lines(document, HOSTED)
    for name in ("list price", "idle", "commitments"):
        assert usd(found[name]) == Missing("gpu:gpu-second: worker died")
    assert document["utilisation"]["curves"] == []
    no_nat = book_of(tmp_path, PRICES.replace("nat:gb", "other:gb"))
    assert usd(lines(money(world, no_nat), PAID)["NAT"]) == Missing("no price for nat:gb on 2026-11-21")


def test_how_often_an_output_may_be_delivered_and_at_which_price_of_egress(world: World, tmp_path: Path):
    """The API's outputs are larger: what it saves is eaten up by delivering them."""
    fill(world, HOSTED, output_bytes=0)
    fill(world, PAID, output_bytes=1_000_000)
    book = book_of(tmp_path, PRICES + GPU_FLEET)
    hud = hud_of(HOSTED, PAID) | {"deliveries_per_output": 10}
    told = Production(outputs_per_month=1000, migration_usd=0, dual_run_days=0, judged_share=0, through_nat=())
    at = {turn["lever"]: number_of(turn["at"]) for turn in weigh(world.ws, hud, book, told)["sensitivity"]}
    saved = Decimal("1.006") * 20 / 3600 / Decimal("0.35") - Decimal("0.01") - Decimal("0.00002")
    each = Decimal("0.00009")
    assert at["deliveries per output"] == pytest.approx(saved / each, rel=Decimal("1e-5"))
    assert at["price of egress"] == pytest.approx(saved / each / 10, rel=Decimal("1e-5"))
    text = to_markdown(with_money(Report("", ""), weigh(world.ws, hud, book, told)))
    assert "| price of api | as it is | yes | 1." in text
    assert "USD per video) |" in text
    assert "| deliveries per output | 10 | yes | 66.09 |" in text, "rounded to whole ones it may be 0, or what is now"


def test_the_winner_is_put_through_every_lever_however_many_are_cheaper(world: World, tmp_path: Path):
    dear = VariantId("effect-1", "z", "lab", "demo", "api", "default")
    many = [VariantId("effect-1", f"w{n}", "lab", "demo", "api", "default") for n in range(EXAMINED)]
    fill(world, HOSTED, *many, each=1)
    world.cell(dear, Tried("completed", [("api:video", "1.2")]), output_bytes=0, quality="90")
    book = book_of(tmp_path, PRICES + GPU_FLEET)
    document = weigh(world.ws, hud_of(HOSTED, *many, dear, winner=dear), book, TOLD)
    examined = {turn["challenger"] for turn in document["sensitivity"]}
    assert str(dear) in examined
    assert len(examined) == EXAMINED
    (last,) = {str(one) for one in many} - examined
    assert "nothing: it is not among the cheapest" in to_markdown(Report("", "", money_sections(document, last)))


def test_what_was_skipped_once_the_comparison_was_decided_changes_nothing(world: World, tmp_path: Path):
    fill(world, HOSTED, PAID)
    book = book_of(tmp_path, PRICES + GPU_FLEET)
    before = money(world, book)
    for variant in (HOSTED, PAID):
        world.cell(variant, status="skipped", reason="skipped: decided")
    assert money(world, book) == before


def test_a_comparison_in_which_nothing_was_run_says_so_everywhere(world: World, tmp_path: Path):
    world.cell(HOSTED, status="skipped", reason="skipped: over budget")
    document = money(world, book_of(tmp_path, PRICES + GPU_FLEET))
    assert of(document, "allocated_saving") == Missing("no output was accepted")
    assert document["frontier_membership"] == document["sensitivity"] == []
    assert "no output was accepted" in to_markdown(with_money(Report("", ""), document))
