"""The page on which people rate outputs side by side: one file that needs nothing else and sends nothing anywhere."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator
from pathlib import Path

from pointsman.errors import InputRefused
from pointsman.quality.label_sheets import SIDES, Item, Sheet
from pointsman.quality.rubric import Criterion
from pointsman.quality.showing import as_browsers_show, bytes_of_picture

MOST_BYTES = 150_000_000
"""What a browser opens without trouble."""
_NAMES = {"left": "A", "right": "B"}
_TONE_MAPPED = (
    "Of this pair there are clips in HDR, which are shown here tone-mapped, as a screen without HDR shows them: do not "
    "hold against them how bright or how colourful their brightest parts are."
)
_STYLE = """
:root{color-scheme:light dark;--ink:#1c2126;--soft:#5b6570;--line:#d8dde3;--paper:#fff;--done:#1d7a46}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#9aa5b1;--line:#39424c;--paper:#14181c;--done:#6fd39b}}
body{margin:0 auto;max-width:84rem;padding:1.5rem 1.25rem 6rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
section{border-top:1px solid var(--line);margin-top:2rem;padding-top:1rem}
.media{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:1rem}
figure{margin:0}figcaption{color:var(--soft);font-weight:600}video,img{width:100%;background:#000;border-radius:6px}
fieldset{border:1px solid var(--line);border-radius:6px;margin:.75rem 0}legend{font-weight:600}
label{display:block;margin:.4rem 0}select{max-width:100%;font:inherit}
.bar{position:fixed;inset:auto 0 0 0;background:var(--paper);border-top:1px solid var(--line);padding:.75rem 1.25rem;
display:flex;gap:1rem;align-items:center;flex-wrap:wrap}input,button{font:inherit;padding:.3rem .6rem}
.complete h2{color:var(--done)}
"""
_SCRIPT = """
"use strict";
const sheet = document.body.dataset.sheet;
const selects = [...document.querySelectorAll("select")];
const who = document.querySelector("#labeller");
const kept = "pointsman-labels-" + sheet;
function answers() {
  const found = {};
  for (const one of selects) {
    if (!one.value) continue;
    const {item, side, criterion} = one.dataset;
    ((found[item] ??= {})[side] ??= {})[criterion] = Number(one.value);
  }
  return found;
}
function note() {
  let complete = 0;
  for (const section of document.querySelectorAll("section")) {
    const done = [...section.querySelectorAll("select")].every((one) => one.value);
    section.classList.toggle("complete", done);
    complete += done;
  }
  document.querySelector("#done").textContent = complete;
  try { localStorage.setItem(kept, JSON.stringify({labeller: who.value, answers: answers()})); } catch { /* private */ }
}
function restore() {
  let before = null;
  try { before = JSON.parse(localStorage.getItem(kept)); } catch { /* nothing kept */ }
  if (!before) return;
  who.value = before.labeller ?? "";
  for (const one of selects) {
    const {item, side, criterion} = one.dataset;
    one.value = before.answers?.[item]?.[side]?.[criterion] ?? "";
  }
}
document.addEventListener("change", note);
for (const button of document.querySelectorAll("button.play")) {
  button.addEventListener("click", () => {
    const videos = [...button.closest("section").querySelectorAll("video")];
    for (const video of videos) { video.currentTime = 0; }
    for (const video of videos) { video.play(); }
  });
}
document.querySelector("#save").addEventListener("click", () => {
  if (!who.value.trim()) { who.focus(); return; }
  const document_ = {sheet, labeller: who.value.trim(), answers: answers()};
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(document_, null, 1)], {type: "application/json"}));
  link.download = "answers-" + sheet.slice(0, 8) + "-" + who.value.trim().replace(/[^A-Za-z0-9]+/g, "-") + ".json";
  link.click();
});
restore();
note();
"""


def labelling_page(sheet: Sheet) -> str:
    """The page of a sheet as HTML.

    Raises what `as_browsers_show` does, and `InputRefused` when the media are too much for one page. What can be told
    of that without making clips playable is told before.
    """
    _require_room_for_pictures(sheet)
    lines = list(_before(sheet))
    size = sum(map(len, lines))
    for number, item in enumerate(sheet.items, 1):
        criteria = sheet.rubric.asked(with_source=item.source is not None)
        for line in _item(item, criteria, number, len(sheet.items)):
            lines.append(line)
            size += len(line)
            if size > MOST_BYTES:
                raise _too_much(sheet, whole=number - 1)
    return "\n".join([*lines, *_after(sheet)]) + "\n"


def _require_room_for_pictures(sheet: Sheet) -> None:
    size = 0
    for number, item in enumerate(sheet.items, 1):
        for name, path in _media(item):
            size += (bytes_of_picture(_named(name, number), path) or 0) * 4 // 3
        if size > MOST_BYTES:
            raise _too_much(sheet, whole=number - 1)


def _too_much(sheet: Sheet, *, whole: int) -> InputRefused:
    page = f"a page holds {MOST_BYTES} bytes"
    if not whole:
        return InputRefused(
            "pairs",
            len(sheet.items),
            f"pairs whose media fit into a page: {page}, and those of the first pair are more",
            instruction="Have people rate a benchmark of shorter or smaller outputs.",
        )
    return InputRefused(
        "pairs",
        len(sheet.items),
        f"about {whole}: {page}, and the media of the first {whole} pairs are as many as go into it",
        instruction=f"Write a page with --pairs {whole}, and another one with another --seed where that is too few.",
    )


def _before(sheet: Sheet) -> Iterator[str]:
    script = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'"
    )
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Rate outputs side by side</title>\n<style>{_STYLE}</style>\n</head>"
    yield f'<body data-sheet="{html.escape(sheet.id)}">\n<h1>Rate outputs side by side</h1>'
    if sheet.rubric.task:
        yield f"<p>What the outputs were to be: {html.escape(sheet.rubric.task)}</p>"
    if sheet.data_classes:
        shown = html.escape(", ".join(sheet.data_classes))
        yield f"<p><strong>This page shows: {shown}.</strong> Pass it on to nobody who may not see that.</p>"
    yield (
        "<p>Each output was made by a method that you are not told. Choose for each question the level that fits best; "
        "leave a pair out if you cannot tell. Your answers stay in this browser until you save them as a file.</p>"
    )


def _after(sheet: Sheet) -> Iterator[str]:
    yield (
        '<div class="bar"><label>Your name <input id="labeller" maxlength="100" autocomplete="name"></label>'
        f'<button id="save" type="button">Save answers</button><span><span id="done"></span> of {len(sheet.items)} '
        "pairs complete</span></div>"
    )
    yield f"<script>{_SCRIPT}</script>\n</body>\n</html>"


def _item(item: Item, criteria: tuple[Criterion, ...], number: int, count: int) -> Iterator[str]:
    yield f'<section id="i{item.token}">\n<h2>Pair {number} of {count}</h2>\n<div class="media">'
    video = tone_mapped = False
    for name, path in _media(item):
        one = as_browsers_show(_named(name, number), path, most=MOST_BYTES)
        data = f"data:{one.mime};base64,{base64.b64encode(one.content).decode()}"
        clip = one.mime.startswith("video/")
        video, tone_mapped = video or clip, tone_mapped or one.tone_mapped
        shown = (
            f'<video src="{data}" controls loop muted playsinline></video>'
            if clip
            else f'<img src="{data}" alt="{name}">'
        )
        yield f"<figure><figcaption>{name}</figcaption>{shown}</figure>"
    yield "</div>"
    if tone_mapped:  # of which of them is not said: it could tell who made it
        yield f"<p>{_TONE_MAPPED}</p>"
    if video:
        yield '<p><button class="play" type="button">Play all from the start</button></p>'
    for criterion in criteria:
        yield f"<fieldset><legend>{html.escape(criterion.question)}</legend>"
        for side in SIDES:
            levels = "".join(
                f'<option value="{level}">{level}: {html.escape(text)}</option>'
                for level, text in enumerate(criterion.levels, 1)
            )
            yield (
                f'<label>{_NAMES[side]} <select data-item="{item.token}" data-side="{side}" '
                f'data-criterion="{criterion.name}"><option value=""></option>{levels}</select></label>'
            )
        yield "</fieldset>"
    yield "</section>"


def _named(name: str, number: int) -> str:
    return f"{name} of pair {number}"


def _media(item: Item) -> list[tuple[str, Path]]:
    source = [("Source", item.source)] if item.source is not None else []
    return [*source, (_NAMES["left"], item.left), (_NAMES["right"], item.right)]
