"""What a report is made of: a title, the result in a sentence, and sections. Data only; renderers are beside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from pointsman.errors import InputRefused
from pointsman.model import Missing

Cell: TypeAlias = "str | bool | int | float | Decimal | Missing"
_NUMERIC_TEXT = re.compile(r"[-+−±<>~$€]*\s*\d[\d.,]*(\s?(%|[A-Za-z/]{1,8}))?\Z")


def show(cell: Cell) -> str:
    """The text of one cell: four significant digits for numbers below 1000, "not measured (why)" for `Missing`."""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, (str, int, Missing)):
        return str(cell)
    number = Decimal(repr(cell)) if isinstance(cell, float) else cell
    if not number.is_finite():
        return str(number)
    if number == 0:
        return "0"
    # Four significant digits, but never fewer than the whole part has.
    places = max(0, 3 - number.adjusted())
    text = format(round(number, places), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True, slots=True)
class Text:
    """A passage of markdown. Whoever puts data into it passes the data through `escape_markdown` first."""

    markdown: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells. Raises `InputRefused` when a row is not as wide as the heading."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputRefused("table row", list(row), f"{len(self.columns)} cells")

    def numeric(self, column: int) -> bool:
        """Whether a column reads as numbers, and so is aligned to the right."""
        cells = [row[column] for row in self.rows]
        return any(not isinstance(cell, Missing) for cell in cells) and all(
            isinstance(cell, Missing)
            or (not isinstance(cell, (str, bool)))
            or (isinstance(cell, str) and _NUMERIC_TEXT.match(cell) is not None)
            for cell in cells
        )


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture as SVG text; `alt` says in words what it shows, `caption` (plain text) how to read it."""

    title: str
    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """Names and their values, a line each."""

    pairs: Sequence[tuple[str, Cell]]
    title: str = ""


Section: TypeAlias = "Text | Table | Chart | Figures"


@dataclass(frozen=True, slots=True)
class Report:
    """One thing a person looks at. `summary` is markdown: the result in one or two sentences."""

    title: str
    summary: str
    sections: Sequence[Section] = ()
