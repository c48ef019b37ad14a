"""What implements an engine protocol or saves a Spec with Prefect."""

from blocks.crashes import SAYS_WHY_WITHIN_S, told_of
from blocks.events import INSTALLATION_LABEL, PrefectEventSink, installation, open_sink
from blocks.flow_runs import FlowRuns, is_looked_after
from blocks.specs import SPEC_BLOCKS, GatewayBlock, JudgeBlock, PriceBookBlock, ResultsBlock, TargetBlock

__all__ = [
    "INSTALLATION_LABEL",
    "SAYS_WHY_WITHIN_S",
    "SPEC_BLOCKS",
    "FlowRuns",
    "GatewayBlock",
    "JudgeBlock",
    "PrefectEventSink",
    "PriceBookBlock",
    "ResultsBlock",
    "TargetBlock",
    "installation",
    "is_looked_after",
    "open_sink",
    "told_of",
]
