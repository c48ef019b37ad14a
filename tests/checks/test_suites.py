"""Suites are files: what is built in agrees with the state machines, and a home folder adds rules to it."""

import re
from pathlib import Path

import pytest

from pointsman.actions import ActionLog
from pointsman.checks import SUITES, check, ensure, ledger_frame, own_rules, suite
from pointsman.errors import DataCheckFailed, InputRefused
from pointsman.states import DISPATCH, RUN_ITEM
from tests.checks.ledgers import ledger, row

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SLOW = """
[[rules]]
means = "no dispatch takes a minute"
expectation = "ExpectColumnValuesToBeBetween"
arguments = { column = "total_ms", max_value = 60000 }
where = { column = "state", is_in = ["completed"] }
"""


def add(home, text, name="ledger.toml"):
    (home / "checks").mkdir(exist_ok=True)
    (home / "checks" / name).write_text(text)


@pytest.mark.parametrize("name", SUITES)
def test_every_hand_over_has_a_file_whose_rules_say_what_is_right(name):
    found = suite(name)
    assert len(found.rules) >= 8
    assert found.key in found.columns


@pytest.mark.parametrize(
    ("name", "column", "machine"), [("ledger", "state", DISPATCH), ("run_items", "status", RUN_ITEM)]
)
def test_what_has_ended_is_what_the_state_machine_calls_so(name, column, machine):
    (ended,) = (
        rule.arguments["value_set"]
        for rule in suite(name).rules
        if rule.expectation == "ExpectColumnValuesToBeInSet" and rule.column == column
    )
    assert set(ended) == machine.terminal


def test_rules_of_ones_own_come_on_top_of_those_built_in(tmp_path):
    add(tmp_path, SLOW)
    slow = ledger(row(70, total_ms=60_001.0), row(71, "failed", total_ms=99_999.0), row(72, done_ns=None))
    assert {(f.column, f.rows) for f in check("ledger", slow).failures} == {("done_ns", ("d72",))}
    found = check("ledger", slow, tmp_path)
    assert {(f.column, f.rows) for f in found.failures} == {("done_ns", ("d72",)), ("total_ms", ("d70",))}
    assert own_rules(tmp_path) == {"ledger": 1}


def test_a_rule_of_ones_own_stops_the_chain_and_says_why_in_its_own_words(ws, tmp_path):
    add(tmp_path, SLOW)
    with pytest.raises(DataCheckFailed, match="no dispatch takes a minute; not so in 1 of 6 rows"):
        ensure("ledger", ledger(row(70, total_ms=60_001.0)), ActionLog(ws), "run-1", tmp_path)
    (entry,) = ActionLog(ws).read(run_id="run-1")
    assert (entry.event, entry.data["failures"][0]["rows"]) == ("data_check_failed", ["d70"])


def test_columns_that_only_ones_own_rules_name_are_read_too(tmp_path):
    add(tmp_path, SLOW.replace('column = "total_ms"', 'column = "lateness_ns"'))
    late = ledger().with_columns(lateness_ns=5)
    assert "lateness_ns" not in ledger_frame(late.lazy()).columns
    assert "lateness_ns" in ledger_frame(late.lazy(), tmp_path).columns
    assert check("ledger", ledger_frame(late.lazy(), tmp_path), tmp_path).passed


def test_the_rules_of_the_readme_are_rules(tmp_path):
    shown = re.search(r"```toml\n# \.pointsman/checks/ledger\.toml\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    add(tmp_path, shown[1])
    assert not check("ledger", ledger(row(70, total_ms=60_001.0)), tmp_path).passed


def test_no_folder_adds_nothing(tmp_path):
    assert own_rules(tmp_path) == {}
    assert suite("ledger", tmp_path) == suite("ledger")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("rules = [", "a TOML file"),
        ("", "rules"),
        ("rules = []", "rules"),
        (SLOW.replace("means", "why"), "rules.0.means"),
        (SLOW.replace("ExpectColumn", "os.Column"), "rules.0.expectation"),
        (SLOW + "key = 'seq'", "rules.0.key"),
    ],
)
def test_a_file_that_is_no_suite_is_refused_with_the_field(tmp_path, text, names):
    add(tmp_path, text)
    for read in (lambda: suite("ledger", tmp_path), lambda: own_rules(tmp_path)):
        with pytest.raises(InputRefused, match=re.escape(names)) as refused:
            read()
        assert "ledger.toml" in refused.value.message


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (SLOW.replace("ValuesToBeBetween", "ValuesToBePretty"), "ExpectColumnValuesToBePretty"),
        (SLOW.replace("max_value", "most"), "arguments of the rule 'no dispatch takes a minute'"),
    ],
)
def test_a_rule_that_great_expectations_does_not_know_is_refused(tmp_path, text, names):
    add(tmp_path, text)
    with pytest.raises(InputRefused, match=re.escape(names)):
        check("ledger", ledger(), tmp_path)


@pytest.mark.parametrize("name", ["dispatches.toml", "ledger.yaml"])
def test_a_file_that_nobody_would_look_at_is_refused(tmp_path, name):
    add(tmp_path, SLOW, name)
    with pytest.raises(InputRefused, match=r"ledger.toml, run_items.toml, evaluations.toml, price_book.toml"):
        own_rules(tmp_path)
