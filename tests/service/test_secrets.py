"""The executor secret goes from driver to lab and nowhere else."""

import pytest

from service.cli.world import executor_secret
from tests.world import FEW_INPUTS

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]
SCENARIO = "name: short\nstages:\n  - {name: only, kind: constant, rate: 4, duration_s: 1}\ndrain_limit_s: 20\n"


def test_no_output_log_row_or_result_of_a_run_holds_the_secret(lab_world, pointsman, tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text(SCENARIO)
    ran = ["scenario", "run", path, "--variant", "x264-veryfast-crf23@lab-cpu", "--input-set", FEW_INPUTS]
    answers = [pointsman(*ran, "--json"), pointsman("logs", "--json"), pointsman("targets", "list", "--json")]
    assert [answer.code for answer in answers] == [0, 0, 0], [answer.err for answer in answers]
    assert answers[0].document["counts"]["completed"] == 4
    secret = executor_secret(lab_world.home)
    assert all(secret not in answer.out + answer.err for answer in answers)
    kept = [one for one in lab_world.home.rglob("*") if one.is_file() and secret.encode() in one.read_bytes()]
    assert kept == [lab_world.home / "secrets" / "executor"]
    assert any("prefect" in one.name for one in lab_world.home.rglob("*.db")), "Prefect's own database was searched too"
