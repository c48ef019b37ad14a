"""Small matrices in a database, with prices that can be added up by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pointsman.economics import PriceBook
from pointsman.ids import VariantId
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.economics.price_texts import EASY_PRICES

NOW = datetime(2026, 11, 21, tzinfo=UTC)
BENCHMARK, JUDGED = "bm_1", "es_1"
A = VariantId("effect-1", "a", "lab", "demo", "cpu", "default")
B = VariantId("effect-1", "b", "lab", "demo", "spot", "default")


def book_of(folder: Path, text: str = EASY_PRICES, overrides: str | None = None) -> PriceBook:
    (folder / "prices.toml").write_text(text)
    if overrides is None:
        return PriceBook.load(folder / "prices.toml")
    (folder / "own.toml").write_text(overrides)
    return PriceBook.load(folder / "prices.toml", folder / "own.toml")


@dataclass
class Tried:
    """One attempt: its outcome and usage as (sku, quantity, or a text that says why there is none)."""

    outcome: str = "completed"
    usage: Sequence[tuple[str, str | None]] = (("cpu:vcpu-second", "2"),)
    started: datetime = NOW
    no_usage: str | None = None
    """What its detail says about having no usage."""


class World:
    """Fills the tables as a matrix and a judge would."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.seq = 0
        self._insert(
            tables.benchmark_matrix_runs,
            id=BENCHMARK,
            status="ready",
            input_set_id="i",
            environment_id="lab",
            seed=1,
            plan={},
            plan_sha256="0" * 64,
            results_path="r",
            created_at=NOW,
        )
        self.evaluation_set(JUDGED)

    def evaluation_set(self, set_id: str, benchmark_id: str = BENCHMARK) -> None:
        self._insert(
            tables.evaluation_sets,
            id=set_id,
            benchmark_id=benchmark_id,
            judge="local",
            identity={},
            status="complete",
            created_at=NOW,
        )

    def cell(
        self,
        variant: VariantId,
        *attempts: Tried,
        status: str = "completed",
        reason: str | None = None,
        output_bytes: int | None = None,
        quality: str | None = None,
        total_ms: float | None = 500.0,
    ) -> str:
        """Add one planned cell and return its dispatch id."""
        seq, dispatch = self.seq, f"d-{self.seq}"
        self.seq += 1
        self._insert(
            tables.benchmark_matrix_run_items,
            dispatch_id=dispatch,
            benchmark_id=BENCHMARK,
            seq=seq,
            round=0,
            variant_id=str(variant),
            input_id=f"clip-{seq}",
            cluster=f"photo-{seq % 2}",
            repeat=0,
            status=status,
            reason=reason,
            total_ms=total_ms,
            ended_at=NOW,
        )
        for number, tried in enumerate(attempts, 1):
            self.attempt(dispatch, tried, number=number, provider=variant.provider)
        if output_bytes is not None:
            self._insert(
                tables.run_artifacts,
                id=f"artifact-{seq}",
                run_id=BENCHMARK,
                subject_id=dispatch,
                artifact_type="benchmark_variant_dispatches",
                uri="file:///x",
                sha256="0" * 64,
                bytes=output_bytes,
                created_at=NOW,
            )
        if quality is not None:
            self.evaluation(JUDGED, dispatch, quality)
        return dispatch

    def attempt(
        self, subject: str, tried: Tried, *, number: int = 1, provider: str, kind: str = "cell", run_id: str = BENCHMARK
    ) -> None:
        self._insert(
            tables.attempts,
            id=f"{subject}#{number}",
            run_id=run_id,
            subject_id=subject,
            subject_kind=kind,
            number=number,
            provider=provider,
            outcome=tried.outcome,
            started_at=tried.started,
            detail={} if tried.no_usage is None else {"no_usage": tried.no_usage},
        )
        for sku, quantity in tried.usage:
            known = quantity is not None and quantity[0].isdigit()
            self._insert(
                tables.usage,
                id=f"{subject}#{number}/{sku}",
                run_id=run_id,
                subject_id=f"{subject}#{number}",
                sku=sku,
                quantity=Decimal(quantity) if known and quantity is not None else None,
                missing_reason=None if known else quantity,
                basis="measured",
            )

    def evaluation(self, set_id: str, dispatch: str, quality: str, **scores: str) -> None:
        known = quality[0].isdigit()
        self._insert(
            tables.quality_evaluations,
            id=f"{set_id}/{dispatch}",
            evaluation_set_id=set_id,
            benchmark_id=BENCHMARK,
            dispatch_id=dispatch,
            quality=Decimal(quality) if known else None,
            missing_reason=None if known else quality,
            scores=scores,
            created_at=NOW,
        )

    def load_run(self, run_id: str, results_path: str) -> None:
        self._insert(
            tables.load_test_runs,
            id=run_id,
            context="c",
            scenario_id="s",
            environment_id="lab",
            variant_id=str(A),
            status="completed",
            seed=1,
            results_path=results_path,
            metrics_json={},
            created_at=NOW,
        )

    def _insert(self, table: sa.Table, **row: Any) -> None:
        with self.ws.database.begin() as connection:
            connection.execute(sa.insert(table), [row])
