"""What a verdict promised is held to what production does, each promise by a test of its own."""

import random
from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest

from pointsman.model import Missing
from pointsman.routing import RoutingRules, broken, evidence_in, hold_to_promise
from tests.decision import comparisons
from tests.routing.worlds import A, B

RULES = RoutingRules()
PLAN = replace(comparisons.plan(1, 10), incumbent=A, challengers=(B,))
DATA = comparisons.measured(PLAN)
PROMISE = evidence_in(PLAN, DATA, B)


def routed(completed=40, failed=0, ms=250.0, slow=0):
    rows = [("completed", str(B), ms)] * (completed - slow) + [("completed", str(B), 10 * ms)] * slow
    rows += [("failed", str(B), None)] * failed
    return pl.DataFrame(rows, schema={"state": pl.String, "variant": pl.String, "total_ms": pl.Float64}, orient="row")


def mirrored(**more):
    return comparisons.measured(PLAN, **more)


def states(*args, promise=PROMISE):
    return {one.name: one.state for one in hold_to_promise(promise, *args, RULES)}


def test_production_that_is_as_the_verdict_saw_it_keeps_every_promise():
    held = hold_to_promise(PROMISE, routed(), mirrored(), RULES)
    assert {one.name: one.state for one in held} == dict.fromkeys(("failures", "latency", "cost", "quality"), "kept")
    assert broken(held) == ""
    assert held[0].found == "50 of 50 succeeded"
    assert (PROMISE.success_rate, PROMISE.p95_ms, PROMISE.usd_per_success) == (1, 250, Decimal("0.01"))


@pytest.mark.parametrize(
    ("jobs", "cells", "name", "words"),
    [
        (routed(30, 10), {}, "failures", "failures: promised 100.0% succeed, 98.0% at least, found 40 of 50 succeeded"),
        (routed(40, slow=9), {}, "latency", "latency: promised p95 250 ms, 500 ms at most, found 9 of 40 took longer"),
        (routed(), {"cost": lambda _: "0.012"}, "cost", "found 0.012; worse than promised on 10"),
        (routed(), {"quality": lambda _: "85"}, "quality", "found 85; worse than promised on 10"),
    ],
    ids=["failures", "latency", "cost", "quality"],
)
def test_each_promise_can_be_broken_on_its_own(jobs, cells, name, words):
    found = states(jobs, mirrored(**cells))
    assert [one for one, state in found.items() if state == "broken"] == [name]
    assert words in broken(hold_to_promise(PROMISE, jobs, mirrored(**cells), RULES))


def test_what_is_within_the_margins_breaks_nothing():
    cells = mirrored(cost=lambda _: "0.0109", quality=lambda _: "88.5")
    assert set(states(routed(40, 1, slow=2), cells).values()) == {"kept"}


def test_what_was_not_measured_is_not_held_against_anything():
    assert states(routed(0), []) == dict.fromkeys(("failures", "latency", "cost", "quality"), "not measured")
    of_another = evidence_in(PLAN, DATA, replace(B, experiment="other"))
    assert isinstance(of_another.quality, Missing)
    assert states(routed(), mirrored(), promise=of_another) == dict.fromkeys(
        ("failures", "latency", "cost", "quality"), "not measured"
    )
    assert states(routed(), mirrored(cost=lambda _: "0.05")[:0])["cost"] == "not measured"


@pytest.mark.prove
def test_a_promise_that_is_kept_is_rarely_called_broken():
    """2,000 looks at production that is what the verdict saw, at alpha 0.01 for each of four promises."""
    chance = random.Random(11)
    called = 0
    for _ in range(2000):
        jobs = routed(40, slow=sum(chance.random() < 0.04 for _ in range(40)))
        noisy = mirrored(
            cost=lambda _: format(0.01 * chance.lognormvariate(0, 0.1), ".6f"),
            quality=lambda _: format(min(100, chance.gauss(90, 2)), ".3f"),
        )
        called += bool(broken(hold_to_promise(PROMISE, jobs, noisy, RULES)))
    assert called / 2000 <= 0.04 + 3 * (0.04 * 0.96 / 2000) ** 0.5
