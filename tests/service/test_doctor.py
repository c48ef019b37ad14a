"""`pointsman doctor` reads what a user added before a chain meets it."""

RULE = """
[[rules]]
means = "every dispatch says where its output lies"
expectation = "ExpectColumnValuesToNotBeNull"
arguments = { column = "output_uri" }
"""


def data_checks(pointsman):
    (row,) = [one for one in pointsman("doctor", "--json").document if one["part"] == "data checks"]
    return row["state"], row["detail"]


def test_rules_of_ones_own_are_read_and_a_file_that_is_none_is_broken(pointsman, home):
    assert data_checks(pointsman) == ("works", "the rules built in")
    (home / "checks").mkdir(parents=True)
    (home / "checks" / "ledger.toml").write_text(RULE)
    assert data_checks(pointsman) == ("works", "ledger: 1 rules of your own")
    (home / "checks" / "prices.toml").write_text(RULE)
    state, detail = data_checks(pointsman)
    assert state == "broken"
    assert "price_book.toml" in detail
