"""A matrix and a change of a route pass the guard that a load test passes: each unsafe one is refused by name before
anything is planned, sent or written in AWS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.benchmark import (
    cancel_matrix,
    cell_counts,
    create_matrix,
    fail_matrix,
    matrix_run,
    run_matrix_elsewhere,
    run_round,
)
from pointsman.errors import GuardRefused, InputRefused, NotFound, RunFailed
from pointsman.model import Binding
from pointsman.routing import run_probe, sample_route
from pointsman.safety import Consent, Entrant, Limits, ProductionRules, enter_production, list_approvals
from pointsman.scenario.production_watch import Brakes
from pointsman.scenario.readings import Brake
from pointsman.settings import load_settings
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.benchmark.fake_drive import FakeDrive
from tests.safety.production_world import (
    ALICE,
    DISPATCHES,
    INPUTS,
    SCENARIO,
    TARGET,
    VARIANT,
    World,
)
from tests.safety.unsafe import BEFORE_APPROVAL, UNSAFE, Mutation

BM = "bm_1"
MATRIX = Entrant(BM, f"The matrix {BM} of 1 variants and 1 inputs", "prod", "prod", ALICE, DISPATCHES, 10)
RINGS = Brake("alarm_rings", "In ALARM: effects-5xx.")


@dataclass
class MatrixWorld(World):
    """The same production, and a matrix of one variant on one input, twenty times, that is begun in it."""

    entrant: Entrant = MATRIX
    consent: Consent | None = None

    def register(self) -> None:
        super().register()
        self.asked = replace(self.asked, run_id=BM)
        now = self.ws.clock.now()
        variant = {"id": str(VARIANT.id), "route_key": str(VARIANT.id.route_key), "target": "effects", "params": {}}
        (member,) = INPUTS.members
        shown = {name: getattr(member, name) for name in ("input_id", "uri", "sha256", "bytes", "cluster")}
        with self.ws.database.begin() as connection:
            connection.execute(sa.insert(tables.variants).values(**variant, enabled=True, created_at=now))
            golden = {"id": INPUTS.id, "sha256": INPUTS.sha256, "members": [shown], "created_at": now}
            connection.execute(sa.insert(tables.input_sets).values(**golden))

    def ask(self, **changes: Any) -> None:
        self.entrant = replace(self.entrant, **changes)

    def enter(self) -> None:
        """Guard and consent. Returns when the matrix may be planned."""
        settings = load_settings(self.environ, home=self.ws.results.root)  # nobody's own config.toml
        rules, limits = ProductionRules.of(settings), Limits.of(settings)
        with self._recorded():
            admission = enter_production(
                self.ws,
                self.entrant,
                forecast=lambda: self.forecast,
                rules=rules,
                limits=limits,
                open_aws=self._open,
            )
        if admission is not None and admission.state == "waiting":
            raise admission.waiting_error()
        self.consent = None if admission is None else admission.consent

    def begin(self) -> None:
        self.enter()
        self.plan()

    def plan(self) -> None:
        create_matrix(
            self.ws,
            benchmark_id=BM,
            parent_run_id=None,
            variants=[VARIANT.id],
            inputs=INPUTS,
            repeats=DISPATCHES,
            seed=1,
            round_cells=10,
            environment_id=self.entrant.environment_id,
            targets=[TARGET],
            in_flight_per_provider=10,
            consent=self.consent,
        )

    def run(self, number: int = 0) -> None:
        run_round(self.ws, BM, number, secret=None, cancelled=lambda: False, on_status=lambda status: None)

    def _planned(self) -> dict[str, Any]:
        return {**super()._planned(), "scenario": SCENARIO}


@pytest.fixture
def world(ws: Workspace, moto: tuple[Any, Any]) -> Iterator[MatrixWorld]:
    made = MatrixWorld(ws, *moto)
    made.register()
    yield made
    made.put_back()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDrive:
    fake = FakeDrive()
    monkeypatch.setattr("pointsman.benchmark.execution.drive", fake)
    return fake


ONLY_OF_LOADS = {
    "the approval is for a lower rate",
    "it became faster since",
    "its arrivals come in bursts",
    "it is over production's rate",
    "the rate was capped since",
    "it has a fault",
    "its fault takes most machines away",
    "its fault takes an unknown share away",
}
"""Nothing plans how fast a matrix sends, so it is paced; and it has no faults."""
OF_MATRICES: dict[str, tuple[str, Mutation]] = {
    "more targets than may be sent to in a second": ("over_production_rate", lambda world: world.ask(drives=6)),
    "more targets than were approved in a second": ("approval_over_rate", lambda world: world.ask(drives=3)),
    "a load test waits that was admitted": (
        "another_run_goes_on",
        lambda world: world.another_run("awaiting_approval", admitted=True),
    ),
}
UNSAFE_MATRICES = {what: one for what, one in UNSAFE.items() if what not in ONLY_OF_LOADS} | OF_MATRICES


def test_the_suite_is_large() -> None:
    assert len(UNSAFE_MATRICES) + len(BEFORE_APPROVAL) >= 40
    assert set(UNSAFE) > ONLY_OF_LOADS


@pytest.mark.parametrize("what", UNSAFE_MATRICES)
def test_an_unsafe_matrix_is_refused_by_name_before_anything_is_planned(
    world: MatrixWorld, driver: FakeDrive, what: str
) -> None:
    code, mutate = UNSAFE_MATRICES[what]
    world.approve()
    mutate(world)
    with pytest.raises(GuardRefused) as caught:
        world.begin()
    error = caught.value
    assert (error.code, error.exit_code) == ("production_refused", 3)
    rules: Any = error.data["rules"]
    assert code in rules, error.message
    assert all(f"[{rule}]" in error.message for rule in rules)
    assert world.only_looked_at_aws, world.asked_of_aws
    with pytest.raises(NotFound):
        matrix_run(world.ws, BM)
    (logged,) = [one for one in ActionLog(world.ws).read() if one.event == "production_run_refused"]
    assert (logged.severity, logged.run_id, logged.instruction) == (
        "critical",
        BM,
        f"pointsman logs --run {BM} --json",
    )
    assert [one["code"] for one in logged.data["rules"]] == rules


@pytest.mark.parametrize("what", BEFORE_APPROVAL)
def test_a_matrix_without_an_approval_of_its_own_asks_for_one_and_is_not_planned(world: MatrixWorld, what: str) -> None:
    BEFORE_APPROVAL[what][1](world)
    with pytest.raises(GuardRefused) as caught:
        world.begin()
    assert (caught.value.code, caught.value.exit_code) == ("awaiting_approval", 3)
    assert world.only_looked_at_aws
    with pytest.raises(NotFound):
        matrix_run(world.ws, BM)


def test_it_is_asked_for_approved_by_another_and_runs_paced_as_was_approved(
    world: MatrixWorld, driver: FakeDrive
) -> None:
    with pytest.raises(GuardRefused, match=r"The matrix bm_1 of 1 variants .* waits for ap_"):
        world.begin()
    (asked,) = list_approvals(world.ws)
    assert (asked.scope, asked.subject_id, asked.environment_id) == ("production run", BM, "prod")
    assert (asked.limit_usd, asked.limit_per_s, asked.requester) == (Decimal(10), 5, "alice")
    (told,) = [one for one in ActionLog(world.ws).read() if one.event == "production_run_requested"]
    assert (told.run_id, told.instruction) == (BM, f"pointsman approve {asked.id}")
    world.decide()
    world.begin()
    consent = matrix_run(world.ws, BM).consent
    assert consent == Consent(asked.id, "prod", 5, Decimal(10), ("effects-5xx", "effects-queue-age"))
    world.run(0)
    world.run(1)
    assert [header.limits.submits_per_s for header in driver.headers] == [5, 5]
    assert cell_counts(world.ws, BM) == {"completed": DISPATCHES}
    assert world.only_looked_at_aws


@pytest.fixture(autouse=True)
def brakes(monkeypatch: pytest.MonkeyPatch) -> list[Brake | None]:
    """What the brakes say at one look after the other, for everything that sends; nothing when nothing is left."""
    left: list[Brake | None] = []

    def made(ws: Workspace, consent: Consent) -> Brakes:
        assert consent.alarms
        return Brakes(lambda: left.pop(0) if left else None)

    monkeypatch.setattr("pointsman.scenario.production_watch.brakes_of", made)
    monkeypatch.setattr("pointsman.routing.probe.brakes_of", made)
    return left


def begun(world: MatrixWorld) -> None:
    world.approve()
    world.begin()


def test_a_brake_before_a_round_ends_the_matrix_and_nothing_is_sent(
    world: MatrixWorld, driver: FakeDrive, brakes: list[Brake | None]
) -> None:
    begun(world)
    brakes[:] = [RINGS]
    with pytest.raises(RunFailed, match=r"The matrix bm_1 was stopped in production: In ALARM") as stopped:
        world.run()
    assert (stopped.value.code, driver.orders) == ("alarm_rings", [])
    assert matrix_run(world.ws, BM).status == "failed"
    (told,) = [one for one in ActionLog(world.ws).read() if one.event == "benchmark_stopped"]
    assert (told.severity, told.data["code"], told.instruction) == (
        "critical",
        "alarm_rings",
        f"pointsman benchmark show {BM}",
    )


def test_a_brake_during_a_round_ends_it_like_a_cancel_and_what_was_learnt_is_kept(
    world: MatrixWorld, driver: FakeDrive, brakes: list[Brake | None]
) -> None:
    begun(world)

    def later(_folder: Any) -> None:
        brakes[:] = [RINGS]
        world.ws.clock.sleep(11)

    driver.before = later
    driver.after = lambda _folder: None
    with pytest.raises(RunFailed, match="was stopped in production"):
        world.run()
    found = matrix_run(world.ws, BM)
    assert found.status == "failed"
    assert sum(cell_counts(world.ws, BM).values()) == DISPATCHES
    assert not cell_counts(world.ws, BM).get("running")


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
def test_one_that_ended_early_passes_the_guard_again_before_it_goes_on(
    world: MatrixWorld, driver: FakeDrive, ended: str
) -> None:
    begun(world)
    if ended == "failed":
        fail_matrix(world.ws, BM, code="alarm_rings", message="It rang.", instruction="Look.")
    else:
        cancel_matrix(world.ws, BM, reason="a test")
    assert matrix_run(world.ws, BM).consent is None
    if ended == "failed":
        with pytest.raises(GuardRefused, match="did not pass the guard of production"):
            world.run()
    world.lever("engaged")
    with pytest.raises(GuardRefused, match="safety_lever_engaged"):
        world.begin()
    world.lever("disengaged")
    world.begin()
    world.run()
    assert len(driver.orders) == 1


def test_whoever_leaves_the_guard_out_does_not_get_further(world: MatrixWorld, driver: FakeDrive) -> None:
    with pytest.raises(GuardRefused) as planned:
        world.plan()
    assert planned.value.code == "production_not_guarded"
    begun(world)
    with world.ws.database.begin() as connection:
        plan = connection.execute(sa.select(tables.benchmark_matrix_runs.c.plan)).scalar_one()
        bare = {name: value for name, value in plan.items() if name != "production"}
        connection.execute(sa.update(tables.benchmark_matrix_runs).values(plan=bare))
    ways: list[Callable[[], object]] = [world.run, lambda: run_matrix_elsewhere(world.ws, BM, SimpleNamespace())]  # type: ignore[arg-type]
    for go in ways:
        with pytest.raises(GuardRefused) as run:
            go()
        assert run.value.code == "production_not_guarded"
    assert driver.orders == []


def test_a_consent_is_for_one_environment(world: MatrixWorld) -> None:
    world.consent = Consent("ap_1", "production-of-others", 2, Decimal(1), ("a",))
    with pytest.raises(GuardRefused, match="did not pass the guard"):
        world.plan()


def test_of_two_that_pass_the_guard_at_once_one_is_planned(world: MatrixWorld) -> None:
    world.approve()
    world.enter()
    world.another_run("created", admitted=True)
    with pytest.raises(GuardRefused) as caught:
        world.plan()
    assert caught.value.code == "another_run_goes_on"
    assert "pointsman scenario cancel another" in caught.value.instruction


def test_naming_production_where_there_is_none_is_refused_and_elsewhere_nothing_is_asked(world: MatrixWorld) -> None:
    world.environment(kind="staging")
    with pytest.raises(InputRefused, match="production: 'prod' is not allowed; allowed: nothing, as prod is staging"):
        world.begin()
    world.ask(production=None)
    world.begin()
    assert world.consent is None
    assert world.asked_of_aws == []
    assert matrix_run(world.ws, BM).status == "created"


def test_a_matrix_that_is_done_is_answered_without_consent(world: MatrixWorld, driver: FakeDrive) -> None:
    begun(world)
    world.run(0)
    world.run(1)
    with world.ws.database.begin() as connection:
        connection.execute(sa.update(tables.benchmark_matrix_runs).values(status="collected"))
    world.consent = None
    world.plan()
    assert matrix_run(world.ws, BM).consent is not None, "its judging carries the approval"


def to_live(world: MatrixWorld, consent: Consent | None) -> dict[str, Any]:
    return {
        "run_id": "probe1",
        "binding": Binding(VARIANT.id.route_key, 2, {VARIANT.id: 100}, "a test"),
        "inputs": INPUTS.members,
        "target": TARGET,
        "secret": None,
        "cancelled": lambda: False,
        "consent": consent,
    }


@pytest.mark.parametrize("send", [run_probe, sample_route])
def test_routed_jobs_do_not_get_into_production_without_the_consent_of_their_change(
    world: MatrixWorld, monkeypatch: pytest.MonkeyPatch, brakes: list[Brake | None], send: Callable[..., Any]
) -> None:
    sent = FakeDrive()
    monkeypatch.setattr("pointsman.routing.probe.drive", sent)
    with pytest.raises(GuardRefused) as caught:
        send(world.ws, **to_live(world, None))
    assert caught.value.code == "production_not_guarded"
    world.approve()
    world.enter()
    brakes[:] = [RINGS]
    found = send(world.ws, **to_live(world, world.consent))
    if send is run_probe:
        assert (found.passed, found.why) == (False, "In ALARM: effects-5xx.")
    else:
        assert found == RINGS
    assert sent.orders == []
