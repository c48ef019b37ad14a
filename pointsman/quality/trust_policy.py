"""What a judge has to be worth before a verdict that rests on it may move traffic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class TrustPolicy(BaseModel):
    """Limits of the trust card. What is below them is untrusted: no verdict of it is applied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    second_looks: Annotated[
        int, Field(description="Outputs that are judged again, and pairs shown in both orders", ge=0, le=200)
    ] = 10
    most_spread: Annotated[
        float, Field(description="Standard deviation of one judgement of the same output, in points of 100", gt=0)
    ] = 7.5
    most_flips: Annotated[
        float, Field(description="Share of pairs whose better output changes with their order", ge=0, le=1)
    ] = 0.3
    least_agreement: Annotated[
        float, Field(description="Weighted kappa with people, where at least ten outputs are labelled", ge=-1, le=1)
    ] = 0.4
    most_fallback: Annotated[
        float, Field(description="Share of outputs that another judge than the one asked for judged", ge=0, le=1)
    ] = 1.0
    own_family: Annotated[
        Literal["flag", "refuse"],
        Field(description="When judge and a provider are of one family: only say so, or do not trust it"),
    ] = "flag"
