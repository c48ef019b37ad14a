"""A month's charges, the FOCUS file that is made of them, and an invoice against them."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest
import sqlalchemy as sa
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from pointsman.dispatch import DriveSummary, Percentiles
from pointsman.economics import (
    Charge,
    Month,
    PriceBook,
    Uncharged,
    billing_client,
    charges_of,
    cost_explorer_lines,
    focus_csv,
    price_cells,
    price_file_text,
    read_invoice,
    reconcile,
    refreshed,
)
from pointsman.economics.aws_billing import answered
from pointsman.economics.entries import PriceEntry
from pointsman.economics.focus import focus_unit
from pointsman.economics.focus_schema import COLUMNS, focus_faults
from pointsman.economics.invoice import InvoiceLine
from pointsman.economics.price_file import read_price_file
from pointsman.errors import DataCheckFailed, DependencyDown, InputRefused, NotFound
from pointsman.storage import tables
from tests.economics.price_texts import OF_OUTPUTS, price, price_in_euros
from tests.economics.test_experiment import attempts
from tests.economics.worlds import BENCHMARK, JUDGED, NOW, A, B, Tried, World, book_of

NOVEMBER = Month.parse("2026-11")
PRICES = (
    price("cpu:vcpu-second", "0.001", more='tier = "spot"\naws = {service = "AmazonECS", usagetype = "USE1-CPU"}\n')
    + OF_OUTPUTS
    + price_in_euros("api:video", "0.10", "1.1", more='modality = "video"\nresolution = "1080p"\n')
)
TOKENS = "gemini:gemini-2.5-flash:input-token"


@pytest.fixture
def prices(tmp_path: Path) -> PriceBook:
    return book_of(tmp_path, PRICES)


def ledger(world: World, run_id: str, quantity: str, *, day: datetime = NOW) -> None:
    none = Percentiles()
    closed = DriveSummary(
        outcome="completed",
        epoch=day,
        wall_s=1.0,
        counts={},
        answered={},
        achieved_per_s=1.0,
        queue_ms=none,
        run_ms=none,
        total_ms=none,
        raw_total_ms=none,
        lateness_ms=none,
        interruptions=(),
    )
    world.load_run(run_id, f"lab/steady/t/{run_id}")
    folder = world.ws.results.path(f"lab/steady/t/{run_id}")
    folder.mkdir(parents=True)
    rows = attempts(("completed", "cpu:vcpu-second", quantity, None), ("refused", None, None, None), started=day)
    rows = rows.with_columns(basis=pl.lit("measured"))
    rows.write_parquet(folder / "attempts-00000.parquet")
    (folder / "summary.json").write_text(closed.model_dump_json())
    started(world, run_id, day)


def started(world: World, run_id: str, at: datetime) -> None:
    runs = tables.load_test_runs
    with world.ws.database.begin() as connection:
        connection.execute(sa.update(runs).where(runs.c.id == run_id).values(started_at=at, ended_at=at))


def fill(world: World) -> None:
    """Two cells, one of them tried twice, a judgement, and a load test."""
    world.cell(A, Tried("lost"), Tried(), output_bytes=10)
    world.cell(B, Tried("completed", [("api:video", "3")]), output_bytes=10)
    world.attempt("d", Tried("completed", [(TOKENS, "1000")]), provider="gemini", kind="judgement", run_id=JUDGED)
    ledger(world, "run-1", "1.5")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_usage_of_the_month_is_charged_once_by_day_run_and_sku(world: World, prices: PriceBook):
    fill(world)
    charges, uncharged = charges_of(world.ws, prices, NOVEMBER)
    assert uncharged == []
    assert [(one.purpose, one.resource, one.sku, one.quantity, one.usd) for one in charges] == [
        ("matrix", str(A), "cpu:vcpu-second", 4, Decimal("0.004")),
        ("matrix", str(B), "api:video", 3, Decimal("0.33")),
        ("judging", JUDGED, TOKENS, 1000, prices.cost(TOKENS, Decimal(1000), NOW)),
        ("load", str(A), "cpu:vcpu-second", Decimal("1.5"), Decimal("0.0015")),
    ]
    assert {one.day for one in charges} == {NOW.date()}


def test_what_was_cancelled_and_planned_again_is_charged_to_its_matrix(world: World, prices: PriceBook):
    world.cell(A, Tried(), output_bytes=10)
    world.attempt("d-cancelled", Tried("lost"), provider="cpu")
    charges, _ = charges_of(world.ws, prices, NOVEMBER)
    assert sorted((one.resource, one.usd) for one in charges) == [
        *((BENCHMARK, Decimal("0.002")), (str(A), Decimal("0.002"))),
    ]
    named = {(row["ResourceName"], row["ResourceType"]) for row in rows_of(focus_csv(charges, NOVEMBER))}
    assert named == {(BENCHMARK, "Benchmark"), (A.label, "Variant")}


def test_another_month_is_another_bill(world: World, prices: PriceBook):
    first = datetime(2026, 11, 1, tzinfo=UTC)
    for at in (first - timedelta(microseconds=1), first, datetime(2026, 12, 1, tzinfo=UTC)):
        world.cell(A, Tried(started=at), output_bytes=10)
    ledger(world, "run-1", "8", day=first - timedelta(days=3))
    charges, _ = charges_of(world.ws, prices, NOVEMBER)
    assert [(one.day, one.usd) for one in charges] == [(first.date(), Decimal("0.002"))]
    assert [one.usd for one in charges_of(world.ws, prices, Month.parse("2026-10"))[0]] == [
        Decimal("0.008"),
        Decimal("0.002"),
    ]
    assert Month.parse("2026-12").end == datetime(2027, 1, 1, tzinfo=UTC)
    for text in ("2026", "2026-13", "11-2026"):
        with pytest.raises(InputRefused, match="month"):
            Month.parse(text)


def test_what_has_no_amount_is_told_apart_and_never_free(world: World, prices: PriceBook):
    world.cell(A, Tried("completed", [("gpu:second", "2")]), output_bytes=10)
    world.cell(A, Tried("completed", [("cpu:vcpu-second", "worker died")]), output_bytes=10)
    world.cell(A, Tried("refused", []), status="failed", reason="refused")
    world.load_run("run-2", "lab/steady/t/run-2")
    started(world, "run-2", NOW)
    charges, uncharged = charges_of(world.ws, prices, NOVEMBER)
    assert charges == []
    assert [(one.purpose, one.provider, one.reason, one.rows) for one in uncharged] == [
        ("matrix", "cpu", "cpu:vcpu-second: worker died", 1),
        ("matrix", "cpu", "no price for gpu:second on 2026-11-21", 1),
        ("load", "cpu", "the load test has no closed ledger", 1),
    ]


def test_the_export_has_the_columns_of_focus_and_keeps_currency_price_and_basis(world: World, prices: PriceBook):
    fill(world)
    charges, _ = charges_of(world.ws, prices, NOVEMBER)
    text = focus_csv(charges, NOVEMBER)
    rows = rows_of(text)
    assert len(COLUMNS) == 57
    assert list(focus_faults(list(rows[0]), rows)) == []
    assert sum(Decimal(row["BilledCost"]) for row in rows) == sum(one.usd for one in charges)
    spot, api, judging, load = rows
    assert (spot["PricingCategory"], spot["ServiceCategory"], spot["ConsumedUnit"]) == (
        *("Dynamic", "Compute", "vCPU-Seconds"),
    )
    assert (api["PricingCurrency"], api["PricingCurrencyListUnitPrice"], api["PricingCurrencyEffectiveCost"]) == (
        *("EUR", "0.10", "0.30000000000"),
    )
    assert json.loads(api["SkuPriceDetails"]) == {"x_Modality": "video", "x_Resolution": "1080p"}
    assert (judging["ServiceSubcategory"], judging["ResourceType"]) == ("Generative AI", "Evaluation set")
    assert (judging["PricingUnit"], judging["PricingQuantity"], judging["SkuPriceId"]) == (
        *("1000000 Input Tokens", "0.001", f"{TOKENS}@2026-11-21"),
    )
    assert json.loads(judging["SkuPriceDetails"]) == {"x_Modality": "tokens", "x_Tier": "standard"}
    assert json.loads(load["Tags"]) == {"pointsman:run": "run-1", "pointsman:purpose": "load"}
    assert {row["ChargePeriodStart"] for row in rows} == {"2026-11-21T00:00:00Z"}
    assert {row["x_Basis"] for row in rows} == {"measured"}


NOON = NOW + timedelta(hours=12)


def changing(unit: str, usd: str) -> str:
    """A price of 0.001 USD for a second until noon, and another one from then on."""
    until = PRICES.split("[[price]]")[1].replace("valid_from = 2026-01-01", "valid_from = 2026-11-21")
    since = until.replace('usd = "0.001"', f'usd = "{usd}"').replace('unit = "vcpu-second"', f'unit = "{unit}"')
    return (
        f"[[price]]{until}valid_to = 2026-11-21T12:00:00Z\n"
        f"[[price]]{since.replace('2026-11-21', '2026-11-21T12:00:00Z')}"
    )


def test_two_prices_of_one_day_have_two_names(world: World, tmp_path: Path):
    book = book_of(tmp_path, changing("vcpu-second", "0.002"))
    world.cell(A, Tried(), Tried(started=NOON), output_bytes=10)
    rows = rows_of(focus_csv(charges_of(world.ws, book, NOVEMBER)[0], NOVEMBER))
    assert {row["SkuPriceId"]: Decimal(row["BilledCost"]) for row in rows} == {
        "cpu:vcpu-second@2026-11-21": Decimal("0.002"),
        "cpu:vcpu-second@2026-11-21T12:00:00Z": Decimal("0.004"),
    }


IMAGE = PriceEntry("cpu:image", "image", Decimal("0.25"), NOW, None, "made up")
CHARGE = Charge(NOW.date(), "r", "matrix", str(A), "cpu", "cpu:image", Decimal(2), Decimal("0.5"), "measured", IMAGE)


@pytest.mark.parametrize(
    ("unit", "written"),
    [
        *(("gb", "GB"), ("gb-month", "GB-Months"), ("gpu-hour", "GPU-Hours"), ("second", "Seconds")),
        *(("video", "Videos"), ("million-image", "1000000 Images"), ("4k_video", "4K Videos")),
    ],
)
def test_units_are_written_as_focus_has_them(unit: str, written: str):
    assert focus_unit(unit) == written


def good_row(**changes: str) -> dict[str, str]:
    (row,) = rows_of(focus_csv([CHARGE], NOVEMBER))
    return {**row, **changes}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"BilledCost": ""}, "BilledCost is null"),
        ({"BilledCost": "a lot"}, "which is no decimal"),
        ({"ChargeCategory": "Rental"}, "not one of Usage"),
        ({"BillingCurrency": "dollars"}, "which is no currency"),
        ({"ChargePeriodStart": "2026-11-21"}, "which is no time"),
        ({"Tags": "team=media"}, "which is no map"),
        ({"Tags": '{"a": {"b": 1}}'}, "which is no map"),
        ({"ListUnitPrice": "-1"}, "below 0"),
        ({"ListCost": "7"}, "ListCost is 7, not ListUnitPrice times PricingQuantity"),
        ({"SkuId": ""}, "SkuId is null in a charge of category Usage"),
        ({"ChargeCategory": "Tax"}, "PricingCategory is told in a tax"),
        ({"ConsumedQuantity": "", "ConsumedUnit": ""}, "ConsumedQuantity is null in a usage"),
        ({"ChargeCategory": "Purchase"}, "ChargeFrequency is Usage-Based in a purchase"),
        ({"ChargeCategory": "Purchase"}, "ConsumedQuantity is told where nothing is consumed"),
        ({"RegionName": "Frankfurt"}, "RegionName is told where RegionId is null"),
        ({"RegionId": "eu-central-1"}, "RegionName is null where RegionId is told"),
        ({"CommitmentDiscountStatus": "Used"}, "CommitmentDiscountStatus is told where CommitmentDiscountId is null"),
        ({"ServiceSubcategory": "Containers"}, "which is none of AI and Machine Learning"),
        ({"BillingPeriodEnd": "2026-11-01T00:00:00Z"}, "BillingPeriodEnd is not after BillingPeriodStart"),
    ],
)
def test_each_rule_of_the_schema_can_fail(changes: dict[str, str], said: str):
    assert list(focus_faults([column.name for column in COLUMNS], [good_row()])) == []
    found = list(focus_faults([column.name for column in COLUMNS], [good_row(), good_row(**changes)]))
    assert any(said in fault for fault in found), found
    assert all(fault.startswith("row 2: ") for fault in found)


def test_columns_that_are_missing_strange_or_double_are_named():
    names = [column.name for column in COLUMNS if column.name != "Tags"]
    assert list(focus_faults([*names, "Cost", "x_Cost", "SkuId"], [])) == [
        "column Tags is missing",
        "column SkuId stands there 2 times",
        "column Cost is no column of FOCUS 1.2, and one's own begin with x_",
    ]


def test_a_file_that_is_not_focus_is_not_given_out():
    with pytest.raises(DataCheckFailed, match="row 1: ProviderName"):
        focus_csv([replace(CHARGE, provider=" ")], NOVEMBER)


def test_a_synthetic_invoice_agrees_within_one_percent_and_its_differences_are_itemised(
    world: World, prices: PriceBook, tmp_path: Path
):
    fill(world)
    charges, uncharged = charges_of(world.ws, prices, NOVEMBER)
    rows = rows_of(focus_csv(charges, NOVEMBER))
    rows[0]["BilledCost"] = "0.0038"  # a little less than 4 s at 0.001
    rows[0]["PricingQuantity"] = "3.8"
    rows.append({**rows[0], "SkuId": "support", "SkuMeter": "", "ServiceName": "support", "BilledCost": "0.001"})
    rows.append({**rows[0], "ChargeCategory": "Tax", "BilledCost": "0.09"})
    rows.append({**rows[0], "ChargePeriodStart": "2026-10-31T00:00:00Z", "BilledCost": "99"})
    file = tmp_path / "invoice.csv"
    write(file, rows)
    found = reconcile(charges, uncharged, read_invoice(file, NOVEMBER), prices)
    assert found.agrees
    assert found.share is not None
    assert abs(found.share) < Decimal("0.01")
    assert found.not_usage == (("Tax", Decimal("0.09")),)
    items = {one.name: one for one in found.items}
    assert (items["support"].kind, items["support"].usd) == ("invoice only", Decimal("0.001"))
    cpu = items["USE1-CPU"]
    assert (cpu.kind, cpu.agrees, cpu.usd) == ("both", False, Decimal("-0.0002"))
    assert (cpu.by_quantity, cpu.by_price) == (Decimal("-0.0002"), 0)
    assert items["api:video"].agrees
    assert sum(one.usd for one in found.items) == found.usd == found.invoiced_usd - found.ledger_usd


def write(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_dearer_price_and_a_forgotten_run_are_told_apart(world: World, prices: PriceBook, tmp_path: Path):
    fill(world)
    charges, _ = charges_of(world.ws, prices, NOVEMBER)
    file = tmp_path / "invoice.csv"
    file.write_text("sku,usd,quantity\napi:video,0.396,3\ncpu:vcpu-second,0.0055,5.5\nelsewhere,2,\n")
    forgotten = Uncharged("run-9", "load", "gpu", "no price", 3)
    found = reconcile(charges, [forgotten], read_invoice(file, NOVEMBER), prices)
    assert not found.agrees
    assert found.uncharged == (forgotten,)
    items = {one.name: one for one in found.items}
    assert (items["api:video"].by_quantity, items["api:video"].by_price) == (0, Decimal("0.066"))
    assert items["USE1-CPU"].usd == 0
    assert items["elsewhere"].kind == "invoice only"
    assert items[TOKENS].kind == "ledger only"
    assert found.items[0].name == "elsewhere"


def test_quantities_are_not_added_up_where_the_price_changed_its_unit(world: World, tmp_path: Path):
    book = book_of(tmp_path, changing("vcpu-hour", "3.6"))
    world.cell(A, Tried(), Tried(started=NOON), output_bytes=10)
    charges, _ = charges_of(world.ws, book, NOVEMBER)
    (item,) = reconcile(charges, [], [InvoiceLine(("cpu:vcpu-second",), Decimal("0.0044"), Decimal(4))], book).items
    assert (item.usd, item.quantities, item.by_quantity, item.by_price) == (Decimal("0.0004"), None, None, None)


def test_an_invoice_in_another_currency_is_compared_at_the_price_books_rate(world: World, tmp_path: Path):
    world.cell(B, Tried("completed", [("api:video", "3")]), output_bytes=10)
    old = price_in_euros("api:image", "1", "1.3", "2026-10-01")
    book = book_of(tmp_path, PRICES + old)
    rates = book.rates(NOVEMBER.start, NOVEMBER.end)
    assert {currency: (one.rate, one.rate_date.day) for currency, one in rates.items()} == {"EUR": (Decimal("1.1"), 1)}
    ended = book_of(tmp_path, PRICES + old.replace("2026-01-01\n", "2026-01-01\nvalid_to = 2026-02-01\n", 1))
    assert ended.rates(NOVEMBER.start, NOVEMBER.end)["EUR"].rate_date.month == 11
    file = tmp_path / "invoice.csv"
    columns = "BilledCost,BillingCurrency,ChargePeriodStart,ChargeCategory,SkuId,PricingQuantity\n"
    usage = "0.30,EUR,2026-11-02T00:00:00Z,Usage,api:video,3\n"
    file.write_text(columns + usage + "-0.05,EUR,2026-11-02T00:00:00Z,Credit,api:video,\n")
    lines = read_invoice(file, NOVEMBER, rates={"EUR": rates["EUR"].rate})
    charges, _ = charges_of(world.ws, book, NOVEMBER)
    found = reconcile(charges, [], lines, book)
    assert (found.usd, found.invoiced_usd, found.items[0].by_price) == (0, Decimal("0.33"), 0)
    assert found.not_usage == (("Credit", Decimal("-0.055")),)


def test_what_was_consumed_is_no_quantity_of_what_is_priced(world: World, prices: PriceBook, tmp_path: Path):
    fill(world)
    charges, _ = charges_of(world.ws, prices, NOVEMBER)
    rows = rows_of(focus_csv(charges, NOVEMBER))
    corrected = {"ChargeClass": "Correction", "PricingQuantity": "", "PricingUnit": "", "ConsumedQuantity": "1000"}
    write(tmp_path / "invoice.csv", [*rows, {**rows[2], **corrected, "BilledCost": "0"}])
    found = reconcile(charges, [], read_invoice(tmp_path / "invoice.csv", NOVEMBER), prices)
    items = {one.name: one for one in found.items}
    assert (items[TOKENS].agrees, items[TOKENS].by_quantity) == (True, None)
    assert items["api:video"].by_quantity == 0


def test_only_lines_with_the_tag_count(world: World, prices: PriceBook, tmp_path: Path):
    fill(world)
    charges, _ = charges_of(world.ws, prices, NOVEMBER)
    file = tmp_path / "invoice.csv"
    write(file, rows_of(focus_csv(charges, NOVEMBER)))
    tagged = read_invoice(file, NOVEMBER, ("pointsman:purpose", "load"))
    assert [line.usd for line in tagged] == [Decimal("0.0015")]
    assert len(read_invoice(file, NOVEMBER)) == 4
    assert read_invoice(file, Month.parse("2026-10")) == []


def test_an_invoice_of_nothing_agrees_with_nothing():
    empty = reconcile([], [], [], PriceBook(()))
    assert (empty.agrees, empty.share) == (True, None)
    tax = reconcile([], [], [InvoiceLine(("x",), Decimal(3), category="Tax")], PriceBook(()))
    assert (tax.agrees, tax.items) == (True, ())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("what,ever\n1,2\n", ["columns", "what, ever", "sku and usd"]),
        ("sku,usd\nx,a lot\n", ["line 2", "usd", "'a lot'"]),
        ("sku,usd\nx,NaN\n", ["line 2", "usd", "'NaN'"]),
        ("sku,usd,usd\nx,1,2\n", ["columns", "'usd'", "once"]),
        ("sku,usd\nx,1e999999999\n", ["line 2", "usd", "a decimal number"]),
        ("sku,usd,quantity\nx,1,1\n\nx,1\n", ["line 4", "2 fields", "3, as there are columns"]),
        ("sku,usd\nx,1,234\n", ["line 2", "fields", "2, as there are columns"]),
        ("BilledCost,ChargePeriodStart,BillingCurrency\n1,2026-11-02,EUR\n", ["line 2", "BillingCurrency", "'EUR'"]),
        ("BilledCost,ChargePeriodStart\n1,2026-11-02\n", ["line 2", "BillingCurrency", "''", "USD"]),
        ("BilledCost,BillingCurrency\n1,USD\n", ["line 2", "ChargePeriodStart", "a time"]),
        ("BilledCost,ChargePeriodStart,BillingCurrency\n1,2.11.26,USD\n", ["line 2", "ChargePeriodStart", "'2.11.26'"]),
    ],
)
def test_an_invoice_that_cannot_be_read_is_refused_by_line(text: str, named: list[str], tmp_path: Path):
    file = tmp_path / "invoice.csv"
    file.write_text(text)
    with pytest.raises(InputRefused) as refused:
        read_invoice(file, NOVEMBER)
    for word in named:
        assert word in refused.value.message


def test_an_invoice_that_is_missing_or_cannot_have_tags_is_refused(tmp_path: Path):
    with pytest.raises(NotFound, match="nowhere"):
        read_invoice(tmp_path / "nowhere.csv", NOVEMBER)
    (tmp_path / "plain.csv").write_text("sku,usd\n")
    with pytest.raises(InputRefused, match="which has tags"):
        read_invoice(tmp_path / "plain.csv", NOVEMBER, ("team", "media"))
    (tmp_path / "torn.csv").write_text(
        "BilledCost,BillingCurrency,ChargePeriodStart,Tags\n1,USD,2026-11-02T00:00:00Z,{team\n"
    )
    assert len(read_invoice(tmp_path / "torn.csv", NOVEMBER)) == 1
    with pytest.raises(InputRefused, match=r"line 2, Tags: '\{team'"):
        read_invoice(tmp_path / "torn.csv", NOVEMBER, ("team", "media"))
    (tmp_path / "latin.csv").write_bytes(b"sku,usd\n\xff,1\n")
    with pytest.raises(InputRefused, match="UTF-8"):
        read_invoice(tmp_path / "latin.csv", NOVEMBER)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Any, Stubber]]:
    """A client whose requests and answers are checked against botocore's own shapes, and sent nowhere."""

    def client(service: str) -> tuple[Any, Stubber]:
        made = boto3.client(service, "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        stub = Stubber(made)
        stub.activate()
        return made, stub

    return client


def test_cost_explorer_is_asked_by_tag_page_by_page_and_matched_by_usage_type(
    aws: Callable[[str], tuple[Any, Stubber]], world: World, prices: PriceBook
):
    client, stub = aws("ce")
    request = {
        "TimePeriod": {"Start": "2026-11-01", "End": "2026-12-01"},
        "Granularity": "MONTHLY",
        "Metrics": ["UnblendedCost", "UsageQuantity"],
        "Filter": {"Tags": {"Key": "team", "Values": ["media"]}},
        "GroupBy": [{"Type": "DIMENSION", "Key": "USAGE_TYPE"}, {"Type": "DIMENSION", "Key": "RECORD_TYPE"}],
    }

    def group(usage_type: str, usd: str, quantity: str, record: str = "Usage", unit: str = "USD") -> dict[str, Any]:
        metrics = {
            "UnblendedCost": {"Amount": usd, "Unit": unit},
            "UsageQuantity": {"Amount": quantity, "Unit": "N/A"},
        }
        return {"Keys": [usage_type, record], "Metrics": metrics}

    def page(*groups: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"ResultsByTime": [{"Groups": list(groups)}], **more}

    first = page(group("USE1-CPU", "0.004", "4"), group("USE1-CPU", "-0.004", "0", "Credit"), NextPageToken="more")
    stub.add_response("get_cost_and_usage", first, request)
    committed = group("USE1-CPU", "0.0015", "1.5", "SavingsPlanCoveredUsage")
    rest = page(group("DataTransfer", "1", "10"), committed, group("Tax", "0.2", "0", "Tax"))
    stub.add_response("get_cost_and_usage", rest, request | {"NextPageToken": "more"})
    lines = cost_explorer_lines(client, NOVEMBER, ("team", "media"))
    stub.assert_no_pending_responses()
    fill(world)
    charges, _ = charges_of(world.ws, prices, NOVEMBER)
    found = reconcile(charges, [], lines, prices)
    items = {one.name: one for one in found.items}
    assert items["USE1-CPU"].usd == 0
    assert found.not_usage == (("Credit", Decimal("-0.004")), ("Tax", Decimal("0.2")))
    assert items["DataTransfer"].kind == "invoice only"
    stub.add_client_error("get_cost_and_usage", "AccessDeniedException", "not allowed")
    with pytest.raises(DependencyDown, match="AccessDenied") as denied:
        cost_explorer_lines(client, NOVEMBER, ("team", "media"))
    assert "ce:GetCostAndUsage" in denied.value.instruction
    stub.add_response("get_cost_and_usage", page(group("X", "7", "1", unit="CNY")))
    with pytest.raises(InputRefused, match="CNY"):
        cost_explorer_lines(client, NOVEMBER, ("team", "media"))
    stub.add_response("get_cost_and_usage", page(group("X", "7", "1", unit="CNY")))
    (line,) = cost_explorer_lines(client, NOVEMBER, ("team", "media"), {"CNY": Decimal("0.14")})
    assert (line.usd, line.currency) == (Decimal("0.98"), "CNY")
    stub.add_response("get_cost_and_usage", {"ResultsByTime": [{"Estimated": True}]})
    assert cost_explorer_lines(client, NOVEMBER, ("team", "media")) == []


def product(usd: str, *, begin: str = "0", tiers: int = 1, currency: str = "USD", unit: str = "seconds") -> str:
    dimensions = {
        f"t{n}": {
            "beginRange": begin if n == 0 else "10240",
            "unit": unit,
            "pricePerUnit": {currency: usd},
            "description": "per hour",
        }
        for n in range(tiers)
    }
    return json.dumps(
        {"product": {"sku": "ABC"}, "terms": {"OnDemand": {"ABC.T": {"priceDimensions": dimensions}}, "Reserved": {}}}
    )


def asked(stub: Stubber, *products: str, **more: Any) -> None:
    stub.add_response(
        "get_products",
        {"FormatVersion": "aws_v1", "PriceList": list(products), **more},
        {
            "ServiceCode": "AmazonECS",
            "Filters": [{"Type": "TERM_MATCH", "Field": "usagetype", "Value": "USE1-CPU"}],
            "FormatVersion": "aws_v1",
        },
    )


def test_a_price_of_aws_that_moved_ends_today_and_the_new_one_begins(
    aws: Callable[[str], tuple[Any, Stubber]], prices: PriceBook, tmp_path: Path
):
    client, stub = aws("pricing")
    asked(stub, product("0.0012000000", tiers=2))
    (change,), entries = refreshed(client, prices, NOW + timedelta(hours=5))
    assert (change.sku, change.was_usd, change.is_usd) == ("cpu:vcpu-second", Decimal("0.001"), Decimal("0.0012"))
    old, new = entries
    assert (old.valid_to, new.valid_from, new.usd) == (NOW, NOW, Decimal("0.0012"))
    assert "AWS Pricing API, AmazonECS product ABC" in new.source
    assert "asked 2026-11-21" in new.source
    file = tmp_path / "aws.toml"
    file.write_text(price_file_text(entries))
    assert read_price_file(file).entries == tuple(entries)
    assert book_of(tmp_path, PRICES, file.read_text()).price("cpu:vcpu-second", NOW) == Decimal("0.0012")
    asked(stub, product("0.0013"))
    _, again = refreshed(client, PriceBook(tuple(entries)), NOW + timedelta(hours=9))
    assert [one.usd for one in again] == [Decimal("0.001"), Decimal("0.0013")], "a second change on the same day"


def test_a_price_that_did_not_move_stays_as_it_is(aws: Callable[[str], tuple[Any, Stubber]], prices: PriceBook):
    client, stub = aws("pricing")
    asked(stub, NextToken="more")
    stub.add_response("get_products", {"PriceList": [product("0.001")]})
    (change,), entries = refreshed(client, prices, NOW)
    assert change.was_usd == change.is_usd
    assert entries == [one for one in prices.entries if one.sku == "cpu:vcpu-second"]


def test_any_entry_is_written_as_it_is_read(tmp_path: Path, prices: PriceBook):
    (one,) = [entry for entry in prices.entries if entry.sku == "api:video"]
    odd = replace(one, source='He said "cheap"\\ and left\n', valid_to=NOW + timedelta(microseconds=7))
    (tmp_path / "odd.toml").write_text(price_file_text([odd]))
    assert read_price_file(tmp_path / "odd.toml").entries == (replace(odd, source=odd.source.strip()),)


@pytest.mark.parametrize(
    ("products", "said"),
    [
        ([], "0 products"),
        ([product("1"), product("2")], "2 products"),
        ([product("1", begin="10240")], "0 on-demand prices"),
        ([product("1", currency="CNY")], "1 on-demand prices in USD"),
        ([product("cheap")], "the price 'cheap'"),
    ],
)
def test_what_is_not_one_price_is_refused_by_name(
    aws: Callable[[str], tuple[Any, Stubber]], prices: PriceBook, products: list[str], said: str
):
    client, stub = aws("pricing")
    asked(stub, *products)
    with pytest.raises(DataCheckFailed, match=said) as failed:
        refreshed(client, prices, NOW)
    assert "cpu:vcpu-second" in failed.value.message


@pytest.mark.parametrize(
    ("told", "unit"),
    [
        *(("hours", "vcpu-second"), ("Hrs", "vcpu-second"), ("vCPU-Hours", "vcpu-second"), ("seconds", "vcpu-hour")),
        ("seconds", "million-vcpu-second"),
    ],
)
def test_a_price_in_another_unit_than_the_files_is_not_taken_over(
    aws: Callable[[str], tuple[Any, Stubber]], told: str, unit: str, tmp_path: Path
):
    client, stub = aws("pricing")
    book = book_of(tmp_path, PRICES.replace('unit = "vcpu-second"', f'unit = "{unit}"'))
    asked(stub, product("0.04", unit=told))
    with pytest.raises(DataCheckFailed, match=f"cpu:vcpu-second by one of {told}, the price file by a {unit}"):
        refreshed(client, book, NOW)


def test_aws_out_of_reach_leaves_the_dated_file(aws: Callable[[str], tuple[Any, Stubber]], prices: PriceBook):
    client, stub = aws("pricing")
    stub.add_client_error("get_products", "ThrottlingException", "slow down")
    with pytest.raises(DependencyDown, match="ThrottlingException"):
        refreshed(client, prices, NOW)


def test_a_price_that_does_not_apply_today_cannot_be_refreshed(
    aws: Callable[[str], tuple[Any, Stubber]], prices: PriceBook
):
    client, _ = aws("pricing")
    with pytest.raises(InputRefused, match="applies today"):
        refreshed(client, prices, datetime(2025, 1, 1, tzinfo=UTC))


def test_a_client_is_made_for_the_region_that_answers_and_its_errors_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert "us-east-1" in billing_client("pricing").meta.endpoint_url
    with pytest.raises(DependencyDown, match="out of reach") as down, answered("pricing"):
        raise EndpointConnectionError(endpoint_url="https://nowhere")
    assert "the dated file applies" in down.value.instruction


FLEET = """
[[hosting]]
provider = "cpu"
utilisation = "0.4"
cold_start_s = "30"
jobs_per_start = "2"
minimum_billing_s = "100"
source = "s"
"""


def test_capacity_of_ones_own_is_charged_for_what_is_paid_and_not_only_for_what_is_busy(world: World, tmp_path: Path):
    world.cell(A, Tried("lost"), Tried("completed", [("cpu:vcpu-second", "20")]), output_bytes=10)
    ledger(world, "run-1", "4")
    book = book_of(tmp_path, PRICES + FLEET)
    charges, _ = charges_of(world.ws, book, NOVEMBER)
    found = {(one.purpose, one.part): one.quantity for one in charges}
    assert found == {
        ("matrix", "work"): 22,
        ("matrix", "idle"): 33,
        ("matrix", "cold start"): 30,
        ("matrix", "minimum billing"): 30,  # 2 s of work fill 30 + 2 x 5 s of the 100; 20 s fill all of them
        ("load", "work"): 4,
        ("load", "idle"): 6,
        ("load", "cold start"): 15,
        ("load", "minimum billing"): 25,
    }
    (cell,) = price_cells(world.ws, BENCHMARK, book, deliveries_per_output=0)
    assert sum(one.usd for one in charges if one.purpose == "matrix") == cell.paid
    assert {one.basis for one in charges if one.part != "work"} == {"estimated"}
    rows = rows_of(focus_csv(charges, NOVEMBER))
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("0.165")
    assert {(row["x_Part"], row["ConsumedQuantity"]) for row in rows if row["x_Purpose"] == "load"} == {
        *(("work", "4"), ("idle", "6"), ("cold start", "15"), ("minimum billing", "25")),
    }


def test_the_idle_time_of_a_declared_fleet_is_expected_on_the_invoice(world: World, tmp_path: Path):
    world.cell(A, Tried("completed", [("cpu:vcpu-second", "1000")]), output_bytes=10)
    book = book_of(tmp_path, PRICES + FLEET)
    charges, _ = charges_of(world.ws, book, NOVEMBER)
    (item,) = reconcile(charges, [], [InvoiceLine(("USE1-CPU",), Decimal("2.765"), Decimal(2765))], book).items
    assert (item.ledger_usd, item.beside_usd, item.usd) == (1, Decimal("1.515"), Decimal("0.25"))
    assert (item.quantities, item.by_quantity, item.by_price) == ((2515, 2765), Decimal("0.25"), 0)
    agreed = reconcile(charges, [], [InvoiceLine(("USE1-CPU",), Decimal("2.52"))], book)
    assert agreed.agrees
    assert agreed.beside_usd == Decimal("1.515")
