"""A binding as an OpenFeature flag in flagd's definition language, and back.

One flag per route: its variants map short names to variant ids, `defaultVariant` is where most traffic goes, a split
is a `fractional` rule over the targeting key, and `metadata` carries the generation.
Format: flagd.dev, "Flag definitions".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding

# Hashed together, so that two routes split their traffic independently of each other.
_BUCKET = {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    generation: int = Field(ge=1)
    cause: str


class _Flag(BaseModel):
    """What is read back of a flag; anything else in it is somebody else's and ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    state: str
    variants: dict[str, str]
    default_variant: str = Field(alias="defaultVariant")
    targeting: dict[str, Any] = Field(default_factory=dict)
    metadata: _Metadata


def variant_name(variant: VariantId) -> str:
    """The name of a variant within its route's flag; two variants of one route never share one."""
    return f"{variant.workflow}@{variant.provider}:{variant.experiment}"


def flag_of(binding: Binding) -> dict[str, Any]:
    """The flag definition that serves `binding`."""
    shares = sorted(binding.weights.items())
    largest = max(shares, key=lambda share: share[1])[0]
    flag: dict[str, Any] = {
        "state": "ENABLED",
        "variants": {variant_name(variant): str(variant) for variant, _ in shares},
        "defaultVariant": variant_name(largest),
        "metadata": {"generation": binding.generation, "cause": binding.cause},
    }
    if binding.sole_variant is None:
        flag["targeting"] = {"fractional": [_BUCKET, *([variant_name(v), weight] for v, weight in shares)]}
    return flag


def binding_of(key: RouteKey, flag: Mapping[str, Any]) -> Binding:
    """The binding that a flag definition serves. Raises ValueError or `InputRefused` when no binding serves like it."""
    read = _Flag.model_validate(flag)
    variants = {name: VariantId.parse(text) for name, text in read.variants.items()}
    if read.state != "ENABLED":
        raise ValueError(f"the flag's state is {read.state!r}, not 'ENABLED'")
    if read.default_variant not in variants:
        raise ValueError(f"the default variant {read.default_variant!r} is not one of its variants")
    if not read.targeting:
        shares = {name: 100 if name == read.default_variant else 0 for name in variants}
    else:
        shares = _shares(read.targeting)
        if set(shares) != set(variants):
            raise ValueError("the fractional rule does not name exactly the flag's variants")
    weights = {variant: shares[name] for name, variant in variants.items()}
    return Binding(key, read.metadata.generation, weights, read.metadata.cause)


def _shares(targeting: Mapping[str, Any]) -> dict[str, int]:
    rule = targeting.get("fractional")
    if list(targeting) != ["fractional"] or not isinstance(rule, list) or rule[:1] != [_BUCKET]:
        raise ValueError("the targeting rule is not a fractional split over the targeting key")
    shares: dict[str, int] = {}
    for share in rule[1:]:
        match share:
            case [str(name), int(weight)] if name not in shares:
                shares[name] = weight
            case _:
                raise ValueError(f"{share!r} is not a share [variant, weight]")
    return shares
