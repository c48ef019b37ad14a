"""What must be true of the data at each hand-over: suites of rules, as plain data.

A rule names an expectation class of Great Expectations. The suites do not import it, because that takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pointsman.errors import NotFound
from pointsman.states import DISPATCH, RUN_ITEM

NEVER_SENT = ("dropped", "cancelled_unsent")


@dataclass(frozen=True, slots=True)
class Rule:
    """One expectation and what it means. `where` limits it to rows whose column holds one of the values."""

    expectation: str
    means: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    where: tuple[str, tuple[str, ...]] | None = None

    @property
    def column(self) -> str:
        """The column, or columns, that the rule looks at; empty for a rule about the whole set."""
        named = [self.arguments[name] for name in ("column", "column_A", "column_B") if name in self.arguments]
        return ", ".join([*named, *self.arguments.get("column_list", ())])


@dataclass(frozen=True, slots=True)
class Suite:
    """The rules of one hand-over. `key` is the column that names a row to a person."""

    name: str
    key: str
    rules: tuple[Rule, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the suite reads, the key first."""
        read = [self.key]
        for rule in self.rules:
            read += [*filter(None, rule.column.split(", ")), *([rule.where[0]] if rule.where else [])]
        return tuple(dict.fromkeys(read))


def _not_empty(means: str) -> Rule:
    return Rule("ExpectTableRowCountToBeBetween", means, {"min_value": 1})


def _known(column: str, means: str, where: tuple[str, tuple[str, ...]] | None = None) -> Rule:
    return Rule("ExpectColumnValuesToNotBeNull", means, {"column": column}, where)


def _absent(column: str, means: str, where: tuple[str, tuple[str, ...]]) -> Rule:
    return Rule("ExpectColumnValuesToBeNull", means, {"column": column}, where)


def _unique(column: str, means: str) -> Rule:
    return Rule("ExpectColumnValuesToBeUnique", means, {"column": column})


def _one_of(column: str, values: tuple[str, ...], means: str) -> Rule:
    return Rule("ExpectColumnValuesToBeInSet", means, {"column": column, "value_set": list(values)})


def _between(column: str, means: str, *, low: float, high: float | None = None) -> Rule:
    bounds = {"min_value": low} | ({} if high is None else {"max_value": high})
    return Rule("ExpectColumnValuesToBeBetween", means, {"column": column, **bounds})


def _not_before(later: str, earlier: str, means: str) -> Rule:
    arguments = {"column_A": later, "column_B": earlier, "or_equal": True, "ignore_row_if": "either_value_is_missing"}
    return Rule("ExpectColumnPairValuesAToBeGreaterThanB", means, arguments)


def _unique_together(columns: tuple[str, ...], means: str) -> Rule:
    return Rule("ExpectCompoundColumnsToBeUnique", means, {"column_list": list(columns)})


_COMPLETED = ("state", ("completed",))
_WAS_NOT_SENT = ("state", NEVER_SENT)
_DONE = ("status", ("completed",))

_LEDGER = Suite(
    "ledger",
    "dispatch_id",
    (
        _not_empty("a ledger has dispatches"),
        _known("dispatch_id", "every dispatch has an id"),
        _unique("dispatch_id", "a dispatch stands in the ledger once"),
        _unique("seq", "a place in the plan stands in the ledger once"),
        _known("state", "every dispatch has a state"),
        _one_of("state", tuple(sorted(DISPATCH.terminal)), "every dispatch of a closed ledger has ended"),
        # When a driver was killed right after sending, the time of sending is not known.
        _absent("sent_ns", "a dispatch that was never sent has no time of sending", _WAS_NOT_SENT),
        _known("reason", "a dropped dispatch says why", ("state", ("dropped",))),
        _known("variant", "a completed dispatch names the variant that ran", _COMPLETED),
        _known("done_ns", "a completed dispatch has the time of its end", _COMPLETED),
        _known("total_ms", "a completed dispatch has its total time", _COMPLETED),
        _not_before("sent_ns", "planned_ns", "nothing is sent before it is planned"),
        _not_before("done_ns", "sent_ns", "nothing ends before it is sent"),
        _between("total_ms", "times are 0 or more", low=0),
        _between("queue_ms", "times are 0 or more", low=0),
        _between("run_ms", "times are 0 or more", low=0),
    ),
)
_RUN_ITEMS = Suite(
    "run_items",
    "dispatch_id",
    (
        _not_empty("a matrix has cells"),
        _known("dispatch_id", "every cell has a dispatch id"),
        _unique("dispatch_id", "a cell stands in the matrix once"),
        _unique_together(("variant_id", "input_id", "repeat"), "one cell per variant, input and repeat"),
        _one_of("status", tuple(sorted(RUN_ITEM.terminal)), "every cell of a collected matrix has ended"),
        _known("job_id", "a completed cell names the target's job", _DONE),
        # It counts from sending, so it is missing when the driver was killed right after that.
        _between("total_ms", "times are 0 or more", low=0),
        _known("output_sha256", "a completed cell has an output with its hash", _DONE),
        _known("output_bytes", "a completed cell has an output with its size", _DONE),
        _between("output_bytes", "no output is empty", low=1),
        _known("attempts", "a completed cell has at least one attempt to bill", _DONE),
    ),
)
_EVALUATIONS = Suite(
    "evaluations",
    "dispatch_id",
    (
        _not_empty("an evaluation set has evaluations"),
        _known("dispatch_id", "every evaluation names its dispatch"),
        _unique("dispatch_id", "an output is judged once within a set"),
        _between("quality", "quality is a number from 0 to 100", low=0, high=100),
        _one_of("known", ("quality", "reason"), "an evaluation has a quality or the reason why not, and not both"),
        _known("evaluation_id", "every output of the benchmark is judged"),
        _one_of("of_benchmark", ("yes",), "an evaluation belongs to an output of the set's own benchmark"),
        _one_of("by_the_sets_judge", ("yes",), "one judge, with one model and one rubric, judges a whole comparison"),
    ),
)
_PRICE_BOOK = Suite(
    "price_book",
    "entry",
    (
        _not_empty("a price book has prices"),
        _known("sku", "every price has a SKU"),
        _known("unit", "every price has a unit"),
        _known("source", "every price says where it comes from"),
        _known("usd", "every price has an amount"),
        _between("usd", "no price is below 0", low=0),
        _unique_together(("sku", "valid_from"), "one price per SKU and start"),
        _one_of("validity", ("a period", "open"), "a price ends after it starts"),
        _one_of("follows", ("first", "adjoins"), "the prices of a SKU follow each other without gap or overlap"),
    ),
)

SUITES: Mapping[str, Suite] = {one.name: one for one in (_LEDGER, _RUN_ITEMS, _EVALUATIONS, _PRICE_BOOK)}


def suite(name: str) -> Suite:
    """The suite of that name. Raises `NotFound`."""
    if name not in SUITES:
        raise NotFound("check suite", name, ", ".join(SUITES))
    return SUITES[name]
