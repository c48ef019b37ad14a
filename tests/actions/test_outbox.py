"""Events on their way to sinks: chosen, at least once, never in anybody's way, and without secrets."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pointsman.actions import (
    ActionLog,
    Courier,
    Delivery,
    JsonLinesSink,
    SinkEvent,
    SinkSpec,
    deliver,
    list_sinks,
    parse_sink,
    remove_sink,
    save_sink,
)
from pointsman.clock import ManualClock
from pointsman.errors import DependencyDown, InputRefused, NotFound
from pointsman.settings import Secret
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.actions.sink_contract import event, keeps_the_contract


@dataclass
class FakeSink:
    """Takes what it is told to."""

    down: bool = False
    taken: list[SinkEvent] = field(default_factory=list)

    def send(self, one: SinkEvent) -> None:
        if self.down:
            raise DependencyDown("The sink is away.", instruction="wait", code="sink_unreachable")
        self.taken.append(one)


def happen(ws: Workspace, event: str = "budget_exceeded", **data: object) -> int:
    return ActionLog(ws).record(event, run_id="run-1", context="bm_1", **{"dispatch_id": "d1", **data})


def waiting(ws: Workspace) -> dict[str, int]:
    return {spec.name: count for spec, count in list_sinks(ws)}


def test_critical_events_wait_for_prefect_by_default_and_no_others(ws: Workspace) -> None:
    happen(ws)
    happen(ws, "benchmark_item_failed")
    assert waiting(ws) == {"prefect": 1}


def test_a_sink_gets_the_severities_and_events_that_it_asks_for(ws: Workspace) -> None:
    def file(name: str, **more: object) -> SinkSpec:
        return parse_sink({"name": name, "kind": "json_lines", "path": f"/x/{name}", **more})

    save_sink(ws, file("all", severity="info"))
    save_sink(ws, file("some", severity=None, events=["benchmark_item_failed"]))
    save_sink(ws, file("more", severity="critical", events=["benchmark_item_failed"]))
    save_sink(ws, file("off", severity="info", enabled=False))
    happen(ws)
    happen(ws, "benchmark_item_failed")
    ActionLog(ws).record("routing_applied", route_key="er:e1:env:lab:stage:s")
    assert waiting(ws) == {"all": 3, "some": 1, "more": 2, "off": 0, "prefect": 1}
    save_sink(ws, file("all", severity="critical"))
    happen(ws, "benchmark_item_failed")
    assert waiting(ws)["all"] == 3
    remove_sink(ws, "all")
    assert "all" not in waiting(ws)
    with pytest.raises(NotFound):
        remove_sink(ws, "all")


def test_an_event_leaves_the_outbox_when_its_sink_took_it_and_is_whole(ws: Workspace) -> None:
    number = happen(ws, spent_usd="3.5")
    sink = FakeSink()
    assert deliver(ws, lambda spec: sink) == Delivery(sent=1)
    assert deliver(ws, lambda spec: sink) == Delivery()
    (taken,) = sink.taken
    logged = ActionLog(ws).read()[0]
    assert logged.id == number
    assert (taken.event, taken.severity, taken.run_id, taken.at) == ("budget_exceeded", "critical", "run-1", logged.at)
    assert taken.data == {"dispatch_id": "d1", "spent_usd": "3.5"}
    assert taken.instruction == logged.instruction != ""
    assert taken.meaning


def test_an_event_of_a_change_that_did_not_happen_is_not_told(ws: Workspace) -> None:
    with ws.database.connect() as connection, connection.begin() as change:
        ActionLog(ws).record_in(connection, "budget_exceeded", run_id="run-1")
        change.rollback()
    assert waiting(ws) == {"prefect": 0}


def test_a_sink_that_is_away_gets_everything_later_and_is_asked_ever_more_seldom(ws: Workspace) -> None:
    assert isinstance(ws.clock, ManualClock)
    happen(ws)
    happen(ws)
    sink = FakeSink(down=True)
    assert deliver(ws, lambda spec: sink) == Delivery(waiting=1), "after the first failure the round lets it rest"
    asked = 0
    for _ in range(360):
        ws.clock.sleep(10)
        found = deliver(ws, lambda spec: sink)
        asked += found.waiting
    assert 8 <= asked <= 40
    sink.down = False
    ws.clock.sleep(1_200)
    assert deliver(ws, lambda spec: sink) == Delivery(sent=2)
    with ws.database.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tables.outbox)).scalar() == 0


def test_one_sink_that_is_away_keeps_no_other_from_its_events(ws: Workspace) -> None:
    save_sink(ws, parse_sink({"name": "file", "kind": "json_lines", "path": "/x"}))
    happen(ws)
    sinks = {"prefect": FakeSink(down=True), "file": FakeSink()}
    assert deliver(ws, lambda spec: sinks[spec.name]) == Delivery(sent=1, waiting=1)
    assert len(sinks["file"].taken) == 1


def test_what_a_dead_process_was_sending_is_sent_again_with_the_same_key(ws: Workspace) -> None:
    happen(ws)
    keys = []

    class Dies:
        def send(self, one: SinkEvent) -> None:
            keys.append(one.key)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver(ws, lambda spec: Dies())
    sink = FakeSink()
    assert deliver(ws, lambda spec: sink) == Delivery(), "for a minute it is the other's"
    ws.clock.sleep(timedelta(minutes=2).total_seconds())
    assert deliver(ws, lambda spec: sink) == Delivery(sent=1)
    assert [one.key for one in sink.taken] == keys


def test_two_processes_that_deliver_at_once_send_each_event_once(ws: Workspace) -> None:
    for _ in range(3):
        happen(ws)
    second = FakeSink()

    class Meanwhile(FakeSink):
        def send(self, one: SinkEvent) -> None:
            super().send(one)
            deliver(ws, lambda spec: second)

    first = Meanwhile()
    deliver(ws, lambda spec: first)
    assert len(first.taken) == 1
    assert len(second.taken) == 2


def test_a_secret_that_found_its_way_into_an_event_reaches_no_sink(ws: Workspace) -> None:
    happen(ws, said=["header was s3cret!", {"s3cret!": "x"}], count=3)
    sink = FakeSink()
    deliver(ws, lambda spec: sink, secrets=[Secret("s3cret!"), Secret("")])
    assert sink.taken[0].data["said"] == ["header was ***", {"***": "x"}]
    assert sink.taken[0].data["count"] == 3
    with pytest.raises(InputRefused):
        happen(ws, key=Secret("s3cret!"))


def test_the_courier_delivers_beside_its_process_and_survives_whatever_happens() -> None:
    rounds: list[int] = []
    twice = threading.Event()

    def round_() -> Delivery:
        rounds.append(1)
        if len(rounds) >= 2:
            twice.set()
        raise OSError("the database is away")

    courier = Courier(round_, every_s=0.001)
    courier.start()
    assert twice.wait(10)
    courier.stop(wait_s=10)
    made = len(rounds)
    courier.flush()
    assert len(rounds) == made + 1


def test_json_lines_keep_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "events.jsonl"
    keeps_the_contract(JsonLinesSink(path), lambda: [json.loads(line) for line in path.read_text().splitlines()])
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_that_cannot_be_written_is_a_sink_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DependencyDown, match="cannot be written"):
        JsonLinesSink(tmp_path / "file" / "events.jsonl").send(event())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "json_lines"}, "a file for json_lines"),
        ({"path": "/x"}, "nothing for any other kind"),
        ({"events": ["nonsense"]}, "nonsense is not an event"),
        ({"kind": "pigeon"}, "kind"),
        ({"name": "No Name"}, "name"),
    ],
)
def test_a_sink_that_does_not_fit_together_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputRefused, match=said):
        parse_sink({"name": "mine", "kind": "prefect", **changes})
