"""A step of a canary is judged by the jobs that were routed at it."""

import random

import polars as pl
import pytest

from pointsman.model import Binding
from pointsman.routing import CanaryRules, arrived, judge_canary
from tests.routing.worlds import ROUTE, A, B, C

SCHEMA = {
    "dispatch_id": pl.String,
    "state": pl.String,
    "reason": pl.String,
    "variant": pl.String,
    "generation": pl.Int64,
    "total_ms": pl.Float64,
    "queue_ms": pl.Float64,
    "run_ms": pl.Float64,
}
AT_25 = Binding(ROUTE, 3, {A: 75, B: 25}, "test")
BEFORE = {A: 100}
RULES = CanaryRules()


def jobs(variant, number, *, ms=100.0, state="completed", generation=3, told=(None, None)):
    return [(f"{variant}{state}{n}", state, None, str(variant), generation, ms, *told) for n in range(number)]


def judged(*rows, binding=AT_25, rules=RULES):
    frame = pl.DataFrame([one for group in rows for one in group], schema=SCHEMA, orient="row")
    return judge_canary(frame, binding, BEFORE, rules)


def test_newcomers_that_are_no_worse_go_on():
    found = judged(jobs(A, 45), jobs(B, 15, ms=110))
    assert (found.decision, found.percent, found.generation) == ("go", 25, 3)
    assert (found.newcomers.jobs, found.incumbents.jobs, found.newcomers.p95_ms) == (15, 45, 110)
    assert found.as_document()["newcomers"] == {"jobs": 15, "failed": 0, "p95_ms": 110.0}


def test_newcomers_that_fail_end_the_canary():
    found = judged(jobs(A, 45), jobs(B, 9), jobs(B, 6, state="failed"))
    assert found.decision == "abort"
    assert "6 of 15 jobs of the newcomers failed, and 0 of 45 before them" in found.why


def test_a_provider_that_queues_without_errors_ends_the_canary():
    found = judged(jobs(A, 45), jobs(B, 11), jobs(B, 4, ms=900.0))
    assert found.decision == "abort"
    assert "4 of 15 jobs of the newcomers took longer than 150 ms" in found.why


def test_a_queue_is_seen_by_the_targets_own_account_where_a_slow_machine_of_ours_hides_it():
    """One in ten jobs of either side took ten seconds to be sent; the target says where its newcomers waited."""
    late = [*jobs(A, 40, told=(1.0, 2.0)), *jobs(A, 5, ms=10_000.0, told=(1.0, 2.0))]
    queued = jobs(B, 15, ms=1100.0, told=(1000.0, 2.0))
    found = judged(late, queued)
    assert (found.decision, "15 of 15 jobs of the newcomers took longer than 4 ms by the target's" in found.why) == (
        "abort",
        True,
    )
    assert judged(late, jobs(B, 15, ms=1100.0)).decision == "go", "of what nobody tells there is nothing to see"


def test_our_own_slowness_is_not_held_against_the_newcomers():
    """All times are alike but for a while in which everything took a second; five jobs of the newcomers met it."""
    found = judged(jobs(A, 33), jobs(A, 12, ms=1100.0), jobs(B, 10), jobs(B, 5, ms=1100.0))
    assert found.decision == "go"


def test_so_few_jobs_that_nothing_could_come_of_them_are_no_judgement():
    rules = CanaryRules(fewest=1)
    found = judged(jobs(A, 15), jobs(B, 1, ms=9000.0), rules=rules)
    assert (found.decision, "could show nothing" in found.why) == ("wait", True)
    assert judged(jobs(A, 15), jobs(B, 2, ms=9000.0), rules=rules).decision == "abort"


def test_when_everything_fails_alike_the_newcomers_are_not_to_blame():
    found = judged(jobs(A, 20), jobs(A, 25, state="failed"), jobs(B, 7), jobs(B, 8, state="failed"))
    assert found.decision == "go"


def test_too_few_jobs_are_no_judgement():
    found = judged(jobs(A, 58), jobs(B, 2, state="failed"))
    assert found.decision == "wait"
    assert "2 jobs met the newcomers and 58 what served before; 3 of each are needed" in found.why


def test_jobs_that_follow_what_served_before_are_late_and_no_judgement():
    """A service asks again after a few seconds, AppConfig's agent after a minute."""
    late = jobs(A, 20, generation=2)
    found = judged(jobs(A, 30), jobs(B, 10), late)
    assert (found.decision, found.why) == ("wait", "20 jobs were still routed by what served before generation 3")
    frame = pl.DataFrame(jobs(A, 45) + jobs(B, 15) + late, schema=SCHEMA, orient="row")
    assert judge_canary(arrived(frame, AT_25), AT_25, BEFORE, RULES).decision == "go"


@pytest.mark.parametrize("astray", [jobs(C, 1), jobs(B, 1, generation=4)])
def test_jobs_that_do_not_follow_the_binding_end_the_canary(astray):
    found = judged(jobs(A, 45), jobs(B, 15), astray)
    assert (found.decision, found.why) == ("abort", "1 jobs did not follow generation 3")


def test_a_variant_that_only_grows_is_a_newcomer():
    found = judge_canary(
        pl.DataFrame(jobs(A, 10) + jobs(B, 10), schema=SCHEMA, orient="row"),
        Binding(ROUTE, 3, {A: 40, B: 60}, "test"),
        {A: 50, B: 50},
        RULES,
    )
    assert (found.percent, found.newcomers.jobs) == (10, 10)


@pytest.mark.prove
def test_a_canary_that_is_like_what_served_is_rarely_ended_and_a_bad_one_nearly_always():
    """500 canaries at 25 % of 60 jobs: both tests together end a good one in at most 2 x alpha, and 3 deviations."""
    chance = random.Random(7)

    def ended(failing, slower):
        count = 0
        for _ in range(500):
            rows = []
            for variant, rate, factor in ((A, 0.05, 1.0), (B, failing, slower)):
                for n in range(45 if variant is A else 15):
                    state = "failed" if chance.random() < rate else "completed"
                    ms = factor * chance.lognormvariate(4.6, 0.2)
                    rows.append((f"{n}", state, None, str(variant), 3, ms, None, None))
            count += judged(rows).decision == "abort"
        return count / 500

    assert ended(0.05, 1.0) <= 0.02 + 3 * (0.02 * 0.98 / 500) ** 0.5
    assert ended(0.6, 1.0) >= 0.95
    assert ended(0.05, 2.0) >= 0.95


@pytest.mark.prove
@pytest.mark.parametrize("newcomers", [3, 15, 45, 57])
def test_a_good_canary_goes_on_at_every_step_also_where_times_differ_widely(newcomers):
    """The last steps have few jobs of what served left to compare with; 500 canaries each, 3 deviations."""
    chance = random.Random(newcomers)
    ended = 0
    for _ in range(500):
        sides = [A] * (60 - newcomers) + [B] * newcomers
        rows = [
            (f"{n}", "completed", None, str(one), 3, 1000 * chance.lognormvariate(0, 0.8), None, None)
            for n, one in enumerate(sides)
        ]
        ended += judged(rows).decision == "abort"
    assert ended / 500 <= 0.01 + 3 * (0.01 * 0.99 / 500) ** 0.5
