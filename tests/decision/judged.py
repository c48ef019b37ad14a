"""A judged benchmark in a database: a planned matrix whose cells were run, billed, kept and judged."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pointsman.benchmark import create_matrix, register_effect_revision, register_environment, register_variants
from pointsman.benchmark.runs import finish_matrix, start_matrix
from pointsman.canonical import sha256_of
from pointsman.clock import ManualClock
from pointsman.decision import VerdictPlan, conclude, declared_plans, plans_for_benchmark
from pointsman.decision.store import StoredVerdict
from pointsman.dispatch import TargetSpec
from pointsman.economics import PriceBook, register
from pointsman.ids import derive
from pointsman.model import InputMember, InputSet, Variant
from pointsman.quality import JudgeIdentity
from pointsman.storage import LocalResults, open_database, tables
from pointsman.workspace import Workspace
from tests.decision.comparisons import Cell, variant, wobble
from tests.economics.price_texts import OF_OUTPUTS, price

BENCHMARK = "bm_judged"
JUDGE = JudgeIdentity("gemini", "gemini-test", "c" * 64)
SET_ID = derive("evaluation-set", BENCHMARK, JUDGE.name, JUDGE.model, JUDGE.rubric_sha256)
INPUTS = "some-clips"
PRICES = price("lab-cpu:vcpu-second", "0.001") + OF_OUTPUTS


def half_the_seconds(cell: Cell) -> str:
    """Challenger 1 takes half of the incumbent's compute."""
    return f"{(10 if cell[0] != 1 else 5) * wobble(cell):.6f}"


