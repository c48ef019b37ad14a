"""Plots over the time of a run: everything named, nothing larger than it must be, gaps shown as gaps."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from pointsman.reporting import Band, Line, bars, timeline

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def wave(name: str, colour: str = "blue", **more: bool) -> Line:
    return Line(name, [(x, 50 + 40 * math.sin(x / 9)) for x in range(150)], colour, **more)  # type: ignore[arg-type]


def test_lines_axes_stages_and_bands_are_named_and_the_bytes_do_not_change():
    def draw() -> str:
        return timeline(
            [wave("planned", "grey", wide=True), wave("sent")],
            until_s=150,
            y_title="per second",
            bands=[Band(20, 40, "fault: storm"), Band(145, 149, "interrupted", "gap")],
            stages=[(0, "warm-up"), (100, "steady")],
        )

    shown = texts(draw())
    assert {"planned", "sent", "per second", "time since the run's start, s", "warm-up", "steady"} <= set(shown)
    assert {"fault: storm", "interrupted"} <= set(shown)
    assert draw() == draw()
    assert "aria-" not in draw()


@pytest.mark.parametrize(("until_s", "unit"), [(600, "s"), (601, "min"), (21_600, "min"), (21_601, "h")])
def test_the_unit_of_time_follows_the_length_of_the_run(until_s, unit):
    svg = timeline([Line("a", [(0, 1), (until_s, 2)], "blue")], until_s=until_s, y_title="y")
    assert f"time since the run's start, {unit}" in texts(svg)


def test_where_nothing_was_measured_the_line_is_broken():
    points = [(float(x), None if 4 <= x <= 6 else 10.0) for x in range(11)]
    whole = timeline([Line("a", [(x, 10.0) for x, _ in points], "blue")], until_s=10, y_title="y")
    broken = timeline([Line("a", points, "blue")], until_s=10, y_title="y")

    def moves(svg: str) -> int:
        lines = [path.get("d", "") for path in ET.fromstring(svg).iter(f"{SVG}path") if path.get("stroke") == "#0072b2"]
        return max(line.count("M") for line in lines)

    assert (moves(whole), moves(broken)) == (1, 2)


def test_a_logarithmic_axis_is_labelled_at_round_steps_and_leaves_out_what_it_cannot_show():
    line = Line("a", [(0, 0.0), (1, 240.0), (2, 980.0), (3, math.inf)], "blue")
    shown = texts(timeline([line], until_s=3, y_title="ms", log_y=True))
    assert {"200", "500", "1,000", "2,000"} <= set(shown)
    wide = Line("a", [(0, 0.5), (1, 90_000.0)], "blue")
    assert {"1", "1,000", "100,000"} <= set(texts(timeline([wide], until_s=3, y_title="ms", log_y=True)))


def test_many_stages_and_bands_are_drawn_small_and_only_those_with_room_are_named():
    stages = [(float(n), f"stage-{n:03d}") for n in range(39)]
    bands = [Band(n, n + 0.1 + n / 100, f"gap {n}", "gap") for n in range(90)]
    svg = timeline([wave("a")], until_s=150, y_title="y", bands=bands, stages=stages)
    assert len(svg.encode()) < 60_000
    shown = texts(svg)
    assert "stage-020" not in shown
    assert "stage-038" in shown
    assert "gap 89" in shown
    assert "gap 0" not in shown
    many = [(n / 10, f"stage-{n:03d}") for n in range(100)]
    assert "stage-099" not in texts(timeline([wave("a")], until_s=150, y_title="y", stages=many))


def test_a_plot_of_nothing_is_still_a_plot():
    assert "<svg" in timeline([Line("a", [], "blue")], until_s=1, y_title="y")
    assert "<svg" in timeline([Line("a", [(0, 0.0)], "blue")], until_s=1, y_title="y")


def test_bars_stand_on_zero_and_cover_their_ranges():
    svg = bars([(0.01, 0.1, 5), (0.1, 1.0, 50)], x_title="ms", y_title="dispatches", log_x=True)
    drawn = [path.get("d", "") for path in ET.fromstring(svg).iter(f"{SVG}path") if path.get("fill") == "#0072b2"]
    heights = [abs(float(re.search(r"v(-?[\d.]+)", one)[1])) for one in drawn]  # type: ignore[index]
    assert heights[1] == pytest.approx(10 * heights[0], rel=0.02)
