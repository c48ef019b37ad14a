"""What implements an engine protocol or saves a Spec with Prefect."""

from blocks.crashes import told_of
from blocks.events import INSTALLATION_LABEL, PrefectEventSink, installation, open_sink
from blocks.flow_runs import FlowRuns
from blocks.specs import SPEC_BLOCKS, GatewayBlock, JudgeBlock, PriceBookBlock, ResultsBlock, TargetBlock

__all__ = [
    "INSTALLATION_LABEL",
    "SPEC_BLOCKS",
    "FlowRuns",
    "GatewayBlock",
    "JudgeBlock",
    "PrefectEventSink",
    "PriceBookBlock",
    "ResultsBlock",
    "TargetBlock",
    "installation",
    "open_sink",
    "told_of",
]
