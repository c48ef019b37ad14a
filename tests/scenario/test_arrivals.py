"""The schedule against an oracle in exact fractions that knows nothing of how the schedule is computed."""

from __future__ import annotations

import time
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.errors import InputRefused
from pointsman.scenario import Scenario, Stage, plan_arrivals, schedule, shard_of, shard_schedule

rates = st.one_of(
    st.integers(0, 50_000_000).map(lambda millionths: millionths / 1_000_000),
    st.sampled_from([0.0, 0.01, 0.1, 1.0, 3.3, 500.0, 19_999.999999, 20_000.0]),
)


@st.composite
def stage_chains(draw: st.DrawFn, arrivals: str = "uniform") -> Scenario:
    stages: list[Stage] = []
    for index in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["constant", "ramp", "step", "sine", *(["hold"] if stages else [])]))
        fast = draw(rates)
        if kind == "sine":
            fast = min(max(fast, 0.000001), 10_000)
        # Fast stages are short, so that an example plans at most some hundred dispatches.
        microseconds = draw(st.integers(1_000, 20_000 if fast > 50 else 6_000_000))
        given_rate: dict[str, object] = {"constant": {"rate": fast}, "sine": {"rate": fast}, "hold": {}}.get(
            kind, {"to_rate": fast}
        )
        if kind in ("ramp", "step") and draw(st.booleans()):
            given_rate["rate"] = draw(st.integers(0, 20_000_000).map(lambda millionths: millionths / 1_000_000))
        if kind == "step":
            given_rate["steps"] = draw(st.integers(2, 7))
        if kind == "sine":
            share = draw(st.sampled_from([1, 3, 1_000_000]))
            given_rate["amplitude"] = max(int(fast * 1_000_000) // share, 1) / 1_000_000
            given_rate["period_s"] = draw(st.integers(1_000, 4_000_000)) / 1_000_000
        if kind != "constant" and stages and max(stages[-1].rate or 0, stages[-1].to_rate or 0) > 50:
            microseconds = min(microseconds, 20_000)
        stages.append(Stage(name=f"s{index}", kind=kind, duration_s=microseconds / 1_000_000, **given_rate))  # type: ignore[arg-type]
    if all(not stage.rate and not stage.to_rate for stage in stages):
        stages.append(Stage(name="last", rate=1, duration_s=1))
    return Scenario(name="drawn", stages=tuple(stages), arrivals=arrivals)  # type: ignore[arg-type]


def turned(share: Fraction) -> tuple[Decimal, Decimal, Decimal]:
    """Cosine and sine of this share of a whole turn, and pi, to 60 digits (series of the decimal docs)."""
    with localcontext() as context:
        context.prec = 70
        three = Decimal(3)
        last, term, pi, n, na, d, da = Decimal(0), three, three, 1, 0, 0, 24
        while pi != last:
            last = pi
            n, na = n + na, na + 8
            d, da = d + da, da + 32
            term = (term * n) / d
            pi += term
        angle = 2 * pi * share.numerator / share.denominator
        sums = []
        for power in (0, 1):
            term, total = angle if power else Decimal(1), Decimal(0)
            while abs(term) > Decimal(10) ** -66:
                total += term
                power += 2
                term = -term * angle * angle / (power * (power - 1))
            sums.append(total)
        return sums[0], sums[1], pi


def swung(stage: Stage, inside: Fraction) -> tuple[Fraction, Fraction]:
    """The integral of a sine's rate over its first seconds, and the rate then."""
    mean, amplitude, period = (Fraction(str(one)) for one in (stage.rate, stage.amplitude, stage.period_s))
    cosine, sine, pi = turned(inside % period / period)
    area = mean * inside + amplitude * period * (1 - Fraction(cosine)) / (2 * Fraction(pi))
    return area if inside % period else mean * inside, mean + amplitude * Fraction(sine)


def integral(scenario: Scenario, until_ns: int) -> Fraction:
    """Arrivals due up to a time, by trapezoids in exact fractions and sines to 60 digits."""
    total, begun, final = Fraction(0), Fraction(0), Fraction(0)
    now = Fraction(until_ns, 10**9)
    for stage in scenario.stages:
        length = Fraction(str(stage.duration_s))
        start = final if stage.rate is None else Fraction(str(stage.rate))
        end = start if stage.to_rate is None else Fraction(str(stage.to_rate))
        inside = min(max(now - begun, Fraction(0)), length)
        if stage.kind == "sine":
            area, rate = swung(stage, inside)
            end = Fraction(round(rate * 10**6), 10**6)
            # Documented: a whole sine counts as many parts of an arrival as it has whole ones.
            total += area if inside < length else Fraction(int(area * 2 * 10**12), 2 * 10**12)
        elif stage.steps is not None:
            for step in range(stage.steps):
                rate = start + Fraction(round((end - start) * step / (stage.steps - 1) * 10**6), 10**6)
                edges = [Fraction(int(length * 10**6) * edge // stage.steps, 10**6) for edge in (step, step + 1)]
                total += rate * (min(max(inside, edges[0]), edges[1]) - edges[0])
        else:
            total += (start + start + (end - start) * inside / length) / 2 * inside
        begun, final = begun + length, end
    return total


def whole_length_ns(scenario: Scenario) -> int:
    return int(sum(Fraction(str(stage.duration_s)) for stage in scenario.stages) * 10**9)


@settings(max_examples=50, deadline=None)
@given(stage_chains())
def test_each_uniform_arrival_is_the_exact_inverse_of_the_cumulative_rate(scenario: Scenario) -> None:
    due = schedule(scenario, seed=0)
    length = whole_length_ns(scenario)
    for index in {*range(0, len(due), max(1, len(due) // 40)), len(due) - 1}:
        at = int(due[index])
        assert integral(scenario, at) <= index
        assert integral(scenario, at + 1) > index or at + 1 == length
        assert 0 <= at < length


@settings(max_examples=150, deadline=None)
@given(stage_chains())
def test_the_count_is_within_one_of_the_integral_in_all_and_in_each_stage(scenario: Scenario) -> None:
    due, stages = plan_arrivals(scenario, 0)
    expected = integral(scenario, whole_length_ns(scenario))
    assert len(due) >= 1
    assert abs(len(due) - expected) < 1
    assert float(expected) == pytest.approx(scenario.expected_dispatches)
    edge = Fraction(0)
    for index, stage in enumerate(scenario.stages):
        start_ns, edge = int(edge * 10**9), edge + Fraction(str(stage.duration_s))
        of_stage = integral(scenario, int(edge * 10**9)) - integral(scenario, start_ns)
        assert abs(int((stages == index).sum()) - of_stage) < 1
        assert all(start_ns <= int(at) < edge * 10**9 for at in due[stages == index])


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.4, 1, 7.77, 250, 5_000, 20_000])
def test_a_constant_rate_of_any_size_spaces_its_arrivals_evenly(rate: float) -> None:
    duration = min(86_400.0, round(10_000 / rate, 6))
    due = schedule(Scenario(name="even", stages=(Stage(name="a", rate=rate, duration_s=duration),)), 0)
    assert abs(len(due) - rate * duration) <= 1
    exact = [int(index * 10**9 / Fraction(str(rate))) for index in range(len(due))]
    assert due.tolist() == exact


def test_a_slow_ramp_loses_no_arrival_to_rounding() -> None:
    ramp = Stage(name="slow", kind="ramp", rate=0.1, to_rate=0.4, duration_s=600)
    assert len(schedule(Scenario(name="slow", stages=(ramp,)), 0)) == 150


@pytest.mark.parametrize(("rate", "to_rate"), [(0, 20_000), (20_000, 0), (0.01, 19_999.999999), (1, 1.000001)])
def test_long_and_steep_ramps_are_exact_to_the_nanosecond(rate: float, to_rate: float) -> None:
    duration = min(86_400.0, round(999_999 / ((rate + to_rate) / 2), 6))
    scenario = Scenario(
        name="ramp", stages=(Stage(name="a", kind="ramp", rate=rate, to_rate=to_rate, duration_s=duration),)
    )
    due = schedule(scenario, 0)
    assert abs(len(due) - scenario.expected_dispatches) <= 1
    assert bool((np.diff(due) >= 0).all())
    for index in [*range(40), *range(40, len(due), len(due) // 400), *range(len(due) - 40, len(due))]:
        at = int(due[index])
        assert integral(scenario, at) <= index
        assert integral(scenario, at + 1) > index or at + 1 == whole_length_ns(scenario)


def test_an_arrival_that_falls_into_a_pause_waits_for_the_pause_to_end() -> None:
    stages = (
        Stage(name="first", rate=1, duration_s=2),
        Stage(name="pause", rate=0, duration_s=3),
        Stage(name="again", kind="constant", rate=1, duration_s=2),
    )
    due, of_stage = plan_arrivals(Scenario(name="pause", stages=stages), 0)
    assert due.tolist() == [0, 10**9, 5 * 10**9, 6 * 10**9]
    assert of_stage.tolist() == [0, 0, 2, 2]


def test_a_hold_keeps_the_final_rate_of_the_ramp_before() -> None:
    stages = (
        Stage(name="up", kind="ramp", to_rate=10, duration_s=1),
        Stage(name="hold", kind="hold", duration_s=2),
    )
    due, of_stage = plan_arrivals(Scenario(name="hold", stages=stages), 0)
    held = due[of_stage == 1]
    assert len(held) == 20
    assert set(np.diff(held).tolist()) == {10**8}


@settings(max_examples=60, deadline=None)
@given(stage_chains("poisson"), st.integers(0, 2**62))
def test_poisson_arrivals_lie_in_their_stage_in_order_and_follow_the_seed(scenario: Scenario, seed: int) -> None:
    due, stages = plan_arrivals(scenario, seed)
    again, _ = plan_arrivals(scenario, seed)
    assert due.tolist() == again.tolist()
    assert bool((np.diff(due) >= 0).all())
    assert bool((np.diff(stages) >= 0).all())
    edges = np.cumsum([0, *(round(stage.duration_s * 1_000_000) * 1000 for stage in scenario.stages)])
    assert bool((due >= edges[stages]).all())
    assert bool((due < edges[stages + 1]).all())


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    scenario = Scenario(name="p", stages=(Stage(name="a", rate=2_000, duration_s=50),), arrivals="poisson")
    due = schedule(scenario, 7)
    assert len(due) == pytest.approx(100_000, abs=4 * 100_000**0.5)
    gaps = np.diff(due) / 1e9
    assert gaps.mean() == pytest.approx(1 / 2_000, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)
    per_second = np.bincount(due // 10**9, minlength=50)
    assert per_second.var() / per_second.mean() == pytest.approx(1, abs=0.8)
    assert schedule(scenario, 8)[:5].tolist() != due[:5].tolist()


def test_poisson_arrivals_of_a_ramp_grow_denser_as_the_rate_does() -> None:
    ramp = Stage(name="up", kind="ramp", rate=0, to_rate=1_000, duration_s=40)
    due = schedule(Scenario(name="p", stages=(ramp,), arrivals="poisson"), 3)
    # A quarter of the integral lies in the first half of a ramp from 0.
    assert (due < 20 * 10**9).mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("rate", "amplitude", "period", "duration"),
    [
        (0.01, 0.01, 3_600, 86_400),
        (2, 2, 86_400, 86_400),
        (11.574, 5.5, 86_400, 86_400),
        (10_000, 10_000, 0.25, 3.3),
        (10_000, 0.000001, 86_400, 5),
        (0.000001, 0.000001, 1, 86_400),
        (400, 399.999999, 60, 600),
    ],
)
def test_long_and_fast_sines_are_exact_to_the_nanosecond(
    rate: float, amplitude: float, period: float, duration: float
) -> None:
    stage = Stage(name="a", kind="sine", rate=rate, amplitude=amplitude, period_s=period, duration_s=duration)
    scenario = Scenario(name="sine", stages=(stage,))
    started = time.process_time()
    due = schedule(scenario, 0)
    assert time.process_time() - started < 4
    assert abs(len(due) - scenario.expected_dispatches) <= 1
    assert bool((np.diff(due) >= 0).all())
    middle = range(10, len(due), max(1, len(due) // 60))
    for index in sorted({*range(min(10, len(due))), *middle, *range(max(0, len(due) - 10), len(due))}):
        at = int(due[index])
        assert integral(scenario, at) <= index
        assert integral(scenario, at + 1) > index or at + 1 == whole_length_ns(scenario)


def test_a_sine_has_its_arrivals_where_its_rate_is_high() -> None:
    stage = Stage(name="day", kind="sine", rate=10, amplitude=10, period_s=40, duration_s=80)
    due = schedule(Scenario(name="day", stages=(stage,)), 0)
    assert len(due) == 800
    per_quarter = np.bincount(due // (10 * 10**9))
    # The integral over a quarter is 100 -+ 10 x 40 / (2 pi).
    assert per_quarter.tolist() == pytest.approx([163.66, 163.66, 36.34, 36.34] * 2, abs=1)


def test_steps_are_plateaus_from_the_first_rate_to_the_final_one() -> None:
    stages = (
        Stage(name="base", rate=2, duration_s=1),
        Stage(name="up", kind="step", to_rate=10, steps=5, duration_s=10),
    )
    due, of_stage = plan_arrivals(Scenario(name="steps", stages=stages), 0)
    per_second = np.bincount(due // 10**9)
    assert per_second.tolist() == [2, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10]
    assert np.bincount(of_stage).tolist() == [2, 60]


@pytest.mark.parametrize("arrivals", ["uniform", "poisson"])
def test_six_hundred_thousand_arrivals_are_planned_in_two_seconds(arrivals: str) -> None:
    stages = (
        Stage(name="up", kind="ramp", to_rate=10, duration_s=40_000),
        Stage(name="hold", kind="hold", duration_s=20_000),
        Stage(name="down", kind="ramp", to_rate=0, duration_s=26_000),
        Stage(name="fast", rate=20_000, duration_s=3.5),
    )
    scenario = Scenario(name="big", stages=stages, arrivals=arrivals)  # type: ignore[arg-type]
    started = time.process_time()
    assert len(schedule(scenario, 1)) == pytest.approx(600_000, rel=0.01)
    assert time.process_time() - started < 2


@settings(max_examples=3, deadline=None)
@given(st.sampled_from(["uniform", "poisson"]).flatmap(stage_chains), st.integers(0, 2**31))
def test_the_shards_schedules_together_are_the_single_schedule_whatever_their_number(
    scenario: Scenario, seed: int
) -> None:
    due, stages = plan_arrivals(scenario, seed)
    for shards in range(1, 65):
        parts = [shard_schedule(scenario, seed, shard=shard, shards=shards) for shard in range(shards)]
        index = np.concatenate([part.index for part in parts])
        order = np.argsort(index)
        assert index[order].tolist() == list(range(len(due)))
        assert np.array_equal(np.concatenate([part.due_ns for part in parts])[order], due)
        assert np.array_equal(np.concatenate([part.stage for part in parts])[order], stages)
        for shard, part in enumerate(parts):
            assert {shard_of(int(one), shards) for one in part.index} <= {shard}
            assert bool((np.diff(part.due_ns) >= 0).all())


@pytest.mark.parametrize(
    ("shard", "shards", "allowed"), [(0, 0, "1 to 64"), (0, 65, "1 to 64"), (2, 2, "0 to 1"), (-1, 2, "0 to 1")]
)
def test_a_shard_that_does_not_exist_is_refused(shard: int, shards: int, allowed: str) -> None:
    with pytest.raises(InputRefused, match=allowed):
        shard_schedule(
            Scenario(name="s", stages=(Stage(name="a", rate=1, duration_s=2),)), 0, shard=shard, shards=shards
        )
