"""Is a canary good so far? Routed jobs of its step, those of the newcomers held against those of what served before.

Three things end a canary: jobs that do not follow the binding, newcomers that fail more often than chance explains,
and newcomers that are slower than chance explains, queueing included. Each is a one-sided test at `alpha`; what too few
jobs have met is not judged but asked about again with more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, comb
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from pointsman.ids import VariantId
from pointsman.model import Binding

Decision = Literal["go", "wait", "abort"]
_TAIL = 0.05
"""What a p95 leaves above itself."""


class CanaryRules(BaseModel):
    """When a step is good enough for the next one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: tuple[int, ...] = Field(
        default=(5, 25, 100), title="Steps", description="Percents of the traffic, the last one 100.", max_length=20
    )
    jobs_per_step: int = Field(
        default=60, title="Jobs per look", description="Routed jobs that are sent at a time.", ge=1, le=1000
    )
    fewest: int = Field(
        default=3,
        title="Fewest",
        description="Jobs that the newcomers, and what served before, must each meet.",
        ge=1,
        le=500,
    )
    looks: int = Field(
        default=5, title="Looks", description="How often to send more before the step counts as stuck.", ge=1, le=50
    )
    failure_margin: float = Field(
        default=0.02, title="Failure margin", description="So much more may fail, as a share.", ge=0, lt=1
    )
    latency_ratio: float = Field(
        default=1.5,
        title="Latency ratio",
        description="So many times the p95 of what served may it take.",
        gt=0,
        le=100,
    )
    alpha: float = Field(
        default=0.01, title="Alpha", description="Risk of ending a good canary, of each test.", gt=0, le=0.5
    )

    @property
    def most_jobs(self) -> int:
        """Routed jobs of all looks; at the last step nothing is looked at any more."""
        return (len(self.steps) - 1) * self.looks * self.jobs_per_step


@dataclass(frozen=True, slots=True)
class Arm:
    """Jobs of one side: how many ended, how many of them failed, and the p95 of those that completed, in ms."""

    jobs: int
    failed: int
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at a step says; `why` in one sentence."""

    percent: int
    generation: int
    decision: Decision
    why: str
    newcomers: Arm
    incumbents: Arm

    def as_document(self) -> dict[str, Any]:
        """Plain data for records, artifacts and `--json`."""
        return asdict(self)


def judge_canary(
    dispatches: pl.DataFrame, binding: Binding, before: Mapping[VariantId, int], rules: CanaryRules
) -> Finding:
    """Judge the routed jobs that were sent at a step (`state`, `variant`, `generation`, `total_ms`, `reason`).

    `before` is what served whole before the canary. Failed jobs whose variant is not known count for neither side, and
    a job that was refused before it had a variant is the route's own failure.
    """
    new, percent = _newcomers(binding, before)
    old = {str(one) for one in binding.weights} - new
    arms = {name: _arm(dispatches, names) for name, names in (("new", new), ("old", old))}

    def found(decision: Decision, why: str) -> Finding:
        return Finding(percent, binding.generation, decision, why, arms["new"], arms["old"])

    astray = dispatches.filter(
        (pl.col("generation").is_not_null() & (pl.col("generation") != binding.generation))
        | (pl.col("variant").is_not_null() & ~pl.col("variant").is_in([*new, *old]))
    )
    if astray.height:
        return found("abort", f"{astray.height} jobs did not follow generation {binding.generation}")
    newcomers, incumbents = arms["new"], arms["old"]
    if min(newcomers.jobs, incumbents.jobs) < rules.fewest:
        return found(
            "wait",
            f"{newcomers.jobs} jobs met the newcomers and {incumbents.jobs} what served before; {rules.fewest} of each "
            "are needed",
        )
    worse = newcomers.failed / newcomers.jobs - incumbents.failed / incumbents.jobs
    if worse > rules.failure_margin and (p := _fails_more(newcomers, incumbents)) < rules.alpha:
        return found(
            "abort",
            f"{newcomers.failed} of {newcomers.jobs} jobs of the newcomers failed, and {incumbents.failed} of "
            f"{incumbents.jobs} before them (p = {p:.2g})",
        )
    if newcomers.p95_ms is not None and incumbents.p95_ms is not None:
        limit = incumbents.p95_ms * rules.latency_ratio
        slow, timed = _slower_than(dispatches, new, limit)
        if (p := _at_least(slow, timed, _TAIL)) < rules.alpha:
            return found(
                "abort",
                f"{slow} of {timed} jobs of the newcomers took longer than {limit:.0f} ms, {rules.latency_ratio:g} "
                f"times the p95 of what served before (p = {p:.2g})",
            )
    return found("go", f"{newcomers.jobs} jobs of the newcomers were no worse than {incumbents.jobs} before them")


def stopped_canary(binding: Binding, before: Mapping[VariantId, int], why: str) -> Finding:
    """What is found where the routed jobs of a step were stopped: it ends, whatever they saw."""
    unseen = Arm(0, 0, None)
    return Finding(_newcomers(binding, before)[1], binding.generation, "abort", why, unseen, unseen)


def _newcomers(binding: Binding, before: Mapping[VariantId, int]) -> tuple[set[str], int]:
    """The variants that get more than before, and how much more together, in percent."""
    more = {one: weight - before.get(one, 0) for one, weight in binding.weights.items() if weight > before.get(one, 0)}
    return {str(one) for one in more}, sum(more.values())


def _arm(dispatches: pl.DataFrame, variants: set[str]) -> Arm:
    mine = dispatches.filter(pl.col("variant").is_in(list(variants)))
    completed = mine.filter(pl.col("state") == "completed")
    times = sorted(completed["total_ms"].drop_nulls().to_list())
    p95 = times[ceil(len(times) * (1 - _TAIL)) - 1] if times else None
    return Arm(mine.height, mine.height - completed.height, p95)


def _slower_than(dispatches: pl.DataFrame, variants: set[str], limit_ms: float) -> tuple[int, int]:
    times = dispatches.filter(pl.col("variant").is_in(list(variants)) & (pl.col("state") == "completed"))["total_ms"]
    known = times.drop_nulls()
    return int((known > limit_ms).sum()), known.len()


def _fails_more(new: Arm, old: Arm) -> float:
    """Fisher's exact test, one-sided: as many failures among the newcomers, or more, when both fail alike."""
    jobs, failed = new.jobs + old.jobs, new.failed + old.failed
    ways = sum(
        comb(failed, k) * comb(jobs - failed, new.jobs - k) for k in range(new.failed, min(failed, new.jobs) + 1)
    )
    return ways / comb(jobs, new.jobs)


def _at_least(count: int, of: int, share: float) -> float:
    """The binomial probability of `count` or more of `of`."""
    return sum(comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count, of + 1))
