"""Label sheets: what people are asked, kept here with its key, and their answers read back.

The page shows outputs under random tokens. Which output a token stands for stays in the results store, so that neither
the page nor the answers tell whoever rates which variant made what.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pointsman.data_classes import unseen
from pointsman.errors import GuardRefused, InputRefused, NotFound
from pointsman.ids import derive
from pointsman.model import Json
from pointsman.quality.evaluation import results_path_of
from pointsman.quality.rubric import Rubric, quality_of
from pointsman.quality.samples import classes_of_inputs, load_samples
from pointsman.storage import tables
from pointsman.workspace import Workspace

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")


@dataclass(frozen=True, slots=True)
class Item:
    """Two outputs of one input, side by side."""

    token: str
    source: Path | None
    left: Path
    right: Path


@dataclass(frozen=True, slots=True)
class Sheet:
    """What one page asks. The same benchmark, rubric, number and seed give the same sheet.

    `data_classes` are those of the inputs whose outputs it shows.
    """

    id: str
    rubric: Rubric
    items: tuple[Item, ...]
    data_classes: tuple[str, ...] = ()


class _Answers(BaseModel):
    """The file that a page saves."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sheet: Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
    labeller: Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,100}$")]
    answers: dict[str, dict[Side, dict[str, Annotated[int, Field(ge=1, le=5)]]]]


def draw_up_sheet(
    ws: Workspace, benchmark_id: str, rubric: Rubric, *, pairs: int, seed: int, sees: Collection[str] = ()
) -> Sheet:
    """Choose `pairs` pairs at random and keep the key. Every input comes before one comes twice.

    `sees` are the data classes that whoever rates may see. Where an input has another one nothing is drawn up: a sheet
    without that input would be no random choice, and what people say of it nothing about the rest.

    Raises `NotFound` for an unknown benchmark, `InputRefused` when no input has outputs of two variants, and
    `GuardRefused` (`data_class_not_allowed`).
    """
    if pairs < 1:
        raise InputRefused("pairs", pairs, "1 or more")
    results_path = results_path_of(ws, benchmark_id)
    classes = classes_of_inputs(ws, benchmark_id)
    _require_people_may_see(benchmark_id, classes, sees)
    sheet_id = derive("label-sheet", benchmark_id, rubric.sha256, pairs, seed)
    chance = random.Random(f"{sheet_id}")
    inputs = _inputs_of(ws, benchmark_id)
    chosen = _pairs(inputs, chance)[:pairs]
    samples, _ = load_samples(ws, benchmark_id, sheet_id, [one for pair in chosen for one in pair])
    found = {sample.dispatch_id: sample for sample in samples}
    items: list[Item] = []
    key: list[Json] = []
    shown: set[str] = set()
    for pair in chosen:
        left, right = chance.sample(pair, 2)
        if left not in found or right not in found:
            continue  # its output is gone
        token = f"{chance.getrandbits(32):08x}"
        items.append(Item(token, found[left].source, found[left].output, found[right].output))
        shown.update(classes.get(inputs[left], ()))
        with_source = found[left].source is not None
        key.append({"token": token, "left": left, "right": right, "with_source": with_source})
    if not items:
        raise InputRefused("benchmark", benchmark_id, "one whose inputs have stored outputs of two variants or more")
    document: dict[str, Json] = {
        "sheet": sheet_id,
        "benchmark_id": benchmark_id,
        "rubric": rubric.model_dump(mode="json"),
        "items": key,
    }
    ws.results.write_json(_key_path(results_path, sheet_id), document)
    return Sheet(sheet_id, rubric, tuple(items), tuple(sorted(shown)))


