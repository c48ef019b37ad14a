"""`pointsman inputs`: files become a set that is registered once, with what they show, and is measured often."""

import hashlib
import shutil

import pytest

from pointsman.benchmark import input_set, withheld
from pointsman.benchmark import variant as known_variant
from tests.service.worlds import INCUMBENT, ROUTE, registered


@pytest.fixture
def ws(home):
    return registered(home)


def picture(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"P6 2 2 255\n" + bytes([shade] * 12))
    return path


@pytest.fixture
def folder(tmp_path):
    """Two files of their own, two of one source, and what file managers leave."""
    root = tmp_path / "clips"
    for shade, name in enumerate(("a.ppm", "b b.ppm", "match/first.ppm", "match/second half/goal.ppm")):
        picture(root / name, shade)
    (root / ".DS_Store").write_bytes(b"leavings")
    return root


def shown(document):
    return {one["id"]: (one["cluster"], one["data_classes"]) for one in document["inputs"]}


def test_a_folder_becomes_a_set_that_stays_when_the_files_are_gone(ws, pointsman, folder):
    asked = ("inputs", "add", "golden-v1", folder, "--data-class", "region:eu", "--json")
    document = pointsman(*asked).document
    assert shown(document) == {
        "a": ("a", ["region:eu"]),
        "b-b": ("b-b", ["region:eu"]),
        "match-first": ("match", ["region:eu"]),
        "match-second-half-goal": ("match", ["region:eu"]),
    }
    first = document["inputs"][0]
    assert first["sha256"] == hashlib.sha256((folder / "a.ppm").read_bytes()).hexdigest()
    assert (first["media"], first["bytes"]) == ("image/x-portable-pixmap", 23)
    assert pointsman(*asked).document == document, "the same again changes nothing"
    shutil.rmtree(folder)
    assert pointsman("inputs", "show", "golden-v1", "--json").document == document
    told = pointsman("inputs", "show", "golden-v1").out
    assert "Independent  3 of 4 inputs" in told
    assert "may not see region:eu" in told
    planned = pointsman("benchmark", "plan", "--route", ROUTE, "--input-set", "golden-v1", "--json").document
    assert (planned["cells"], planned["skipped"], planned["clusters"]) == (0, 8, 3)


def test_sets_are_listed_with_what_is_in_them(ws, pointsman, folder):
    pointsman("inputs", "add", "golden-v1", folder, "--data-class", "faces")
    listed = pointsman("inputs", "list").out
    assert "golden-v1" in listed
    assert "faces" in listed
    found = {one["id"]: len(one["inputs"]) for one in pointsman("inputs", "list", "--json").document}
    assert found == {"golden-v1": 4, "some-clips": 1}


def test_a_manifest_says_of_each_file_what_it_shows_and_where_it_comes_from(ws, pointsman, folder, tmp_path):
    sha256 = hashlib.sha256((folder / "a.ppm").read_bytes()).hexdigest()
    manifest = tmp_path / "inputs.toml"
    manifest.write_text(
        f"""
data_classes = ["region:eu"]
[[input]]
file = "clips/a.ppm"
sha256 = "{sha256}"
data_classes = ["minors", "faces"]
[[input]]
file = "clips/match/first.ppm"
id = "kick-off"
cluster = "cup-final"
"""
    )
    answer = pointsman("inputs", "add", "golden-v1", "--manifest", manifest, "--json")
    assert shown(answer.document) == {
        "a": ("a", ["faces", "minors", "region:eu"]),
        "kick-off": ("cup-final", ["region:eu"]),
    }


@pytest.mark.parametrize(
    ("manifest", "named"),
    [
        ("", "input"),
        ("input = 3", "input"),
        ("[[input]]\nfile = ''", "input.1.file"),
        ("[[input]]\nfile = 'clips/a.ppm'\nclass = 'faces'", "input.1.class"),
        ("[[input]]\nfile = 'clips/a.ppm'\ndata_classes = 'faces'", "input.1.data_classes"),
        ("[[input]]\nfile = 'clips/a.ppm'\ndata_classes = ['Faces!']", "Faces!"),
        ("[[input]]\nfile = 'clips/a.ppm'\nid = 'a/b'", "input.1.id"),
        ("[[input]]\nfile = 'clips/none.ppm'", "none.ppm"),
        (f"[[input]]\nfile = 'clips/a.ppm'\nsha256 = '{'0' * 64}'", "sha256 of clips/a.ppm"),
        ("[[input]]\nfile = 'clips/a.ppm'\n[[input]]\nfile = 'clips/a.ppm'", "input id"),
        ("[[input]]\nfile = 'clips/a.ppm'\n[[input]]\nid = 'z'\nfile = 'clips/a.ppm'", "input content"),
        ("[[input]", "a TOML file"),
    ],
)
def test_a_manifest_that_does_not_say_what_it_means_is_refused_by_place(
    ws, home, pointsman, folder, tmp_path, manifest, named
):
    (tmp_path / "inputs.toml").write_text(manifest)
    before = sorted((home / "inputs").iterdir())
    refused = pointsman("inputs", "add", "golden-v1", "--manifest", tmp_path / "inputs.toml")
    assert refused.code == 2
    assert named in refused.err
    assert pointsman("inputs", "show", "golden-v1").code == 2
    assert sorted((home / "inputs").iterdir()) == before, "nothing was copied"


def test_what_cannot_be_a_set_is_refused_by_name(ws, pointsman, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (folder / "notes.pdf").write_bytes(b"no picture")
    for words, named in [
        (["golden-v1"], "--manifest"),
        (["golden-v1", folder, "--manifest", tmp_path / "inputs.toml"], "both"),
        (["golden-v1", "--manifest", tmp_path / "none.toml"], "none.toml"),
        (["golden-v1", tmp_path / "empty"], "a folder that holds files"),
        (["golden-v1", folder], "notes.pdf"),
        (["golden v1", folder / "a.ppm"], "input set id"),
        (["some-clips", folder / "a.ppm"], "another id"),
    ]:
        refused = pointsman("inputs", "add", *words)
        assert (refused.code, named in refused.err) in [(2, True), (3, True)], words


def test_what_one_set_says_of_a_content_holds_wherever_it_comes_again(ws, pointsman, tmp_path):
    crowd = picture(tmp_path / "crowd.ppm", 9)
    pointsman("inputs", "add", "before", crowd)
    assert pointsman("inputs", "show", "before", "--json").document["inputs"][0]["data_classes"] == []
    unclassified = input_set(ws, "before").sha256
    pointsman("inputs", "add", "known", crowd, "--data-class", "minors")
    renamed = picture(tmp_path / "other.ppm", 9)
    pointsman("inputs", "add", "after", renamed, "--data-class", "faces")
    for name in ("before", "known", "after"):
        (member,) = input_set(ws, name).members
        assert member.data_classes == ("faces", "minors"), name
        assert withheld([known_variant(ws, INCUMBENT)], [member])
    assert input_set(ws, "before").sha256 == unclassified, "it is the set that was measured"
    pointsman("inputs", "add", "before", crowd)
    assert input_set(ws, "before").sha256 == unclassified
