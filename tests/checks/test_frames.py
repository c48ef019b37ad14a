"""What the other hand-overs hold: cells, evaluations and prices, read from the state of record."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from pointsman.checks import check, evaluations_frame, price_book_frame, run_items_frame, suite
from pointsman.dispatch import closing
from pointsman.errors import InputRefused, NotFound
from pointsman.storage import tables

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BENCHMARK = "bm_1"


@pytest.fixture
def own_folder(tmp_path):
    folder = tmp_path / "checks"
    folder.mkdir()
    return folder


def insert(ws, table, *rows):
    with ws.database.begin() as connection:
        for one in rows:
            connection.execute(sa.insert(table).values(**one))


def failures(suite, frame):
    return {(failure.column, failure.rows) for failure in check(suite, frame).failures}


def matrix(ws, *items):
    run = {"status": "collected", "input_set_id": "i", "environment_id": "lab", "seed": 1, "plan": {}}
    insert(
        ws,
        tables.benchmark_matrix_runs,
        {"id": BENCHMARK, "plan_sha256": "0", "results_path": "r", "created_at": NOW, **run},
    )
    insert(ws, tables.benchmark_matrix_run_items, *items)


def item(seq, status="completed", **changes):
    good = {
        "dispatch_id": f"d{seq}",
        "benchmark_id": BENCHMARK,
        "seq": seq,
        "round": 0,
        "variant_id": "v",
        "input_id": f"i{seq}",
        "cluster": "c",
        "repeat": 0,
        "status": status,
        "reason": None if status == "completed" else "because",
        "job_id": f"j{seq}",
        "total_ms": 5.0 if status == "completed" else None,
    }
    return {**good, **changes}


def output(seq, **changes):
    good = {"id": f"a{seq}", "run_id": BENCHMARK, "subject_id": f"d{seq}", "uri": "file:///x", "sha256": "0" * 64}
    return {**good, "artifact_type": "benchmark_variant_dispatches", "bytes": 10, "created_at": NOW, **changes}


def attempt(subject, number=1, **changes):
    good = {"id": f"{subject}#{number}", "run_id": BENCHMARK, "subject_id": subject, "subject_kind": "cell"}
    rest = {"number": number, "provider": "lab", "outcome": "completed", "started_at": NOW, "detail": {}}
    return {**good, **rest, **changes}


def test_a_collected_matrix_passes_with_failed_cells_and_several_attempts_in_it(ws):
    matrix(ws, item(0), item(1), item(2, "failed", job_id=None), item(3, "cancelled"))
    insert(ws, tables.run_artifacts, output(0), output(1), output(9, subject_id="d0", artifact_type="log"))
    insert(ws, tables.attempts, attempt("d0"), attempt("d0", 2), attempt("d1"), attempt("set:d1", run_id="set"))
    frame = run_items_frame(ws, BENCHMARK)
    assert frame["dispatch_id"].to_list() == ["d0", "d1", "d2", "d3"]
    assert frame["attempts"].to_list() == [2, 1, None, None]
    assert check("run_items", frame).passed


def test_each_rule_of_the_run_items_finds_the_cell_that_breaks_it(ws):
    matrix(
        ws,
        item(0),
        item(1, "running"),
        item(2, job_id=None),
        item(3, total_ms=None),
        item(4, total_ms=-1.0),
        item(5),
        item(6),
        item(7),
        item(8, queue_ms=-1.0),
        item(9, run_ms=-1.0),
    )
    insert(ws, tables.run_artifacts, *(output(n) for n in (0, 1, 2, 3, 4, 7, 8, 9)), output(6, bytes=0))
    insert(ws, tables.attempts, *(attempt(f"d{n}") for n in (*range(7), 8, 9)))
    assert failures("run_items", run_items_frame(ws, BENCHMARK)) == {
        ("status", ("d1",)),
        ("job_id", ("d2",)),
        ("total_ms", ("d4",)),
        ("queue_ms", ("d8",)),
        ("run_ms", ("d9",)),
        ("output_sha256", ("d5",)),
        ("output_bytes", ("d5",)),
        ("output_bytes", ("d6",)),
        ("attempts", ("d7",)),
    }


def test_a_completed_cell_whose_sending_was_interrupted_may_lack_its_time(ws):
    matrix(ws, item(0, total_ms=None))
    insert(ws, tables.run_artifacts, output(0))
    insert(ws, tables.attempts, attempt("d0"))
    assert check("run_items", run_items_frame(ws, BENCHMARK)).passed


def test_an_unknown_benchmark_has_no_cells_and_does_not_pass(ws):
    (failure,) = check("run_items", run_items_frame(ws, "bm_none")).failures
    assert failure.why == "a matrix has cells; found 0"


def evaluation_set(ws, *evaluations):
    matrix(ws, item(0), item(1), item(2), item(3, "failed"))
    opened = {"id": "set", "benchmark_id": BENCHMARK, "judge": "local", "identity": {"name": "local"}}
    insert(ws, tables.evaluation_sets, {**opened, "status": "complete", "created_at": NOW})
    insert(ws, tables.quality_evaluations, *evaluations)


def evaluation(seq, quality="90.5", reason=None):
    row = {"id": f"e{seq}", "evaluation_set_id": "set", "benchmark_id": BENCHMARK, "dispatch_id": f"d{seq}"}
    number = None if quality is None else Decimal(quality)
    return {**row, "quality": number, "missing_reason": reason, "scores": {}, "created_at": NOW}


def judgement(seq, provider="local"):
    return attempt(f"set:d{seq}", run_id="set", subject_kind="judgement", provider=provider)


def test_a_complete_evaluation_set_passes_with_unknown_qualities_in_it(ws):
    evaluation_set(ws, evaluation(0, "0"), evaluation(1, "100"), evaluation(2, None, "the judge refused"))
    insert(ws, tables.attempts, *(judgement(n) for n in range(3)))
    frame = evaluations_frame(ws, "set")
    assert frame["quality"].to_list() == [0.0, 100.0, None]
    assert check("evaluations", frame).passed


def test_each_rule_of_the_evaluations_finds_the_row_that_breaks_it(ws):
    evaluation_set(ws, evaluation(0, "100.5"), evaluation(1, "-1"), evaluation(3))
    insert(ws, tables.attempts, judgement(0), judgement(1, "gemini"), judgement(3))
    assert failures("evaluations", evaluations_frame(ws, "set")) == {
        ("quality", ("d0", "d1")),
        ("by_the_sets_judge", ("d1",)),
        ("evaluation_id", ("d2",)),
        ("of_benchmark", ("d3",)),
    }


def test_an_evaluation_without_quality_and_reason_or_with_both_is_found():
    import polars as pl

    frame = pl.DataFrame(
        {
            "dispatch_id": ["d0", "d1"],
            "evaluation_id": ["e0", "e1"],
            "quality": [None, 5.0],
            "known": ["neither", "both"],
            "of_benchmark": ["yes", "yes"],
            "by_the_sets_judge": ["yes", "yes"],
        }
    )
    assert failures("evaluations", frame) == {("known", ("d0", "d1"))}


def test_rules_of_ones_own_may_look_at_each_score_of_a_judge_by_its_path(ws, own_folder):
    told = [
        {"vmaf": 95.5, "decodable": True, "findings": {}, "criteria": {"fidelity": 4}},
        {"vmaf": 60, "decodable": True, "findings": {"frozen": "stands still"}, "repeats": [1.0, 2.0]},
        {"decodable": False},
    ]
    evaluation_set(ws, *({**evaluation(n, "90"), "scores": scores} for n, scores in enumerate(told)))
    frame = evaluations_frame(ws, "set")
    assert frame["vmaf"].to_list() == [95.5, 60.0, None]
    assert frame["criteria.fidelity"].to_list() == [4.0, None, None]
    assert frame["decodable"].to_list() == [True, True, False]
    assert frame["repeats"].to_list() == [None, "[1.0, 2.0]", None]
    assert frame["variant_id"].to_list() == ["v", "v", "v"]
    assert set(suite("evaluations").holds) <= set(frame.columns)
    own = """
