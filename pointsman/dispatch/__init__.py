"""The dispatch engine: the only room that dispatches. Others write a drive, carry it out, and read what came of it."""

from pointsman.dispatch.checking import check_target
from pointsman.dispatch.closing import ATTEMPTS, DISPATCHES, SUMMARY
from pointsman.dispatch.conservation import check_conservation
from pointsman.dispatch.durable import await_nobody
from pointsman.dispatch.figures import Figures, StageFigures, read_figures
from pointsman.dispatch.last_word import LastWord
from pointsman.dispatch.ledger import JournalCounts, TargetCounts
from pointsman.dispatch.live import LiveWords, bring_live, read_live
from pointsman.dispatch.orders import (
    Start,
    confirm_claims,
    next_due_ns,
    order_cancel,
    order_start,
    read_start,
    withdraw_start,
)
from pointsman.dispatch.parent import drive, good_bye_s
from pointsman.dispatch.plan import (
    DriveInput,
    DrivePlan,
    Limits,
    VariantBound,
    find_inputs_here,
    has_plan,
    planned_dispatches,
    read_header,
    write_drive,
)
from pointsman.dispatch.process import DriveProcess
from pointsman.dispatch.protocol import (
    AttemptReport,
    Capabilities,
    DispatchTarget,
    Request,
    Response,
    Update,
    UsageReport,
)
from pointsman.dispatch.reading import (
    is_running,
    read_attempts,
    read_counts,
    read_dispatches,
    read_epoch,
    read_live_status,
    read_status,
    read_summary,
    scan_attempts,
    scan_dispatches,
)
from pointsman.dispatch.seconds import RunSeconds, Second, read_seconds
from pointsman.dispatch.settling import doubt_the_rest, settle, settle_cancelled
from pointsman.dispatch.status import (
    PLANNED_TERMS,
    SENT_TERMS,
    DriveStatus,
    DriveSummary,
    Interruption,
    Percentiles,
)
from pointsman.dispatch.targets import BUILT_IN_PRESETS, TargetSpec

__all__ = [
    "ATTEMPTS",
    "BUILT_IN_PRESETS",
    "DISPATCHES",
    "PLANNED_TERMS",
    "SENT_TERMS",
    "SUMMARY",
    "AttemptReport",
    "Capabilities",
    "DispatchTarget",
    "DriveInput",
    "DrivePlan",
    "DriveProcess",
    "DriveStatus",
    "DriveSummary",
    "Figures",
    "Interruption",
    "JournalCounts",
    "LastWord",
    "Limits",
    "LiveWords",
    "Percentiles",
    "Request",
    "Response",
    "RunSeconds",
    "Second",
    "StageFigures",
    "Start",
    "TargetCounts",
    "TargetSpec",
    "Update",
    "UsageReport",
    "VariantBound",
    "await_nobody",
    "bring_live",
    "check_conservation",
    "check_target",
    "confirm_claims",
    "doubt_the_rest",
    "drive",
    "find_inputs_here",
    "good_bye_s",
    "has_plan",
    "is_running",
    "next_due_ns",
    "order_cancel",
    "order_start",
    "planned_dispatches",
    "read_attempts",
    "read_counts",
    "read_dispatches",
    "read_epoch",
    "read_figures",
    "read_header",
    "read_live",
    "read_live_status",
    "read_seconds",
    "read_start",
    "read_status",
    "read_summary",
    "scan_attempts",
    "scan_dispatches",
    "settle",
    "settle_cancelled",
    "withdraw_start",
    "write_drive",
]
