"""What a drive has come to so far, stage by stage: the sum of its seconds, of a size that does not grow with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointsman.dispatch.seconds import METRICS, Second, events_json, merge_metrics, read_seconds, sketches_from
from pointsman.dispatch.status import Percentiles
from pointsman.statistics.sketch import Sketch

FIGURES = "figures.json"


@dataclass(slots=True)
class StageFigures:
    """Events and durations of one stage; the fields are those of `Second`. Those of several shards merge."""

    counts: Counter[str] = field(default_factory=Counter)
    total_ms: Sketch = field(default_factory=Sketch)
    queue_ms: Sketch = field(default_factory=Sketch)
    run_ms: Sketch = field(default_factory=Sketch)
    lateness_ms: Sketch = field(default_factory=Sketch)

    def merge(self, other: StageFigures | Second) -> None:
        self.counts.update(other.counts)
        merge_metrics(self, other)


@dataclass(slots=True)
class Figures:
    """By stage, all seconds up to `through` included."""

    through: int = -1
    stages: dict[int, StageFigures] = field(default_factory=dict)

    def count(self, seconds: Iterable[Second]) -> None:
        """Take in further seconds, in ascending order."""
        for one in seconds:
            self.stages.setdefault(one.stage, StageFigures()).merge(one)
            self.through = one.second

    def merge(self, other: Figures) -> None:
        """Add those of another drive of the same run."""
        for stage, figures in other.stages.items():
            self.stages.setdefault(stage, StageFigures()).merge(figures)
        self.through = max(self.through, other.through)

    def overall(self, *, without: Collection[int] = ()) -> StageFigures:
        """All stages together, but for those."""
        found = StageFigures()
        for stage, figures in self.stages.items():
            if stage not in without:
                found.merge(figures)
        return found

    def to_json(self) -> bytes:
        document = {
            "through": self.through,
            "stages": {str(stage): events_json(figures) for stage, figures in sorted(self.stages.items())},
        }
        return json.dumps(document, separators=(",", ":")).encode()


def read_figures(drive_dir: Path) -> Figures:
    """The figures of a drive so far, live and after its end; the cost does not depend on its length."""
    found = Figures()
    try:
        document = json.loads((drive_dir / FIGURES).read_bytes())
    except (FileNotFoundError, ValueError):
        pass  # the seconds are all there
    else:
        found.through = document["through"]
        found.stages = {int(stage): _stage(written) for stage, written in document["stages"].items()}
    found.count(read_seconds(drive_dir, found.through))
    return found


def _stage(document: Mapping[str, Any]) -> StageFigures:
    return StageFigures(Counter(document["counts"]), **sketches_from(document))


def percentiles(figures: StageFigures) -> dict[str, Percentiles]:
    """By the names of DriveStatus's fields."""
    return {name: _percentiles(getattr(figures, name)) for name in METRICS}


def _percentiles(sketch: Sketch) -> Percentiles:
    if sketch.count == 0:
        return Percentiles()
    p50, p95, p99, p999 = (sketch.quantile(q) for q in (0.5, 0.95, 0.99, 0.999))
    return Percentiles(count=sketch.count, p50=p50, p95=p95, p99=p99, p999=p999, max=sketch.largest)
