"""Pure statistics: agreement, batches, sketches, label swaps, sequential tests, intervals, power, corrected means."""

from pointsman.statistics.agreement import weighted_kappa
from pointsman.statistics.batches import BATCHES, Interval, paired_interval
from pointsman.statistics.intervals import cluster_weights, ratio_intervals, wilson_interval
from pointsman.statistics.label_swaps import (
    Floats,
    LabelSwaps,
    clusters_needed,
    critical_value,
    p_values,
    step_down_p_values,
    unit_contributions,
    weakest_conditions,
)
from pointsman.statistics.power import fewest_by_chance, most_by_chance
from pointsman.statistics.prediction_powered import corrected_mean
from pointsman.statistics.sequential import (
    always_valid_p_values,
    confidence_bound,
    holm,
    sequential_clusters_needed,
    smallest_sequential_p,
)
from pointsman.statistics.sketch import Sketch
from pointsman.statistics.student import t_reach

__all__ = [
    "BATCHES",
    "Floats",
    "Interval",
    "LabelSwaps",
    "Sketch",
    "always_valid_p_values",
    "cluster_weights",
    "clusters_needed",
    "confidence_bound",
    "corrected_mean",
    "critical_value",
    "fewest_by_chance",
    "holm",
    "most_by_chance",
    "p_values",
    "paired_interval",
    "ratio_intervals",
    "sequential_clusters_needed",
    "smallest_sequential_p",
    "step_down_p_values",
    "t_reach",
    "unit_contributions",
    "weakest_conditions",
    "weighted_kappa",
    "wilson_interval",
]
