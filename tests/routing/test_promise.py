"""What a verdict promised is held to what production does, each promise by a test of its own."""

import random
from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest

from pointsman.model import Missing
from pointsman.routing import Mirrored, RoutingRules, astray, broken, evidence_in, hold_to_promise
from tests.decision import comparisons
from tests.routing.worlds import A, B

RULES = RoutingRules()
PLAN = replace(comparisons.plan(1, 10), incumbent=A, challengers=(B,))
DATA = comparisons.measured(PLAN)
PROMISE = evidence_in(PLAN, DATA, B)


def routed(completed=40, failed=0, ms=250.0, slow=0, refused=0, unlearnt=0, elsewhere=0):
    rows = [("completed", str(B), ms)] * (completed - slow) + [("completed", str(B), 10 * ms)] * slow
    rows += [("failed", str(B), None)] * failed + [("failed", None, None)] * refused
    rows += [("unknown", None, None)] * unlearnt + [("completed", str(A), ms)] * elsewhere
    schema = {"state": pl.String, "variant": pl.String, "total_ms": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        generation=pl.when(pl.col("variant") == str(A)).then(1).when(pl.col("variant") == str(B)).then(2)
    )


def mirrored(**more):
    return Mirrored(comparisons.measured(PLAN, **more))


def first(inputs, **more):
    """Mirrored jobs on so many of the inputs."""
    return Mirrored([cell for cell in mirrored(**more).cells if cell.variant == B][:inputs])


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
        (
            routed(),
            {"cost": lambda _: "0.012"},
            "cost",
            "promised 0.01 USD on average of 10 inputs, 10 % more at most, found 0.012 USD; worse than promised on 10",
        ),
        (
            routed(),
            {"quality": lambda _: "85"},
            "quality",
            "quality: promised 90 on average of 10 inputs, 2 less at most, found 85; worse than promised on 10",
        ),
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
    assert states(routed(0), Mirrored()) == dict.fromkeys(("failures", "latency", "cost", "quality"), "not measured")
    of_another = evidence_in(PLAN, DATA, replace(B, experiment="other"))
    assert isinstance(of_another.quality, Missing)
    assert states(routed(), mirrored(), promise=of_another) == dict.fromkeys(
        ("failures", "latency", "cost", "quality"), "not measured"
    )


@pytest.mark.parametrize(
    ("jobs", "cells", "name", "found"),
    [
        (routed(1), Mirrored(), "failures", "too few"),
        (routed(2), Mirrored(), "failures", "kept"),
        (routed(0, refused=1), Mirrored(), "failures", "too few"),
        (routed(1, slow=1), Mirrored(), "latency", "too few"),
        (routed(40), first(6, cost=lambda _: "0.5"), "cost", "too few"),
        (routed(40), first(6, quality=lambda _: "1"), "quality", "too few"),
        (routed(40), first(7, quality=lambda _: "1"), "quality", "broken"),
    ],
)
def test_too_few_jobs_to_tell_are_neither_drift_nor_a_promise_kept(jobs, cells, name, found):
    """Six inputs that are all worse are not rarer than one in a hundred; seven are."""
    assert {one.input_id for one in cells.cells} <= {one.input_id for one in PROMISE.measurements}
    assert states(jobs, cells)[name] == found


def test_jobs_that_failed_before_they_were_given_a_variant_are_its_failures():
    held = hold_to_promise(PROMISE, routed(0, refused=20), Mirrored(), RULES)
    assert (held[0].state, held[0].found) == ("broken", "0 of 20 succeeded")
    assert held[1].state == "not measured"


def test_jobs_of_which_nothing_was_learnt_and_those_of_others_are_not_counted():
    held = hold_to_promise(PROMISE, routed(10, unlearnt=20, elsewhere=5), Mirrored(), RULES)
    assert (held[0].state, held[0].found) == ("kept", "10 of 10 succeeded")


def test_jobs_that_the_variant_took_and_never_ended_are_its_failures():
    hung = routed(40).with_columns(state=pl.lit("unknown"), total_ms=pl.lit(None, pl.Float64))
    held = hold_to_promise(PROMISE, hung, Mirrored(), RULES)
    assert (held[0].state, held[0].found) == ("broken", "0 of 40 succeeded")


def test_thousands_of_jobs_are_held_to_a_promise_as_well():
    """A thousand routed ones and the mirrored ones beside them."""
    assert states(routed(1950, failed=50), mirrored())["failures"] == "kept"
    assert states(routed(1850, failed=150), mirrored())["failures"] == "broken"


def test_jobs_that_went_elsewhere_are_named():
    assert astray(routed(10, refused=3, unlearnt=2), B, 2) == ""
    told = astray(routed(10, elsewhere=5), B, 2)
    assert told == "5 of 15 routed jobs did not follow generation 2: 5 on x264@lab-cpu at generation 1"
    assert astray(routed(2), B, 3) == (
        "2 of 2 routed jobs did not follow generation 3: 2 on x265@lab-cpu at generation 2"
    )


def test_what_cannot_be_known_is_said_with_its_reason():
    unpriced = [replace(cell, cost_usd=Missing("no price for lab:gpu-second")) for cell in DATA]
    held = {one.name: one for one in hold_to_promise(PROMISE, routed(), Mirrored(unpriced), RULES)}
    assert (held["cost"].state, held["cost"].found) == ("not measured", "no price for lab:gpu-second")
    assert held["quality"].state == "kept"
    half = [*first(5).cells, *[replace(one, cost_usd=Missing("later")) for one in first(10).cells[5:]]]
    told = hold_to_promise(PROMISE, routed(), Mirrored(half), RULES)[2]
    assert (told.state, told.found) == ("too few", "0.01 USD; worse than promised on 0, not known on 5")
    stopped = hold_to_promise(PROMISE, routed(), Mirrored(unknown="the budget is spent"), RULES)
    assert [one.found for one in stopped[2:]] == ["the budget is spent"] * 2
    unlike = hold_to_promise(PROMISE, routed(), Mirrored(DATA, unjudged="another judge"), RULES)
    assert [(one.state, one.found) for one in unlike[3:]] == [("not measured", "another judge")]
    assert unlike[2].state == "kept"


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
