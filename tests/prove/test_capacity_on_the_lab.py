"""A capacity search on the lab finds the limit that its workers set: real encodes by one worker, real load tests."""

from __future__ import annotations

import signal
from datetime import datetime
from pathlib import Path

import pytest

from lab.clips import Clip, make_clips
from pointsman.dispatch import TargetSpec
from pointsman.ids import VariantId
from pointsman.model import InputMember, InputSet, Missing, Variant
from pointsman.safety import Forecast, Limits, who_acts
from pointsman.scenario import (
    CapacitySearch,
    admit_run,
    execute_run,
    next_capacity_run,
    plan_run,
    planned_dispatches,
    read_capacity,
    read_run,
)
from pointsman.settings import Secret, load_settings
from pointsman.workspace import Workspace
from tests.lab.running import SECRET, Backend, job, variant

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1200)]
_SATURATING = 60
SEARCH = CapacitySearch(slos=("p95 total_ms < 10000", "failure_rate <= 1%"), step_s=15)
WORKFLOW = "x264-medium-crf26"


def workers_limit(backend: Backend, clip: Clip, name: str) -> float:
    """Jobs per second of a worker that always has the next one waiting."""
    ids = [f"{name}-{number}" for number in range(_SATURATING)]
    for one in ids:
        backend.submit(job(one, clip, variant=variant(WORKFLOW)))
    done = sorted(datetime.fromisoformat(ended["ended_at"]) for ended in backend.ended(*ids, within_s=300))
    return (len(done) - 1) / (done[-1] - done[0]).total_seconds()


def test_a_search_finds_the_limit_set_by_the_labs_workers_within_a_tenth(tmp_path: Path) -> None:
    (clip,) = make_clips(tmp_path / "inputs", 1)[:1]
    backend = Backend.start(tmp_path / "lab", tmp_path / "inputs", "--lab-cpu-workers", "1", "--lab-spot-workers", "0")
    try:
        before = workers_limit(backend, clip, "before")
        found = search(tmp_path, str(backend.client.base_url), clip)
        after = workers_limit(backend, clip, "after")
    finally:
        backend.end(signal.SIGTERM)
    assert found == pytest.approx((before + after) / 2, rel=0.1), f"{before:.3g} before, {after:.3g} after"


def search(folder: Path, url: str, clip: Clip) -> float:
    ws = Workspace.open(load_settings(home=folder / "home"), actor="a test")
    chosen = Variant(VariantId.parse(variant(WORKFLOW)), "lab")
    member = InputMember(
        clip.input_id, Path(clip.path).as_uri(), clip.sha256, Path(clip.path).stat().st_size, clip.cluster
    )
    asked = {"variant_id": str(chosen.id), "search": SEARCH, "seed": 1, "most_in_flight": 10_000}
    while (run := next_capacity_run(ws, "cap", **asked)) is not None:
        plan_run(
            ws,
            run_id=run.run_id,
            parent_run_id="cap",
            scenario=run.scenario,
            seed=run.seed,
            environment_id="lab",
            variant=chosen,
            target=TargetSpec(name="lab", preset="lab", base_url=url),
            inputs=InputSet("one", (member,), "0" * 64),
        )
        dispatches = planned_dispatches(ws, read_run(ws, run.run_id))
        admit_run(
            ws,
            run.run_id,
            dispatches=dispatches,
            forecast=Forecast.unknown(dispatches, "the lab is measured for the first time"),
            unbilled=True,
            limits=Limits.of(load_settings()),
            requester=who_acts(ws, None),
        )
        ended = execute_run(ws, run.run_id, secret=Secret(SECRET), cancelled=lambda: False)
        assert ended.status == "completed", ended
    found = read_capacity(ws, "cap")
    assert not isinstance(found.per_s, Missing), found
    assert not isinstance(found.high, Missing), found
    return float(found.per_s)
