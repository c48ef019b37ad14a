"""The feed of seconds: complete, each second once, read piece by piece, and added up over the drives of a run."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pointsman.dispatch import RunSeconds, Second, read_dispatches, read_figures, read_seconds, read_status
from pointsman.dispatch.closing import close_drive
from pointsman.dispatch.figures import FIGURES
from pointsman.dispatch.plan import read_planned
from pointsman.dispatch.protocol import Request, Response
from pointsman.dispatch.recording import Recorder, _append
from pointsman.dispatch.seconds import SECONDS, _number, to_line
from pointsman.statistics import Sketch
from tests.dispatch.seconds import counted
from tests.dispatch.world import Crash, Service, World, carry_on, write


@pytest.fixture
def drive_dir(tmp_path: Path) -> Path:
    """Six seconds in which dispatches completed, were refused and dropped."""
    world = World()
    service = Service(world, run_s=1.0)
    turn = iter(range(1000))

    def refuse_some(request: Request) -> Response | None:
        return Response(422, {}, b"") if request.path == "/v1/jobs" and next(turn) % 5 == 0 else None

    service.answer = refuse_some
    drive_dir = write(tmp_path, 60, per_s=10.0, max_in_flight=9, poll_interval_s=0.05)
    assert carry_on(drive_dir, world, service) == "completed"
    return drive_dir


def test_the_seconds_of_a_drive_add_up_to_its_summary(drive_dir: Path) -> None:
    figures = read_figures(drive_dir).overall()
    live = read_status(drive_dir)
    summary = close_drive(drive_dir, "completed")
    assert summary.counts["dropped"] > 0
    assert counted(drive_dir).pop("refused") == summary.counts["failed"] > 0
    assert {**counted(drive_dir), "refused": None} == {
        **{name: number for name, number in summary.counts.items() if number and name != "planned"},
        "refused": None,
    }
    for name in ("total_ms", "queue_ms", "run_ms", "lateness_ms"):
        sketch, exact, told = getattr(figures, name), getattr(summary, name), getattr(live, name)
        assert (sketch.count, told.count, told.max) == (exact.count, exact.count, exact.max)
        assert sketch.quantile(0.95) == pytest.approx(exact.p95, rel=0.01)
    assert live.counts == summary.counts


def test_events_are_in_the_second_in_which_they_happened(drive_dir: Path) -> None:
    seconds = read_seconds(drive_dir)
    close_drive(drive_dir, "completed")
    rows = read_dispatches(drive_dir)
    assert [one.second for one in seconds] == list(range(seconds[-1].second + 1))
    for one in seconds:
        sent = rows.filter(rows["sent_ns"] // 10**9 == one.second)
        assert one.counts.get("sent", 0) == sent.height == one.lateness_ms.count
        at_its_end = rows.filter(rows["sent_ns"] < (one.second + 1) * 10**9)
        assert 0 <= one.in_flight <= at_its_end.height
        assert 0 <= one.queued <= one.in_flight
    assert seconds[2].in_flight > 0
    assert seconds[-1].in_flight == 0


def test_reading_piece_by_piece_gives_the_same_as_reading_at_once(drive_dir: Path) -> None:
    whole = (drive_dir / SECONDS).read_bytes()
    expected = read_seconds(drive_dir)
    found: list[Second] = []
    for end in range(0, len(whole), 97):
        (drive_dir / SECONDS).write_bytes(whole[:end])
        found += read_seconds(drive_dir, found[-1].second if found else -1)
    (drive_dir / SECONDS).write_bytes(whole)
    found += read_seconds(drive_dir, found[-1].second)
    assert found == expected
    assert read_seconds(drive_dir, expected[-1].second) == []


def test_a_drive_that_has_told_nothing_has_no_seconds(tmp_path: Path) -> None:
    assert read_seconds(write(tmp_path, 3)) == []


def a_second(number: int, **counts: int) -> Second:
    return Second(number, 0, counts, 3, 1, total_ms=Sketch([float(number + 1)]))


def test_the_end_of_a_long_feed_is_found_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [to_line([a_second(number * 2, sent=number)], "0000-000000") for number in range(3000)]
    (tmp_path / SECONDS).write_bytes(b"".join(lines))
    looked_at = 0

    def look(line: bytes) -> int:
        nonlocal looked_at
        looked_at += 1
        return _number(line)

    monkeypatch.setattr("pointsman.dispatch.seconds._number", look)
    monkeypatch.setattr("pointsman.dispatch.seconds._NEAR", 1000)
    for after in (-1, 0, 1, 777, 2998, 5990, 5997, 5998, 9000):
        looked_at = 0
        expected = [number for number in range(0, 6000, 2) if number > after]
        assert [one.second for one in read_seconds(tmp_path, after)] == expected
        assert looked_at < len(expected) + 40


def test_half_a_line_left_by_a_crash_is_cut_off_and_what_the_journal_has_is_counted_once(tmp_path: Path) -> None:
    world = World(ends_at=90)
    service = Service(world)
    drive_dir = write(tmp_path, 40, per_s=10.0, max_in_flight=100)
    with pytest.raises(Crash):
        carry_on(drive_dir, world, service)
    before = read_seconds(drive_dir)
    assert before
    with (drive_dir / SECONDS).open("ab") as file:
        file.write(b'{"second":77,"jour')
    assert read_seconds(drive_dir) == before
    world.dead, world.ends_at = False, None
    world.now_s += 30.0
    assert carry_on(drive_dir, world, service) == "completed"
    assert counted(drive_dir) == {"sent": 40, "completed": 40}
    assert read_seconds(drive_dir)[: len(before)] == before
    gap = {one.second for one in read_seconds(drive_dir)}
    assert not gap & set(range(before[-1].second + 5, before[-1].second + 25))


@pytest.mark.parametrize("content", [None, b"{", b'{"through":900,"stages":{}}'], ids=["lost", "torn", "newer"])
def test_figures_that_do_not_fit_the_feed_are_made_again_from_it(drive_dir: Path, content: bytes | None) -> None:
    expected = read_figures(drive_dir)
    (drive_dir / FIGURES).unlink()
    if content is not None:
        (drive_dir / FIGURES).write_bytes(content)
    planned = read_planned(drive_dir)
    again = Recorder(drive_dir, planned["seq"].to_numpy(), planned["stage"].to_numpy(), started_ns=0)
    assert again.figures == expected


def test_a_full_disk_gets_whole_lines_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / SECONDS
    _append(path, b"one\n")
    write = __import__("os").write
    monkeypatch.setattr("os.write", lambda descriptor, content: write(descriptor, content[:2]))
    with pytest.raises(OSError, match="No space") as full:
        _append(path, b"two\n")
    assert full.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"one\n"


def tell(folder: Path, *numbers: int) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / SECONDS).open("ab") as file:
        for number in numbers:
            file.write(to_line([a_second(number, sent=10)], ""))


def test_the_seconds_of_several_drives_add_up(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    tell(a, 0, 1)
    tell(b, 0)
    run = RunSeconds()
    (first,) = run.new([a, b])
    assert (first.second, first.counts, first.in_flight, first.queued) == (0, {"sent": 20}, 6, 2)
    assert first.total_ms == Sketch([1.0, 1.0])
    assert run.new([a, b]) == []
    tell(b, 1)
    assert [(one.second, one.counts["sent"]) for one in run.new([a, b])] == [(1, 20)]


def test_a_drive_that_lags_is_not_waited_for_and_its_seconds_come_later(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    tell(b, 0)
    tell(a, 0, 1, 2, 3)
    run = RunSeconds()
    found = run.new([a, b])
    assert [(one.second, one.counts["sent"], one.in_flight) for one in found] == [(0, 20, 6), (1, 10, 6)]
    tell(b, 1, 2, 3)
    found = RunSeconds(run.seen).new([a, b])  # another coordinator goes on where the first one was
    assert [(one.second, one.counts["sent"]) for one in found] == [(1, 10), (2, 20), (3, 20)]


def test_stages_are_kept_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        line = to_line([Second(0, 0, {"sent": 1}, 5, 0), Second(0, 2, {"failed": 2}, 5, 0)], "")
        (tmp_path / name / SECONDS).write_bytes(line)
    found = RunSeconds().new([tmp_path / "a", tmp_path / "b"])
    assert [(one.stage, one.counts, one.in_flight) for one in found] == [(0, {"sent": 2}, 10), (2, {"failed": 4}, 10)]
    figures = read_figures(tmp_path / "a")
    figures.merge(read_figures(tmp_path / "b"))
    assert {stage: dict(one.counts) for stage, one in figures.stages.items()} == {0: {"sent": 2}, 2: {"failed": 4}}
