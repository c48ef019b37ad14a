"""What a judge is asked: criteria with a question, five anchored levels, examples and a weight, in a TOML file.

A rubric has a version for people and a hash for everything else: whatever is changed in it makes another judge.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from pointsman.canonical import sha256_of
from pointsman.errors import InputRefused, NotFound

_BUILT_IN = Path(__file__).with_name("rubrics")
_LINE = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=400)]
_NAME = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Example(BaseModel):
    """What was seen in an output that people agreed on, and its level."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Annotated[int, Field(ge=1, le=5)]
    seen: _LINE


class Criterion(BaseModel):
    """One question and what each level from 1 (worst) to 5 (best) means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _NAME
    question: _LINE
    levels: Annotated[tuple[_LINE, ...], Field(min_length=5, max_length=5)]
    weight: Annotated[int, Field(ge=1, le=100)]
    needs_source: bool = False
    """Cannot be answered without the source; left out of the weighted mean of an output that has none."""
    examples: Annotated[tuple[Example, ...], Field(max_length=10)] = ()


class Rubric(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    version: Annotated[int, Field(ge=1)]
    task: Annotated[str, Field(max_length=2000)] = ""
    """What the outputs were to be, in words for the judge. Without it only the criteria say what counts."""
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=12)]

    @model_validator(mode="after")
    def _distinct(self) -> Rubric:
        if len({criterion.name for criterion in self.criteria}) != len(self.criteria):
            raise ValueError("each criterion has a name of its own")
        return self

    @property
    def sha256(self) -> str:
        return sha256_of(self.model_dump(mode="json"))

    def asked(self, *, with_source: bool) -> tuple[Criterion, ...]:
        """The criteria that can be answered. Raises `InputRefused` when none can."""
        found = tuple(criterion for criterion in self.criteria if with_source or not criterion.needs_source)
        if not found:
            raise InputRefused(
                "rubric", self.name, "for outputs without a source, one with a criterion that needs none"
            )
        return found


def quality_of(criteria: Sequence[Criterion], levels: Mapping[str, int]) -> Decimal:
    """The weighted mean level as 0 (all 1) to 100 (all 5), to four decimal places."""
    total = sum(criterion.weight for criterion in criteria)
    points = sum(criterion.weight * (levels[criterion.name] - 1) for criterion in criteria)
    return (Decimal(100 * points) / Decimal(4 * total)).quantize(Decimal("0.0001"))


def load_rubric(name: str) -> Rubric:
    """A built-in rubric by its name, or the one in the TOML file `name`.

    Raises `NotFound` when there is none and `InputRefused` when the file is not a rubric, naming the field.
    """
    built_in = {path.stem: path for path in sorted(_BUILT_IN.glob("*.toml"))}
    path = built_in.get(name, Path(name))
    try:
        if not path.is_file():
            raise NotFound("rubric", name, f"{', '.join(built_in)}, or the path of a TOML file")
        return Rubric.model_validate(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputRefused("rubric", name, f"a TOML file ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputRefused(f"rubric {name}, {field or 'criteria'}", first["input"], first["msg"]) from error
