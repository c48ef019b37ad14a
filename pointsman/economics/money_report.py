"""The money document as sections of a report for people. It reads the document alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pointsman.economics.plain import number_of
from pointsman.economics.utilisation_chart import utilisation_chart
from pointsman.model import Missing
from pointsman.reporting import Cell, Figures, Report, Section, Table, Text, escape_markdown, show

_MOST_ROWS = 20
_MOST_PRICES = 3


def with_money(report: Report, money: Mapping[str, Any] | None) -> Report:
    """The HUD's report with the money behind it; None: of a verdict that is older than the money document."""
    return report if money is None else replace(report, sections=[*report.sections, *money_sections(money)])


def money_sections(money: Mapping[str, Any], challenger: str | None = None) -> list[Section]:
    """Waterfall, saving and payback, sensitivity, self-hosted utilisation, and how sure the frontier is.

    Of one challenger: the document's own choice unless told.
    """
    challenger = challenger or money["challenger"]
    sections: list[Section] = []
    if challenger is not None:
        sections += [waterfall_table(money, challenger), *_saving(money, challenger)]
        sections.append(sensitivity_table(money, challenger))
    sections += utilisation_sections(money)
    sections.append(_membership(money))
    if money.get("prices"):
        sections.append(_prices(money["prices"]))
    return sections


def waterfall_table(money: Mapping[str, Any], challenger: str) -> Table:
    """A row per line: what it costs the incumbent and the challenger, and what each figure is."""
    old, new = _variant(money, money["incumbent"]), _variant(money, challenger)
    rows: list[list[Cell]] = [
        [one["name"], _usd(one), one["basis"], _usd(other), other["basis"], _difference(one, other)]
        for one, other in _lines(old, new)
    ]
    if (known := _known_of_both(old, new)) is not None:
        rows.append(["known of both", known[0], "", known[1], "", known[0] - known[1]])
    rows.append(["total", *_total(old), *_total(new), _difference_of_totals(old, new)])
    columns = ("line", f"{old['label']} (incumbent)", "is", new["label"], "is", "saves")
    return Table(columns, rows, "From list price to an accepted output in production, USD each")


def _usd(line: Mapping[str, Any]) -> Cell:
    found = number_of(line["usd"])
    return "" if isinstance(found, Missing) else found


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> Cell:
    spent, would = number_of(one["usd"]), number_of(other["usd"])
    return "" if isinstance(spent, Missing) or isinstance(would, Missing) else spent - would


def _known_of_both(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Decimal, Decimal] | None:
    """What each costs in the lines that are known of both; None where all are, and the totals say it, and where the
    list price is not among them: the rest says nothing.
    """
    pairs = [(number_of(one["usd"]), number_of(other["usd"])) for one, other in _lines(old, new)]
    known = [(one, other) for one, other in pairs if isinstance(one, Decimal) and isinstance(other, Decimal)]
    if len(known) == len(pairs) or any(isinstance(one, Missing) for one in pairs[0]):
        return None
    return sum((one for one, _ in known), Decimal(0)), sum((other for _, other in known), Decimal(0))