[[rules]]
means = "no output is far from its source"
expectation = "ExpectColumnValuesToBeBetween"
arguments = { column = "vmaf", min_value = 80 }

[[rules]]
means = "no output stands still"
expectation = "ExpectColumnValuesToBeNull"
arguments = { column = "findings.frozen" }

[[rules]]
means = "nothing is black"
expectation = "ExpectColumnValuesToBeNull"
arguments = { column = "findings.black" }

[[rules]]
means = "every output decodes"
expectation = "ExpectColumnValuesToBeInSet"
arguments = { column = "decodable", value_set = [true] }
"""
    (own_folder / "evaluations.toml").write_text(own)
    found = check("evaluations", frame, own_folder)
    assert {(one.column, one.rows, one.values) for one in found.failures} == {
        ("vmaf", ("d1",), ("vmaf 60",)),
        ("findings.frozen", ("d1",), ("findings.frozen stands still",)),
        ("decodable", ("d2",), ("decodable False",)),
    }
    (own_folder / "evaluations.toml").write_text(own.replace('"vmaf"', '"vmaff"'))
    with pytest.raises(InputRefused, match="'vmaff'") as refused:
        check("evaluations", frame, own_folder)
    assert "no output is far from its source" in refused.value.message


def test_a_rule_on_what_one_judge_scores_rests_when_the_other_judged(ws, own_folder):
    evaluation_set(ws, *(evaluation(n) for n in range(3)))
    rule = """
