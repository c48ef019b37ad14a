"""Running a suite on a frame. All rules go through Great Expectations in one validation, in memory and silently."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pointsman.actions import ActionLog
from pointsman.checks.report import CheckFailure, CheckReport
from pointsman.checks.suites import SUITES, Rule, Suite, suite
from pointsman.errors import DataCheckFailed, InputRefused

_NAMED_ROWS = 20
_LOGGED_ROWS = 5


def check(suite_name: str, frame: pl.DataFrame, folder: Path | None = None) -> CheckReport:
    """Check the frame against every rule of the suite; a rule that cannot be evaluated does not hold.

    With `folder`, also against the rules that the files in it add. Imports Great Expectations at the first call, which
    takes seconds. Raises `NotFound` for an unknown suite and `InputRefused` for rules that are none.
    """
    wanted = suite(suite_name, folder)
    asked = [number for number in range(len(wanted.rules)) if _is_asked(wanted, number, frame)]
    with warnings.catch_warnings():
        # Great Expectations and what it imports warn of their own deprecations; nothing of ours runs in here.
        warnings.simplefilter("ignore")
        results = _validate(wanted, asked, frame)
    failures = [_failure(wanted, number, result) for number, result in sorted(results.items())]
    return CheckReport(wanted, frame.height, tuple(failure for failure in failures if failure))


def ensure(
    suite_name: str, frame: pl.DataFrame, log: ActionLog, run_id: str, folder: Path | None = None
) -> CheckReport:
    """The same, and a failing check is logged and stops the chain.

    Raises `DataCheckFailed`; its `data["report"]` is the `CheckReport`.
    """
    found = check(suite_name, frame, folder)
    if found.passed:
        return found
    first = found.failures[0]
    log.record(
        "data_check_failed",
        run_id=run_id,
        suite=found.suite.name,
        rows=found.rows,
        failures=[{"column": f.column, "why": f.why, "rows": f.rows[:_LOGGED_ROWS]} for f in found.failures],
    )
    named = f" First rows: {', '.join(first.rows[:_LOGGED_ROWS])}." if first.rows else ""
    raise DataCheckFailed(
        f"{len(found.failures)} rules of the data check {found.suite.name!r} do not hold: {first.why}.{named}",
        instruction=f"pointsman logs --run {run_id} --json",
        report=found,
    )


def probe_rules(folder: Path) -> None:
    """Have Great Expectations look at all rules of one's own before any data is there.

    Raises `InputRefused` for an expectation or an argument that it does not know.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in SUITES:
            for number, rule in enumerate(suite(name, folder).rules):
                _expectation(rule, number)


def _is_asked(wanted: Suite, number: int, frame: pl.DataFrame) -> bool:
    """Whether a rule is about this frame at all: what one judge scores is not there when another one judged.

    Raises `InputRefused` for a rule of one's own about what is not there.
    """
    rule = wanted.rules[number]
    if not wanted.is_own(number):
        return True
    field = f"rule {rule.means!r} of {wanted.own_path}"
    absent = [name for name in rule.reads if name not in wanted.holds and name not in frame.columns]
    if (where := rule.where) is not None and where.column in frame.columns:
        text = frame[where.column].dtype == pl.String
        for value in where.is_in:
            if isinstance(value, str) is not text:
                raise InputRefused(f"{field}, where.is_in of {where.column}", value, "text" if text else "a number")
        if absent and not frame[where.column].is_in(list(where.is_in)).any():
            return False
    if absent:
        raise InputRefused(f"{field}, column", absent[0], f"a column that is there: {', '.join(frame.columns)}")
    return True


def _validate(wanted: Suite, asked: Sequence[int], frame: pl.DataFrame) -> dict[int, Mapping[str, Any]]:
    """The result document of each rule that is asked, by its number in the suite."""
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
        ),
    )
    columns = [name for name in wanted.reads if name in frame.columns]
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset(wanted.name)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch(
        {"dataframe": pd.DataFrame({name: frame[name].to_numpy() for name in columns})}
    )
    validated = batch.validate(
        gx.ExpectationSuite(
            name=wanted.name, expectations=[_expectation(wanted.rules[number], number) for number in asked]
        ),
        result_format={
            "result_format": "SUMMARY",
            "unexpected_index_column_names": [wanted.key] if wanted.key in columns else [],
            "partial_unexpected_count": _NAMED_ROWS,
        },
    )
    documents: list[Any] = [result.to_json_dict() for result in validated.results]
    return {document["expectation_config"]["meta"]["rule"]: document for document in documents}


def _expectation(rule: Rule, number: int) -> Any:
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    where = {} if rule.where is None else {"row_condition": Column(rule.where.column).is_in(list(rule.where.is_in))}
    kind = getattr(gxe, rule.expectation, None)
    if kind is None:
        raise InputRefused(f"expectation of the rule {rule.means!r}", rule.expectation, "a class of Great Expectations")
    try:
        return kind(**rule.arguments, **where, meta={"rule": number})
    except (TypeError, ValueError) as error:
        allowed = f"arguments of {rule.expectation} ({error})"
        raise InputRefused(f"arguments of the rule {rule.means!r}", dict(rule.arguments), allowed) from error


def _failure(wanted: Suite, number: int, document: Mapping[str, Any]) -> CheckFailure | None:
    rule = wanted.rules[number]
    own = wanted.is_own(number)
    exception = _exception(document["exception_info"])
    if exception is not None:
        why = f"it could not be evaluated whether {rule.means}"
        return CheckFailure(rule.expectation, rule.column, why, (), exception, own=own)
    if document["success"]:
        return None
    result = document["result"]
    why = rule.means
    if "unexpected_count" in result:
        why += f"; not so in {result['unexpected_count']} of {result['element_count']} rows"
    elif "observed_value" in result:
        why += f"; found {result['observed_value']}"
    rows = result.get("partial_unexpected_index_list") or ()
    keys = tuple(str(row[wanted.key]) if isinstance(row, Mapping) else f"row {row}" for row in rows)
    return CheckFailure(
        rule.expectation, rule.column, why, keys, None, tuple(_held(rule, row) for row in rows), own=own
    )


def _held(rule: Rule, row: Any) -> str:
    """What a row that breaks a rule has in the columns that the rule looks at."""
    if not isinstance(row, Mapping):
        return ""
    return ", ".join(f"{name} {_shown(row[name])}" for name in rule.columns if name in row)


def _shown(value: Any) -> str:
    return "nothing" if value is None or value != value else f"{value:.10g}" if isinstance(value, float) else str(value)


def _exception(info: Mapping[str, Any]) -> str | None:
    """The message of a rule that raised. It is one document, or one per metric that the rule is computed from."""
    documents = [info] if "raised_exception" in info else list(info.values())
    messages = [str(one["exception_message"]) for one in documents if one["raised_exception"]]
    return "; ".join(dict.fromkeys(messages)) or None
