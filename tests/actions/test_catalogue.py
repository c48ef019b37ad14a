"""The catalogue keeps to what CONTRACTS fixes: names, severities, and a command for whoever has to act."""

import ast
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from pointsman.actions import CATALOGUE, event_type
from pointsman.errors import InputRefused
from service.cli import app

# Severities as CONTRACTS, "Action log events", lists them.
CONTRACT = {
    "load_test_runner_ecs_launched": "info",
    "load_test_runner_ecs_fallback": "warn",
    "prefect_unreachable_inline": "warn",
    "load_test_run_cancelled": "warn",
    "load_test_shard_lost": "critical",
    "approval_requested": "warn",
    "production_run_requested": "warn",
    "production_run_refused": "critical",
    "load_test_rate_missed": "warn",
    "load_test_slo_aborted": "critical",
    "stop_condition_met": "critical",
    "fault_injected": "warn",
    "fault_not_effective": "critical",
    "result_upload_spooled": "warn",
    "benchmark_item_failed": "warn",
    "benchmark_chunk_lost": "warn",
    "benchmark_ecs_fallback": "warn",
    "benchmark_stopped": "critical",
    "benchmark_variant_stopped": "warn",
    "variant_version_changed": "warn",
    "budget_exceeded": "critical",
    "quality_evaluation_fallback": "warn",
    "judge_untrusted": "warn",
    "data_check_failed": "critical",
    "price_missing": "warn",
    "routing_applied": "info",
    "routing_rolled_back": "warn",
    "routing_restored": "warn",
    "routing_gateway_moved": "warn",
    "routing_rules_set": "info",
    "routing_apply_failed": "critical",
    "routing_drift": "warn",
    "routing_drift_ended": "info",
}

ROOMS = ("pointsman", "tasks", "flows", "service")


def recorded():
    """The events that a call in the code is given: not those that it only compares with."""
    root = Path(__file__).resolve().parents[2]
    trees = [ast.parse(path.read_text()) for room in ROOMS for path in (root / room).rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    # The catalogue itself only calls its own class.
    told = [call for call in calls if getattr(call.func, "id", "") != "EventType"]
    given = [one for call in told for one in (*call.args, *(keyword.value for keyword in call.keywords))]
    either = [part for one in given for part in ([one.body, one.orelse] if isinstance(one, ast.IfExp) else [one])]
    return {one.value for one in either if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def test_every_event_is_recorded_by_something():
    assert CATALOGUE.keys() <= recorded()


def test_the_catalogue_holds_exactly_the_contracted_events_with_their_severities():
    assert {name: event.severity for name, event in CATALOGUE.items()} == CONTRACT


def parse(words):
    """Let the command line take the words as it would, without running them. It raises for anything that it refuses."""
    command = get_command(app)
    context = command.make_context("pointsman", list(words))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("name", CONTRACT)
def test_an_event_that_asks_for_action_gives_one_pointsman_command_that_runs_as_it_stands(name):
    event = event_type(name)
    assert event.name == name
    assert event.meaning.endswith(".")
    values = {placeholder: f"value of {placeholder}; $(reboot)" for placeholder in event.placeholders}
    instruction = event.instruct(values)
    if event.severity != "info":
        assert instruction
    words = shlex.split(instruction)
    assert words[0] == "pointsman"
    parse(words[1:])
    assert set(values.values()) <= set(words), "each value is one shell word, whatever it holds"
    assert "{" not in instruction


def test_an_instruction_without_its_values_is_refused_and_names_them():
    with pytest.raises(InputRefused, match="dispatch_id"):
        event_type("benchmark_item_failed").instruct({"dispatch_id": None, "other": 1})


def test_an_unknown_event_is_refused_with_the_known_ones():
    with pytest.raises(InputRefused, match=r"'routing_exploded' is not allowed; allowed: .*routing_applied"):
        event_type("routing_exploded")


@pytest.mark.parametrize("words", [["nonsense"], ["route", "nonsense"], ["trace"], ["logs", "--nonsense", "1"]])
def test_a_command_that_the_command_line_does_not_know_would_be_noticed(words):
    with pytest.raises(Exception, match=r"No such|Missing"):
        parse(words)
