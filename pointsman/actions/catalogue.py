"""Every event that may stand in the action log: its severity, and the command that an operator can run next.

An instruction is a template of one shell command. Its placeholders are filled from the event's run id, context and
data, quoted for the shell, so that the stored instruction can be run as it stands.
"""

from __future__ import annotations

import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from pointsman.errors import InputRefused

Severity = Literal["info", "warn", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True, slots=True)
class EventType:
    """One kind of event. `instruction` is empty only for severity info."""

    name: str
    severity: Severity
    instruction: str
    meaning: str

    @property
    def placeholders(self) -> frozenset[str]:
        """The names that an event of this type must give a value for."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.instruction) if name)

    def instruct(self, values: Mapping[str, object]) -> str:
        """The command with every placeholder filled. Raises `InputRefused` naming the values that are missing."""
        missing = sorted(name for name in self.placeholders if values.get(name) is None)
        if missing:
            raise InputRefused(f"event {self.name}, data", sorted(values), f"data that also names {', '.join(missing)}")
        return self.instruction.format_map({name: shlex.quote(str(values[name])) for name in self.placeholders})


_EVENTS = (
    EventType(
        "prefect_unreachable_inline",
        "warn",
        "pointsman doctor",
        "No Prefect server answered, so a shard of a load test that was to run elsewhere runs beside its coordinator.",
    ),
    EventType(
        "load_test_runner_ecs_launched",
        "info",
        "pointsman scenario status {run_id}",
        "A shard of a load test runs as an ECS task.",
    ),
    EventType(
        "load_test_runner_ecs_fallback",
        "warn",
        "pointsman scenario status {run_id}",
        "ECS could not be used for a load test, which allowed it to be driven where it is coordinated instead.",
    ),
    EventType(
        "load_test_run_cancelled",
        "warn",
        "pointsman scenario status {run_id}",
        "Somebody asked a load-test run to stop.",
    ),
    EventType(
        "load_test_shard_lost",
        "critical",
        "pointsman scenario status {run_id}",
        "A process that drove a run died or hung; another took over, and what was due in between was dropped.",
    ),
    EventType(
        "approval_requested",
        "warn",
        "pointsman approve {approval_id}",
        "A run waits until somebody other than its requester agrees to what it may cost.",
    ),
    EventType(
        "production_run_requested",
        "warn",
        "pointsman approve {approval_id}",
        "Somebody wants to load production; the run waits until somebody else agrees to it, up to a rate and a sum.",
    ),
    EventType(
        "production_run_refused",
        "critical",
        "pointsman logs --run {run_id} --json",
        "A run against production broke rules, all of which its data names, so nothing of it was begun.",
    ),
    EventType(
        "load_test_rate_missed",
        "warn",
        "pointsman scenario status {run_id}",
        "The driver could not keep the planned rate, so latencies under load are not comparable.",
    ),
    EventType(
        "load_test_slo_aborted",
        "critical",
        "pointsman scenario status {run_id}",
        "What a load test promises to hold did not, so the run was ended.",
    ),
    EventType(
        "stop_condition_met",
        "critical",
        "pointsman scenario status {run_id}",
        "Something came about that a load test must not go on with, so the run was ended.",
    ),
    EventType(
        "fault_injected",
        "warn",
        "pointsman scenario status {run_id}",
        "A fault experiment of a load test is at work on instances; cancelling the run ends it.",
    ),
    EventType(
        "fault_not_effective",
        "critical",
        "pointsman scenario status {run_id} --json",
        "A fault did not happen or is not shown to have changed anything, so the run proves nothing and fails.",
    ),
    EventType(
        "result_upload_spooled",
        "warn",
        "pointsman doctor --drain",
        "The results store did not take a file, so it and those after it wait on this machine's disk.",
    ),
    EventType(
        "benchmark_variant_stopped",
        "warn",
        "pointsman benchmark show {context}",
        "Nothing more of a variant is sent in a matrix: by the declared rule, or because the variant's limit is spent.",
    ),
    EventType(
        "variant_version_changed",
        "warn",
        "pointsman variants show {variant}",
        "A target named another model or version for a variant: verdicts that rest on the one before have expired.",
    ),
    EventType(
        "benchmark_item_failed",
        "warn",
        "pointsman trace {dispatch_id}",
        "A cell of a matrix did not produce an output; it counts as quality 0.",
    ),
    EventType(
        "benchmark_ecs_fallback",
        "warn",
        "pointsman benchmark show {context}",
        "No ECS could be used for a matrix or its judging, so it is done where it is coordinated, as was allowed.",
    ),
    EventType(
        "benchmark_stopped",
        "critical",
        "pointsman benchmark show {context}",
        "The safety lever was engaged, or an alarm rang, while a matrix sent to production, so the matrix was ended.",
    ),
    EventType(
        "benchmark_chunk_lost",
        "warn",
        "pointsman benchmark show {context}",
        "A task that ran cells of a matrix, or judged them, ended without a word; it is started again twice.",
    ),
    EventType(
        "budget_exceeded",
        "critical",
        "pointsman logs --run {run_id}",
        "A run cost, or would cost, more than was allowed for it or for the month, so it was stopped or not started.",
    ),
    EventType(
        "quality_evaluation_fallback",
        "warn",
        "pointsman evaluate {context}",
        "The asked-for judge was not available, so another one judged the whole comparison.",
    ),
    EventType(
        "judge_untrusted",
        "warn",
        "pointsman evaluate trust {context}",
        "A judge disagrees with itself or with people, or was told what to say; no verdict of it is applied.",
    ),
    EventType(
        "data_check_failed",
        "critical",
        "pointsman logs --run {run_id} --json",
        "A hand-over between two steps holds data that is not true; the chain stopped.",
    ),
    EventType(
        "price_missing",
        "warn",
        "pointsman prices list",
        "The price book has no price for something that was used, so its variants are unpriced.",
    ),
    EventType(
        "routing_applied",
        "info",
        "pointsman route history {route_key}",
        "A new generation of a route's binding serves traffic.",
    ),
    EventType(
        "routing_rolled_back",
        "warn",
        "pointsman route history {route_key}",
        "A route went back to what served before, as a new generation.",
    ),
    EventType(
        "routing_restored",
        "warn",
        "pointsman route history {route_key}",
        "A gateway did not show what is recorded, and was shown it again.",
    ),
    EventType(
        "routing_gateway_moved",
        "warn",
        "pointsman route show {route_key} --drift",
        "An admin let another gateway show a route; the one before shows what it showed.",
    ),
    EventType(
        "routing_rules_set",
        "info",
        "pointsman route rules {route_key}",
        "An admin changed what changes of a route are held to.",
    ),
    EventType(
        "routing_apply_failed",
        "critical",
        "pointsman route show {route_key}",
        "A generation could not be put into the gateway or was not what the gateway then showed.",
    ),
    EventType(
        "routing_drift",
        "warn",
        "pointsman route show {route_key}",
        "The gateway serves something else than is recorded, or production does not keep what a verdict promised.",
    ),
    EventType(
        "routing_drift_ended",
        "info",
        "pointsman route show {route_key}",
        "What had drifted of a route is again as it should be.",
    ),
)

CATALOGUE: Mapping[str, EventType] = {event.name: event for event in _EVENTS}


def event_type(name: str) -> EventType:
    """The catalogue's entry. Raises `InputRefused` for a name that is not in it."""
    if name not in CATALOGUE:
        raise InputRefused("event", name, ", ".join(CATALOGUE))
    return CATALOGUE[name]
