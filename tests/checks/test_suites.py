"""Suites are files: what is built in agrees with the state machines, and a home folder adds rules to it."""

import re

import pytest

from pointsman.actions import ActionLog
from pointsman.checks import (
    SUITES,
    check,
    check_report,
    ensure,
    ledger_frame,
    own_folder,
    own_rules,
    probe_rules,
    suite,
)
from pointsman.errors import DataCheckFailed, InputRefused
from pointsman.reporting import to_markdown
from pointsman.settings import ENVIRONMENT_NAMES, load_settings
from pointsman.states import DISPATCH, RUN_ITEM
from tests.checks.ledgers import ledger, row
from tests.docs.pages import TEXT

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
    assert found.key in found.reads
    assert set(found.reads) <= set(found.holds)


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
    found = check("ledger", slow, tmp_path / "checks")
    assert {(f.column, f.rows) for f in found.failures} == {("done_ns", ("d72",)), ("total_ms", ("d70",))}
    assert own_rules(tmp_path / "checks") == {"ledger": 1}
    report = to_markdown(check_report(found))
    assert "16 built in, 1 of your own" in report
    assert str(tmp_path / "checks" / "ledger.toml") in report
    assert "| yours |" in report


def test_a_rule_of_ones_own_stops_the_chain_and_says_why_in_its_own_words(ws, tmp_path):
    add(tmp_path, SLOW)
    with pytest.raises(DataCheckFailed, match="no dispatch takes a minute; not so in 1 of 6 rows"):
        ensure("ledger", ledger(row(70, total_ms=60_001.0)), ActionLog(ws), "run-1", tmp_path / "checks")
    (entry,) = ActionLog(ws).read(run_id="run-1")
    assert (entry.event, entry.data["failures"][0]["rows"]) == ("data_check_failed", ["d70"])


def test_columns_that_only_ones_own_rules_name_are_read_too(tmp_path):
    add(tmp_path, SLOW.replace('column = "total_ms"', 'column = "lateness_ns"'))
    late = ledger().with_columns(lateness_ns=5)
    assert "lateness_ns" not in ledger_frame(late.lazy()).columns
    assert "lateness_ns" in ledger_frame(late.lazy(), tmp_path / "checks").columns
    assert check("ledger", ledger_frame(late.lazy(), tmp_path / "checks"), tmp_path / "checks").passed


def test_the_rules_of_the_pages_are_rules_and_so_is_the_setting(tmp_path):
    shown = re.findall(r"```toml\n# \.pointsman/checks/(\w+\.toml)\n(.*?)```", TEXT, re.DOTALL)
    for name, text in shown:
        add(tmp_path, text, name)
    probe_rules(tmp_path / "checks")
    assert own_rules(tmp_path / "checks") == {"ledger": 1, "evaluations": 2}
    assert f"`{ENVIRONMENT_NAMES['checks']}`" in TEXT
    assert not check("ledger", ledger(row(70, total_ms=60_001.0)), tmp_path / "checks").passed


def test_no_folder_adds_nothing(tmp_path):
    assert own_folder(load_settings({}, home=tmp_path)) is None
    assert own_rules(None) == {}
    (tmp_path / "checks").mkdir()
    assert own_rules(own_folder(load_settings({}, home=tmp_path))) == {}


def test_the_settings_may_name_another_folder_which_then_is_the_only_one(tmp_path):
    settings = load_settings({"POINTSMAN_CHECKS": str(tmp_path / "rules")}, home=tmp_path)
    with pytest.raises(InputRefused, match="POINTSMAN_CHECKS") as refused:
        own_folder(settings)
    assert "price_book.toml" in refused.value.message
    add(tmp_path, SLOW)
    (tmp_path / "rules").mkdir()
    with pytest.raises(InputRefused, match="nobody would look at") as refused:
        own_folder(settings)
    assert str(tmp_path / "checks") in refused.value.instruction
    (tmp_path / "checks" / "ledger.toml").rename(tmp_path / "rules" / "ledger.toml")
    assert own_folder(settings) == tmp_path / "rules"
    assert own_rules(own_folder(settings)) == {"ledger": 1}


@pytest.mark.parametrize(
    ("text", "value", "allowed"),
    [
        (SLOW.replace('column = "total_ms"', 'column = "latency_ms"'), "'latency_ms'", "raw_total_ms, output_uri"),
        (SLOW.replace('{ column = "state"', '{ column = "status"'), "'status'", "state, reason"),
        (SLOW.replace('"completed"', '"complete"'), "'complete'", "cancelled_unsent, completed, dropped"),
    ],
)
def test_a_rule_that_would_never_look_at_a_row_is_refused_with_what_is_allowed(tmp_path, text, value, allowed):
    add(tmp_path, text)
    with pytest.raises(InputRefused, match=re.escape(allowed)) as refused:
        own_rules(tmp_path / "checks")
    assert value in refused.value.message
    assert "ledger.toml" in refused.value.message


def test_a_number_is_not_sought_as_text(tmp_path):
    add(tmp_path, SLOW.replace('{ column = "state", is_in = ["completed"] }', '{ column = "stage", is_in = ["0"] }'))
    staged = ledger(row(70, total_ms=60_001.0)).with_columns(stage=0)
    with pytest.raises(InputRefused, match="a number"):
        check("ledger", staged, tmp_path / "checks")
    add(tmp_path, SLOW.replace('{ column = "state", is_in = ["completed"] }', '{ column = "stage", is_in = [0] }'))
    assert [f.rows for f in check("ledger", staged, tmp_path / "checks").failures] == [("d70",)]


@pytest.mark.parametrize("change", [("ValuesToBeBetween", "ValuesToBePretty"), ("max_value", "most")])
def test_rules_that_great_expectations_does_not_know_are_found_before_there_is_data(tmp_path, change):
    add(tmp_path, SLOW)
    probe_rules(tmp_path / "checks")
    add(tmp_path, SLOW.replace(*change))
    with pytest.raises(InputRefused, match=change[1]):
        probe_rules(tmp_path / "checks")


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
    for read in (lambda: suite("ledger", tmp_path / "checks"), lambda: own_rules(tmp_path / "checks")):
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
        check("ledger", ledger(), tmp_path / "checks")


@pytest.mark.parametrize("name", ["dispatches.toml", "ledger.yaml"])
def test_a_file_that_nobody_would_look_at_is_refused(tmp_path, name):
    add(tmp_path, SLOW, name)
    for read in (own_rules, lambda folder: check("run_items", ledger(), folder)):
        with pytest.raises(InputRefused, match=r"ledger.toml, run_items.toml, evaluations.toml, price_book.toml"):
            read(tmp_path / "checks")
