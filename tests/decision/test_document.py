"""The verdict document: byte-identical for equal input, readable, and caught when somebody edits it."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.canonical import canonical_json
from pointsman.decision import decide, estimates, read_document, verdict_document, verify
from pointsman.economics.plain import exact_text
from pointsman.errors import DataCheckFailed, InputRefused
from pointsman.model import Measurement, Missing
from tests.decision.comparisons import measured, plan, variant, wobble


def comparison(**changes: Any) -> list[Measurement]:
    return measured(
        plan(),
        cost=lambda cell: round(0.01 * wobble(cell) * (0.5 if cell[0] == 1 else 1), 9),
        quality=lambda cell: round(90 * wobble(cell, 0.01), 4),
        **changes,
    )


def document_of(data: list[Measurement]) -> bytes:
    return verdict_document(plan(), data, decide(plan(), data))


def test_the_same_plan_and_measurements_in_any_order_give_the_same_bytes() -> None:
    data = comparison()
    shuffled = random.Random(3).sample(data, k=len(data))
    assert document_of(shuffled) == document_of(data)


def test_numbers_that_are_equal_but_written_differently_give_the_same_bytes() -> None:
    data = comparison(changed={(0, 0, 0): {"cost_usd": Decimal("0.01")}})
    padded = comparison(changed={(0, 0, 0): {"cost_usd": Decimal("1.000E-2")}})
    assert document_of(padded) == document_of(data)


@pytest.mark.parametrize(
    "change",
    [{"cost_usd": Decimal("0.0101")}, {"quality": Decimal("1")}, {"total_ms": Decimal("9")}, {"outcome": "failure"}],
)
def test_any_changed_measurement_changes_the_hash_of_the_data(change: dict[str, Any]) -> None:
    first, second = decide(plan(), comparison()), decide(plan(), comparison(changed={(0, 0, 0): change}))
    assert first.data_sha256 != second.data_sha256


def test_a_document_is_read_back_as_what_went_into_it() -> None:
    unknown = {"cost_usd": Missing("no price for gpu-second"), "total_ms": Missing("never finished")}
    data = comparison(changed={(2, 1, 0): unknown})
    verdict = decide(plan(), data)
    said = read_document(verdict_document(plan(), data, verdict, evidence={"note": "what it rests on"}))
    read_verdict = said.verdict
    assert said.plan == plan()
    assert list(said.data) == data
    assert said.evidence == {"note": "what it rests on"}
    assert (read_verdict.outcome, read_verdict.winner, read_verdict.why) == ("WINNER", variant(1), verdict.why)
    for read, gate in zip(read_verdict.gates, verdict.gates, strict=True):
        assert (read.name, read.challenger, read.passed, read.why) == (
            gate.name,
            gate.challenger,
            gate.passed,
            gate.why,
        )
        assert read.estimate == pytest.approx(gate.estimate)
        assert read.p_value == pytest.approx(gate.p_value)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {(0, 0, 0): {"outcome": "infrastructure"}},
        {(1, 0, 0): {"cost_usd": Missing("no price")}},
        {(1, 0, 0): {"quality": Missing("judge gave up")}},
    ],
)
def test_every_kind_of_verdict_can_be_recomputed_from_its_document(changed: dict[Any, Any]) -> None:
    data = comparison(changed=changed)
    assert verify(document_of(data)) == decide(plan(), data)


def edit(document: bytes, change: Any) -> bytes:
    plain = json.loads(document)
    change(plain)
    return canonical_json(plain) + b"\n"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda plain: plain["verdict"].update(winner=str(variant(2))), "verdict"),
        (lambda plain: plain["verdict"].update(outcome="EQUIVALENT"), "verdict"),
        (lambda plain: plain["verdict"]["gates"][0].update(p_value="0.04"), "verdict"),
        (lambda plain: plain["measurements"]["rows"][0].__setitem__(7, "0.02"), "verdict"),
        (lambda plain: plain["plan"].update(min_saving=0.01), "verdict"),
        (lambda plain: plain["estimates"][0].update(quality="99"), "estimates"),
        (lambda plain: plain.update(note="approved"), "note"),
    ],
)
def test_a_document_that_was_edited_is_found_out_by_part(change: Any, part: str) -> None:
    with pytest.raises(DataCheckFailed, match=part):
        verify(edit(document_of(comparison()), change))


def test_a_document_of_another_version_says_which_one_may_have_decided_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    edited = edit(document_of(comparison()), lambda plain: plain["verdict"].update(why="As it was said before."))
    with pytest.raises(DataCheckFailed, match=r"decided by 0\.1\.0 and computed again by"):
        verify(edited)
    monkeypatch.setattr("pointsman.decision.document.code_version", lambda: "0.1.0")
    with pytest.raises(DataCheckFailed) as found:
        verify(edited)
    assert found.value.message.endswith("verdict differ.")


def test_a_document_with_the_same_content_in_another_layout_is_found_out() -> None:
    with pytest.raises(DataCheckFailed, match="layout"):
        verify(json.dumps(json.loads(document_of(comparison()))).encode())


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.update(format="something-else"),
        lambda plain: plain.pop("plan"),
        lambda plain: plain["measurements"].update(columns=["dispatch_id"]),
        lambda plain: plain["measurements"]["rows"][0].pop(),
        lambda plain: plain["measurements"]["rows"][0].__setitem__(7, "cheap"),
        lambda plain: plain["measurements"]["rows"][0].__setitem__(5, "fine"),
        lambda plain: plain["measurements"]["rows"][0].__setitem__(1, "er:x"),
        lambda plain: plain["verdict"].pop("gates"),
    ],
)
def test_what_is_no_verdict_document_is_refused(change: Any) -> None:
    with pytest.raises(InputRefused):
        read_document(edit(document_of(comparison()), change))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"\xff"])
def test_what_is_not_even_json_is_refused(text: bytes) -> None:
    with pytest.raises(InputRefused):
        read_document(text)


def test_estimates_are_ratios_of_sums_with_failed_cells_counted() -> None:
    declared = plan(challengers=1)
    data = measured(
        declared, cost=lambda cell: 4 if cell[1] == 0 else 1, quality=lambda cell: 80, failed=lambda cell: cell[1] == 1
    )
    found = estimates(declared, data)[0]
    assert found.success_rate == pytest.approx(7 / 8)
    assert found.quality == pytest.approx(70)
    assert found.usd_per_success == pytest.approx(11 / 7)
    assert found.usd_low is not None
    assert found.usd_high is not None
    assert found.usd_low < 11 / 7 < found.usd_high


def test_repeats_change_no_estimate() -> None:
    once, often = plan(), plan(repeats=3)
    first, second = (estimates(some, measured(some, cost=lambda cell: 1 + cell[1] % 3)) for some in (once, often))
    assert [one.usd_per_success for one in second] == pytest.approx([one.usd_per_success for one in first])


def test_an_estimate_that_is_not_known_says_why() -> None:
    unknown = {(1, 0, 0): {"cost_usd": Missing("no price")}, (1, 1, 0): {"quality": Missing("not judged")}}
    declared = plan()
    data = measured(declared, failed=lambda cell: cell[0] == 2, changed=unknown)
    _, unpriced, hopeless = estimates(declared, data)
    assert (unpriced.usd_per_success, unpriced.quality, unpriced.why) == (None, None, "UNPRICED: no price")
    assert (hopeless.usd_per_success, hopeless.usd_low, hopeless.why) == (None, None, "no cell succeeded")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12))
def test_the_text_of_a_number_is_exact_and_the_same_for_equal_numbers(number: Decimal) -> None:
    text = exact_text(number)
    assert Decimal(text) == number
    assert exact_text(Decimal(text)) == text
    assert "E" not in text
    assert text not in ("-0", "0.0")
