"""Variants and matrices: what can be compared, on which inputs, and running every cell once in randomised rounds."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pointsman.benchmark.chunks import Turn, as_turn
    from pointsman.benchmark.elsewhere import matrix_chunks, matrix_turn, run_matrix_elsewhere, run_round_elsewhere
    from pointsman.benchmark.execution import RoundOutcome, run_round
    from pointsman.benchmark.filters import VariantFilter, discover_variants
    from pointsman.benchmark.in_place import in_place_instead
    from pointsman.benchmark.inputs import InputFile, import_inputs, input_set, register_input_set
    from pointsman.benchmark.matrix import Cell, plan_cells
    from pointsman.benchmark.outcomes import ARTIFACT_TYPE
    from pointsman.benchmark.registry import (
        change_variant,
        environment_kind,
        list_environments,
        list_variants,
        register_effect_revision,
        register_environment,
        register_variants,
        seen_by_all,
        set_enabled,
        variant,
    )
    from pointsman.benchmark.report import matrix_report
    from pointsman.benchmark.runs import (
        MatrixRun,
        cancel_matrix,
        create_matrix,
        end_early,
        fail_matrix,
        finish_matrix,
        list_matrix_runs,
        mark_ready,
        matrix_run,
        rounds,
    )
    from pointsman.benchmark.stopping import NOT_GIVEN, OWN_FAULTS, StopRule, stop_variant, withheld
    from pointsman.benchmark.tracing import trace

__all__ = [
    "ARTIFACT_TYPE",
    "NOT_GIVEN",
    "OWN_FAULTS",
    "Cell",
    "InputFile",
    "MatrixRun",
    "RoundOutcome",
    "StopRule",
    "Turn",
    "VariantFilter",
    "as_turn",
    "cancel_matrix",
    "change_variant",
    "create_matrix",
    "discover_variants",
    "end_early",
    "environment_kind",
    "fail_matrix",
    "finish_matrix",
    "import_inputs",
    "in_place_instead",
    "input_set",
    "list_environments",
    "list_matrix_runs",
    "list_variants",
    "mark_ready",
    "matrix_chunks",
    "matrix_report",
    "matrix_run",
    "matrix_turn",
    "plan_cells",
    "register_effect_revision",
    "register_environment",
    "register_input_set",
    "register_variants",
    "rounds",
    "run_matrix_elsewhere",
    "run_round",
    "run_round_elsewhere",
    "seen_by_all",
    "set_enabled",
    "stop_variant",
    "trace",
    "variant",
    "withheld",
]

# The registry is read by commands that should answer at once, and must not wait for polars, which the driver needs.
_HOMES = {
    "chunks": ("Turn", "as_turn"),
    "elsewhere": ("matrix_chunks", "matrix_turn", "run_matrix_elsewhere", "run_round_elsewhere"),
    "execution": ("RoundOutcome", "run_round"),
    "in_place": ("in_place_instead",),
    "filters": ("VariantFilter", "discover_variants"),
    "inputs": ("InputFile", "import_inputs", "input_set", "register_input_set"),
    "matrix": ("Cell", "plan_cells"),
    "outcomes": ("ARTIFACT_TYPE",),
    "registry": (
        "change_variant",
        "environment_kind",
        "list_environments",
        "list_variants",
        "register_effect_revision",
        "register_environment",
        "register_variants",
        "seen_by_all",
        "set_enabled",
        "variant",
    ),
    "report": ("matrix_report",),
    "runs": (
        "MatrixRun",
        "cancel_matrix",
        "create_matrix",
        "end_early",
        "fail_matrix",
        "finish_matrix",
        "list_matrix_runs",
        "mark_ready",
        "matrix_run",
        "rounds",
    ),
    "stopping": ("NOT_GIVEN", "OWN_FAULTS", "StopRule", "stop_variant", "withheld"),
    "tracing": ("trace",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
