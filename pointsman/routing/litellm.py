"""The same decision as a configuration of LiteLLM's proxy, for routes whose variants speak OpenAI's API.

Every variant is a deployment of one model name, which is the route, with its share as weight: LiteLLM's strategy
`simple-shuffle` chooses among deployments of a name by their weights. Keys stay where they are: the configuration names
the variable of the environment that holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml  # type: ignore[import-untyped]

from pointsman.dispatch import TargetSpec
from pointsman.errors import InputRefused
from pointsman.model import Binding, Variant

_PRESET = "openai"
_MODES = {"chat/completions": "chat", "images/generations": "image_generation"}
"""What LiteLLM calls the modality of an endpoint."""


def litellm_config(
    binding: Binding, variant_of: Callable[[str], Variant], target_of: Callable[[str], TargetSpec]
) -> dict[str, Any]:
    """The configuration as plain data.

    Raises `InputRefused` for a variant whose target LiteLLM cannot speak to, and one that names no model.
    """
    models = []
    for one, weight in sorted(binding.weights.items()):
        if not weight:
            continue
        chosen = variant_of(str(one))
        target = target_of(chosen.target)
        if target.preset != _PRESET:
            raise InputRefused(
                f"target of {one.label}", f"{target.name}, preset {target.preset}", f"a target of the preset {_PRESET}"
            )
        endpoint, asked = chosen.params.get("endpoint"), chosen.params.get("request")
        if endpoint not in _MODES:
            raise InputRefused(f"endpoint of {one.label}", endpoint, f"what LiteLLM routes: {', '.join(_MODES)}")
        model = asked.get("model") if isinstance(asked, dict) else None
        if not isinstance(model, str):
            raise InputRefused(f"request of {one.label}", asked, "one that names a `model`")
        models.append(
            {
                "model_name": str(binding.route_key),
                "litellm_params": {
                    "model": f"openai/{model}",
                    "api_base": f"{target.base_url.rstrip('/')}/v1",
                    "api_key": "os.environ/OPENAI_API_KEY",
                    "weight": weight,
                },
                "model_info": {"id": str(one), "mode": _MODES[str(endpoint)]},
            }
        )
    return {"model_list": models, "router_settings": {"routing_strategy": "simple-shuffle"}}


def litellm_yaml(config: dict[str, Any]) -> str:
    """As LiteLLM's proxy reads it."""
    return str(yaml.safe_dump(config, sort_keys=False))
