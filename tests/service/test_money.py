"""`pointsman hud money`: the money behind a verdict, for the production that was planned or for another one."""

import pytest
import sqlalchemy as sa

from pointsman.economics import Production, record_money, register
from pointsman.settings import load_settings
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.economics.test_money import GPU_FLEET, HOSTED, PAID, PRICES, fill, hud_of
from tests.economics.worlds import BENCHMARK, JUDGED, NOW, World, book_of


@pytest.fixture
def weighed(home, tmp_path):
    """A home with one verdict, whose price book is registered and in no file any more."""
    ws = Workspace.open(load_settings(home=home), actor="a test")
    world = World(ws)
    fill(world, HOSTED, PAID)
    book = book_of(tmp_path, PRICES + GPU_FLEET)
    register(ws, book)
    (tmp_path / "prices.toml").unlink()
    hud = hud_of(HOSTED, PAID) | {"price_book_sha256": book.sha256}
    ws.results.write_json("verdicts/vd_1/hud.json", hud)
    record_money(ws, hud, book, Production(outputs_per_month=1000))
    row = {"id": "vd_1", "benchmark_id": BENCHMARK, "evaluation_set_id": JUDGED, "route_key": str(HOSTED.route_key)}
    row |= {"outcome": "NO_SIGNIFICANT_WINNER", "plan_sha256": "0" * 64, "data_sha256": "0" * 64}
    row |= {"code_version": "0.1.0", "document_uri": "file:///x", "created_at": NOW}
    with ws.database.begin() as connection:
        connection.execute(sa.insert(tables.verdicts), [row])
    return ws


def test_it_shows_what_was_planned_when_the_verdict_was_reached(pointsman, weighed):
    kept = pointsman("hud", "money", BENCHMARK, "--json").document
    assert kept["production"]["outputs_per_month"] == 1000
    answer = pointsman("hud", "money", "vd_1")
    assert answer.code == 0
    for word in ("list price", "idle", "dual running", "payback, months", "utilisation of gpu", "as cheap from"):
        assert word in answer.out
    assert "which share of outputs is judged is not declared" in answer.out


def test_it_answers_what_if_without_measuring_again(pointsman, weighed):
    words = ["hud", "money", "vd_1", "--outputs-per-month", "100000", "--migration-usd", "500", "--dual-run-days", "14"]
    words += [
        "--judged-share",
        "0.01",
        "--through-nat",
        "none",
        "--months",
        "6",
        "--fx-fee",
        "0",
        "--fx-rate",
        "EUR=1.1",
    ]
    told = pointsman(*words, "--json").document
    assert told["production"] == {
        "outputs_per_month": 100_000,
        "months": 6,
        "migration_usd": 500,
        "dual_run_days": 14,
        "judged_share": 0.01,
        "through_nat": [],
        "fx_fee": 0,
        "fx_rates": {"EUR": 1.1},
    }
    assert all(line["basis"] != "missing" for one in told["variants"] for line in one["lines"])
    assert float(told["comparisons"][0]["payback_months"]) > 0
    assert pointsman("hud", "money", "vd_1", "--json").document["production"]["outputs_per_month"] == 1000, "not kept"


def test_a_challenger_is_chosen_by_its_short_name(pointsman, weighed):
    assert pointsman("hud", "money", "vd_1", "--challenger", "b@api").code == 0
    assert pointsman("hud", "money", "vd_1", "--challenger", str(PAID)).code == 0
    refused = pointsman("hud", "money", "vd_1", "--challenger", "a@gpu")
    assert (refused.code, "b@api" in refused.err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["--fx-rate", "EUR"],
        ["--fx-rate", "EUR=-1"],
        ["--fx-rate", "euro=1"],
        ["--months", "0"],
        ["--through-nat", "apo"],
    ],
)
def test_what_cannot_be_is_refused_by_name(pointsman, weighed, words):
    answer = pointsman("hud", "money", "vd_1", *words)
    assert answer.code == 2
    assert words[0].removeprefix("--").replace("-", "") in answer.err.replace("-", "").replace("_", "")


def test_prices_are_listed_with_currencies_and_hosting(pointsman, home, tmp_path):
    book_of(tmp_path, PRICES + GPU_FLEET)
    listed = pointsman("prices", "list", "--book", tmp_path / "prices.toml", "--json").document
    (abroad,) = [one for one in listed["prices"] if one["sku"] == "abroad:video"]
    assert (abroad["currency"], abroad["amount"], abroad["fx_rate"], abroad["usd"]) == (
        "EUR",
        "0.010",
        "1.10",
        "0.01100",
    )
    assert abroad["fx_date"] == "2026-11-01"
    assert listed["hosting"][0]["utilisation"] == "0.35"
    shown = pointsman("prices", "list", "--book", tmp_path / "prices.toml").out
    assert "EUR" in shown
    assert "Self-hosted capacity" in shown
    book_of(tmp_path, PRICES + GPU_FLEET + 'commitment_usd_per_hour = "0.7"\ncommitment_discount = "0.3"\n')
    committed = pointsman("prices", "list", "--book", tmp_path / "prices.toml").out
    assert "gpu: 0.7 USD an hour are paid, used or not, and buy capacity 30 % cheaper." in committed
    assert "currency" not in pointsman("prices", "list").out, "all of the built-in prices are in USD"
