"""What a person gets to see: markdown for artifacts, and one page that stands alone."""

import base64
import re
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pointsman.errors import InputRefused
from pointsman.model import Missing
from pointsman.reporting import (
    ARTIFACT_LIMIT_BYTES,
    Chart,
    Figures,
    Report,
    Section,
    Table,
    Text,
    escape_markdown,
    show,
    to_html,
    to_markdown,
)

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"><rect width="1" height="1"/></svg>'
EVERYTHING = Report(
    "Costs",
    "**WINNER**: b",
    [
        Text("Some *words*."),
        Table(["variant", "USD"], [["a", Decimal("0.000123461")], ["b", Missing("no price for x")]], "Variants"),
        Chart("Cost and quality", SVG, "two variants"),
        Figures([("seed", 7), ("judge", "local")], "Behind it"),
    ],
)


class Page(HTMLParser):
    """The text of a page, and every (tag, attribute, value) in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def rendered(markdown: str) -> Page:
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Decimal("0.000012345678"), "0.00001235"),
        (Decimal("1234567.891"), "1234568"),
        (Decimal("12.3456"), "12.35"),
        (Decimal("9.99999"), "10"),
        (Decimal("0E-12"), "0"),
        (2.5, "2.5"),
        (1e-7, "0.0000001"),
        (float("inf"), "Infinity"),
        (100, "100"),
        (True, "yes"),
        (False, "no"),
        ("as it is", "as it is"),
        (Missing("no price for x"), "not measured (no price for x)"),
    ],
)
def test_a_cell_is_shown_with_four_significant_digits_or_the_reason_why_it_is_unknown(cell, text):
    assert show(cell) == text


def test_a_row_of_another_width_than_the_heading_is_refused():
    with pytest.raises(InputRefused, match="2 cells"):
        Table(["a", "b"], [[1, 2], [1, 2, 3]])


def test_numbers_align_to_the_right_also_where_some_are_unknown():
    table = Table(["a", "b", "c", "d"], [["x", 1.5, "12.5 %", "-"], ["y", Missing("why"), "+3 %", "1"]])
    assert [table.numeric(column) for column in range(4)] == [False, True, True, False]
    assert not Table(["a"], [[Missing("why")]]).numeric(0)


def test_markdown_holds_every_section_with_charts_as_data_uris():
    text = to_markdown(EVERYTHING)
    assert text.startswith("# Costs\n\n**WINNER**: b\n")
    assert "Some *words*." in text
    assert "| variant | USD |\n| --- | ---: |\n| a | 0.0001235 |\n| b | not measured (no price for x) |" in text
    assert "- **seed**: 7\n- **judge**: local" in text
    (encoded,) = re.findall(r"!\[two variants\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", text)
    assert base64.b64decode(encoded).decode() == SVG


def test_an_empty_table_says_so():
    report = Report("t", "s", [Table(["a"], [])])
    assert "_No rows._" in to_markdown(report)
    assert "No rows." in to_html([report], "t")


def test_the_same_report_gives_the_same_bytes():
    assert to_markdown(EVERYTHING) == to_markdown(EVERYTHING)
    assert to_html([EVERYTHING], "t") == to_html([EVERYTHING], "t")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40))
def test_a_hostile_cell_stays_one_cell_of_plain_text(text):
    page = rendered(to_markdown(Report("t", "s", [Table(["a", "b"], [[text, "end"]])])))
    assert page.tags.count("td") == 2
    assert set(page.tags) <= {"h1", "p", "table", "thead", "tbody", "tr", "th", "td"}
    cell = "".join(page.texts).split("b\n", 1)[1].rsplit("end", 1)[0]
    assert " ".join(cell.split()) == " ".join(text.split())


@pytest.mark.parametrize(
    "text",
    ["# a", "- a", "+ a", "=== a", "---", "1. a", "2)", "a\n\n# b", "`a|b`", "<script>x</script>", "![i](http://x/y)"],
)
def test_escaped_text_is_only_text_in_a_passage_too(text):
    page = rendered(escape_markdown(text))
    assert page.tags == ["p"]
    assert "".join(page.texts).strip() == " ".join(text.split())


def test_ids_and_negative_numbers_stay_readable():
    assert escape_markdown("-12.5 %") == "-12.5 %"
    assert escape_markdown("studio_load_test_1") == "studio_load_test_1"


def big_table(rows: int) -> Table:
    return Table(["a", "b"], [[f"row {n}", "x" * 90] for n in range(rows)], "Big")


def test_a_table_that_does_not_fit_is_cut_with_a_note_and_the_rest_stays():
    text = to_markdown(Report("t", "s", [big_table(10_000), Figures([("seed", 7)]), Chart("c", SVG, "chart")]))
    assert len(text.encode()) < ARTIFACT_LIMIT_BYTES
    assert len(text.encode()) > ARTIFACT_LIMIT_BYTES * 0.9
    (shown,) = re.findall(r"_(\d+) of 10000 rows are shown", text)
    assert f"row {int(shown) - 1} |" in text
    assert f"row {shown} |" not in text
    assert "**seed**: 7" in text
    assert "![chart]" in text


def test_a_chart_or_text_that_does_not_fit_is_named_in_its_place():
    big = Chart("Everything", "x" * 300_000, "chart")
    text = to_markdown(Report("t", "s", [big, Text("y" * 300_000), Figures([("seed", 7)])]))
    assert "_Everything is left out: it is too large for one artifact._" in text
    assert "_A passage is left out" in text
    assert "**seed**: 7" in text


def test_a_summary_that_does_not_fit_gives_way_to_the_rest():
    text = to_markdown(Report("t", "s" * 300_000, [Figures([("seed", 7)])]))
    assert "_The summary is left out: it is too long for one artifact._" in text
    assert "**seed**: 7" in text


def test_a_table_of_which_no_row_fits_is_named_in_its_place():
    text = to_markdown(Report("t", "s", [Table(["a"], [["x" * 300_000]], "Wide")]))
    assert "_Wide is left out: it is too large for one artifact._" in text


def test_two_large_tables_share_the_room():
    text = to_markdown(Report("t", "s", [big_table(5_000), big_table(5_000)]))
    first, second = (int(shown) for shown in re.findall(r"_(\d+) of 5000 rows are shown", text))
    assert 0.8 < first / second < 1.25


sections = st.lists(
    st.one_of(
        st.text(max_size=3_000).map(Text),
        st.text(max_size=3_000).map(lambda svg: Chart("c", svg, "alt")),
        st.lists(st.tuples(st.text(max_size=200), st.integers()), max_size=30).map(Figures),
        st.lists(st.tuples(st.text(max_size=200), st.integers()), max_size=60).map(
            lambda rows: Table(["a", "b"], rows)
        ),
    ),
    max_size=6,
)


@given(sections, st.text(max_size=3_000))
def test_no_report_is_larger_than_its_limit(content: list[Section], summary: str):
    text = to_markdown(Report("t", summary, content), limit_bytes=5_000)
    assert len(text.encode()) < 5_000


def test_the_page_needs_nothing_from_outside_and_says_so_to_the_browser():
    page = Page(to_html([EVERYTHING, EVERYTHING], "Report"))
    for _, name, value in page.attributes:
        if name in ("src", "href"):
            assert value.startswith(("data:", "#"))
    assert ("meta", "content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes
    assert "script" not in page.tags
    assert "link" not in page.tags


def test_the_page_shows_numbers_to_the_right_and_what_is_unknown_as_such():
    text = to_html([EVERYTHING], "Report")
    assert '<th class="n">USD</th>' in text
    assert '<td class="n">0.0001235</td>' in text
    assert '<td class="n missing">not measured (no price for x)</td>' in text
    assert "prefers-color-scheme:dark" in text


def test_headings_of_a_passage_stand_below_the_reports_title():
    page = to_html([Report("t", "s", [Text("## What to do\n\n###### deep")])], "Report")
    assert "<h3>What to do</h3>" in page
    assert "<h6>deep</h6>" in page


def test_several_reports_get_a_table_of_contents_and_one_does_not():
    assert '<a href="#r2">' in to_html([EVERYTHING, EVERYTHING], "Report")
    assert "<nav>" not in to_html([EVERYTHING], "Report")


def test_hostile_data_in_a_page_stays_text():
    evil = "<script>alert(1)</script><img src=http://x/y>"
    report = Report(evil, evil, [Text(f"{evil} ![i](http://x/y)"), Table([evil], [[evil]]), Figures([(evil, evil)])])
    page = Page(to_html([report, report], evil))
    assert "script" not in page.tags
    assert "img" not in page.tags
