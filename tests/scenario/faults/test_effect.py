"""What a fault did, from dispatches whose truth is known."""

import numpy as np
import pytest

from pointsman.model import Missing
from pointsman.scenario.faults.effect import Served, fault_effect

START, END, LENGTH = 40.0, 60.0, 120.0


def dispatches(*, rate=5.0, seed=1, slow_by=0.0, failing=0.0, slow_until=END, length=LENGTH):
    """A stage from second 10 on, whose fault makes what is planned while it lasts slower or fail."""
    generator = np.random.default_rng(seed)
    planned = np.arange(10.0, 10.0 + length, 1 / rate)
    total = generator.gamma(8, 25.0, planned.size)
    hit = (planned >= START) & (planned < slow_until)
    total[hit] += slow_by
    completed = ~(hit & (generator.random(planned.size) < failing))
    return Served(planned, np.where(completed, total, np.nan), completed)


def effect(served, **changes):
    return fault_effect(served, **{"stage_from_s": 10.0, "start_s": START, "end_s": END, "seed": 3, **changes})


def test_a_fault_that_makes_everything_slower_is_measured_with_an_interval_around_the_truth():
    found = effect(dispatches(slow_by=400))
    assert found.effective
    assert found.p95_delta_ms.low <= 400 <= found.p95_delta_ms.high
    assert found.p95_delta_ms.high - found.p95_delta_ms.low < 200
    assert found.failure_rate_delta.value == 0
    assert found.failure_rate_delta.low < 0 < found.failure_rate_delta.high
    assert found.control.dispatches > 100
    assert found.during.dispatches == 100


def test_a_fault_that_makes_dispatches_fail_is_effective_by_that_alone():
    found = effect(dispatches(failing=0.4))
    assert found.effective
    assert found.p95_delta_ms.low < 0 < found.p95_delta_ms.high
    assert found.failure_rate_delta.low <= 0.4 <= found.failure_rate_delta.high
    assert found.during.failure_rate == pytest.approx(0.4, abs=0.1)


def test_a_fault_that_changes_nothing_is_not_effective_and_is_never_noticed():
    found = effect(dispatches())
    assert not found.effective
    assert isinstance(found.time_to_detection_s, Missing)
    assert isinstance(found.time_to_recovery_s, Missing)


def test_an_improvement_is_no_effect_of_a_fault():
    assert not effect(dispatches(slow_by=-100)).effective


def test_detection_comes_soon_after_the_fault_and_recovery_soon_after_its_harm():
    found = effect(dispatches(slow_by=2_000, slow_until=70))
    # Ten dispatches at 5 a second, each known to be slow as soon as it is slower than the control's p95.
    assert 0.5 < found.time_to_detection_s < 3
    assert found.time_to_recovery_s == pytest.approx(30, abs=1)


def test_a_stage_that_ends_before_it_is_well_again_says_so():
    found = effect(dispatches(slow_by=2_000, slow_until=1_000))
    assert found.time_to_detection_s < 3
    assert "the stage ended" in found.time_to_recovery_s.reason


def test_the_control_leaves_out_what_was_still_open_when_the_fault_began():
    served = dispatches()
    caught = (served.planned_s < START) & (served.planned_s + 0.4 > START)
    served.total_ms[caught] = 30_000
    clean, found = effect(dispatches()), effect(served)
    assert found.control.to_s < START
    assert found.control.p95_ms < 2 * clean.control.p95_ms


def test_a_total_outage_in_which_nothing_completes_has_no_p95_and_is_effective():
    found = effect(dispatches(failing=1.0))
    assert found.effective
    assert "0 dispatches planned while the fault lasted completed" in found.p95_delta_ms.reason
    assert found.failure_rate_delta.value == 1
    assert found.during.p95_ms is None


def test_too_little_to_go_by_is_said_and_never_zero():
    found = effect(dispatches(rate=0.5))
    assert "a p95 needs 20" in found.p95_delta_ms.reason
    assert isinstance(found.time_to_detection_s, Missing)
    assert not found.effective
    nothing = effect(Served(np.array([]), np.array([]), np.array([], dtype=bool)))
    assert isinstance(nothing.failure_rate_delta, Missing)
    assert not nothing.effective
    assert nothing.control.failure_rate is None


def test_a_completed_dispatch_whose_time_is_not_known_counts_as_served():
    served = dispatches(slow_by=2_000)
    served.total_ms[::7] = np.nan
    found = effect(served)
    assert found.failure_rate_delta.value == 0
    assert found.time_to_detection_s < 4


def test_the_same_seed_gives_the_same_interval():
    served = dispatches(slow_by=100)
    assert effect(served).document() == effect(served).document()
    assert effect(served).p95_delta_ms != effect(served, seed=4).p95_delta_ms


def test_a_fast_run_is_measured_too():
    found = effect(dispatches(rate=2_000, slow_by=50))
    assert found.p95_delta_ms.low <= 50 <= found.p95_delta_ms.high
    assert found.p95_delta_ms.high - found.p95_delta_ms.low < 20


def test_the_document_says_how_it_was_found_and_why_something_is_not_known():
    document = effect(dispatches(failing=1.0)).document()
    assert document["p95_delta_ms"] is None
    assert document["missing"]["p95_delta_ms"].startswith("0 dispatches")
    assert document["confidence"] == 0.975
    assert "bootstrap" in document["method"]
    assert set(document["failure_rate_delta"]) == {"value", "low", "high"}


def queue_of(seed, *, servers=2, rate=5.0, mean_s=0.2, away_from=None, away_to=None):
    """Jobs at an even rate through a queue, some of whose servers take no job for a while."""
    generator = np.random.default_rng(seed)
    planned = np.arange(10.0, 130.0, 1 / rate)
    free = np.full(servers, 10.0)
    total = np.empty(planned.size)
    for index, at in enumerate(planned):
        chosen = int(free.argmin())
        begins = max(at, free[chosen])
        if away_from is not None and away_from <= begins < away_to:
            begins = away_to
        free[chosen] = begins + generator.exponential(mean_s)
        total[index] = 1000 * (free[chosen] - at)
    return Served(planned, total, np.ones(planned.size, dtype=bool))


@pytest.mark.prove
def test_faults_that_are_none_pass_for_effective_no_more_often_than_stated():
    from pointsman.statistics import most_by_chance

    trials = 400
    for mean_s in (0.1, 0.2, 0.28):
        wrong = sum(
            effect(queue_of(seed, mean_s=mean_s), start_s=60.0, end_s=80.0, seed=seed).effective
            for seed in range(trials)
        )
        assert wrong <= most_by_chance(trials, 0.05), f"{wrong} of {trials} placebos at a run time of {mean_s} s"


@pytest.mark.prove
def test_an_outage_of_ten_seconds_is_always_found():
    for seed in range(50):
        found = effect(queue_of(seed, away_from=60.0, away_to=70.0), start_s=60.0, end_s=70.0, seed=seed)
        assert found.effective
        assert found.time_to_detection_s < 5
        assert 9 < found.time_to_recovery_s < 40
