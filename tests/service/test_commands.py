"""The command line as people and programs meet it: help, names, tables, JSON, exit codes, and how fast it starts."""

import json
import subprocess
import sys
from importlib import import_module

import pytest
import typer

from pointsman.errors import DependencyDown, GuardRefused, InputRefused, RunFailed
from service.cli import COMMANDS, world
from tests.service.worlds import INCUMBENT, OTHER, ROUTE, registered


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_overview_has_help_of_its_own(pointsman, home, name):
    assert COMMANDS[name].split()[0] in pointsman("--help").out
    answer = pointsman(name, "--help")
    assert answer.code == 0
    assert f"pointsman {name}" in answer.out
    assert not home.exists(), "help writes nothing"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_json(name):
    def commands(command):
        return (
            [leaf for one in command.commands.values() for leaf in commands(one)]
            if hasattr(command, "commands")
            else [command]
        )

    for command in commands(typer.main.get_command(import_module(f"service.cli.{name}").app)):
        assert "--json" in {option for parameter in command.params for option in parameter.opts}, command.name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{command.name} does not say what {parameter.name} is"


@pytest.mark.parametrize("words", [["nonsense"], ["route", "nonsense"], ["trace"], ["up", "--nonsense"], []])
def test_wrong_use_exits_2_and_says_how_to_get_help(pointsman, home, words):
    answer = pointsman(*words)
    assert answer.code == 2
    assert "Usage" in answer.out + answer.err
    assert "Traceback" not in answer.err


EMPTY = [
    *(
        "variants list",
        "environments list",
        "inputs list",
        "scenario status",
        "benchmark show",
        "logs",
        "sinks list",
        "prices list",
        "prices check",
    ),
    *("doctor", "down"),
]


@pytest.mark.parametrize("words", EMPTY)
def test_an_empty_home_is_answered_in_words_and_in_json(pointsman, home, words):
    assert pointsman(*words.split()).code == 0
    answer = pointsman(*words.split(), "--json")
    assert answer.code == 0
    assert json.loads(answer.out) is not None
    assert answer.err == ""


FILLED = [*EMPTY, "route show", "route history", f"route show {ROUTE}", f"route history {ROUTE}"]


@pytest.mark.parametrize("words", FILLED)
def test_a_home_in_use_is_answered_in_words_and_in_json(pointsman, home, words):
    registered(home)
    assert pointsman(*words.split()).code == 0
    assert json.loads(pointsman(*words.split(), "--json").out) is not None


def test_a_variant_is_added_shown_disabled_and_enabled_by_its_short_name(pointsman, home):
    registered(home)
    mine = OTHER.replace("x265-fast-crf28", "mine")
    assert pointsman("variants", "add", mine, "--target", "lab", "--params", '{"crf": 30}').code == 0
    assert "mine@lab-cpu" in pointsman("variants", "list").out
    changed = pointsman("variants", "disable", "mine@lab-cpu", "--json").document
    told = {"id": mine, "target": "lab", "params": {"crf": 30}, "enabled": False}
    limits = {"per_s": None, "in_flight": None, "usd": None}
    assert changed == {**told, "tags": [], "data_classes": [], "limits": limits}
    assert pointsman("variants", "enable", mine, "--json").document["enabled"] is True
    listed = pointsman("variants", "list", "--workflow", "mine", "--json").document
    assert [one["id"] for one in listed] == [mine]


def test_an_environment_is_added_completed_and_listed(pointsman, home):
    registered(home)
    words = ["environments", "add", "prod", "--kind", "production"]
    assert pointsman(*words, "--account", "123456789012").code == 0
    shown = pointsman(*words, "--region", "eu-west-1", "--cluster", "effects", "--group", "workers", "--json").document
    where = {name: shown[name] for name in ("kind", "account", "region", "ecs_cluster", "asg_name")}
    assert list(where.values()) == ["production", "123456789012", "eu-west-1", "effects", "workers"]
    listed = pointsman("environments", "list", "--json").document
    assert [one["id"] for one in listed] == ["lab", "prod"]
    assert "effects" in pointsman("environments", "list").out
    assert pointsman("environments", "add", "prod", "--kind", "staging").code == 3, "what it is does not change"
    assert pointsman("environments", "add", "own", "--kind", "local").code == 2, "the lab's is registered by it"


