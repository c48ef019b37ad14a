"""A binding as LiteLLM's proxy would be configured, where what a variant makes is something that LiteLLM routes."""

import pytest
import yaml

from pointsman.dispatch import TargetSpec
from pointsman.errors import InputRefused
from pointsman.model import Binding, Variant
from pointsman.routing import litellm_config, litellm_yaml
from tests.routing.worlds import ROUTE, A, B, C

TARGETS = {
    "one": TargetSpec(name="one", preset="openai", base_url="http://127.0.0.1:9000"),
    "lab": TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:9001"),
}
IMAGES = {"endpoint": "images/generations", "request": {"model": "small", "prompt": "$input_text"}}
CHAT = {"endpoint": "chat/completions", "request": {"model": "large"}}


def config(**params):
    known = {
        str(A): Variant(A, "one", params.get("a", IMAGES)),
        str(B): Variant(B, params.get("target", "one"), params.get("b", CHAT)),
        str(C): Variant(C, "lab", {}),
    }
    return litellm_config(Binding(ROUTE, 3, {A: 75, B: 25, C: 0}, "test"), known.__getitem__, TARGETS.__getitem__)


def test_each_variant_with_a_share_is_a_deployment_of_the_route_with_its_weight():
    written = yaml.safe_load(litellm_yaml(config()))
    assert written["router_settings"] == {"routing_strategy": "simple-shuffle"}
    assert [
        (one["model_name"], one["litellm_params"]["model"], one["litellm_params"]["weight"], one["model_info"]["mode"])
        for one in written["model_list"]
    ] == [(str(ROUTE), "openai/small", 75, "image_generation"), (str(ROUTE), "openai/large", 25, "chat")]
    params = written["model_list"][0]["litellm_params"]
    assert (params["api_base"], params["api_key"]) == ("http://127.0.0.1:9000/v1", "os.environ/OPENAI_API_KEY")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"target": "lab"}, "preset lab"),
        ({"a": {"endpoint": "audio/speech", "request": {"model": "m"}}}, "audio/speech"),
        ({"a": {"endpoint": "images/generations", "request": {}}}, "names a `model`"),
        ({"a": {"endpoint": "images/generations"}}, "names a `model`"),
    ],
)
def test_what_litellm_does_not_route_is_refused_by_name(changed, named):
    with pytest.raises(InputRefused, match=named):
        config(**changed)
