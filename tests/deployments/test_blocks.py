"""A block saves one Spec, and what is read back builds the same."""

import pytest

from blocks import SPEC_BLOCKS
from deployments.blocks import save_blocks, saved_targets
from pointsman.dispatch import TargetSpec
from pointsman.economics import PriceBookSpec
from pointsman.errors import NotFound
from pointsman.quality import JudgeSpec
from pointsman.routing import GatewaySpec
from pointsman.storage import ResultsSpec

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]
SPECS = {
    "pointsman-target": TargetSpec(name="mine", preset="fixed", base_url="http://127.0.0.1:9"),
    "pointsman-judge": JudgeSpec(kind="local"),
    "pointsman-price-book": PriceBookSpec(path="/somewhere/prices.toml"),
    "pointsman-routing-gateway": GatewaySpec(path="/somewhere/flags.json"),
    "pointsman-results-store": ResultsSpec(uri="/somewhere"),
}


def test_there_is_one_block_type_per_spec():
    assert {kind.get_block_type_slug(): type(spec) for kind, spec in zip(SPEC_BLOCKS, SPECS.values(), strict=True)} == {
        slug: type(spec) for slug, spec in SPECS.items()
    }


@pytest.mark.parametrize("kind", SPEC_BLOCKS, ids=lambda kind: kind.get_block_type_slug())
def test_a_spec_is_read_back_as_it_was_saved_and_saving_again_replaces_it(lab_world, kind):
    slug = kind.get_block_type_slug()
    spec = SPECS[slug]
    for _ in range(2):
        save_blocks({f"{slug}/round-trip": (slug, spec)})
        assert kind.load("round-trip").spec == spec
        assert kind.get_description()


def test_saved_targets_are_listed(lab_world):
    save_blocks({"target/mine": ("pointsman-target", SPECS["pointsman-target"])})
    assert SPECS["pointsman-target"] in saved_targets()


def test_an_unknown_block_is_refused_with_how_to_list_those_that_exist(lab_world):
    from tasks.opening import open_target

    with pytest.raises(NotFound, match="prefect block ls"):
        open_target("nowhere")
