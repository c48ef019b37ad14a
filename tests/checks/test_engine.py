"""A check finds what is not true, names the rows and why, and leaves no trace."""

import os
import socket
import time

import polars as pl
import pytest

from pointsman.actions import ActionLog
from pointsman.checks import check, check_report, ensure, ledger_frame, suite
from pointsman.errors import DataCheckFailed, NotFound
from pointsman.reporting import to_html, to_markdown
from tests.checks.ledgers import ledger, row


def found(frame):
    """(column, keys) of every failure."""
    return {(failure.column, failure.rows) for failure in check("ledger", frame).failures}


def test_a_good_ledger_passes():
    report = check("ledger", ledger())
    assert report.passed
    assert (report.suite.name, report.rows, report.failures) == ("ledger", 10, ())


# One row for each rule of the ledger: the row, and the column of the one rule that it breaks.
BROKEN = [
    (row(20, dispatch_id=None), "dispatch_id"),
    (row(21, state=None), "state"),
    (row(22, "queued", done_ns=None), "state"),
    (row(24, "dropped", sent_ns=24_000_000), "sent_ns"),
    (row(25, "dropped", reason=None), "reason"),
    (row(26, variant=None), "variant"),
    (row(27, done_ns=None), "done_ns"),
    (row(28, total_ms=None), "total_ms"),
    (row(29, total_ms=-0.1), "total_ms"),
    (row(30, queue_ms=-1.0), "queue_ms"),
    (row(31, run_ms=-1.0), "run_ms"),
    (row(32, sent_ns=31_999_999), "sent_ns, planned_ns"),
    (row(33, done_ns=33_000_499), "done_ns, sent_ns"),
]


def test_each_rule_of_the_ledger_finds_the_row_that_breaks_it_and_no_other():
    assert found(ledger(*(bad for bad, _ in BROKEN))) == {
        (column, (str(bad["dispatch_id"]),)) for bad, column in BROKEN
    }


def test_a_dispatch_and_a_place_that_stand_twice_are_named_each_time():
    twice = ledger(row(50, dispatch_id="d0"), {**row(60), "seq": 1, "planned_ns": None})
    assert found(twice) == {("dispatch_id", ("d0", "d0")), ("seq", ("d1", "d60"))}


def test_a_failure_says_what_should_hold_and_in_how_many_rows_it_does_not_and_names_the_first_twenty():
    (failure,) = check("ledger", ledger(*(row(100 + n, done_ns=None) for n in range(30)))).failures
    assert failure.why == "a completed dispatch has the time of its end; not so in 30 of 35 rows"
    assert failure.rows == tuple(f"d{100 + n}" for n in range(20))
    assert failure.values == ("done_ns nothing",) * 20
    assert failure.exception is None


def test_an_empty_set_does_not_pass():
    failures = check("ledger", ledger().clear()).failures
    assert [(failure.column, failure.why) for failure in failures] == [("", "a ledger has dispatches; found 0")]


def test_a_rule_that_cannot_be_evaluated_is_a_failure_that_says_so():
    failures = check("ledger", ledger().drop("done_ns")).failures
    assert {failure.column for failure in failures} == {"done_ns", "done_ns, sent_ns"}
    assert all("could not be evaluated" in failure.why for failure in failures)
    assert all('"done_ns"' in failure.exception for failure in failures)
    failures = check("ledger", ledger().with_columns(total_ms=pl.lit("fast"))).failures
    assert [(failure.column, bool(failure.exception)) for failure in failures] == [("total_ms", True)]


def test_a_frame_without_its_key_still_fails_with_row_numbers():
    failures = check("ledger", ledger(row(7, done_ns=None)).drop("dispatch_id")).failures
    assert [(f.column, f.rows) for f in failures if f.exception is None] == [("done_ns", ("row 10",))]


def test_an_unknown_suite_is_refused_with_the_known_ones():
    with pytest.raises(NotFound, match="ledger, run_items, evaluations, price_book"):
        check("weather", ledger())


def test_a_check_of_a_thousand_rows_is_quick():
    frame = ledger(good=1000)
    check("ledger", frame)
    began = time.process_time()  # of this process alone: the machine may be busy with other things
    assert check("ledger", frame).passed
    assert time.process_time() - began < 1.5


def test_a_check_writes_no_file_prints_nothing_and_opens_no_connection(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def refused(*_):
        raise AssertionError("a data check opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    assert not check("ledger", ledger(row(7, done_ns=None))).passed
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")


def test_a_ledger_frame_takes_the_columns_that_the_rules_name():
    frame = ledger_frame(ledger().with_columns(output_uri=pl.lit("file:///x")).lazy())
    assert set(frame.columns) == set(suite("ledger").reads)


def test_a_failing_check_stops_the_chain_and_is_logged_with_rows_and_reasons(ws):
    log = ActionLog(ws)
    with pytest.raises(DataCheckFailed, match="time of its end") as stop:
        ensure("ledger", ledger(*(row(100 + n, done_ns=None) for n in range(30))), log, "run-1")
    assert "d100" in stop.value.message
    assert stop.value.code == "data_check_failed"
    assert stop.value.instruction == "pointsman logs --run run-1 --json"
    assert stop.value.data["report"].failures[0].column == "done_ns"
    (entry,) = log.read(run_id="run-1")
    assert (entry.event, entry.severity, entry.instruction) == (
        "data_check_failed",
        "critical",
        "pointsman logs --run run-1 --json",
    )
    assert entry.data["suite"] == "ledger"
    (logged,) = entry.data["failures"]
    assert logged["rows"] == ["d100", "d101", "d102", "d103", "d104"]
    assert "time of its end" in logged["why"]


def test_a_passing_check_is_returned_and_not_logged(ws):
    assert ensure("ledger", ledger(), ActionLog(ws), "run-1").passed
    assert ActionLog(ws).read() == []


def test_the_report_names_the_rows_and_why():
    failing = check("ledger", ledger(row(77, done_ns=None)).drop("run_ms"))
    report = check_report(failing)
    for shown in (to_markdown(report), to_html([report], "checks")):
        assert "d77" in shown
        assert "a completed dispatch has the time of its end; not so in 1 of 6 rows" in shown
        assert "could not be evaluated" in shown
    assert "2 of 16 rules" in report.summary
    assert failing.as_document()["failures"][0]["rows"] == ["d77"]


def test_the_report_shows_what_a_row_has_beside_what_it_should_and_what_to_do_next():
    report = check_report(check("ledger", ledger(row(31, run_ms=-1.5), row(32, "queued", done_ns=None))))
    shown = to_markdown(report)
    assert "| d31 | run_ms -1.5 | times are 0 or more" in shown
    assert "| d32 | state queued | every dispatch of a closed ledger has ended" in shown
    assert "the same request with the same run id goes on from here" in shown


def test_the_report_of_a_passing_check_says_how_much_was_checked():
    report = check_report(check("ledger", ledger()))
    assert report.summary == "All 16 rules of the suite `ledger` hold for 10 rows."
    assert "d0" not in to_markdown(report)
