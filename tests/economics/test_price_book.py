"""The price book: what it holds, what it refuses, and that an unknown price is never a number."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from pointsman.economics import PriceBook, PriceBookSpec, list_prices, register, registered
from pointsman.economics.entries import Foreign, PriceEntry
from pointsman.errors import InputRefused, NotFound
from pointsman.model import Missing
from pointsman.storage import tables
from tests.economics.price_texts import EASY_PRICES
from tests.economics.worlds import NOW, World, book_of


def entry(
    sku: str = "x:gb", usd: str = '"1"', start: str = "2026-01-01", end: str | None = None, more: str = ""
) -> str:
    until = "" if end is None else f"valid_to = {end}\n"
    unit = sku.rsplit(":", 1)[-1]
    return (
        f'[[price]]\nsku = "{sku}"\nunit = "{unit}"\nusd = {usd}\nvalid_from = {start}\n{until}source = "s"\n{more}\n'
    )


def test_the_built_in_book_holds_the_public_fargate_rate_by_the_second():
    book = PriceBookSpec().build()
    assert book.price("lab-cpu:vcpu-second", NOW) == Decimal("0.04048") / 3600
    # 4 vCPU-seconds and 8 GB-seconds: 0.04048 * 4 / 3600 and 0.004445 * 8 / 3600, to 1e-12 USD.
    assert book.cost("lab-cpu:vcpu-second", Decimal(4), NOW) == Decimal("0.000044977778")
    assert book.cost("lab-cpu:gb-second", Decimal(8), NOW) == Decimal("0.000009877778")
    assert book.cost("lab-cpu:vcpu-second", Decimal(3600), NOW) == Decimal("0.04048")
    assert book.price("egress:gb", NOW) == Decimal("0.09")
    assert book.price("storage:gb-month", NOW) == Decimal("0.023")
    assert book.cost("lab-spot:vcpu-second", Decimal(3600), NOW) < book.cost("lab-cpu:vcpu-second", Decimal(3600), NOW)


def test_every_built_in_entry_says_where_its_figure_is_from_and_when_it_was_recorded():
    entries = list_prices(PriceBook.load())
    assert len(entries) == 7
    for one in entries:
        assert "AWS" in one.source
        assert "recorded 2026-" in one.source


def test_a_price_holds_from_its_first_instant_until_just_before_its_end(tmp_path: Path):
    book = book_of(
        tmp_path, entry(usd='"1"', end="2026-06-01T12:00:00+02:00") + entry(usd='"2"', start="2026-06-01T10:00:00Z")
    )
    change = datetime(2026, 6, 1, 10, tzinfo=UTC)
    assert book.price("x:gb", datetime(2026, 1, 1, tzinfo=UTC)) == 1
    assert book.price("x:gb", change - timedelta(microseconds=1)) == 1
    assert book.price("x:gb", change) == 2
    assert book.price("x:gb", datetime(2025, 12, 31, tzinfo=UTC)) == Missing("no price for x:gb on 2025-12-31")
    assert [one.usd for one in list_prices(book, change)] == [2]
    assert len(list_prices(book)) == 2


def test_an_unknown_sku_is_missing_and_never_free(book: PriceBook):
    assert book.price("other:gb", NOW) == Missing("no price for other:gb on 2026-11-21")
    assert book.cost("other:gb", Decimal(5), NOW) == Missing("no price for other:gb on 2026-11-21")


def test_model_tokens_are_priced_from_the_bundled_data(book: PriceBook):
    paid = book.cost("gemini:gemini-2.5-flash:input-token", Decimal(1_000_000), NOW)
    more = book.cost("gemini:gemini-2.5-flash:output-token", Decimal(1_000_000), NOW)
    assert isinstance(paid, Decimal)
    assert isinstance(more, Decimal)
    assert 0 < paid < more
    unknown = book.price("gemini:no-such-model:input-token", NOW)
    assert isinstance(unknown, Missing)
    assert "gemini:no-such-model:input-token" in unknown.reason


@pytest.mark.parametrize("kind", ["input", "output"])
def test_tokens_of_a_request_that_waited_are_another_sku_at_half_the_price(book: PriceBook, kind: str):
    standard, batch = (book.entry(f"gemini:gemini-2.5-flash:{tier}{kind}-token", NOW) for tier in ("", "batch:"))
    assert isinstance(standard, PriceEntry)
    assert isinstance(batch, PriceEntry)
    assert batch.usd * 2 == standard.usd
    assert (standard.tier, batch.tier) == ("standard", "batch")
    assert batch.source.startswith("genai-prices ")
    assert "gemini-2.5-flash of Google" in batch.source
    assert batch.unit == f"million-{kind}-token"
    half = book.cost(batch.sku, Decimal(2_000_000), NOW)
    assert half == book.cost(standard.sku, Decimal(1_000_000), NOW)


def test_a_batch_price_that_is_not_listed_is_missing_and_not_halved_here(tmp_path: Path):
    none, before = "gemini:gemini-2.0-flash:batch:input-token", "gemini:gemini-2.5-flash:batch:input-token"
    book = book_of(tmp_path)
    assert isinstance(book.price("gemini:gemini-2.0-flash:input-token", NOW), Decimal)
    for sku, at in ((none, NOW), (before, datetime(2026, 10, 13, tzinfo=UTC))):
        found = book.cost(sku, Decimal(1), at)
        assert isinstance(found, Missing)
        assert f"no price for {sku} in genai-prices" in found.reason
        assert "a price file of your own" in found.reason
    own = entry(none, usd='"0.05"', more='tier = "batch"').replace('"input-token"', '"million-input-token"')
    assert book_of(tmp_path, overrides=own).cost(none, Decimal(1_000_000), NOW) == Decimal("0.05")


def test_a_users_own_entries_replace_all_entries_of_the_skus_they_name(tmp_path: Path):
    own = entry("cpu:vcpu-second", usd='"5"', start="2026-02-01") + entry("gemini:m:input-token", usd='"0.5"')
    book = book_of(tmp_path, overrides=own)
    assert book.price("cpu:vcpu-second", NOW) == 5
    assert isinstance(book.price("cpu:vcpu-second", datetime(2026, 1, 15, tzinfo=UTC)), Missing)
    assert book.price("gemini:m:input-token", NOW) == Decimal("0.5")
    assert book.price("egress:gb", NOW) == Decimal("0.09")
    assert PriceBookSpec(path=tmp_path / "prices.toml", overrides=tmp_path / "own.toml").build().sha256 == book.sha256


def test_an_hour_and_a_million_are_units_of_what_they_hold(tmp_path: Path):
    text = entry("a:vcpu-second").replace('"vcpu-second"', '"vcpu-hour"') + entry("b:token").replace(
        'unit = "token"', 'unit = "million-token"'
    )
    book = book_of(tmp_path, text)
    assert book.cost("a:vcpu-second", Decimal(7200), NOW) == 2
    assert book.price("b:token", NOW) == Decimal("0.000001")


REFUSED = {
    "gap": (entry(end="2026-03-01") + entry(start="2026-04-01"), ["x:gb", "a gap", "2026-03-01", "2026-04-01"]),
    "overlap": (
        entry(end="2026-05-01") + entry(start="2026-04-01"),
        ["x:gb", "an overlap", "2026-05-01", "2026-04-01"],
    ),
    "open overlap": (entry() + entry(start="2026-04-01"), ["x:gb", "an overlap", "without an end", "2026-04-01"]),
    "duplicate": (entry() + entry(), ["x:gb", "twice from 2026-01-01"]),
    "negative": (entry(usd='"-1"'), ["x:gb", "usd", "'-1'", "0 or more"]),
    "not a number": (entry(usd='"NaN"'), ["x:gb", "usd", "'NaN'"]),
    "words": (entry(usd='"a lot"'), ["x:gb", "usd", "'a lot'", "decimal"]),
    "binary fraction": (entry(usd="0.1"), ["x:gb", "usd", "decimal string"]),
    "absurdly large": (entry(usd='"1e999999999"'), ["x:gb", "usd", "40 digits"]),
    "absurdly small": (entry(usd='"1e-999999999"'), ["x:gb", "usd", "40 digits"]),
    "absurdly long": (entry(usd=f'"1{"0" * 60}"'), ["x:gb", "usd", "40 digits"]),
    "unknown field": (entry(more="colour = 1"), ["x:gb", "colour"]),
    "unknown heading": ("[rates]\n", ["rates"]),
    "bad sku": (entry("no colon:"), ["no colon:", "<provider>:<unit>"]),
    "bad unit": (entry().replace('unit = "gb"', 'unit = "ounce"'), ["x:gb", "unit", "'ounce'", "gb"]),
    "ends before it starts": (entry(end="2025-12-31"), ["x:gb", "valid_to", "later"]),
    "time without a zone": (entry(start="2026-01-01T00:00:00"), ["x:gb", "valid_from", "zone"]),
    "no source": (entry().replace('"s"', '" "'), ["x:gb", "source"]),
    "missing field": ('[[price]]\nsku = "x:gb"\n', ["x:gb", "unit"]),
    "no price": ("price = []\n", ["prices.toml", "at least one"]),
    "not TOML": ("[[price", ["prices.toml", "TOML"]),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_broken_book_is_refused_by_name(why: str, tmp_path: Path):
    text, named = REFUSED[why]
    with pytest.raises(InputRefused) as refused:
        book_of(tmp_path, text)
    for word in named:
        assert word in refused.value.message


def test_broken_overrides_and_missing_files_are_refused(tmp_path: Path):
    with pytest.raises(InputRefused, match="a gap"):
        book_of(tmp_path, overrides=REFUSED["gap"][0])
    with pytest.raises(NotFound, match="no-such-file"):
        PriceBookSpec(path=tmp_path / "no-such-file.toml").build()


def test_the_hash_names_the_content_and_not_the_file(tmp_path: Path):
    first = book_of(tmp_path).sha256
    assert book_of(tmp_path, "# a comment\n" + EASY_PRICES).sha256 == first
    assert book_of(tmp_path, EASY_PRICES.replace('"0.001"', '"0.002"')).sha256 != first
    assert book_of(tmp_path, EASY_PRICES.replace("made up", "made down")).sha256 != first


def test_an_entry_is_read_back_from_its_document(tmp_path: Path):
    for entry in PriceBook.load().entries:
        assert PriceEntry.from_document(entry.as_document()) == replace(entry, aws=None)
    abroad = Foreign("EUR", Decimal("0.10"), Decimal("1.09"), date(2026, 11, 2))
    entry = PriceEntry(
        "x:image", "image", Decimal("0.109"), NOW, NOW + timedelta(days=9), "s", tier="pro", foreign=abroad
    )
    assert PriceEntry.from_document(entry.as_document()) == entry


def test_registering_writes_every_entry_once(world: World, book: PriceBook):
    assert register(world.ws, book) == 3
    assert register(world.ws, book) == 0
    with world.ws.database.connect() as connection:
        rows = connection.execute(sa.select(tables.price_book).order_by(tables.price_book.c.sku)).all()
    assert [(row.sku, row.usd, row.book_sha256) for row in rows] == [
        ("cpu:vcpu-second", Decimal("0.001"), book.sha256),
        ("egress:gb", Decimal("0.09"), book.sha256),
        ("storage:gb-month", Decimal("0.02"), book.sha256),
    ]


@given(
    quantity=st.decimals(min_value=0, max_value=10**12, places=9),
    usd=st.decimals(min_value=0, max_value=10**6, places=12),
)
def test_a_cost_is_the_product_rounded_to_a_millionth_of_a_millionth(quantity: Decimal, usd: Decimal):
    priced = PriceBook((PriceEntry("x:vcpu-second", "vcpu-hour", usd, NOW, None, "s"),)).cost(
        "x:vcpu-second", quantity, NOW
    )
    assert isinstance(priced, Decimal)
    assert abs(priced * 3600 - quantity * usd) <= Decimal("1.8e-9")
    assert priced.as_tuple().exponent == -12


EURO = """
[[price]]
sku = "fal:video"
unit = "video"
amount = "0.10"
currency = "EUR"
fx_rate = "1.08"
fx_date = 2026-11-20
modality = "video"
resolution = "1080p"
tier = "standard"
valid_from = 2026-01-01
source = "s"
"""


def test_a_price_in_another_currency_keeps_its_amount_its_rate_and_the_rates_date(world: World, tmp_path: Path):
    book = book_of(tmp_path, EURO)
    (one,) = book.entries
    assert (one.usd, one.currency) == (Decimal("0.108"), "EUR")
    assert book.cost("fal:video", Decimal(10), NOW) == Decimal("1.08")
    register(world.ws, book)
    with world.ws.database.connect() as connection:
        row = connection.execute(sa.select(tables.price_book)).one()
    assert (row.modality, row.resolution, row.tier) == ("video", "1080p", "standard")
    assert (row.currency, row.amount, row.fx_rate, row.fx_date) == (
        "EUR",
        Decimal("0.10"),
        Decimal("1.08"),
        "2026-11-20",
    )
    assert book_of(tmp_path, EURO.replace("2026-11-20", "2026-11-19")).sha256 != book.sha256
    assert book_of(tmp_path, EURO.replace("1080p", "720p")).sha256 != book.sha256


BROKEN = {
    "no rate": (EURO.replace('fx_rate = "1.08"\n', ""), ["fal:video", "fx_rate", "all four"]),
    "both": (EURO + 'usd = "1"\n', ["fal:video", "amount", "either usd"]),
    "no currency": (EURO.replace('"EUR"', '"euro"'), ["fal:video", "currency", "'euro'", "ISO 4217"]),
    "dollars": (EURO.replace('"EUR"', '"USD"'), ["fal:video", "currency", "by usd"]),
    "free money": (EURO.replace('"1.08"', '"0"'), ["fal:video", "fx_rate", "more than 0"]),
    "empty tier": (EURO.replace('"standard"', '" "'), ["fal:video", "tier"]),
    "another resolution": (
        EURO.replace("2026-01-01\n", "2026-01-01\nvalid_to = 2026-06-01\n")
        + EURO.replace("1080p", "720p").replace("2026-01-01", "2026-06-01"),
        ["fal:video", "resolution", "'720p'", "'1080p'", "a sku of its own"],
    ),
    "half an address at AWS": (EURO + 'aws = {service = "AmazonECS"}\n', ["fal:video", "aws", "usagetype"]),
}


@pytest.mark.parametrize("why", BROKEN)
def test_a_half_told_price_is_refused_by_name(why: str, tmp_path: Path):
    text, named = BROKEN[why]
    with pytest.raises(InputRefused) as refused:
        book_of(tmp_path, text)
    for word in named:
        assert word in refused.value.message


def test_a_registered_book_is_read_back_with_its_hash(world: World, tmp_path: Path):
    hosting = '[[hosting]]\nprovider = "cpu"\nutilisation = "0.4"\nsource = "s"\nfixed = true\n'
    hosting += 'instance = {vcpu-second = "4"}\ncommitment_usd_per_hour = "2"\ncommitment_discount = "0.3"\n'
    book = book_of(tmp_path, EASY_PRICES + EURO + hosting)
    register(world.ws, book)
    again = registered(world.ws, book.sha256)
    assert again == book
    assert again.sha256 == book.sha256
    with pytest.raises(NotFound, match="no such hash"):
        registered(world.ws, "no such hash")
