"""Two outputs side by side, shown in both orders: an answer that changes with the order is a tie."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Protocol, runtime_checkable

from pointsman.model import Json
from pointsman.quality.protocol import Calls, JudgeAttempt
from pointsman.quality.rubric import Criterion

_SWAPPED = {"first": "second", "second": "first", "same": "same"}
_POINTS = {"first": Decimal(1), "same": Decimal("0.5"), "second": Decimal(0)}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two outputs made from one source. `blind_label` is all that a judge may see of which they are."""

    subject: str
    one: Path
    other: Path
    source: Path | None
    blind_label: str


@dataclass(frozen=True, slots=True)
class Preference:
    """What both orders together say of the first output of a pair against the second.

    `points`: 1 = better by every criterion, 0.5 = neither, 0 = worse by every one; ties count half. `flipped`: whether
    the order alone changed which of the two was the better one on the whole.
    """

    points: Decimal
    flipped: bool
    criteria: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Compared:
    """One pair, compared."""

    subject: str
    preference: Preference
    attempts: tuple[JudgeAttempt, ...]
    transcript: Mapping[str, Json]
    words_for_the_judge: str = ""


@runtime_checkable
class Comparer(Protocol):
    """A judge that can also say which of two outputs is the better one."""

    def compare(self, pairs: Iterable[Pair], calls: Calls) -> Generator[Compared, None, None]:
        """Compare each pair in both orders, in whatever order they get done. Raises as `Judge.judge` does."""
        ...


def preferred(criteria: Sequence[Criterion], straight: Mapping[str, str], swapped: Mapping[str, str]) -> Preference:
    """Put the answers to both orders together. In `swapped` the second output of the pair was shown first."""
    turned = {name: _SWAPPED[answer] for name, answer in swapped.items()}
    agreed = {name: answer if answer == turned[name] else "same" for name, answer in straight.items()}
    shown: dict[str, Json] = {
        name: {"better": agreed[name], "flipped": answer != turned[name]} for name, answer in straight.items()
    }
    flipped = _side(_points(criteria, straight)) != _side(_points(criteria, turned))
    return Preference(_points(criteria, agreed), flipped, shown)


def _points(criteria: Sequence[Criterion], answers: Mapping[str, str]) -> Decimal:
    total = sum(criterion.weight for criterion in criteria)
    won = sum((criterion.weight * _POINTS[answers[criterion.name]] for criterion in criteria), Decimal(0))
    return (won / total).quantize(Decimal("0.0001"))


def _side(points: Decimal) -> int:
    half = Decimal("0.5")
    return (points > half) - (points < half)
