"""Offered load: scenarios as stages, their exact schedules, and runs of them against one variant."""

from pointsman.scenario.admission import admit_run, awaits_admission, planned_dispatches
from pointsman.scenario.arrivals import ShardSchedule, plan_arrivals, schedule, shard_of, shard_schedule
from pointsman.scenario.capacity import (
    Capacity,
    CapacityRun,
    CapacitySearch,
    check_search,
    end_lost_step,
    latest_capacities,
    next_capacity_run,
    read_capacity,
)
from pointsman.scenario.capacity_report import capacity_report
from pointsman.scenario.comparison import Comparison, compare_runs
from pointsman.scenario.comparison_report import comparison_document, comparison_report
from pointsman.scenario.cost_report import cost_figures, forecast_figures
from pointsman.scenario.driving import drive_shard
from pointsman.scenario.elsewhere import ElsewhereLauncher, RunLauncher
from pointsman.scenario.execution import cancel_run, execute_run, give_up_run
from pointsman.scenario.fault_report import fault_sections
from pointsman.scenario.faults.checking import check_faults
from pointsman.scenario.faults.environment import asks_aws
from pointsman.scenario.faults.model import Fault
from pointsman.scenario.judging import unjudged_conditions
from pointsman.scenario.launching import ShardLauncher
from pointsman.scenario.ledger import run_attempts, scan_ledger, scan_run_attempts
from pointsman.scenario.load import LoadFigures, load_figures, p95_under_load
from pointsman.scenario.loading import load_scenario, parse_scenario
from pointsman.scenario.metrics import NOT_PRICED, with_missing
from pointsman.scenario.model import Scenario, Stage
from pointsman.scenario.planning import plan_run
from pointsman.scenario.production import AskedRun, guard_production
from pointsman.scenario.progress import Progress
from pointsman.scenario.publishing import Published, publish_report
from pointsman.scenario.readings import aws_sources
from pointsman.scenario.record import (
    RunOutcome,
    RunRecord,
    list_runs,
    read_run,
    run_drives,
    run_folder,
    run_scenario,
)
from pointsman.scenario.report import scenario_report
from pointsman.scenario.spending import Spend, SpendingWatcher, SpendMeter
from pointsman.scenario.status import run_status
from pointsman.scenario.trace import file_traces
from pointsman.scenario.troubles import trouble_of

__all__ = [
    "NOT_PRICED",
    "AskedRun",
    "Capacity",
    "CapacityRun",
    "CapacitySearch",
    "Comparison",
    "ElsewhereLauncher",
    "Fault",
    "LoadFigures",
    "Progress",
    "Published",
    "RunLauncher",
    "RunOutcome",
    "RunRecord",
    "Scenario",
    "ShardLauncher",
    "ShardSchedule",
    "Spend",
    "SpendMeter",
    "SpendingWatcher",
    "Stage",
    "admit_run",
    "asks_aws",
    "awaits_admission",
    "aws_sources",
    "cancel_run",
    "capacity_report",
    "check_faults",
    "check_search",
    "compare_runs",
    "comparison_document",
    "comparison_report",
    "cost_figures",
    "drive_shard",
    "end_lost_step",
    "execute_run",
    "fault_sections",
    "file_traces",
    "forecast_figures",
    "give_up_run",
    "guard_production",
    "latest_capacities",
    "list_runs",
    "load_figures",
    "load_scenario",
    "next_capacity_run",
    "p95_under_load",
    "parse_scenario",
    "plan_arrivals",
    "plan_run",
    "planned_dispatches",
    "publish_report",
    "read_capacity",
    "read_run",
    "run_attempts",
    "run_drives",
    "run_folder",
    "run_scenario",
    "run_status",
    "scan_ledger",
    "scan_run_attempts",
    "scenario_report",
    "schedule",
    "shard_of",
    "shard_schedule",
    "trouble_of",
    "unjudged_conditions",
    "with_missing",
]
