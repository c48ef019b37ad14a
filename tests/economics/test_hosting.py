"""Self-hosted capacity is paid for by the hour: idle, cold, at least a minimum, committed, and thrown away by Spot."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.economics import PriceBook, PricedCell, PriceEntry, load_cost, price_cells, total, waterfalls
from pointsman.economics.attempts import priced_attempt
from pointsman.economics.hosting import (
    Busy,
    Commitment,
    Hosting,
    interruption_loss,
    overhead,
)
from pointsman.errors import InputRefused
from pointsman.model import Missing
from tests.docs.pages import TEXT
from tests.economics.price_texts import EASY_PRICES, price
from tests.economics.test_experiment import SCHEMA
from tests.economics.worlds import BENCHMARK, NOW, A, B, Tried, World, book_of

GPU_HOUR = Decimal("1.006")
TWENTY_SECONDS = Busy(Decimal(20), GPU_HOUR / 3600, Decimal(20) * GPU_HOUR / 3600)
PLAIN = Hosting("gpu", Decimal(1), "made up")

HOSTED = """
[[hosting]]
provider = "cpu"
utilisation = "0.5"
cold_start_s = "30"
jobs_per_start = "10"
source = "made up"
"""


def paid(hosting: Hosting, busy: Busy = TWENTY_SECONDS) -> Decimal:
    return busy.list_usd + overhead(hosting, busy).usd


def cells(world: World, book: PriceBook) -> list[PricedCell]:
    return price_cells(world.ws, BENCHMARK, book, deliveries_per_output=0)


def test_an_hour_that_is_half_idle_costs_each_job_twice():
    """The worked example: 20 s jobs on a GPU of 1.006 USD an hour against an API of 0.010 USD."""
    assert round(paid(PLAIN), 4) == Decimal("0.0056")
    assert round(paid(PLAIN.at(Decimal("0.35"))), 4) == Decimal("0.0160")


def test_each_part_is_what_it_says():
    second = Busy(Decimal(10), Decimal("0.001"), Decimal("0.01"))
    cold = replace(PLAIN, utilisation=Decimal("0.5"), cold_start_s=Decimal(60), jobs_per_start=Decimal(4))
    found = overhead(cold, second)
    assert (found.idle_usd, found.cold_start_usd, found.minimum_billing_usd) == (Decimal("0.01"), Decimal("0.015"), 0)
    short = replace(cold, cold_start_s=Decimal(0), minimum_billing_s=Decimal(100))
    assert overhead(short, second).minimum_billing_usd == Decimal("0.005")  # 4 jobs x 20 s = 80 s, billed 100
    assert overhead(replace(short, minimum_billing_s=Decimal(80)), second).minimum_billing_usd == 0


def test_spot_losses_throw_half_a_job_away_each():
    spot = replace(PLAIN, interruptions_per_hour=Decimal(2))
    busy = Busy(Decimal(360), Decimal("0.001"), Decimal("0.36"))
    assert interruption_loss(spot, busy) == Decimal("0.036")  # 2/h x 0.1 h x half of 0.36 USD
    assert interruption_loss(PLAIN, busy) == 0


def test_a_commitment_is_cheaper_when_it_is_used_and_dearer_when_it_is_not():
    committed = Commitment(Decimal("0.70"), Decimal("0.30"))  # pays for 1 USD an hour on demand
    month = committed.usd_per_month
    assert month == 511
    assert committed.adjustment(Decimal(730)) == 511 - 730
    assert committed.adjustment(Decimal(0)) == 511
    assert committed.adjustment(Decimal(1000)) == 511 + 270 - 1000
    assert committed.adjustment(Decimal(511)) == 0
    assert (committed.beyond(Decimal(730)), committed.beyond(Decimal(1000))) == (0, 270)


costs = st.decimals("0.001", "1000", places=3)
hostings = st.builds(
    Hosting,
    provider=st.just("gpu"),
    utilisation=st.decimals("0.01", 1, places=2),
    source=st.just("made up"),
    cold_start_s=st.decimals(0, 600, places=1),
    jobs_per_start=st.decimals(1, 1000, places=0),
    minimum_billing_s=st.decimals(0, 3600, places=0),
)


@given(hostings, costs, st.decimals("0.01", "0.99", places=2))
def test_idle_capacity_never_makes_a_job_cheaper(hosting: Hosting, seconds: Decimal, less: Decimal):
    busy = Busy(seconds, Decimal("0.001"), seconds * Decimal("0.001"))
    dearer = overhead(hosting.at(hosting.utilisation * less), busy).usd
    assert dearer + Decimal("3e-12") >= overhead(hosting, busy).usd >= 0  # each of the parts is rounded


@pytest.mark.parametrize("share", ["0", "-0.1", "1.01"])
def test_capacity_is_used_for_some_of_its_time_and_for_no_more_than_all(share: str):
    with pytest.raises(InputRefused, match=f"hosting of gpu, utilisation.*{share}"):
        PLAIN.at(Decimal(share))
    assert overhead(PLAIN.at(Decimal(1)), TWENTY_SECONDS).usd == 0
    hardly = overhead(PLAIN.at(Decimal("0.001")), TWENTY_SECONDS).idle_usd
    assert hardly == pytest.approx(999 * TWENTY_SECONDS.list_usd)


FILLED = PriceBook(
    (
        PriceEntry("gpu:gpu-second", "gpu-hour", GPU_HOUR, NOW, None, "s"),
        PriceEntry("gpu:gb-second", "gb-second", Decimal("0.0001"), NOW, None, "s"),
    )
)
SECONDS = st.decimals(0, 900, places=3).map(lambda seconds: format(seconds, "f"))


@settings(max_examples=40, deadline=None)
@example(replace(PLAIN, cold_start_s=Decimal(90)), [("0", None), ("3.5", None)])  # it failed at once, on a cold one
@example(PLAIN, [])
@given(hostings, st.lists(st.tuples(SECONDS, SECONDS | st.none()), max_size=8))
def test_many_attempts_added_up_in_columns_are_paid_for_as_each_one_is(
    hosting: Hosting, used: list[tuple[str, str | None]]
):
    """On instances of 2 GPUs and 16 GB, or, where nobody uses memory, of what is used."""
    whole = all(gb is None for _, gb in used)
    instance = {} if whole else {"gpu-second": Decimal(2), "gb-second": Decimal(16)}
    entries = FILLED.entries[:1] if whole else FILLED.entries
    book = PriceBook(entries, (replace(hosting, instance=instance),))
    rows = [
        {"dispatch_id": f"d-{at}", "number": 1, "provider": "gpu", "outcome": "completed", "started": NOW}
        | {"sku": f"gpu:{unit}", "quantity": quantity, "missing_reason": None, "basis": "measured"}
        for at, quantities in enumerate(used)
        for unit, quantity in zip(("gpu-second", "gb-second"), quantities, strict=True)
        if quantity is not None
    ]
    each = [
        priced_attempt(book, [row for row in rows if row["dispatch_id"] == f"d-{at}"], NOW) for at in range(len(used))
    ]
    found = load_cost(pl.LazyFrame(rows, SCHEMA | {"generation": pl.Int64}, strict=False), book)
    assert found == pytest.approx(total(one.paid for one in each), abs=Decimal("1e-10"))


def test_declared_hosting_is_part_of_what_a_cell_costs_and_so_of_the_verdict(world: World, tmp_path: Path):
    world.cell(A, Tried("lost", [("cpu:vcpu-second", "4")]), Tried(), output_bytes=0)
    world.cell(B, Tried("completed", [("cpu:vcpu-second", "2")]), output_bytes=0)  # its attempt is at "spot"
    book = book_of(tmp_path, EASY_PRICES + HOSTED)
    hosted, other = cells(world, book)
    assert (hosted.compute, hosted.idle) == (Decimal("0.006"), Decimal("0.006"))
    assert hosted.cold_start == Decimal("0.006")  # 3 s of each of two attempts
    assert hosted.cost == Decimal("0.018")
    assert other.hosting == 0
    (of_a, of_b) = waterfalls([hosted, other])
    assert (of_a.total, of_b.hosting) == (Decimal("0.018"), 0)
    assert dict(of_a.steps)["idle time, cold starts and minimum billing"] == Decimal("0.012")
    assert book.sha256 != book_of(tmp_path).sha256


def test_an_instance_that_its_jobs_do_not_fill_is_paid_in_full(world: World, tmp_path: Path):
    """It holds 4 vCPU and 8 GB; a job that takes 2 vCPU and 6 GB for 10 s holds three quarters of it."""
    prices = EASY_PRICES + price("cpu:gb-second", "0.0001")
    prices += '[[hosting]]\nprovider = "cpu"\nutilisation = "1"\nsource = "s"\n'
    prices += 'instance = {vcpu-second = "4", gb-second = "8"}\n'
    world.cell(A, Tried("completed", [("cpu:vcpu-second", "20"), ("cpu:gb-second", "60")]), output_bytes=0)
    (cell,) = cells(world, book_of(tmp_path, prices))
    assert cell.compute == Decimal("0.026")
    assert cell.compute + cell.idle == Decimal("7.5") * (4 * Decimal("0.001") + 8 * Decimal("0.0001"))


def test_what_the_hold_on_an_instance_was_is_unknown_where_its_usage_is(world: World, tmp_path: Path):
    world.cell(A, Tried("completed", [("cpu:vcpu-second", "worker died")]), output_bytes=0)
    (cell,) = cells(world, book_of(tmp_path, EASY_PRICES + HOSTED))
    assert cell.idle == cell.cold_start == Missing("cpu:vcpu-second: worker died")
    assert isinstance(cell.cost, Missing)


def test_usage_that_is_not_time_holds_no_instance(world: World, tmp_path: Path):
    prices = EASY_PRICES + price("cpu:image", "0.01")
    world.cell(A, Tried("completed", [("cpu:image", "1")]), output_bytes=0)
    (cell,) = cells(world, book_of(tmp_path, prices + HOSTED))
    assert (cell.compute, cell.hosting) == (Decimal("0.01"), 0)


REFUSED = {
    "always idle": (HOSTED.replace('"0.5"', '"0"'), ["hosting of cpu", "utilisation", "more than 0"]),
    "busier than always": (HOSTED.replace('"0.5"', '"1.5"'), ["hosting of cpu", "utilisation", "at most 1"]),
    "billed for ever": (HOSTED + 'minimum_billing_s = "1e30"\n', ["minimum_billing_s", "at most 31622400"]),
    "twice": (HOSTED + HOSTED, ["hosting", "cpu", "once"]),
    "a stranger": (HOSTED.replace('"cpu"', '"gpu"'), ["hosting of gpu", "a price by the second or hour"]),
    "no source": (HOSTED.replace("made up", " "), ["hosting of cpu", "source"]),
    "unknown unit": (HOSTED + 'instance = {gb-second = "1"}\n', ["instance", "gb-second", "vcpu-second"]),
    "unknown field": (HOSTED + "colour = 1\n", ["hosting", "colour", "utilisation"]),
    "free commitment": (
        HOSTED + 'commitment_usd_per_hour = "1"\ncommitment_discount = "1"\n',
        ["commitment_discount", "less than 1"],
    ),
    "a discount on nothing": (HOSTED + 'commitment_discount = "0.3"\n', ["commitment_usd_per_hour"]),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_hosting_that_cannot_be_is_refused_by_name(why: str, tmp_path: Path):
    text, named = REFUSED[why]
    with pytest.raises(InputRefused) as refused:
        book_of(tmp_path, EASY_PRICES + text)
    for word in named:
        assert word in refused.value.message


def test_an_instance_with_several_prices_says_what_it_holds(tmp_path: Path):
    with pytest.raises(InputRefused, match="how much of each unit one instance holds: gb-second, vcpu-second"):
        book_of(tmp_path, EASY_PRICES + price("cpu:gb-second", "1") + HOSTED)


def test_own_hosting_replaces_that_of_the_same_provider(tmp_path: Path):
    own = EASY_PRICES + HOSTED.replace('"0.5"', '"0.9"') + 'commitment_usd_per_hour = "2"\nfixed = true\n'
    book = book_of(tmp_path, EASY_PRICES + HOSTED, own)
    (hosting,) = book.hosting
    assert (hosting.utilisation, hosting.fixed) == (Decimal("0.9"), True)
    assert hosting.commitment == Commitment(Decimal(2), Decimal(0))
    assert book.hosting_of("cpu") is hosting
    assert book.hosting_of("spot") is None


def test_the_fleet_of_the_readme_costs_what_the_readme_says(tmp_path: Path):
    readme = TEXT
    text = next(text for text in re.findall(r"```toml\n(.*?)```", readme, re.DOTALL) if "[[hosting]]" in text)
    book = book_of(tmp_path, text)
    (hosting,) = book.hosting
    always_ready = replace(hosting, cold_start_s=Decimal(0))
    hourly = book.entries[0].usd
    job = Busy(Decimal(20), hourly / 3600, 20 * hourly / 3600)
    assert f"{job.list_usd:.4f} USD" in text
    assert f"{job.list_usd + overhead(always_ready, job).usd:.4f} USD" in text
    assert f"another {overhead(hosting, job).cold_start_usd:.4f} USD" in text