def read_answers(ws: Workspace, benchmark_id: str, content: bytes) -> int:
    """Store what a page saved and return how many outputs it labels; those with questions left open are left out.

    The same labeller's newer answers replace older ones.

    Raises `InputRefused` for anything that is no such file or answers something else than its sheet asks, `NotFound`
    for a sheet that was not drawn up for this benchmark; nothing is stored then.
    """
    try:
        given = _Answers.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "file"
        raise InputRefused(f"answers, {field}", first["input"], first["msg"]) from error
    path = _key_path(results_path_of(ws, benchmark_id), given.sheet)
    if not ws.results.exists(path):
        raise NotFound("label sheet", given.sheet, f"one that `pointsman evaluate label {benchmark_id}` wrote")
    key = json.loads(ws.results.read(path))
    rubric = Rubric.model_validate(key["rubric"])
    rows = _rows(ws, key, given, rubric)
    table = tables.human_labels
    with ws.database.begin() as connection:
        for row in rows:
            connection.execute(sa.delete(table).where(table.c.id == row["id"]))
            connection.execute(sa.insert(table).values(row))
    return len(rows)


def _rows(ws: Workspace, key: Mapping[str, Any], given: _Answers, rubric: Rubric) -> list[dict[str, Any]]:
    items = {item["token"]: item for item in key["items"]}
    rows: dict[str, dict[str, Any]] = {}
    for token, sides in given.answers.items():
        if token not in items:
            raise InputRefused("answers, item", token, "an item of its sheet")
        for side, levels in sides.items():
            asked = rubric.asked(with_source=items[token]["with_source"])
            names = [criterion.name for criterion in asked]
            if set(levels) - set(names):
                raise InputRefused(f"answers, {token}, {side}", sorted(levels), f"levels for {', '.join(names)}")
            if set(levels) != set(names):
                continue  # left out half way
            dispatch_id = items[token][side]
            rows[dispatch_id] = {
                "id": derive("human-label", dispatch_id, given.labeller, rubric.sha256),
                "benchmark_id": key["benchmark_id"],
                "dispatch_id": dispatch_id,
                "labeller": given.labeller,
                "sheet_id": given.sheet,
                "rubric_sha256": rubric.sha256,
                "levels": dict(levels),
                "quality": quality_of(asked, levels),
                "created_at": ws.clock.now(),
            }
    return list(rows.values())


def _require_people_may_see(benchmark_id: str, classes: Mapping[str, Sequence[str]], sees: Collection[str]) -> None:
    kept_away = unseen({word for words in classes.values() for word in words}, sees)
    if kept_away:
        first = next(input_id for input_id, words in classes.items() if unseen(words, sees))
        named = " --data-class ".join(sorted({*sees, *kept_away}))
        raise GuardRefused(
            f"The page would show {', '.join(kept_away)} (the first input: {first}), and nobody said that whoever "
            "rates it may see that.",
            instruction=f"If they may: pointsman evaluate label {benchmark_id} --data-class {named}",
            code="data_class_not_allowed",
            input_id=first,
            data_classes=list(kept_away),
        )


def _inputs_of(ws: Workspace, benchmark_id: str) -> dict[str, str]:
    """The input of each completed first repeat, by dispatch id in the order of the plan."""
    items = tables.benchmark_matrix_run_items
    wanted = sa.select(items.c.dispatch_id, items.c.input_id).where(
        items.c.benchmark_id == benchmark_id, items.c.repeat == 0, items.c.status == "completed"
    )
    with ws.database.connect() as connection:
        return {row.dispatch_id: row.input_id for row in connection.execute(wanted.order_by(items.c.seq))}


def _pairs(inputs: Mapping[str, str], chance: random.Random) -> Sequence[tuple[str, str]]:
    by_input: dict[str, list[str]] = defaultdict(list)
    for dispatch_id, input_id in inputs.items():
        by_input[input_id].append(dispatch_id)
    rounds: list[list[tuple[str, str]]] = []
    for name in chance.sample(sorted(by_input), len(by_input)):
        cells = chance.sample(by_input[name], len(by_input[name]))
        for number, pair in enumerate(zip(cells[::2], cells[1::2], strict=False)):
            rounds += [[]] * (number >= len(rounds))
            rounds[number] = [*rounds[number], pair]
    return [pair for one in rounds for pair in one]


def _key_path(results_path: str, sheet_id: str) -> str:
    return f"{results_path}/labels/{sheet_id}.json"
