"""`pointsman prices export`, `reconcile` and `refresh`: a month's charges out, an invoice in, AWS's prices of today."""

from contextlib import contextmanager

import boto3
import pytest
from botocore.stub import Stubber

from pointsman.errors import DependencyDown
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from service.cli import billing, prices
from tests.economics.test_charges import PRICES, changing, product
from tests.economics.worlds import A, B, Tried, World, book_of


@pytest.fixture
def charged(home, tmp_path, monkeypatch):
    """A home with two cells of November, and the words that name its price book."""
    ws = Workspace.open(load_settings(home=home), actor="a test")
    world = World(ws)
    world.cell(A, Tried("completed", [("cpu:vcpu-second", "4000")]), output_bytes=10)
    world.cell(B, Tried("completed", [("gpu:second", "2")]), output_bytes=10)
    book_of(tmp_path, PRICES)
    return ["--book", tmp_path / "prices.toml", "--month", "2026-11"]


@contextmanager
def aws(monkeypatch, module, service):
    client = boto3.client(service, "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        monkeypatch.setattr(module, "billing_client", lambda asked: client if asked == service else None)
        yield stub


def test_a_month_is_exported_and_its_own_export_is_an_invoice_that_agrees(pointsman, charged, tmp_path):
    file = tmp_path / "november.csv"
    done = pointsman("prices", "export", "--out", file, *charged, "--json").document
    assert (done["rows"], done["usd"], done["month"]) == (1, "4.000000000000", "2026-11")
    assert done["left_out"][0]["reason"] == "no price for gpu:second on 2026-11-21"
    shown = pointsman("prices", "export", "--out", file, *charged).out
    assert "1 charges of 2026-11" in shown
    assert "Not in it" in shown
    agreed = pointsman("prices", "reconcile", "--invoice", file, *charged)
    assert agreed.code == 0
    assert "They agree within 1 %: +0.00 % of the invoice." in agreed.out


def test_an_invoice_that_differs_fails_and_says_by_what(pointsman, charged, tmp_path):
    file = tmp_path / "invoice.csv"
    file.write_text("sku,usd,quantity\ncpu:vcpu-second,4.4,4400\nsupport,1,\n")
    answer = pointsman("prices", "reconcile", "--invoice", file, *charged, "--json")
    assert answer.code == 1
    items = {one["name"]: one for one in answer.document["items"]}
    assert (items["USE1-CPU"]["by_quantity"], items["USE1-CPU"]["by_price"]) == ("0.4", "0")
    assert items["support"]["kind"] == "invoice only"
    assert "1.4000 USD apart" in answer.err.replace("+", "")
    shown = pointsman("prices", "reconcile", "--invoice", file, *charged).out
    assert "They do not agree" in shown


def test_large_amounts_are_shown_to_the_cent_and_names_as_they_are(pointsman, charged, tmp_path):
    file = tmp_path / "invoice.csv"
    file.write_text("sku,usd\n0001E3,1234567.891\ncpu:vcpu-second,4\n[VAT] of [/2025],0\n")
    shown = pointsman("prices", "reconcile", "--invoice", file, *charged).out
    for text in ("0001E3", "[VAT] of [/2025]", "1,234,567.89", "1,234,571.89"):
        assert text in shown


def test_an_invoice_in_euros_is_compared_at_a_rate_that_is_told(pointsman, charged, tmp_path):
    file = tmp_path / "invoice.csv"
    row = "3.6363636,EUR,2026-11-02T00:00:00Z,Usage,cpu:vcpu-second,4000"
    file.write_text(f"BilledCost,BillingCurrency,ChargePeriodStart,ChargeCategory,SkuId,PricingQuantity\n{row}\n")
    words = ["prices", "reconcile", "--invoice", file, *charged]
    assert pointsman(*words, "--json").document["rates"] == {"EUR": {"usd": "1.1", "date": "2026-11-01"}}
    answer = pointsman(*words)
    assert answer.code == 0
    assert "Billed in EUR, at the price book's rate of 2026-11-01: 1.1 USD for one." in answer.out


def test_cost_explorer_is_asked_by_tag_where_there_is_no_file(pointsman, charged, monkeypatch):
    metrics = {"UnblendedCost": {"Amount": "4", "Unit": "USD"}, "UsageQuantity": {"Amount": "4000", "Unit": "N/A"}}
    group = {"Keys": ["USE1-CPU", "Usage"], "Metrics": metrics}
    with aws(monkeypatch, billing, "ce") as stub:
        stub.add_response("get_cost_and_usage", {"ResultsByTime": [{"Groups": [group]}]})
        assert pointsman("prices", "reconcile", "--tag", "team=media", *charged).code == 0
        stub.add_response("get_cost_and_usage", {"ResultsByTime": [{"Groups": [group], "Estimated": True}]})
        assert "2026-11 is not billed yet" in pointsman("prices", "reconcile", "--tag", "team=media", *charged).out
    assert pointsman("prices", "reconcile", *charged).code == 2
    assert pointsman("prices", "reconcile", "--tag", "team", *charged).code == 2


def test_a_price_that_changes_within_a_day_is_listed_with_the_time(pointsman, home, tmp_path):
    book_of(tmp_path, changing("vcpu-second", "0.002"))
    listed = pointsman("prices", "list", "--book", tmp_path / "prices.toml", "--json").document["prices"]
    assert [(one["valid_from"], one["valid_to"]) for one in listed] == [
        ("2026-11-21", "2026-11-21T12:00:00Z"),
        ("2026-11-21T12:00:00Z", None),
    ]


def test_the_prices_of_today_are_written_as_a_file_of_ones_own(pointsman, home, tmp_path, monkeypatch):
    book_of(tmp_path, PRICES)
    file = tmp_path / "aws.toml"
    with aws(monkeypatch, prices, "pricing") as stub:
        stub.add_response("get_products", {"PriceList": [product("0.0012")]})
        words = ["prices", "refresh", "--book", tmp_path / "prices.toml", "--out", file]
        done = pointsman(*words, "--json").document
        assert done["prices"] == [
            {"sku": "cpu:vcpu-second", "unit": "vcpu-second", "was_usd": "0.001", "is_usd": "0.0012"}
        ]
        stub.add_response("get_products", {"PriceList": [product("0.0012")]})
        assert "Prices of AWS" in pointsman(*words).out
    checked = pointsman("prices", "check", "--book", tmp_path / "prices.toml", "--overrides", file)
    assert checked.code == 0


def test_while_aws_is_out_of_reach_nothing_is_written(pointsman, home, tmp_path, monkeypatch):
    def unreachable(service):
        raise DependencyDown("AWS pricing is out of reach.", instruction="", code="aws_unreachable")

    monkeypatch.setattr(prices, "billing_client", unreachable)
    file = tmp_path / "aws.toml"
    assert pointsman("prices", "refresh", "--out", file).code == 4
    assert not file.exists()