def _lines(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return zip(old["lines"], new["lines"], strict=True)


def _total(variant: Mapping[str, Any]) -> tuple[Cell, Cell]:
    found = number_of(variant["total_usd"])
    return ("not known", "missing") if isinstance(found, Missing) else (found, "")


def _difference_of_totals(old: Mapping[str, Any], new: Mapping[str, Any]) -> Cell:
    spent, would = number_of(old["total_usd"]), number_of(new["total_usd"])
    return "" if isinstance(spent, Missing) or isinstance(would, Missing) else spent - would


def _saving(money: Mapping[str, Any], challenger: str) -> list[Section]:
    found = _comparison(money, challenger)
    pairs: list[tuple[str, Cell]] = [
        ("allocated saving per output once switched, USD", number_of(found["allocated_saving"])),
        ("cash saving per output once switched, USD", number_of(found["cash_saving"])),
        ("cash saving per month, USD", number_of(found["cash_saving_usd_per_month"])),
        ("switching costs once, USD", number_of(found["one_off_usd"])),
        ("payback, months", number_of(found["payback_months"])),
        ("payback with the cost of finding out, months", number_of(found["payback_months_with_experiment"])),
    ]
    sections: list[Section] = [Figures(pairs, f"What switching to {found['label']} is worth{_in_part(found)}")]
    unknown = _unknown(money, challenger)
    if unknown:
        sections.append(Text("\n".join(["Not known, and so in no figure above:", "", *unknown])))
    return sections


def _comparison(money: Mapping[str, Any], challenger: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(one for one in money["comparisons"] if one["challenger"] == challenger)
    return found


def _in_part(comparison: Mapping[str, Any]) -> str:
    return ", in what is known of both" if comparison["left_out"] else ""


def _unknown(money: Mapping[str, Any], challenger: str) -> list[str]:
    """Each line that is not known of one of the two, with the reason, once for each reason."""
    reasons: dict[str, list[str]] = {}
    for variant in dict.fromkeys((money["incumbent"], challenger)):
        for line in _variant(money, variant)["lines"]:
            if line["basis"] == "missing":
                named = reasons.setdefault(line["why"], [])
                if line["name"] not in named:
                    named.append(line["name"])
    return [f"- {escape_markdown(', '.join(names))}: {escape_markdown(why)}" for why, names in reasons.items()]


def sensitivity_table(money: Mapping[str, Any], challenger: str) -> Table:
    """A row per lever: where it is now, and where a switch to the challenger starts or stops to be worth it."""
    rows = [
        (
            turn["lever"],
            _level(turn["now"], turn["unit"]),
            "yes" if turn["worth_it_now"] else "no",
            _level(turn["at"], turn["unit"]) + _in_prices(turn),
        )
        for turn in money["sensitivity"]
        if turn["challenger"] == challenger
    ]
    if not rows:
        rows = [("nothing: it is not among the cheapest, or has no known price", "", "", "")]
    least = f"{100 * money['minimum_saving']:g} %"
    found = _comparison(money, challenger)
    title = f"Where the answer changes: is {found['label']} cheaper by {least}{_in_part(found)}?"
    return Table(("if only this moves", "it is now", "cheaper now", "the answer changes at"), rows, title)


def _in_prices(turn: Mapping[str, Any]) -> str:
    """What so many times a price is, where there are few enough to read."""
    told = turn["prices"][:_MOST_PRICES]
    if not told or isinstance(number_of(told[0]["at_usd"]), Missing):
        return ""
    shown = [f"{show(number_of(one['at_usd']))} USD per {one['unit']}" for one in told]
    return f" ({', '.join(shown)})"


def _level(value: Any, unit: str) -> str:
    found = number_of(value)
    if isinstance(found, Missing):
        return f"never ({found.reason})"
    if unit == "share":
        return f"{100 * float(found):.3g} %"
    if unit == "times":
        return f"{float(found):.4g} times" if found != 1 else "as it is"
    return f"{found:,.0f}" if found >= 1000 else f"{found:.4g}"


def utilisation_sections(money: Mapping[str, Any]) -> list[Section]:
    found = money["utilisation"]
    if not found["curves"]:
        return []
    sections: list[Section] = [utilisation_chart(found)]
    if found["break_even"]:
        rows = [
            (
                *(one["label"], one["against"], _level(one["utilisation"], "share").removeprefix("never ")),
                ", ".join(one.get("left_out", ())),
            )
            for one in found["break_even"]
        ]
        columns = ("self-hosted", "paid per output", "as cheap from", "not counted")
        sections.append(Table(columns, rows, "Break-even utilisation"))
    return sections


def _membership(money: Mapping[str, Any]) -> Table:
    def order(one: Mapping[str, Any]) -> tuple[float, str]:
        share = one["probability"]
        return (1.0 if isinstance(share, dict) else -share), one["label"]

    rows: list[Sequence[Cell]] = [
        (
            one["label"],
            Missing(one["probability"]["missing"])
            if isinstance(one["probability"], dict)
            else f"{100 * one['probability']:.3g} %",
        )
        for one in sorted(money["frontier_membership"], key=order)[:_MOST_ROWS]
    ]
    return Table(("variant", "on the frontier in"), rows, "How sure the frontier is, over inputs like these")


def _prices(prices: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (one["sku"], number_of(one["usd"]), one["unit"], one["valid_from"][:10], one["source"])
        for one in prices[:_MOST_ROWS]
    ]
    return Table(("sku", "USD", "for one", "since", "source"), rows, "Prices that applied")


def _variant(money: Mapping[str, Any], variant: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(one for one in money["variants"] if one["variant"] == variant)
    return found
