"""Evidence about an environment: what it consisted of before it was tested."""

from pointsman.acceptance.baseline import Baseline, capture_baseline, read_baseline
from pointsman.acceptance.report import baseline_report

__all__ = ["Baseline", "baseline_report", "capture_baseline", "read_baseline"]
