"""A system that the library does not know, in a file of one's own: through the command, the verdicts and the report."""

import json
from pathlib import Path

import pandas as pd
import pytest
from commands import command, start

FILE = Path(__file__).with_name("normals_system.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    done = command("ablate", FILE, "--scale", "smoke", "--seeds", 2, "--out", out / "r", data=out / "data")
    assert done.returncode == 0, done.stderr
    assert "protocol whole" in done.stdout and "both_terms" in done.stdout
    return out / "r" / "normals-rooms-smoke-plain"


def test_it_is_run_judged_and_reported(folder):
    table = pd.read_csv(folder / "normals.csv").query("source == 'ours'")
    assert list(table["row"]) == ["cosine", "both_terms"] and (table["seeds"] == 2).all()
    assert table["angle"].between(1, 179).all() and "mean angle, ° ↓" in (folder / "normals.md").read_text()
    assert "both_terms" in (folder / "verdicts.md").read_text()
    planned = json.loads((folder / "runs" / "cosine" / "seed=1" / "experiment.json").read_text())
    assert planned["experiment"]["system"] == "normals" and copy_of(folder).read_text() == FILE.read_text()


def copy_of(folder) -> Path:
    """The copy of the file that stays beside the runs."""
    planned = json.loads((folder / "runs" / "cosine" / "seed=1" / "experiment.json").read_text())
    return folder / planned["code"]


def test_the_report_is_made_again_when_the_file_is_named(folder):
    data = folder.parents[1] / "data"
    refused = start("report", folder, data=data)  # another process, which does not know the system
    assert f"give --code {copy_of(folder)}, or load_file(" in refused.communicate()[1] and refused.returncode == 2
    (folder / "normals.md").unlink()
    done = start("report", folder, "--code", copy_of(folder), data=data)
    assert "protocol whole" in done.communicate()[0] and (folder / "normals.md").exists()


def test_its_run_is_evaluated_when_the_file_is_named(folder):
    words = ("evaluate", folder / "runs/cosine/seed=0", "--data", "rooms", "--code", FILE, "--device", "cpu", "--json")
    done = command(*words, data=folder.parents[1] / "data")
    assert done.returncode == 0 and json.loads(done.stdout)["metrics"][0]["angle"] > 0, done.stderr


def test_another_process_does_not_run_its_file_unasked(folder):
    import subprocess
    import sys

    run = folder / "runs" / "cosine" / "seed=0"
    code = f"from advdepth_nb.systems.model_files import load_model; load_model({str(run)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"load_file({str(copy_of(folder))!r}) first" in done.stderr
