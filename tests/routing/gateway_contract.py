"""The contract of every gateway: subclass and give `gateway` as a fixture of an empty one."""

import pytest

from pointsman.errors import Conflict
from pointsman.model import Binding
from tests.routing.worlds import OTHER_ROUTE, ROUTE, A, B, C, variant


def binding(generation, weights, route=ROUTE):
    return Binding(route, generation, weights, f"cause of {generation}: “why”")


class GatewayContract:
    def test_a_gateway_that_was_told_nothing_shows_nothing(self, gateway):
        assert gateway.read(ROUTE) is None

    @pytest.mark.parametrize(
        "weights",
        [{A: 100}, {A: 90, B: 10}, {A: 100, B: 0}, {B: 50, A: 50}, {A: 0, B: 1, C: 99}],
        ids=["one", "canary", "zero", "halves", "three"],
    )
    def test_what_is_published_is_read_back_whole(self, gateway, weights):
        gateway.publish(binding(3, weights), expected=None)
        assert gateway.read(ROUTE) == binding(3, weights)

    def test_a_newer_generation_replaces_the_expected_one(self, gateway):
        gateway.publish(binding(1, {A: 100}), expected=None)
        gateway.publish(binding(4, {B: 100}), expected=1)
        assert gateway.read(ROUTE) == binding(4, {B: 100})

    def test_publishing_the_same_binding_again_changes_nothing_and_is_no_error(self, gateway):
        gateway.publish(binding(1, {A: 100}), expected=None)
        gateway.publish(binding(1, {A: 100}), expected=None)
        gateway.publish(binding(1, {A: 100}), expected=1)
        assert gateway.read(ROUTE) == binding(1, {A: 100})

    @pytest.mark.parametrize(
        ("new", "expected"),
        [
            (binding(4, {B: 100}), 5),
            (binding(5, {B: 100}), 5),
            (binding(6, {B: 100}), 4),
            (binding(6, {B: 100}), None),
            (binding(6, {B: 100}), 6),
            (binding(4, {B: 100}), 4),
        ],
        ids=["older", "equal but other", "stale", "thought absent", "not there yet", "older and stale"],
    )
    def test_an_older_equal_or_unexpected_generation_is_refused_and_nothing_changes(self, gateway, new, expected):
        gateway.publish(binding(5, {A: 100}), expected=None)
        with pytest.raises(Conflict):
            gateway.publish(new, expected=expected)
        assert gateway.read(ROUTE) == binding(5, {A: 100})

    def test_a_generation_that_expects_another_is_refused_by_an_empty_gateway(self, gateway):
        with pytest.raises(Conflict):
            gateway.publish(binding(2, {A: 100}), expected=1)
        assert gateway.read(ROUTE) is None

    def test_routes_do_not_touch_each_other(self, gateway):
        other = variant("x264", route=OTHER_ROUTE)
        gateway.publish(binding(7, {A: 100}), expected=None)
        gateway.publish(binding(1, {other: 100}, OTHER_ROUTE), expected=None)
        assert gateway.read(ROUTE) == binding(7, {A: 100})
        assert gateway.read(OTHER_ROUTE) == binding(1, {other: 100}, OTHER_ROUTE)
