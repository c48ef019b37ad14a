"""Every kind of artifact opens in both user interfaces of a real Prefect server, as a headless browser shows it."""

import re
import shutil
import subprocess

import pytest

from pointsman.reporting import Chart, CostQuality, Figures, Report, Table, Text, cost_quality, to_html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
KINDS = ("scenario-report", "benchmark-matrix", "quality-trust-card", "money-hud", "routing-change")
UIS = {"V1": "", "V2": "/v2"}
PATIENCE_MS = 20_000

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("world"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH"),
]


def report(kind):
    points = [CostQuality("x264@lab-cpu", 1, 90, "incumbent"), CostQuality("x265@lab-cpu", 2, 95, "winner")]
    return Report(
        f"Report of {kind}",
        "In **one** sentence.",
        [
            Text("A passage with a command: `pointsman hud show`."),
            Table(["variant", "quality"], [["x264@lab-cpu", 90], ["x265@lab-cpu", 95]], "Variants"),
            Chart("Cost and quality", cost_quality(points, ["x265@lab-cpu"], cost_title="USD"), "cost against quality"),
            Figures([("judged", 48)], "Counts"),
        ],
    )


@pytest.fixture(scope="module")
def recorded():
    """Artifact ids by kind; filled by the first test that has the server."""
    return {}


def artifact(recorded, kind):
    if not recorded:
        from prefect import flow

        from tasks.recording import record_report

        @flow
        def record_all():
            for one in KINDS:
                recorded[one] = record_report(one, report(one))

        record_all()
    return recorded[kind]


def rendered(address, folder):
    """The page's elements after its scripts have run."""
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", f"--virtual-time-budget={PATIENCE_MS}", "--dump-dom", address],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def elements(page, name):
    return [
        re.sub(r"<[^>]+>", " ", found).strip() for found in re.findall(rf"<{name}\b[^>]*>(.*?)</{name}>", page, re.S)
    ]


@pytest.mark.parametrize("ui", UIS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_artifact_shows_its_title_table_and_picture(lab_world, recorded, tmp_path, kind, ui):
    server = lab_world.world.prefect_api_url.removesuffix("/api")
    page = rendered(f"{server}{UIS[ui]}/artifacts/artifact/{artifact(recorded, kind)}", tmp_path)
    assert f"Report of {kind}" in elements(page, "h1")
    assert {"x264@lab-cpu", "x265@lab-cpu", "90", "95"} <= set(elements(page, "td"))
    assert "pointsman hud show" in elements(page, "code")
    assert re.search(r'<img[^>]+src="data:image/svg\+xml;base64,[A-Za-z0-9+/]{200,}', page)
    assert kind in page, "the stable key"


def test_the_report_page_shows_every_report_without_a_server(tmp_path):
    path = tmp_path / "index.html"
    path.write_text(to_html([report(kind) for kind in KINDS], "All of it"))
    page = rendered(path.as_uri(), tmp_path / "browser")
    assert "All of it" in elements(page, "h1")
    assert {f"Report of {kind}" for kind in KINDS} <= set(elements(page, "h2"))
    assert len(re.findall(r'<img[^>]+src="data:image/svg', page)) == len(KINDS)
