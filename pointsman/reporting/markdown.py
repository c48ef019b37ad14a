"""A report as markdown for Prefect artifacts: charts as `data:` URIs, cells escaped, size bounded."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator

from pointsman.reporting.report import Chart, Figures, Report, Section, Table, Text, show

ARTIFACT_LIMIT_BYTES = 200_000
"""CONTRACTS: one artifact stays under 200 KB."""
_NOTE_BYTES = 400
_LIST_NUMBER = re.compile(r"^(\d+)([.)])(?=\s|$)")
_BLOCK_MARK = re.compile(r"([#+=-])\1*(\s|$)")
_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def escape_markdown(text: str) -> str:
    """`text` so that markdown shows it as it is, on one line: no markup, no HTML, no link, no table column."""
    flat = " ".join(text.split())
    safe = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = _SPECIAL.sub(lambda found: "\\" + found.group(), safe)
    safe = _LIST_NUMBER.sub(r"\1\\\2", safe)
    return "\\" + safe if _BLOCK_MARK.match(safe) else safe


def data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def to_markdown(report: Report, *, limit_bytes: int = ARTIFACT_LIMIT_BYTES) -> str:
    """Render `report` in less than `limit_bytes`.

    What does not fit is left out and named in its place: texts, figures and charts in order, then the last rows of
    tables, which share what room remains.
    """
    fixed = [None if isinstance(section, Table) else _render(section) for section in report.sections]
    summary = report.summary
    room = limit_bytes - _size(f"# {escape_markdown(report.title)}\n\n") - _NOTE_BYTES * (1 + len(report.sections))
    if _size(summary) > room:
        summary = "_The summary is left out: it is too long for one artifact._"
    room -= _size(summary)
    kept: list[str | None] = []
    for section, text in zip(report.sections, fixed, strict=True):
        if text is not None and _size(text) > room:
            text = _left_out(section)
        room -= _size(text or "")
        kept.append(text)
    tables_left = kept.count(None)
    parts = [f"# {escape_markdown(report.title)}", summary]
    for section, text in zip(report.sections, kept, strict=True):
        if isinstance(section, Table):
            text = _table(section, room // tables_left)
            room -= _size(text)
            tables_left -= 1
        parts.append(text or "")
    return "\n\n".join(part for part in parts if part) + "\n"


def _size(text: str) -> int:
    return len(text.encode()) + 2


def _heading(title: str) -> str:
    return f"## {escape_markdown(title)}\n\n" if title else ""


def _render(section: Section) -> str:
    if isinstance(section, Text):
        return section.markdown.strip()
    if isinstance(section, Chart):
        picture = f"{_heading(section.title)}![{escape_markdown(section.alt)}]({data_uri(section.svg)})"
        return f"{picture}\n\n{escape_markdown(section.caption)}" if section.caption else picture
    assert isinstance(section, Figures)
    lines = [f"- **{escape_markdown(name)}**: {escape_markdown(show(cell))}" for name, cell in section.pairs]
    return _heading(section.title) + "\n".join(lines)


def _left_out(section: Section) -> str:
    title = getattr(section, "title", "") or "A passage"
    return f"_{escape_markdown(title[:60])} is left out: it is too large for one artifact._"


def _table(table: Table, room: int) -> str:
    heading = _heading(table.title)
    if not table.rows:
        return heading + "_No rows._"
    lines = list(_table_lines(table))
    used = _size(heading) + sum(_size(line) for line in lines[:2])
    shown = 0
    for line in lines[2:]:
        used += _size(line)
        if used > room:
            break
        shown += 1
    text = heading + "\n".join(lines[: shown + 2])
    if shown < len(table.rows):
        if shown == 0:
            return _left_out(table)
        text += f"\n\n_{shown} of {len(table.rows)} rows are shown: one artifact holds no more._"
    return text


def _table_lines(table: Table) -> Iterator[str]:
    yield _line(escape_markdown(column) for column in table.columns)
    yield _line("---:" if table.numeric(index) else "---" for index in range(len(table.columns)))
    for row in table.rows:
        yield _line(escape_markdown(show(cell)) for cell in row)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
