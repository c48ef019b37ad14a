"""The registry of variants, effect revisions and environments."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
import sqlalchemy as sa

from pointsman.benchmark import (
    list_variants,
    register_effect_revision,
    register_environment,
    register_variants,
    set_enabled,
    variant,
)
from pointsman.errors import Conflict, InputRefused, NotFound
from pointsman.ids import VariantId
from pointsman.model import Variant
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.benchmark.samples import VARIANTS


def test_registering_twice_is_registering_once(ws: Workspace) -> None:
    assert register_variants(ws, VARIANTS) == 3
    assert register_variants(ws, VARIANTS) == 0
    assert register_variants(ws, []) == 0
    assert list_variants(ws) == sorted(VARIANTS, key=lambda one: str(one.id))


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"params": {"crf": 24}}, "params"), ({"target": "elsewhere"}, "target")],
)
def test_another_meaning_under_the_same_id_is_refused_and_nothing_of_the_batch_is_kept(
    ws: Workspace, changes: dict[str, object], named: str
) -> None:
    register_variants(ws, VARIANTS[:1])
    changed = replace(VARIANTS[0], **changes)  # type: ignore[arg-type]
    with pytest.raises(Conflict) as conflict:
        register_variants(ws, [*VARIANTS[1:], changed])
    assert conflict.value.data["differs"] == named
    assert str(changed.id) in conflict.value.message
    assert list_variants(ws) == VARIANTS[:1]


def test_two_meanings_of_one_id_in_one_batch_are_refused(ws: Workspace) -> None:
    with pytest.raises(Conflict):
        register_variants(ws, [VARIANTS[0], replace(VARIANTS[0], params={"crf": 1})])
    assert list_variants(ws) == []


def test_the_order_of_params_does_not_matter(ws: Workspace) -> None:
    one = replace(VARIANTS[0], params={"crf": 23, "preset": "fast"})
    register_variants(ws, [one])
    assert register_variants(ws, [replace(one, params={"preset": "fast", "crf": 23})]) == 0


def test_params_that_json_cannot_hold_are_refused(ws: Workspace) -> None:
    for value in (Decimal(1), float("nan")):
        with pytest.raises(InputRefused, match="params of"):
            register_variants(ws, [replace(VARIANTS[0], params={"crf": value})])  # type: ignore[dict-item]
    assert list_variants(ws) == []


def test_a_malformed_target_name_is_refused(ws: Workspace) -> None:
    with pytest.raises(InputRefused, match="variant target"):
        register_variants(ws, [Variant(VARIANTS[0].id, "http://x")])


def test_a_variant_is_read_by_its_id_or_its_text(ws: Workspace, registered: list[VariantId]) -> None:
    assert variant(ws, registered[0]) == variant(ws, str(registered[0])) == VARIANTS[0]


def test_a_malformed_id_is_refused_by_its_segment(ws: Workspace) -> None:
    for operation in (lambda: variant(ws, "er:a:wf:b c"), lambda: set_enabled(ws, "nonsense", True)):
        with pytest.raises(InputRefused, match="variant id"):
            operation()


def test_an_unknown_variant_is_not_found_and_its_siblings_are_named(ws: Workspace, registered: list[VariantId]) -> None:
    unknown = replace(registered[0], workflow="av9")
    for operation in (lambda: variant(ws, unknown), lambda: set_enabled(ws, unknown, False)):
        with pytest.raises(NotFound) as missing:
            operation()
        assert str(registered[0]) in missing.value.message
    with pytest.raises(NotFound, match="none is registered"):
        variant(ws, replace(unknown, stage="live"))


def test_disabling_lasts_through_registering_again(ws: Workspace, registered: list[VariantId]) -> None:
    assert set_enabled(ws, registered[0], False).enabled is False
    register_variants(ws, VARIANTS)
    assert [one.id for one in list_variants(ws, enabled=False)] == [registered[0]]
    assert set_enabled(ws, str(registered[0]), True).enabled is True
    assert list_variants(ws, enabled=False) == []


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"provider": "lab-cpu"}, 2),
        ({"workflow": "x264"}, 2),
        ({"workflow": "x264", "provider": "lab-cpu"}, 1),
        ({"effect_revision": "postcard-1", "environment": "lab", "stage": "demo"}, 3),
        ({"stage": "live"}, 0),
        ({"enabled": True}, 3),
    ],
)
def test_variants_are_listed_by_every_given_filter(
    ws: Workspace, registered: list[VariantId], filters: dict[str, str], count: int
) -> None:
    found = list_variants(ws, **filters)  # type: ignore[arg-type]
    assert len(found) == count
    assert all(getattr(one.id, name, True) == value for one in found for name, value in filters.items())


def test_a_filter_that_can_match_nothing_is_refused(ws: Workspace) -> None:
    with pytest.raises(InputRefused, match="provider"):
        list_variants(ws, provider="lab cpu")


def test_effect_revisions_and_environments_are_registered_once(ws: Workspace) -> None:
    assert register_effect_revision(ws, "postcard-1", name="Postcard", media="video")
    assert not register_effect_revision(ws, "postcard-1", name="Postcard", media="video")
    with pytest.raises(Conflict, match="media"):
        register_effect_revision(ws, "postcard-1", name="Postcard", media="image")
    assert register_environment(ws, "lab", name="Lab", kind="local", aliases=["uat", "dev"])
    assert not register_environment(ws, "lab", name="Lab", kind="local", aliases=["dev", "uat"])
    assert not register_environment(
        ws, "lab", name="Lab", kind="local", aliases=["dev", "uat"], region="us-east-1", asg_name="lab-cpu"
    )
    with ws.database.connect() as connection:
        row = connection.execute(sa.select(tables.execution_environments)).one()
    assert (row.region, row.asg_name) == ("us-east-1", "lab-cpu")
    with pytest.raises(Conflict, match="kind"):
        register_environment(ws, "lab", name="Lab", kind="production", aliases=["dev", "uat"])
    with ws.database.begin() as connection:
        assert connection.execute(sa.select(tables.execution_environments.c.kind)).scalars().all() == ["local"]


@pytest.mark.parametrize(
    ("environment_id", "kind", "named"), [("l b", "local", "id"), ("lab", "moon", "environment kind")]
)
def test_a_malformed_environment_is_refused(ws: Workspace, environment_id: str, kind: str, named: str) -> None:
    with pytest.raises(InputRefused, match=named):
        register_environment(ws, environment_id, name="Lab", kind=kind)  # type: ignore[arg-type]