@dataclass
class Judged:
    """Makes the rows as a matrix and a judge leave them; a test says what differs from equal cells."""

    folder: Path
    challengers: int = 2
    inputs: int = 8
    seconds: Callable[[Cell], str] = half_the_seconds
    quality: Callable[[Cell], str] = lambda cell: f"{90 * wobble(cell, 0.005):.4f}"
    scores: Callable[[Cell], Mapping[str, Any]] = lambda cell: {}
    status: Callable[[Cell], tuple[str, str | None]] = lambda cell: ("completed", None)
    rules: Mapping[str, Any] = field(default_factory=dict)
    """Declared beside the margins that stand when nothing is said."""
    round_cells: int = 84
    prices: str = PRICES
    migrated: Path | None = None
    """A database to copy, which is quicker than migrating one."""

    def __post_init__(self) -> None:
        self.ran: set[str] = set()
        self.heard: set[str] = set()
        self.ways = [variant(number) for number in range(self.challengers + 1)]
        if self.migrated is not None:
            shutil.copy(self.migrated, self.folder / "state.db")
        database = open_database(f"sqlite:///{self.folder / 'state.db'}", migrate=self.migrated is None)
        self.ws = Workspace(database, LocalResults(self.folder / "results"), ManualClock(), "tester")
        (self.folder / "prices.toml").write_text(self.prices)
        self.book = PriceBook.load(self.folder / "prices.toml")
        register(self.ws, self.book)
        self._matrix()
        self._declare()
        self.insert(
            tables.evaluation_sets,
            [
                {"id": SET_ID, "benchmark_id": BENCHMARK, "judge": JUDGE.name, "identity": JUDGE.as_document()}
                | {"status": "complete", "created_at": self.ws.clock.now()}
            ],
        )
        self._judge()

    def copied(self, folder: Path) -> Judged:
        """The same in another folder, which is quicker than making it again."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        other = copy.copy(self)
        other.folder = folder
        database = open_database(f"sqlite:///{folder / 'state.db'}", migrate=False)
        other.ws = Workspace(database, LocalResults(folder / "results"), ManualClock(), "tester")
        uri = tables.run_artifacts.c.uri
        with database.begin() as connection:
            moved = sa.func.replace(uri, self.folder.as_uri(), folder.as_uri())
            connection.execute(sa.update(tables.run_artifacts).values(uri=moved))
        return other

    @property
    def plan(self) -> VerdictPlan:
        return declared_plans(self.ws, BENCHMARK)[0]

    def conclude(self) -> StoredVerdict:
        return conclude(self.ws, BENCHMARK, SET_ID, self.book)

    def change(self, table: sa.Table, values: Mapping[str, Any], **equal: Any) -> int:
        """Change rows as somebody might who should not."""
        changed = sa.update(table).where(*(table.c[name] == value for name, value in equal.items())).values(**values)
        with self.ws.database.begin() as connection:
            return connection.execute(changed).rowcount

    def go_on(self) -> None:
        """Run and judge what `status` says to be done by now and was not before."""
        self._run()
        self._judge()

    def dispatch_ids(self) -> dict[Cell, str]:
        table = tables.benchmark_matrix_run_items
        with self.ws.database.connect() as connection:
            rows = connection.execute(sa.select(table)).all()
        ways = {str(way): number for number, way in enumerate(self.ways)}
        return {(ways[row.variant_id], int(row.input_id[-3:]), row.repeat): row.dispatch_id for row in rows}

    def dispatch_id(self, cell: Cell) -> str:
        return self.dispatch_ids()[cell]

    def _matrix(self) -> None:
        register_environment(self.ws, "lab", name="lab", kind="local")
        register_effect_revision(self.ws, "postcard-1", name="Postcard", media="video")
        register_variants(self.ws, [Variant(way, "lab") for way in self.ways])
        identity = [
            {"input_id": f"clip-{at:03d}", "sha256": f"{at:064x}", "bytes": 24, "cluster": f"photo-{at:03d}"}
            for at in range(self.inputs)
        ]
        members = [{**one, "uri": f"file:///{one['input_id']}.ppm"} for one in identity]
        inputs = InputSet(INPUTS, tuple(InputMember(**one) for one in members), sha256_of(identity))
        row = {"id": INPUTS, "sha256": inputs.sha256, "members": members, "created_at": self.ws.clock.now()}
        self.insert(tables.input_sets, [row])
        create_matrix(
            self.ws,
            benchmark_id=BENCHMARK,
            parent_run_id="run-1",
            variants=self.ways,
            inputs=inputs,
            repeats=1,
            seed=7,
            round_cells=self.round_cells,
            environment_id="lab",
            targets=[TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:9")],
            in_flight_per_provider=2,
        )
        start_matrix(self.ws, BENCHMARK)
        self._run()
        if all(self.status(cell)[0] != "pending" for cell in self.cells):
            finish_matrix(self.ws, BENCHMARK)

    @property
    def cells(self) -> list[Cell]:
        return [(v, i, 0) for v in range(len(self.ways)) for i in range(self.inputs)]

    def _run(self) -> None:
        now = self.ws.clock.now()
        ids = self.dispatch_ids()
        attempts, usage, outputs = [], [], []
        for cell in self.cells:
            status, reason = self.status(cell)
            dispatch = ids[cell]
            if status == "pending" or dispatch in self.ran:
                continue
            self.ran.add(dispatch)
            ended = {"status": status, "reason": reason, "total_ms": 250.0, "started_at": now, "ended_at": now}
            self.change(tables.benchmark_matrix_run_items, ended, dispatch_id=dispatch)
            attempt = f"{dispatch}#1"
            outcome = "completed" if status == "completed" else "failed"
            attempts.append(
                {"id": attempt, "run_id": BENCHMARK, "subject_id": dispatch, "subject_kind": "cell", "number": 1}
                | {"provider": "lab-cpu", "outcome": outcome, "started_at": now, "ended_at": now, "detail": {}}
            )
            usage.append(
                {"id": f"{attempt}/cpu", "run_id": BENCHMARK, "subject_id": attempt, "sku": "lab-cpu:vcpu-second"}
                | {"quantity": Decimal(self.seconds(cell)), "basis": "measured"}
            )
            if status == "completed":
                made = self.ws.results.write(f"outputs/{dispatch}", dispatch.encode())
                outputs.append(
                    {"id": f"a-{dispatch}", "run_id": BENCHMARK, "subject_id": dispatch, "uri": made.uri}
                    | {"artifact_type": "benchmark_variant_dispatches", "created_at": now, "bytes": 1000}
                    | {"sha256": made.sha256}
                )
        self.insert(tables.attempts, attempts)
        self.insert(tables.usage, usage)
        self.insert(tables.run_artifacts, outputs)

    def _declare(self) -> None:
        plans_for_benchmark(
            self.ws,
            BENCHMARK,
            incumbent=str(self.ways[0]),
            rules={"deliveries_per_output": 0, **self.rules},
            judges=[JUDGE],
            price_book_sha256=self.book.sha256,
        )

    def _judge(self) -> None:
        now = self.ws.clock.now()
        rows = []
        for cell, dispatch in self.dispatch_ids().items():
            if self.status(cell)[0] != "completed" or dispatch in self.heard:
                continue
            self.heard.add(dispatch)
            heard = self.ws.results.write_json(f"judgements/{dispatch}.json", {"answer": f"good, {dispatch}"})
            transcript = {"path": f"judgements/{dispatch}.json", "sha256": heard.sha256}
            rows.append(
                {"id": f"e-{dispatch}", "evaluation_set_id": SET_ID, "benchmark_id": BENCHMARK}
                | {"dispatch_id": dispatch, "quality": Decimal(self.quality(cell)), "created_at": now}
                | {"scores": {**self.scores(cell), "transcript": transcript}}
            )
        self.insert(tables.quality_evaluations, rows)

    def insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        with self.ws.database.begin() as connection:
            if rows:
                connection.execute(sa.insert(table), [dict(row) for row in rows])
