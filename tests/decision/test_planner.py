"""The planner: sizes that move the right way, the same answer twice, and refusals that name the field."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from typer.testing import CliRunner

from pointsman.decision import Assumptions, inputs_needed
from pointsman.decision.planner import wins
from pointsman.errors import InputRefused
from service.cli.hud import app as hud


def clusters(**assumed: Any) -> int:
    return inputs_needed(Assumptions(**{"saving": 0.4, "quality_spread": 1.0, **assumed}), seed=1).clusters


def test_smaller_effects_more_spread_and_more_challengers_need_more_inputs() -> None:
    base = clusters()
    assert clusters(saving=0.25) > base
    assert clusters(cost_spread=0.6) > base
    assert clusters(challengers=8) > base
    assert clusters(quality_spread=5.0) > base
    assert clusters(success_rate=0.95, success_margin=0.1, quality_margin=10.0) > base


def test_inputs_of_one_cluster_help_less_than_inputs_of_their_own() -> None:
    alike = inputs_needed(Assumptions(saving=0.3, cluster_share=0.9, inputs_per_cluster=4), seed=1)
    apart = inputs_needed(Assumptions(saving=0.3, inputs_per_cluster=1), seed=1)
    assert alike.inputs == 4 * alike.clusters
    assert alike.inputs > apart.inputs


def test_an_obvious_difference_needs_only_as_many_clusters_as_a_test_can_have() -> None:
    size = inputs_needed(Assumptions(saving=0.9, cost_spread=0.01, input_spread=0.0, quality_spread=0.0), seed=1)
    assert size.clusters == 5
    assert size.power == 1.0


def test_the_size_found_is_enough_and_one_less_was_not_sure_to_be() -> None:
    assumed = Assumptions(saving=0.3, challengers=3)
    size = inputs_needed(assumed, seed=4)
    assert size == inputs_needed(assumed, seed=4)
    assert size.power >= 0.8
    fewer = wins(assumed, size.clusters - 1, simulations=size.simulations, seed=4)
    assert fewer < size.power * size.simulations


def test_looking_at_every_cluster_needs_more_of_them_at_most() -> None:
    assert clusters(saving=0.3, sequential=True) > clusters(saving=0.3)


def test_a_small_risk_such_as_daily_decisions_have_takes_more_inputs_and_is_not_called_out_of_reach() -> None:
    obvious = {"saving": 0.9, "cost_spread": 0.01, "input_spread": 0.0, "quality_spread": 0.0}
    assert clusters(**obvious, alpha=0.0005) == 11


def test_an_effect_that_no_size_can_show_is_refused() -> None:
    with pytest.raises(InputRefused, match="512 clusters can show"):
        inputs_needed(Assumptions(saving=0.06, cost_spread=3.0), seed=1)


def test_the_command_says_how_many_inputs_and_takes_every_assumption() -> None:
    answer = CliRunner().invoke(hud, ["plan", "--saving", "0.9", "--cost-spread", "0.01", "--quality-spread", "0.1"])
    assert answer.exit_code == 0
    assert "inputs of" in answer.output
    words = ["plan", "--saving", "0.5", "--inputs-per-cluster", "2", "--quality-margin", "10", "--json"]
    found = json.loads(CliRunner().invoke(hud, words).output)
    assert found["inputs"] == 2 * found["clusters"]
    assert set(found["assumptions"]) == {field.name for field in fields(Assumptions)}
    assert found["assumptions"]["quality_margin"] == 10
    refused = CliRunner().invoke(hud, ["plan", "--saving", "2"])
    assert isinstance(refused.exception, InputRefused)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("saving", 1.5),
        ("saving", 0.05),
        ("challengers", 0),
        ("cost_spread", -1),
        ("success_rate", 0),
        ("cluster_share", 2),
        ("inputs_per_cluster", 0),
        ("inputs_per_cluster", 1.5),
        ("alpha", 0),
        ("power", 1),
        ("quality_spread", "3"),
        ("min_saving", float("nan")),
        ("sequential", 1),
    ],
)
def test_assumptions_out_of_range_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InputRefused) as refused:
        Assumptions(**{"saving": 0.3, field: value})
    assert field in refused.value.field
