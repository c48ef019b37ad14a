"""Blocks that save a Spec, so that a person edits it in the Prefect UI and a flow names it by one word."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field

from pointsman.dispatch import TargetSpec
from pointsman.economics import PriceBookSpec
from pointsman.quality import JudgeSpec
from pointsman.routing import GatewaySpec
from pointsman.storage import ResultsSpec


class TargetBlock(Block):
    """Where jobs are dispatched to."""

    _block_type_name = "Pointsman target"
    _block_type_slug = "pointsman-target"
    spec: TargetSpec = Field(title="Target")


class JudgeBlock(Block):
    """Who judges the outputs."""

    _block_type_name = "Pointsman judge"
    _block_type_slug = "pointsman-judge"
    spec: JudgeSpec = Field(title="Judge")


class PriceBookBlock(Block):
    """Which prices apply."""

    _block_type_name = "Pointsman price book"
    _block_type_slug = "pointsman-price-book"
    spec: PriceBookSpec = Field(title="Price book")


class GatewayBlock(Block):
    """What production asks where a route's traffic goes."""

    _block_type_name = "Pointsman routing gateway"
    _block_type_slug = "pointsman-routing-gateway"
    spec: GatewaySpec = Field(title="Routing gateway")


class ResultsBlock(Block):
    """Where ledgers, outputs and reports are kept."""

    _block_type_name = "Pointsman results store"
    _block_type_slug = "pointsman-results-store"
    spec: ResultsSpec = Field(title="Results store")


SPEC_BLOCKS: tuple[type[Block], ...] = (TargetBlock, JudgeBlock, PriceBookBlock, GatewayBlock, ResultsBlock)
