"""The declared plan of a comparison: everything that could bend a verdict, fixed and hashed before data is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any

from pointsman.canonical import canonical_json, sha256_of
from pointsman.decision.procedure import Margins
from pointsman.errors import InputRefused
from pointsman.ids import VariantId
from pointsman.statistics import clusters_needed, sequential_clusters_needed

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SCORE = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,5}\Z")
_MOST_SWAPS = 1_000_000
_MOST_SWAPPED = 25_000_000
"""Labels, or statistics, that the test holds in memory at a time: about 600 MB at their largest."""
LEAST_ALPHA = 1e-6
GATES = ("success", "refusals", "quality", "latency", "capacity", "cost")
"""The gates that have names of their own; every other one is a score of the judge."""


@dataclass(frozen=True, slots=True, order=True)
class PlannedInput:
    """One input and the cluster (the source it shares with others) it belongs to."""

    input_id: str
    cluster: str


@dataclass(frozen=True)
class VerdictPlan:
    """What is compared, on what, and what would count as better.

    `success_margin`: by how much a challenger's success rate may lie below the incumbent's (0.02 = two points of a
    hundred). `quality_margin`: the same for mean quality, in points of 0..100. `min_saving`: by what share of the
    incumbent's cost per success a challenger must be cheaper to be worth a switch. `alpha`: the risk of a false winner,
    over all challengers together. `judge`: the identity of the one judge whose scores are compared (name, model, hash
    of the rubric).

    Further gates, asked when they are declared: `refusal_margin`: by how much the share of refused jobs may lie above
    the incumbent's. `scores`: single scores of the judge by their path in what it answered (`ssim`,
    `criteria.identity.level`) and by how much each may lie below the incumbent's, in its own unit. `p95_limit_ms`: the
    SLO of the total time, of the load tests where the comparison has some, else of its cells. `peak_per_s` x
    `headroom`: what a capacity search must have shown. `order`: all declared gates in the order in which they are
    asked; success, refusals, quality, scores, latency, capacity and cost when nothing is said.

    `sequential`: the comparison may be looked at while it is measured, as often as one likes, and ended at a look; the
    clusters are then taken in the order of `inputs`, each where its last input stands.

    `alpha_per_year`: what the repeated decisions of a route share (see `over_time`); `alpha` is then what is left for
    this one. `cooldown_days`: how long a route rests after a switch before it is decided about again.

    Raises `InputRefused` naming the field.
    """

    incumbent: VariantId
    challengers: tuple[VariantId, ...]
    inputs: tuple[PlannedInput, ...]
    repeats: int
    seed: int
    judge: Mapping[str, str]
    input_set_sha256: str
    price_book_sha256: str
    code_version: str
    deliveries_per_output: int = 100
    swaps: int = 10_000
    alpha: float = 0.05
    success_margin: float = 0.02
    quality_margin: float = 2.0
    min_saving: float = 0.05
    refusal_margin: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    p95_limit_ms: float | None = None
    peak_per_s: float | None = None
    headroom: float = 1.5
    order: tuple[str, ...] = ()
    sequential: bool = False
    alpha_per_year: float | None = None
    cooldown_days: float = 0.0

    def __post_init__(self) -> None:
        self._check_cells()
        _whole("verdict plan, repeats", self.repeats, 1, 1_000)
        _whole("verdict plan, seed", self.seed, 0, 2**63 - 1)
        _whole("verdict plan, swaps", self.swaps, 1, _MOST_SWAPS)
        _whole("verdict plan, deliveries_per_output", self.deliveries_per_output, 0, 10**12)
        for name, low, high, rule in (
            ("alpha", LEAST_ALPHA, 0.5, "a share from 0.000001 to 0.5"),
            ("success_margin", 0.0, 1.0, "a share from 0 to 1"),
            ("quality_margin", 0.0, 100.0, "points from 0 to 100"),
            ("min_saving", 0.0, 0.99, "a share from 0 to 0.99"),
            ("refusal_margin", 0.0, 1.0, "a share from 0 to 1"),
            ("p95_limit_ms", 1.0, 1e9, "milliseconds from 1 to 1,000,000,000"),
            ("peak_per_s", 1e-6, 1e6, "jobs per second from 0.000001 to 1,000,000"),
            ("headroom", 1.0, 100.0, "a factor from 1 to 100"),
            ("alpha_per_year", 1e-6, 1.0, "a share from 0.000001 to 1"),
            ("cooldown_days", 0.0, 366.0, "days from 0 to 366"),
        ):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _real(f"verdict plan, {name}", getattr(self, name), low, high, rule))
        if not isinstance(self.sequential, bool):
            raise InputRefused("verdict plan, sequential", self.sequential, "true or false")
        self._check_gates()
        if self.alpha_per_year is not None and self.alpha_per_year < self.alpha:
            raise InputRefused("verdict plan, alpha_per_year", self.alpha_per_year, f"alpha = {self.alpha:g} or more")
        if self.alpha_per_year is not None and not self.min_saving:
            raise InputRefused("verdict plan, min_saving", self.min_saving, "more than 0 where decisions are repeated")
        if not self.sequential and 1 / (self.swaps + 1) > self.alpha:
            least = math.ceil(1 / self.alpha) - 1
            raise InputRefused("verdict plan, swaps", self.swaps, f"{least} or more, or alpha can never be reached")
        if not self.sequential:
            most = _MOST_SWAPPED // max(len(self.clusters), len(self.challengers))
            _whole("verdict plan, swaps", self.swaps, 1, max(most, math.ceil(1 / self.alpha)))
        for name in ("input_set_sha256", "price_book_sha256"):
            if not isinstance(getattr(self, name), str) or not _SHA256.match(getattr(self, name)):
                raise InputRefused(f"verdict plan, {name}", getattr(self, name), "64 hexadecimal digits")
        _text("verdict plan, code_version", self.code_version)
        if not isinstance(self.judge, Mapping) or not self.judge.get("name"):
            raise InputRefused("verdict plan, judge", self.judge, "the judge's identity with at least a name")
        for part, value in self.judge.items():
            _text(f"verdict plan, judge, {part}", value)

    def _check_cells(self) -> None:
        if not isinstance(self.incumbent, VariantId):
            raise InputRefused("verdict plan, incumbent", self.incumbent, "a variant id")
        object.__setattr__(self, "challengers", tuple(self.challengers))
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if not self.challengers:
            raise InputRefused("verdict plan, challengers", [], "at least one variant other than the incumbent")
        _no_duplicates("verdict plan, challengers", [str(variant) for variant in self.variants])
        for variant in self.challengers:
            if variant.route_key != self.incumbent.route_key:
                raise InputRefused(
                    "verdict plan, challengers", str(variant), f"variants of the incumbent's {self.incumbent.route_key}"
                )
        if not self.inputs:
            raise InputRefused("verdict plan, inputs", [], "at least one input")
        _no_duplicates("verdict plan, inputs", [planned.input_id for planned in self.inputs])
        for planned in self.inputs:
            _text("verdict plan, inputs, input_id", planned.input_id)
            _text("verdict plan, inputs, cluster", planned.cluster)

    def _check_gates(self) -> None:
        if not isinstance(self.scores, Mapping):
            raise InputRefused("verdict plan, scores", self.scores, "margins by the path of a score")
        rule = "a margin from 0 to 1,000,000 in the score's own unit"
        margins = {
            name: _real(f"verdict plan, scores, {name}", self.scores[name], 0.0, 1e6, rule) for name in self.scores
        }
        object.__setattr__(self, "scores", margins)
        for name in margins:
            if name in GATES or not _SCORE.match(name):
                raise InputRefused("verdict plan, scores", name, "the path of a score, such as ssim")
        declared = _declared_gates(self)
        if not self.order:
            object.__setattr__(self, "order", declared)
        object.__setattr__(self, "order", tuple(self.order))
        if sorted(self.order) != sorted(declared):
            raise InputRefused("verdict plan, order", list(self.order), f"each of {', '.join(declared)} once")

    @property
    def variants(self) -> tuple[VariantId, ...]:
        """The incumbent, then the challengers."""
        return (self.incumbent, *self.challengers)

    @property
    def clusters(self) -> tuple[str, ...]:
        """The independent units: in sorted order, or in that in which a sequential plan takes them."""
        if not self.sequential:
            return tuple(sorted({planned.cluster for planned in self.inputs}))
        last_first = dict.fromkeys(planned.cluster for planned in reversed(self.inputs))
        return tuple(reversed(last_first))

    @property
    def clusters_needed(self) -> int:
        """The fewest with which its tests can reach alpha at all."""
        return sequential_clusters_needed(self.alpha) if self.sequential else clusters_needed(self.alpha)

    @property
    def margins(self) -> Margins:
        further = tuple(self.further.values())
        return Margins(self.success_margin, self.quality_margin, self.min_saving, further)

    @property
    def further(self) -> dict[str, float]:
        """The margins of the metrics beside success, quality and cost that are tested, by gate."""
        refusals = {} if self.refusal_margin is None else {"refusals": self.refusal_margin}
        return {**refusals, **self.scores}

    @cached_property
    def sha256(self) -> str:
        return sha256_of(self.as_document())

    def canonical(self) -> bytes:
        """The canonical JSON whose hash is `sha256`."""
        return canonical_json(self.as_document())

    def as_document(self) -> dict[str, Any]:
        plain: dict[str, Any] = {name: getattr(self, name) for name in _NAMES}
        plain["incumbent"] = str(self.incumbent)
        plain["challengers"] = [str(variant) for variant in self.challengers]
        plain["inputs"] = [[planned.input_id, planned.cluster] for planned in self.inputs]
        plain["judge"] = dict(self.judge)
        plain["scores"] = dict(self.scores)
        plain["order"] = list(self.order)
        return plain

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> VerdictPlan:
        """The inverse of `as_document`. Raises `InputRefused` for anything else."""
        if not isinstance(document, Mapping) or set(document) != set(_NAMES):
            given = sorted(document) if isinstance(document, Mapping) else document
            raise InputRefused("verdict plan", given, f"exactly the fields {', '.join(_NAMES)}")
        plain = dict(document)
        try:
            plain["inputs"] = tuple(PlannedInput(*pair) for pair in plain["inputs"])
            plain["challengers"] = tuple(VariantId.parse(text) for text in plain["challengers"])
        except TypeError as error:
            raise InputRefused("verdict plan", str(error), "inputs as pairs, challengers as a list") from error
        plain["incumbent"] = VariantId.parse(plain["incumbent"])
        return cls(**plain)


def _declared_gates(plan: VerdictPlan) -> tuple[str, ...]:
    asked = {
        "refusals": plan.refusal_margin is not None,
        "latency": plan.p95_limit_ms is not None,
        "capacity": plan.peak_per_s is not None,
    }
    before = [name for name in ("success", "refusals", "quality") if asked.get(name, True)]
    after = [name for name in ("latency", "capacity", "cost") if asked.get(name, True)]
    return (*before, *plan.scores, *after)


_NAMES = tuple(one.name for one in fields(VerdictPlan))
DEFAULT_RULES: Mapping[str, Any] = {
    one.name: {} if one.name == "scores" else one.default
    for one in fields(VerdictPlan)
    if one.default is not MISSING or one.name == "scores"
}
"""What stands when nothing is said, by rule."""


def _no_duplicates(field: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputRefused(field, twice[0], "each one once, and no challenger that is the incumbent")


def _text(field: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise InputRefused(field, value, "a text that is not empty")


def _whole(field: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputRefused(field, value, f"a whole number from {low} to {high}")


def _real(field: str, value: object, low: float, high: float, rule: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputRefused(field, value, rule)
    return float(value)