[[rules]]
means = "Gemini sees the prompt"
expectation = "ExpectColumnValuesToBeBetween"
arguments = { column = "criteria.adherence", min_value = 3 }
where = { column = "judge", is_in = ["gemini"] }
"""
    (own_folder / "evaluations.toml").write_text(rule)
    assert check("evaluations", evaluations_frame(ws, "set"), own_folder).passed
    (own_folder / "evaluations.toml").write_text(rule.replace('"gemini"', '"local"'))
    with pytest.raises(InputRefused, match=r"criteria\.adherence"):
        check("evaluations", evaluations_frame(ws, "set"), own_folder)


def test_every_frame_has_the_columns_that_its_suite_promises(ws):
    evaluation_set(ws)
    assert set(run_items_frame(ws, BENCHMARK).columns) == set(suite("run_items").holds)
    assert set(evaluations_frame(ws, "set").columns) == set(suite("evaluations").holds)
    assert set(price_book_frame(ws, "book").columns) == set(suite("price_book").holds)
    assert set(suite("ledger").holds) == set(closing._DISPATCH_COLUMNS)


def test_an_unknown_evaluation_set_is_not_found(ws):
    with pytest.raises(NotFound, match="no-such-set"):
        evaluations_frame(ws, "no-such-set")


def price(sku, start, end=None, usd="0.01", **changes):
    at = {"valid_from": datetime(2026, start, 1, tzinfo=UTC)}
    at["valid_to"] = datetime(2026, end, 1, tzinfo=UTC) if end else None
    good = {"id": f"{sku}{start}{usd}", "book_sha256": "book", "sku": sku, "unit": "second", "usd": Decimal(usd)}
    return {**good, **at, "source": "a page", **changes}


def test_a_price_book_whose_prices_adjoin_passes(ws):
    insert(ws, tables.price_book, price("a", 1, 3), price("a", 3), price("b", 2), price("z", 1, book_sha256="other"))
    frame = price_book_frame(ws, "book")
    assert frame["follows"].to_list() == ["first", "adjoins", "first"]
    assert check("price_book", frame).passed


def test_each_rule_of_the_price_book_finds_the_entry_that_breaks_it(ws):
    insert(
        ws,
        tables.price_book,
        *(price("gap", 1, 2), price("gap", 3)),
        *(price("open", 1), price("open", 2)),
        *(price("lap", 1, 4), price("lap", 3)),
        price("back", 5, 2),
        price("minus", 1, usd="-0.01"),
        *(price("twice", 1, 2, usd="1"), price("twice", 1, 2, usd="2")),
    )

    def at(sku, month):
        return f"{sku} from 2026-{month:02d}-01T00:00:00+00:00"

    assert failures("price_book", price_book_frame(ws, "book")) == {
        ("follows", (at("gap", 3), at("lap", 3), at("open", 2), at("twice", 1))),
        ("validity", (at("back", 5),)),
        ("usd", (at("minus", 1),)),
        ("sku, valid_from", (at("twice", 1), at("twice", 1))),
    }
