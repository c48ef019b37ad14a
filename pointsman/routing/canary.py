"""Is a canary good so far? Routed jobs of its step, those of the newcomers held against those of what served before.

Three things end a canary: jobs that go where nothing sends them, newcomers that fail more often than chance explains,
and newcomers that are slower than chance explains, queueing included. Each is a one-sided test at `alpha`; what too few
jobs have met is not judged but asked about again with more.

The tests ask how often it would come out like that if the jobs were dealt out to both sides by chance, as the gateway
does deal them out. So a machine of ours that is slow for a while is nobody's fault: it meets both sides alike. Nor does
it hide a queue: time is looked at as the caller sees it, and by the target's own account where it gives one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, comb, exp, lgamma
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
        ge=1,
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
    """Judge the routed jobs that were sent at a step.

    Their columns are `state`, `variant`, `generation`, `total_ms`, and `queue_ms` and `run_ms`, null where the target
    did not say.
    `before` is what served whole before the canary. Failed jobs whose variant is not known count for neither side, and
    a job that was refused before it had a variant is the route's own failure.
    """
    new, percent = _newcomers(binding, before)
    old = {str(one) for one in binding.weights} - new
    arms = {name: _arm(dispatches, names) for name, names in (("new", new), ("old", old))}

    def found(decision: Decision, why: str) -> Finding:
        return Finding(percent, binding.generation, decision, why, arms["new"], arms["old"])

    here = arrived(dispatches, binding)
    astray = here.filter(
        (pl.col("generation") > binding.generation)
        | (pl.col("variant").is_not_null() & ~pl.col("variant").is_in([*new, *old]))
    )
    if astray.height:
        return found("abort", f"{astray.height} jobs did not follow generation {binding.generation}")
    if late := dispatches.height - here.height:
        return found("wait", f"{late} jobs were still routed by what served before generation {binding.generation}")
    newcomers, incumbents = arms["new"], arms["old"]
    if min(newcomers.jobs, incumbents.jobs) < rules.fewest:
        return found(
            "wait",
            f"{newcomers.jobs} jobs met the newcomers and {incumbents.jobs} what served before; {rules.fewest} of each "
            "are needed",
        )
    if (least := exp(-_log_comb(newcomers.jobs + incumbents.jobs, newcomers.jobs))) >= rules.alpha:
        return found(
            "wait",
            f"{newcomers.jobs} jobs of the newcomers beside {incumbents.jobs} could show nothing, whatever became of "
            f"them (p = {least:.2g} at the least)",
        )
    worse = newcomers.failed / newcomers.jobs - incumbents.failed / incumbents.jobs
    if worse > rules.failure_margin and (p := _fails_more(newcomers, incumbents)) < rules.alpha:
        return found(
            "abort",
            f"{newcomers.failed} of {newcomers.jobs} jobs of the newcomers failed, and {incumbents.failed} of "
            f"{incumbents.jobs} before them (p = {p:.2g})",
        )
    for by, took in (("", pl.col("total_ms")), (" by the target's own account", pl.col("queue_ms") + pl.col("run_ms"))):
        times = {name: _times(dispatches, names, took) for name, names in (("new", new), ("old", old))}
        if not times["new"] or not times["old"]:
            continue
        limit = _p95(times["old"]) * rules.latency_ratio
        slow = sum(one > limit for one in times["new"])
        if slow and (p := _slower(times["new"], times["old"], rules.latency_ratio)) < rules.alpha:
            return found(
                "abort",
                f"{slow} of {len(times['new'])} jobs of the newcomers took longer than {limit:.0f} ms{by}, "
                f"{rules.latency_ratio:g} times the p95 of what served before (p = {p:.2g})",
            )
    return found("go", f"{newcomers.jobs} jobs of the newcomers were no worse than {incumbents.jobs} before them")


def arrived(dispatches: pl.DataFrame, binding: Binding) -> pl.DataFrame:
    """Those that no older generation routed: whoever resolves routes from a cache follows a little later."""
    return dispatches.filter((pl.col("generation") >= binding.generation).fill_null(True))


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
    times = _times(dispatches, variants, pl.col("total_ms"))
    failed = mine.height - mine.filter(pl.col("state") == "completed").height
    return Arm(mine.height, failed, _p95(times) if times else None)


def _times(dispatches: pl.DataFrame, variants: set[str], took: pl.Expr) -> list[float]:
    """Of the jobs that completed, in milliseconds, the quickest first."""
    completed = (pl.col("state") == "completed") & pl.col("variant").is_in(list(variants))
    return sorted(dispatches.filter(completed).select(took.alias("ms"))["ms"].drop_nulls().to_list())


def _p95(times: list[float]) -> float:
    """By nearest rank."""
    return times[ceil(len(times) * (1 - _TAIL)) - 1]


def _slower(new: list[float], old: list[float], ratio: float) -> float:
    """How often as many of `new`, or more, lie beyond `ratio` times the p95 of `old` when both are dealt out by chance.

    Exact, as a sum over which of all times is the p95 of the old ones: what lies beyond it has the rest of them, and
    how many of those are old is hypergeometric.
    """
    seen = sum(one > _p95(old) * ratio for one in new)
    times, rank = sorted([*new, *old]), ceil(len(old) * (1 - _TAIL))
    jobs, above, chance = len(times), len(old) - rank, 0.0
    for at in range(rank, jobs - above + 1):
        is_p95 = _log_comb(at - 1, rank - 1) + _log_comb(jobs - at, above) - _log_comb(jobs, len(old))
        beyond = jobs - bisect_right(times, times[at - 1] * ratio)
        rest = jobs - at
        for still_old in range(max(0, above - (rest - beyond)), min(above, beyond, beyond - seen) + 1):
            among = _log_comb(beyond, still_old) + _log_comb(rest - beyond, above - still_old) - _log_comb(rest, above)
            chance += exp(is_p95 + among)
    return min(1.0, chance)


def _log_comb(of: int, taken: int) -> float:
    return lgamma(of + 1) - lgamma(taken + 1) - lgamma(of - taken + 1)


def _fails_more(new: Arm, old: Arm) -> float:
    """Fisher's exact test, one-sided: as many failures among the newcomers, or more, when both fail alike."""
    jobs, failed = new.jobs + old.jobs, new.failed + old.failed
    ways = sum(
        comb(failed, k) * comb(jobs - failed, new.jobs - k) for k in range(new.failed, min(failed, new.jobs) + 1)
    )
    return ways / comb(jobs, new.jobs)
