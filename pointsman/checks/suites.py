"""What must be true of the data at each hand-over: suites of rules, each a TOML file, which a user can add to.

A rule names an expectation class of Great Expectations. Loading a suite does not import it, because that takes seconds.
A file of the same name in the folder `checks` of the home folder adds rules of one's own, for the columns of that
hand-over; what is built in always holds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pointsman.errors import InputRefused, NotFound

OWN_FOLDER = "checks"
_BUILT_IN = Path(__file__).with_name("rules")
SUITES = ("ledger", "run_items", "evaluations", "price_book")
"""In the order in which a chain comes by them."""


class Where(BaseModel):
    """Which rows a rule is about: those whose column holds one of the values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    is_in: Annotated[tuple[str, ...], Field(min_length=1)]


class Rule(BaseModel):
    """One expectation and what it means, said of what is right: "every price has a unit"."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    means: Annotated[str, Field(min_length=1, max_length=400)]
    expectation: Annotated[str, Field(pattern=r"^Expect[A-Za-z]{1,80}$")]
    arguments: Mapping[str, Any] = {}
    where: Where | None = None

    @property
    def column(self) -> str:
        """The column, or columns, that the rule looks at; empty for a rule about the whole set."""
        named = [str(self.arguments[name]) for name in ("column", "column_A", "column_B") if name in self.arguments]
        return ", ".join([*named, *self.arguments.get("column_list", ())])


class Suite(BaseModel):
    """The rules of one hand-over. `key` is the column that names a row to a person."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    key: str
    rules: tuple[Rule, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the suite reads, the key first."""
        read = [self.key]
        for rule in self.rules:
            read += [*filter(None, rule.column.split(", ")), *([rule.where.column] if rule.where else [])]
        return tuple(dict.fromkeys(read))


class _Own(BaseModel):
    """A file that adds to a suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]


def suite(name: str, home: Path | None = None) -> Suite:
    """The suite of that name, with the rules that the home folder adds to it.

    Raises `NotFound` for an unknown suite, and `InputRefused` for a file of one's own that is none, naming the field.
    """
    if name not in SUITES:
        raise NotFound("check suite", name, ", ".join(SUITES))
    built_in = Suite.model_validate({"name": name, **tomllib.loads((_BUILT_IN / f"{name}.toml").read_text())})
    path = None if home is None else home / OWN_FOLDER / f"{name}.toml"
    if path is None or not path.is_file():
        return built_in
    return built_in.model_copy(update={"rules": (*built_in.rules, *_read(path).rules)})


def own_rules(home: Path) -> dict[str, int]:
    """How many rules the home folder adds to which suite.

    Raises `InputRefused` for a file that is none, or that adds to no suite and would never be looked at.
    """
    paths = sorted((home / OWN_FOLDER).glob("*"))
    for path in paths:
        if path.suffix != ".toml" or path.stem not in SUITES:
            raise InputRefused("data check", str(path), ", ".join(f"{name}.toml" for name in SUITES))
    return {path.stem: len(_read(path).rules) for path in paths}


def _read(path: Path) -> _Own:
    try:
        return _Own.model_validate(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputRefused("data check", str(path), f"a TOML file ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputRefused(f"data check {path}, {field}", first["input"], first["msg"]) from error
