"""Reports as one HTML file that stands alone: inline style, pictures as `data:` URIs, nothing fetched from anywhere."""

from __future__ import annotations

import functools
import html
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt

from pointsman.model import Missing
from pointsman.reporting.markdown import data_uri
from pointsman.reporting.report import Cell, Chart, Figures, Report, Section, Table, Text, show

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2126;--soft:#5b6570;--line:#d8dde3;--paper:#fff;--shade:#f4f6f8;--link:#0b5cad}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#9aa5b1;--line:#39424c;--paper:#14181c;--shade:#1d2329;--link:#7fb8f5}}
body{margin:0 auto;max-width:84rem;padding:2rem 1.25rem 4rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.7rem;margin:0 0 .5rem}
h2{font-size:1.3rem;margin:3rem 0 .25rem;border-top:1px solid var(--line);padding-top:1.5rem}
h3{font-size:1.05rem;margin:1.75rem 0 .5rem}a{color:var(--link)}nav ul{padding-left:1.2rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;margin:.5rem 0}
th,td{padding:.35rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
td:first-child{white-space:nowrap}th{background:var(--shade);font-weight:600;vertical-align:bottom}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.n{white-space:nowrap}td:not(.n){min-width:5.5rem}
td.missing{color:var(--soft);font-style:italic;white-space:normal}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.25rem}dt{color:var(--soft)}dd{margin:0}
figure{margin:.5rem 0}figcaption{color:var(--soft);font-size:.9rem;max-width:54rem;margin-top:.25rem}
img{max-width:100%;height:auto;background:#fff;border-radius:6px}
code{background:var(--shade);padding:.1rem .3rem;border-radius:4px;font-size:.9em;overflow-wrap:anywhere}
pre{background:var(--shade);padding:.75rem 1rem;border-radius:6px;overflow-x:auto}pre code{padding:0}
"""


@functools.cache
def _markdown() -> MarkdownIt:
    # Raw HTML is shown as text, and pictures by address would make the page fetch something.
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def _prose(text: str) -> str:
    """A passage as HTML, its headings one level down: the page has a title above each report's own."""
    markdown = _markdown()
    tokens = markdown.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    return str(markdown.renderer.render(tokens, markdown.options, {}))


def to_html(reports: Sequence[Report], title: str) -> str:
    """Render `reports` one after the other, with a table of contents when there are several."""
    return "\n".join(_page(reports, title)) + "\n"


def _page(reports: Sequence[Report], title: str) -> Iterator[str]:
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>"
    yield f"</head>\n<body>\n<h1>{html.escape(title)}</h1>"
    if len(reports) > 1:
        links = (f'<li><a href="#r{n}">{html.escape(report.title)}</a></li>' for n, report in enumerate(reports, 1))
        yield f"<nav><ul>{''.join(links)}</ul></nav>"
    for n, report in enumerate(reports, 1):
        heading = "" if len(reports) == 1 and report.title == title else f"<h2>{html.escape(report.title)}</h2>\n"
        yield f'<section id="r{n}">\n{heading}{_prose(report.summary)}'
        for section in report.sections:
            yield _section(section)
        yield "</section>"
    yield "</body>\n</html>"


def _section(section: Section) -> str:
    if isinstance(section, Text):
        return _prose(section.markdown)
    heading = f"<h3>{html.escape(section.title)}</h3>\n" if section.title else ""
    if isinstance(section, Chart):
        image = f'<img src="{data_uri(section.svg)}" alt="{html.escape(section.alt)}">'
        caption = f"<figcaption>{html.escape(section.caption)}</figcaption>" if section.caption else ""
        return f"{heading}<figure>{image}{caption}</figure>"
    if isinstance(section, Figures):
        pairs = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(show(cell))}</dd>" for name, cell in section.pairs)
        return f"{heading}<dl>{''.join(pairs)}</dl>"
    return heading + _table(section)


def _table(table: Table) -> str:
    if not table.rows:
        return "<p><em>No rows.</em></p>"
    numeric = [table.numeric(index) for index in range(len(table.columns))]
    head = "".join(
        f'<th class="n">{html.escape(column)}</th>' if right else f"<th>{html.escape(column)}</th>"
        for column, right in zip(table.columns, numeric, strict=True)
    )
    body = "\n".join("<tr>" + "".join(_cells(row, numeric)) + "</tr>" for row in table.rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _cells(row: Sequence[Cell], numeric: Sequence[bool]) -> Iterator[str]:
    for cell, right in zip(row, numeric, strict=True):
        names = ["n"] * right + ["missing"] * isinstance(cell, Missing)
        attribute = f' class="{" ".join(names)}"' if names else ""
        yield f"<td{attribute}>{html.escape(show(cell))}</td>"
