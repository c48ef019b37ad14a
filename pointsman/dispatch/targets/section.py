"""What all sections of a preset have in common: unknown keys are refused, and nothing changes after reading."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
