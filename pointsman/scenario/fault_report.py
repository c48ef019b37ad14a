"""Faults in a run's report: where they were, what they changed, and that in a control nothing did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pointsman.model import Missing
from pointsman.reporting import Band, Cell, Section, Table, Text, escape_markdown
from pointsman.scenario.faults.effect import CONFIDENCE

_EFFECTS = ("p95_delta_ms", "failure_rate_delta", "time_to_detection_s", "time_to_recovery_s")
_INTERVAL = f"{CONFIDENCE:.1%} interval".replace("%", " %")


def fault_bands(
    stages: Sequence[Mapping[str, Any]], epoch: datetime, until_s: float, controls: Mapping[str, Mapping[str, Any]]
) -> list[Band]:
    """Where faults were, in seconds after the run's epoch, and where those of a control would have been."""

    def seconds(at: str | None, unknown: float) -> float:
        return unknown if at is None else (datetime.fromisoformat(at) - epoch).total_seconds()

    faults = [
        Band(seconds(fault["started_at"], 0.0), seconds(fault.get("ended_at"), until_s), f"fault: {stage['name']}")
        for stage in stages
        if (fault := stage.get("fault")) and fault.get("started_at")
    ]
    spans = {name: effect["during"] for name, effect in controls.items()}
    return faults + [
        Band(span["from_s"], span["to_s"], f"control, no fault: {name}", "control") for name, span in spans.items()
    ]


def fault_sections(stages: Sequence[Mapping[str, Any]], controls: Mapping[str, Mapping[str, Any]]) -> Iterator[Section]:
    """What each fault did. `controls`: by stage, what was measured where a fault is switched off."""
    rows: list[list[Cell]] = []
    said: list[str] = []
    for stage in stages:
        name, fault = str(stage["name"]), stage.get("fault")
        effect = (fault or {}).get("effect") or controls.get(name)
        if effect is not None:
            said.append(_in_words(name, effect, control=not fault))
        if fault:
            why = fault.get("missing", {}).get("effect", "it was not measured")
            state: Cell = fault["state"] or Missing(fault["missing"]["state"])
            instances: Cell = ", ".join(fault.get("target_instance_ids") or ()) or Missing("no instance is known")
            rows.append([name, *_figures(effect or {"missing": dict.fromkeys(_EFFECTS, why)}), state, instances])
        elif effect is not None:
            # What is noticed there later comes of something else.
            unseen = [Missing("there was no fault")] * 2
            rows.append([name, *_figures(effect)[:2], *unseen, "none: a control", "none"])
    columns = [
        "stage",
        f"p95 delta ({_INTERVAL})",
        f"failure rate delta ({_INTERVAL})",
        "detected after, s",
        "recovered after, s",
        "experiment",
        "instances",
    ]
    if rows:
        yield Table(columns, rows, title="Faults")
    if said:
        yield Text("\n\n".join(map(escape_markdown, said)))


def _figures(effect: Mapping[str, Any]) -> list[Cell]:
    return [
        _delta(effect, "p95_delta_ms", 1, ",.0f", " ms"),
        _delta(effect, "failure_rate_delta", 100, ".1f", " points of 100"),
        _number(effect, "time_to_detection_s"),
        _number(effect, "time_to_recovery_s"),
    ]


def _in_words(stage: str, effect: Mapping[str, Any], *, control: bool) -> str:
    before, during = effect["control"], effect["during"]
    lasted_s = during["to_s"] - during["from_s"]
    when = f"while its fault lasted ({lasted_s:.1f} s)"
    if control:
        when = f"in the {lasted_s:.1f} s in which its fault would have been, had it been enabled,"
    if before["p95_ms"] is None or during["p95_ms"] is None:
        return f"{stage}: too little completed {when} or in the control before it to tell a p95."
    worse = "worse than before by more than chance makes likely" if effect["effective"] else "no difference is shown"
    return f"{stage}: p95 was {during['p95_ms']:,.0f} ms {when} and {before['p95_ms']:,.0f} ms before: {worse}."


def _delta(effect: Mapping[str, Any], name: str, scale: float, form: str, unit: str) -> Cell:
    """Value and interval of what a fault changed against the control window before it."""
    found = effect.get(name)
    if found is None:
        return Missing(str(effect["missing"][name]))
    value, low, high = (format(found[part] * scale, f"+{form}") for part in ("value", "low", "high"))
    return f"{value}{unit} ({low} to {high})"


def _number(effect: Mapping[str, Any], name: str) -> Cell:
    found: float | None = effect.get(name)
    return Missing(str(effect["missing"][name])) if found is None else found