def test_a_short_name_that_two_variants_have_is_refused_with_their_ids(pointsman, home):
    registered(home)
    twin = INCUMBENT.replace("exp:default", "exp:twin")
    pointsman("variants", "add", twin, "--target", "lab")
    answer = pointsman("variants", "disable", "x264-medium-crf26@lab-cpu")
    assert answer.code == 2
    assert INCUMBENT in answer.err
    assert twin in answer.err
    assert twin in pointsman("variants", "list").out, "the list names each so that a command takes it"
    assert pointsman("variants", "disable", twin).code == 0


def test_what_serves_a_route_is_shown_with_its_cause(pointsman, home):
    registered(home)
    (shown,) = pointsman("route", "show", "--json").document
    assert shown["weights"] == {INCUMBENT: 100}
    assert (shown["generation"], shown["status"], shown["cause"]) == (1, "active", "the first")
    assert "x264-medium-crf26@lab-cpu" in pointsman("route", "show").out


def test_a_sink_is_added_shown_changed_and_removed(pointsman, home, tmp_path):
    registered(home)
    words = ["sinks", "set", "file", "--kind", "json_lines", "--path", tmp_path / "events.jsonl"]
    shown = pointsman(*words, "--severity", "none", "--event", "routing_applied", "--json").document
    assert {one["name"]: one["events"] for one in shown} == {"file": ["routing_applied"], "prefect": []}
    assert "critical and above" in pointsman("sinks", "list").out
    assert "it is disabled" in pointsman(*words, "--disabled").out
    assert [one["name"] for one in pointsman("sinks", "remove", "file", "--json").document] == ["prefect"]
    assert pointsman("sinks", "remove", "file").code == 2
    assert pointsman("sinks", "set", "file", "--kind", "pigeon").code == 2


def test_a_plan_of_a_scenario_says_what_would_be_sent(pointsman, home, tmp_path):
    path = tmp_path / "load.yaml"
    path.write_text("name: try\nstages:\n  - {name: only, kind: constant, rate: 5, duration_s: 2}\narrivals: uniform\n")
    assert pointsman("scenario", "plan", path, "--json").document["dispatches"] == 10
    assert pointsman("scenario", "plan", path).code == 0


def test_a_plan_says_which_conditions_the_run_could_not_be_judged_by(pointsman, home, tmp_path):
    path = tmp_path / "load.yaml"
    path.write_text(
        "name: try\nstages: [{name: only, rate: 5, duration_s: 2}]\nstop_conditions: [failed_spend > 5 USD]\n"
    )
    assert (
        "Not judged in this run: failed_spend > 5 USD (what a dispatch costs" in pointsman("scenario", "plan", path).out
    )
    assert list(pointsman("scenario", "plan", path, "--json").document["not_judged"]) == ["failed_spend > 5 USD"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunFailed("It [bold]failed[/bold].", instruction="pointsman logs"), 1),
        (InputRefused("--field", "value", "another"), 2),
        (GuardRefused("Not now.", instruction="pointsman route show", code="not_now"), 3),
        (DependencyDown("Gone.", instruction="pointsman up"), 4),
    ],
)
def test_an_error_is_said_on_stderr_with_what_to_do_and_ends_with_the_code_of_its_kind(
    pointsman, home, monkeypatch, error, code
):
    def fail(_home):
        raise error

    monkeypatch.setattr(world.World, "load", fail)
    answer = pointsman("down", "--json")
    assert (answer.code, answer.out) == (code, "")
    lines = answer.err.splitlines()
    assert lines[0] == f"{error.code}: {error.message}"
    assert lines[1:] == ([f"  -> {error.instruction}"] if error.instruction else [])


def test_an_interrupted_command_exits_130_and_says_that_it_continues(pointsman, home, monkeypatch):
    def interrupt(_home):
        raise KeyboardInterrupt

    monkeypatch.setattr(world.World, "load", interrupt)
    answer = pointsman("down")
    assert answer.code == 130
    assert "same command continues" in answer.err


@pytest.mark.parametrize("words", [["--help"], ["variants", "list"]])
def test_commands_that_should_answer_at_once_load_nothing_heavy(home, words):
    look = (
        "import sys; from service.cli import main; main(sys.argv[1:]); "
        "heavy = {'polars', 'numpy', 'pandas', 'vl_convert', 'prefect', 'httpx', 'great_expectations'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    registered(home)
    done = subprocess.run([sys.executable, "-c", look, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
