"""Variants and matrices: what can be compared, on which inputs, and running every cell once in randomised rounds."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pointsman.benchmark.chunks import Turn, as_turn
    from pointsman.benchmark.duration import matrix_seconds
    from pointsman.benchmark.elsewhere import matrix_chunks, matrix_turn, run_matrix_elsewhere, run_round_elsewhere
    from pointsman.benchmark.execution import RoundOutcome, run_round
    from pointsman.benchmark.filters import VariantFilter, discover_variants
    from pointsman.benchmark.in_place import in_place_instead
    from pointsman.benchmark.input_files import InputFile, import_inputs, listed_files, named_files
    from pointsman.benchmark.inputs import input_set, known_classes, list_input_sets, register_input_set
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
        cell_counts,
        create_matrix,
        end_early,
        fail_matrix,
        finish_matrix,
        list_matrix_runs,
        mark_ready,
        matrix_run,
        rounds,
    )
    from pointsman.benchmark.standing import cells_ahead, cells_skipped, cells_to_look_at
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
    "cell_counts",
    "cells_ahead",
    "cells_skipped",
    "cells_to_look_at",
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
    "known_classes",
    "list_environments",
    "list_input_sets",
    "list_matrix_runs",
    "list_variants",
    "listed_files",
    "mark_ready",
    "matrix_chunks",
    "matrix_report",
    "matrix_run",
    "matrix_seconds",
    "matrix_turn",
    "named_files",
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
    "duration": ("matrix_seconds",),
    "elsewhere": ("matrix_chunks", "matrix_turn", "run_matrix_elsewhere", "run_round_elsewhere"),
    "execution": ("RoundOutcome", "run_round"),
    "in_place": ("in_place_instead",),
    "filters": ("VariantFilter", "discover_variants"),
    "input_files": ("InputFile", "import_inputs", "listed_files", "named_files"),
    "inputs": ("input_set", "known_classes", "list_input_sets", "register_input_set"),
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
        "cell_counts",
        "create_matrix",
        "end_early",
        "fail_matrix",
        "finish_matrix",
        "list_matrix_runs",
        "mark_ready",
        "matrix_run",
        "rounds",
    ),
    "standing": ("cells_ahead", "cells_skipped", "cells_to_look_at"),
    "stopping": ("NOT_GIVEN", "OWN_FAULTS", "StopRule", "stop_variant", "withheld"),
    "tracing": ("trace",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
