"""What a person sees of a run while it goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pointsman.dispatch import Second
from pointsman.reporting import ARTIFACT_LIMIT_BYTES, Chart, Figures, Report, Table, to_markdown
from pointsman.scenario import Progress, Scenario, Stage, execute_run
from pointsman.scenario.progress import Course
from pointsman.scenario.record import advance
from pointsman.statistics.sketch import Sketch
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import FakeEngine, plan

LONG = Scenario(
    name="long",
    stages=(Stage(name="only", rate=4, duration_s=24),),
    slos=("p95 total_ms < 5000 over 10s",),
    stop_conditions=("failure_rate > 20%",),
)


def second(number: int, **counts: int) -> Second:
    times = Sketch([100.0] * counts.get("completed", 0))
    return Second(number, 0, counts, counts.get("sent", 0), 0, times, times, times, times)


def figures(report: Report) -> dict[str, object]:
    return dict(next(one for one in report.sections if isinstance(one, Figures)).pairs)


def charts(report: Report) -> dict[str, Chart]:
    return {one.title: one for one in report.sections if isinstance(one, Chart)}


def tables(report: Report) -> dict[str, list[list[object]]]:
    return {one.title: [list(row) for row in one.rows] for one in report.sections if isinstance(one, Table)}


def test_a_run_is_shown_as_it_goes_on_and_every_second_counts_once(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws, scenario=LONG)
    progress = Progress(ws, "run1")
    found: dict[int, Report] = {}

    def look(at: int) -> None:
        if at in (0, 12, 18):
            found[at] = progress.report()

    engine.at_second = look
    assert execute_run(ws, "run1", secret=None).status == "completed"
    found[24] = progress.report()
    assert not charts(found[0])
    assert figures(found[0])["p95, lately"] == "none has completed"
    assert figures(found[12])["planned per s, lately"] == figures(found[12])["sent per s, lately"] == 4
    assert figures(found[18])["p95, lately"] == "90 ms"
    assert list(charts(found[18])) == ["Rate", "Latency", "In flight"]
    assert [row[:2] for row in tables(found[18])["SLOs and stop conditions"]] == [
        ["p95 total_ms < 5000 over 10s", "held"],
        ["failure_rate > 20%", "not met"],
    ]
    assert "72 of 96" in found[18].summary
    assert "scenario-report" not in found[18].summary
    assert "96 of 96 planned dispatches completed after 24 s" in found[24].summary
    assert "scenario-report" in found[24].summary


def test_a_fault_is_drawn_while_it_lasts_and_told_by_its_last_event(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws, scenario=LONG)
    epoch = datetime(2026, 1, 1, tzinfo=UTC)
    injection = {"stage": "only", "phase": "injected", "state": "running", "target_instance_ids": ["i-1"]}
    injection["started_at"] = (epoch + timedelta(seconds=9)).isoformat()
    told = {"stage": "only", "reason": "", "target_instance_ids": ["i-1"], "fis_experiment_arn": "arn"}
    events = [
        {**told, "at": (epoch + timedelta(seconds=at)).isoformat(), "event": event}
        for at, event in ((8, "pending"), (9, "running"))
    ]
    kept = {"faults": {"injections": {"only": injection}, "fault_events": events}}
    found: list[Report] = []

    def look(at: int) -> None:
        if at == 14:
            advance(ws, "run1", None, metrics={"watchers": kept})
            found.append(Progress(ws, "run1").report())

    engine.at_second = look
    execute_run(ws, "run1", secret=None)
    (report,) = found
    assert tables(report)["Faults"] == [["only", "running", "00:00:09", "i-1", ""]]
    for chart in charts(report).values():
        assert "fault: only" in chart.svg


@pytest.mark.parametrize("seconds", [100, 5_000, 100_000])
def test_a_long_run_takes_no_more_room_than_a_short_one(seconds: int) -> None:
    course = Course(1)
    for at in range(0, seconds, max(1, seconds // 3_000)):
        course.add(second(at, sent=3, completed=2))
    added = len(range(0, seconds, max(1, seconds // 3_000)))
    assert len(course.spans) <= 240
    assert len(course.spans) * course.span_s >= course.through_s
    assert sum(span.counts["sent"] for span in course.spans) == 3 * added
    assert len(course.whole) in (len(course.spans), len(course.spans) - 1)
    if seconds > 240:
        assert len(course.spans) > 100, "it is not coarser than need be"


def test_what_comes_late_is_added_to_its_own_span() -> None:
    course = Course(5)
    for at in (0, 7, 3):
        course.add(second(at, sent=1))
    assert [span.counts["sent"] for span in course.spans] == [2, 1]
    assert len(course.whole) == 1


def test_the_longest_course_fits_into_an_artifact(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws, scenario=LONG)
    advance(ws, "run1", "starting", metrics={"epoch": "2026-01-01T00:00:00+00:00"})
    progress = Progress(ws, "run1")
    for at in range(240):
        progress._course.add(second(at, sent=at % 7, completed=at % 5, failed=at % 3))
    assert len(to_markdown(progress.report()).encode()) < ARTIFACT_LIMIT_BYTES / 2
