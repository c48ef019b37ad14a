"""What must be true of the data at each hand-over: suites of rules, each a TOML file, which a user can add to.

A rule names an expectation class of Great Expectations. Loading a suite does not import it, because that takes seconds.
A file of the same name in the folder of one's own rules adds to a suite; what is built in always holds. A rule that
would never be looked at is refused: of a file that is no suite, on a column that is not there, for rows that never are.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from pointsman.errors import InputRefused, NotFound
from pointsman.settings import ENVIRONMENT_NAMES, Settings

OWN_FOLDER = "checks"
"""In the home folder, unless the settings name another."""
_BUILT_IN = Path(__file__).with_name("rules")
SUITES = ("ledger", "run_items", "evaluations", "price_book")
"""In the order in which a chain comes by them."""
_Value: TypeAlias = StrictBool | StrictInt | StrictFloat | StrictStr


class Where(BaseModel):
    """Which rows a rule is about: those whose column holds one of the values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    is_in: Annotated[tuple[_Value, ...], Field(min_length=1)]


class Rule(BaseModel):
    """One expectation and what it means, said of what is right: "every price has a unit"."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    means: Annotated[str, Field(min_length=1, max_length=400)]
    expectation: Annotated[str, Field(pattern=r"^Expect[A-Za-z]{1,80}$")]
    arguments: Mapping[str, Any] = {}
    where: Where | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """What the rule looks at; empty for a rule about the whole set."""
        named = [str(self.arguments[name]) for name in ("column", "column_A", "column_B") if name in self.arguments]
        listed = self.arguments.get("column_list", ())
        return (*named, *(map(str, listed) if isinstance(listed, list) else ()))

    @property
    def column(self) -> str:
        """The same for people."""
        return ", ".join(self.columns)

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self.columns, *([self.where.column] if self.where else []))


class Suite(BaseModel):
    """The rules of one hand-over. `key` is the column that names a row to a person.

    `holds` are the columns of a row and what they mean, of which each is always there; `further` says what else may be,
    None where nothing is. `own` counts the rules at the end that are a user's, which the file `own_path` adds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str
    key: str
    holds: Annotated[Mapping[str, str], Field(alias="columns")]
    further: str | None = None
    rules: tuple[Rule, ...]
    own: int = 0
    own_path: Path | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Every column that a rule of the suite looks at, the key first."""
        read = [self.key, *(name for rule in self.rules for name in rule.reads)]
        return tuple(dict.fromkeys(read))

    def is_own(self, number: int) -> bool:
        """Whether the rule of that number is one that a user added."""
        return number >= len(self.rules) - self.own


class _Own(BaseModel):
    """A file that adds to a suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]


def own_folder(settings: Settings) -> Path | None:
    """Where one's own rules lie, None where there are none.

    Raises `InputRefused` for a folder that is named and is not there, and when rules in the home folder would not be
    looked at because another folder is named.
    """
    usual, named = settings.home / OWN_FOLDER, Path(settings.checks)
    if named.absolute() == usual:
        return usual if usual.is_dir() else None
    setting = ENVIRONMENT_NAMES["checks"]
    if not named.is_dir():
        raise InputRefused(setting, str(named), f"a folder that is there, with {_files()}")
    if usual.is_dir() and any(usual.iterdir()):
        raise InputRefused(
            setting,
            str(named),
            f"one folder of rules: {usual} holds some too, which nobody would look at",
            instruction=f"Move the files of {usual} into {named}, or unset {setting}.",
        )
    return named


def suite(name: str, folder: Path | None = None) -> Suite:
    """The suite of that name, with the rules that the folder of one's own adds to it.

    Raises `NotFound` for an unknown suite, and `InputRefused` for a folder with a file that is none, naming the field.
    """
    if name not in SUITES:
        raise NotFound("check suite", name, ", ".join(SUITES))
    if folder is None:
        return _built_in(name)
    _refuse_strangers(folder)
    return _with_own(_built_in(name), folder / f"{name}.toml")


def own_rules(folder: Path | None) -> dict[str, int]:
    """How many rules the folder adds to which suite.

    Raises `InputRefused` for a file that is none, or that adds to no suite and would never be looked at.
    """
    found = {name: suite(name, folder).own for name in SUITES}
    return {name: count for name, count in found.items() if count}


def _built_in(name: str) -> Suite:
    return Suite.model_validate({"name": name, **tomllib.loads((_BUILT_IN / f"{name}.toml").read_text())})


def _with_own(built_in: Suite, path: Path) -> Suite:
    if not path.is_file():
        return built_in
    rules = _read(path).rules
    words = {
        rule.column: tuple(rule.arguments["value_set"])
        for rule in built_in.rules
        if rule.expectation == "ExpectColumnValuesToBeInSet" and rule.where is None
    }
    for number, rule in enumerate(rules):
        field = f"data check {path}, rules.{number}"
        for name in rule.reads:
            if built_in.further is None and name not in built_in.holds:
                raise InputRefused(f"{field}, column", name, ", ".join(built_in.holds))
        if rule.where is not None and rule.where.column in words:
            allowed = words[rule.where.column]
            for value in rule.where.is_in:
                if value not in allowed:
                    raise InputRefused(f"{field}, where.is_in of {rule.where.column}", value, ", ".join(allowed))
    return built_in.model_copy(update={"rules": (*built_in.rules, *rules), "own": len(rules), "own_path": path})


def _refuse_strangers(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and (path.suffix != ".toml" or path.stem not in SUITES):
            raise InputRefused("data check", str(path), _files())


def _files() -> str:
    return ", ".join(f"{name}.toml" for name in SUITES)


def _read(path: Path) -> _Own:
    try:
        return _Own.model_validate(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputRefused("data check", str(path), f"a TOML file ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputRefused(f"data check {path}, {field}", first["input"], first["msg"]) from error
