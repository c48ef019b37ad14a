"""The conservation law: it holds on every snapshot, and one lost row breaks it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pointsman.dispatch import check_conservation, read_counts, read_status
from pointsman.dispatch.closing import SUMMARY, close_drive
from pointsman.dispatch.driver import Driver
from pointsman.dispatch.protocol import Request, Response
from pointsman.errors import DataCheckFailed
from tests.dispatch.world import Service, World, carry_on, write


def a_finished_drive(tmp_path: Path) -> Path:
    """Completed, failed and dropped dispatches, all in the journal."""
    world = World()
    service = Service(world)
    turn = iter(range(1000))

    def refuse_some(request: Request) -> Response | None:
        return Response(422, {}, b"") if request.path == "/v1/jobs" and next(turn) % 3 == 0 else None

    service.answer = refuse_some
    drive_dir = write(tmp_path, 8, per_s=50.0, max_in_flight=3)
    assert carry_on(drive_dir, world, service) == "completed"
    return drive_dir


def test_removing_any_one_row_of_the_journal_breaks_the_books(tmp_path: Path) -> None:
    drive_dir = a_finished_drive(tmp_path)
    check_conservation(*read_counts(drive_dir), closed=True)
    removed = 0
    for path in sorted((drive_dir / "journal").glob("*.arrow")):
        whole = path.read_bytes()
        rows = pl.read_ipc(whole)
        for at in range(rows.height):
            pl.concat([rows[:at], rows[at + 1 :]]).write_ipc(path)
            with pytest.raises(DataCheckFailed) as failed:
                check_conservation(*read_counts(drive_dir), closed=True)
            assert failed.value.code == "conservation_broken"
            with pytest.raises(DataCheckFailed):
                close_drive(drive_dir, "completed")
            removed += 1
        path.write_bytes(whole)
    assert removed > 20
    assert not (drive_dir / SUMMARY).exists()
    check_conservation(*read_counts(drive_dir), closed=True)


def test_a_lost_row_breaks_an_equation_of_the_law_itself_and_not_only_the_row_count(tmp_path: Path) -> None:
    drive_dir = a_finished_drive(tmp_path)
    path = next(path for path in sorted((drive_dir / "journal").glob("*.arrow")))
    rows = pl.read_ipc(path.read_bytes())
    sent = rows["kind"].to_list().index("sent")
    pl.concat([rows[:sent], rows[sent + 1 :]]).write_ipc(path)
    with pytest.raises(DataCheckFailed) as failed:
        check_conservation(*read_counts(drive_dir))
    broken = str(failed.value.data["broken"])
    assert "sent = " in broken
    assert "requests that left" in broken


def test_the_law_holds_on_every_snapshot_of_a_running_drive(tmp_path: Path) -> None:
    world = World()
    service = Service(world)
    drive_dir = write(tmp_path, 12, per_s=10.0, max_in_flight=3)
    snapshots = 0

    def look(request: Request) -> None:
        nonlocal snapshots
        check_conservation(*read_counts(drive_dir))
        snapshots += 1

    service.answer = look
    live: list[dict[str, int]] = []

    def note(driver: Driver) -> None:
        take = driver.board.take_rows

        def noting() -> object:
            live.append(driver.board.terms())
            return take()

        driver.board.take_rows = noting  # type: ignore[method-assign,assignment]

    carry_on(drive_dir, world, service, script=note)
    assert snapshots > 10
    for terms in live:
        assert terms["planned"] == 12
        assert terms["sent"] == sum(
            terms[name]
            for name in (
                *("awaiting_ack", "submitted", "queued", "leased"),
                *("completed", "failed", "cancelled_sent", "unknown"),
            )
        )
    status = read_status(drive_dir)
    assert status.counts["completed"] + status.counts["dropped"] == status.terminal == 12
