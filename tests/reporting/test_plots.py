"""Plots: small, the same every time, and true to what is given."""

import re
import xml.etree.ElementTree as ET
from decimal import Decimal

from pointsman.model import Missing
from pointsman.reporting import CostQuality, bars, cost_quality

LIMIT_BYTES = 60_000


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def points(count: int) -> list[CostQuality]:
    return [CostQuality(f"way-{n}", Decimal(n + 1) / 1000, Decimal(80 + n % 15)) for n in range(count)]


def test_the_same_points_give_the_same_bytes():
    counted = [(n / 10, (n + 1) / 10, n * n) for n in range(20)]
    for _ in range(2):
        assert cost_quality(points(6), ["way-0"], cost_title="USD") == cost_quality(
            points(6), ["way-0"], cost_title="USD"
        )
        assert bars(counted, x_title="ms", y_title="count") == bars(counted, x_title="ms", y_title="count")


def test_plots_stay_small_and_fetch_nothing():
    drawn = [
        cost_quality(points(50), [f"way-{n}" for n in range(50)], cost_title="USD"),
        bars([(n, n + 1, n * n) for n in range(60)], x_title="ms", y_title="count"),
    ]
    for svg in drawn:
        assert len(svg.encode()) < LIMIT_BYTES
        assert set(re.findall(r"https?://[^\"' <]+", svg)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }
        assert "@font-face" not in svg


def test_variants_are_labelled_and_one_without_a_cost_is_not_drawn():
    svg = cost_quality(
        [*points(3), CostQuality("unpriced", Missing("no price"), Decimal(90), "incumbent")],
        ["way-0", "way-1"],
        cost_title="cost per success, USD",
    )
    shown = texts(svg)
    assert {"way-0", "way-1", "way-2", "cost per success, USD"} <= set(shown)
    assert "unpriced" not in shown
    assert "stroke-dasharray" in svg


def test_of_many_variants_only_the_frontier_and_the_chosen_ones_are_labelled():
    chosen = CostQuality("the-winner", Decimal("0.01"), Decimal(85), "winner")
    shown = texts(cost_quality([*points(40), chosen], ["way-0"], cost_title="USD"))
    assert {"way-0", "the-winner"} <= set(shown)
    assert "way-7" not in shown


def test_names_of_points_that_lie_together_stand_apart():
    together = [
        CostQuality("one@cpu", Decimal("0.0010"), Decimal("90"), "incumbent"),
        CostQuality("one@spot", Decimal("0.0011"), Decimal("90"), "candidate"),
        CostQuality("far@cpu", Decimal("0.0050"), Decimal("99"), "candidate"),
    ]
    heights = {
        name: re.search(rf"translate\([\d.]+,([\d.]+)\)[^>]*>{name}<", cost_quality(together, [], cost_title="USD"))[1]
        for name in ("one@cpu", "one@spot")
    }
    assert abs(float(heights["one@cpu"]) - float(heights["one@spot"])) > 11
