"""What production will be like, as far as somebody says so: volume, the switch itself, judging, networks, currencies.

Nothing here bears on a verdict. What is not said is not known: its lines of the waterfall are missing, never 0.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Production(BaseModel):
    """Production as it is planned. Shares are of 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outputs_per_month: int | None = Field(
        None, title="Outputs per month", description="Accepted outputs that production makes.", ge=1, le=10**12
    )
    months: int = Field(
        12, title="Months", description="Over how many months the cost of switching is spread.", ge=1, le=120
    )
    migration_usd: float | None = Field(
        None, title="Migration (USD)", description="What switching costs once: people's time, fees.", ge=0, le=1e9
    )
    dual_run_days: float | None = Field(
        None,
        title="Dual running (days)",
        description="For how long the incumbent's capacity is held after the switch.",
        ge=0,
        le=366,
    )
    judged_share: float | None = Field(
        None, title="Judged share", description="Share of production's outputs that is judged.", ge=0, le=1
    )
    through_nat: tuple[str, ...] | None = Field(
        None,
        title="Through NAT",
        description="Providers whose outputs come in through a NAT gateway; an empty list: none.",
        max_length=200,
    )
    fx_fee: float | None = Field(
        None, title="Exchange fee", description="Share that changing money costs.", ge=0, le=0.5
    )
    fx_rates: dict[Annotated[str, Field(pattern="^[A-Z]{3}$")], Annotated[float, Field(gt=0, le=1e6)]] = Field(
        {}, title="Exchange rates", description="USD for one of a currency now, where it is not the price book's."
    )
