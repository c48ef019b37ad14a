"""`pointsman variants`: tags, what a variant may see, what it is given at most, and which model did its jobs."""

from datetime import UTC, datetime

import pytest

from pointsman.ids import VariantId
from pointsman.versions import note_versions
from tests.service.worlds import INCUMBENT, OTHER, registered

NAME = VariantId.parse(INCUMBENT).label
NEW = INCUMBENT.replace("exp:default", "exp:two").replace("medium", "slow")


@pytest.fixture
def ws(home):
    return registered(home)


def test_variants_are_found_by_tag_and_by_every_segment(ws, pointsman):
    pointsman("variants", "add", NEW, "--target", "lab", "--tag", "cheap", "--tag", "night")
    for words, found in (
        (["--tag", "cheap"], {NEW}),
        (["--tag", "cheap", "--tag", "dear"], set()),
        (["--experiment", "two"], {NEW}),
        (["--environment", "lab"], {NEW, INCUMBENT, OTHER}),
        (["--environment", "moon"], set()),
        (["--effect-revision", "postcard-1", "--stage", "demo"], {NEW, INCUMBENT, OTHER}),
        (["--effect-revision", "postcard-2"], set()),
        (["--stage", "live"], set()),
    ):
        assert {one["id"] for one in pointsman("variants", "list", *words, "--json").document} == found
    assert "cheap, night" in pointsman("variants", "list").out


def test_a_variant_that_names_no_data_class_may_see_none(ws, pointsman):
    assert pointsman("variants", "show", NAME, "--json").document["data_classes"] == []
    changed = pointsman("variants", "change", NAME, "--allow", "faces", "--allow", "region:eu", "--json").document
    assert changed["data_classes"] == ["faces", "region:eu"]
    changed = pointsman("variants", "change", NAME, "--forbid", "faces", "--tag", "t", "--json").document
    assert (changed["data_classes"], changed["tags"]) == (["region:eu"], ["t"])
    refused = pointsman("variants", "change", NAME, "--allow", "Faces!")
    assert refused.code == 2
    assert "Faces!" in refused.err
    assert "region:eu" in pointsman("variants", "change", NAME, "--untag", "t").out


def test_limits_are_set_and_lifted(ws, pointsman):
    given = ("--max-per-s", "2.5", "--max-in-flight", "3", "--max-usd", "1.50")
    changed = pointsman("variants", "change", NAME, *given, "--json").document
    assert changed["limits"] == {"per_s": 2.5, "in_flight": 3, "usd": "1.50"}
    assert "2.5 a second, 3 at the same time, 1.50 USD in one matrix" in pointsman("variants", "show", NAME).out
    changed = pointsman("variants", "change", NAME, "--lift", "per_s", "--lift", "usd", "--json").document
    assert changed["limits"] == {"per_s": None, "in_flight": 3, "usd": None}
    for words in (["--lift", "speed"], ["--max-usd", "much"], ["--max-in-flight", "0"], ["--max-usd", "-1"]):
        assert pointsman("variants", "change", NAME, *words).code == 2


def test_adding_a_variant_again_does_not_hide_that_it_was_registered_otherwise(ws, pointsman):
    assert pointsman("variants", "add", NEW, "--target", "lab", "--tag", "a").code == 0
    assert pointsman("variants", "add", NEW, "--target", "lab", "--tag", "a").code == 0
    assert pointsman("variants", "add", NEW, "--target", "lab").code == 0
    refused = pointsman("variants", "add", NEW, "--target", "lab", "--allow", "faces")
    assert refused.code == 3
    assert "variants change" in refused.err
    assert pointsman("variants", "show", NEW, "--json").document["data_classes"] == []


def test_which_model_did_the_jobs_of_a_variant_is_shown(ws, pointsman):
    assert "not known" in pointsman("variants", "show", NAME).out
    with ws.database.begin() as connection:
        note_versions(connection, ws, "bm_1", [(INCUMBENT, "veo-3.1", datetime(2026, 1, 1, tzinfo=UTC))])
    assert pointsman("variants", "show", NAME, "--json").document["versions"][0]["version"] == "veo-3.1"
    assert "veo-3.1" in pointsman("variants", "show", NAME).out
