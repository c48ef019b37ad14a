"""The report of a routing change: what served before and after, what the probe saw, and every generation so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pointsman.ids import RouteKey
from pointsman.model import Binding
from pointsman.reporting import Figures, Report, Section, Table, escape_markdown
from pointsman.routing import bindings
from pointsman.routing.holds import open_hold
from pointsman.routing.rollouts import Rollout, read_rollout
from pointsman.workspace import Workspace

_SHOWN_GENERATIONS = 50


class ProbeSeen(Protocol):
    """What the report shows of a probe; `ProbeResult` and its copies in requests and artifacts have it."""

    @property
    def passed(self) -> bool: ...

    @property
    def seen(self) -> Mapping[str, int]: ...

    @property
    def why(self) -> str: ...


def routing_report(ws: Workspace, route_key: RouteKey, probe: ProbeSeen | None = None) -> Report:
    """Where a route's traffic goes, where it went before, what a probe saw if there was one, and the history.

    A route without any binding has a report that says so.
    """
    records = bindings.history(ws, route_key)
    served = [record.binding for record in records if record.status in bindings.SERVED]
    after = bindings.current(ws, route_key)
    before = next((old for old in served if after is None or old.generation < after.generation), None)
    title = f"Routing of {route_key}"
    if after is None:
        return Report(title, f"`{route_key}` has no binding that serves traffic.", (_history(records),))
    facts = Figures(
        [
            ("route", str(route_key)),
            ("generation before", before.generation if before else "none"),
            ("generation now", after.generation),
            ("cause", after.cause),
        ]
    )
    summary = (
        f"Traffic of `{route_key}` goes to {escape_markdown(in_words(after))} since generation {after.generation}."
    )
    sections: list[Section] = [facts, shares_table(before, after)]
    if probe is not None:
        jobs = sum(probe.seen.values())
        outcome = "confirm it" if probe.passed else f"do **not** confirm it: {escape_markdown(probe.why)}"
        summary += f" {jobs} routed jobs of a probe {outcome}."
        sections.append(Table(("variant that ran", "jobs"), sorted(probe.seen.items()), title="What the probe saw"))
    held = open_hold(ws, route_key)
    if held is not None:
        labels = escape_markdown(", ".join(one.label for one in held.variants))
        summary += f" {labels} of generation {held.generation} is held since {held.since:%F %T} UTC."
    if records[0].rollout_id is not None:
        sections.append(_canary(read_rollout(ws, records[0].rollout_id)))
    return Report(title, summary, (*sections, _history(records)))


def in_words(binding: Binding) -> str:
    """The shares of a binding in short, largest first: `x264@lab-cpu`, or `90 % x264@lab-cpu, 10 % vp9@lab-spot`."""
    if binding.sole_variant is not None:
        return binding.sole_variant.label
    shares = sorted(binding.weights.items(), key=lambda share: (-share[1], share[0]))
    return ", ".join(f"{weight} % {variant.label}" for variant, weight in shares if weight)


def _canary(rollout: Rollout) -> Table:
    rows = [(f"{one['at'][:19]} UTC", one.get("percent", ""), one["decision"], one["why"]) for one in rollout.findings]
    steps = ", ".join(f"{one} %" for one in rollout.steps)
    return Table(("at", "percent", "finding", "why"), rows, title=f"Canary of {steps}: {rollout.state}")


def shares_table(before: Binding | None, after: Binding) -> Table:
    """The percents of every variant, before and now."""
    old = dict(before.weights) if before else {}
    rows = [
        (variant.label, str(variant), old.get(variant, 0), after.weights.get(variant, 0))
        for variant in sorted({*old, *after.weights})
    ]
    return Table(("variant", "id", "before, %", "now, %"), rows, title="Where traffic goes")


def _history(records: list[bindings.BindingRecord]) -> Table:
    shown = records[:_SHOWN_GENERATIONS]
    rows = [
        (
            record.binding.generation,
            record.status,
            in_words(record.binding),
            record.binding.cause,
            record.actor,
            f"{record.created_at:%Y-%m-%d %H:%M:%S} UTC",
        )
        for record in shown
    ]
    left = len(records) - len(shown)
    title = "Generations, newest first" + (f" ({left} older ones are in the state of record)" if left else "")
    return Table(("generation", "state", "traffic", "cause", "by", "recorded"), rows, title=title)
