"""Whole studies through the command: finished, killed, interrupted, broken, and refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.xdist_group("study")  # one worker, so that what they share is made once
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("worlds")


def command(*words, data: Path, timeout=900):
    return subprocess.run(
        [sys.executable, "-m", "advdepth_nb", *map(str, words)], env={**ENV, "ADVDEPTH_DATA": str(data)},
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def start(*words, data: Path):
    return subprocess.Popen(
        [sys.executable, "-m", "advdepth_nb", *map(str, words)], env={**ENV, "ADVDEPTH_DATA": str(data)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen, seconds=900):
    begun = time.monotonic()
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() - begun < seconds, f"{path} never came"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def study(tmp_path_factory, worlds):
    """The mean, the start and a row at the smallest scale, killed in that row's first epochs, then finished."""
    out = tmp_path_factory.mktemp("out")
    words = ("ablate", "table1", "--scale", "smoke", "--rows", "mean_depth,adv", "--out", out)
    words = (*words, "--set", "epochs=6", "--set", "start=start")
    folder = out / "table1-rooms-smoke-report+epochs=6+start=start"
    process = start(*words, data=worlds)
    wait_for(folder / "runs" / "adv" / "seed=0" / "checkpoint.pt", process)
    process.kill()  # as a power cut would
    process.wait()
    assert not (folder / "runs" / "adv" / "seed=0" / "metrics.json").exists()
    return folder, words, command(*words, data=worlds)


def test_a_killed_study_is_finished_by_the_same_command(study):
    folder, _, done = study
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 3 runs are done already" in done.stdout
    for row in ("mean_depth", "start", "adv"):
        run = folder / "runs" / row / "seed=0"
        for name in (
            "train.ipynb",
            "evaluate.ipynb",
            "images.parquet",
            "metrics.json",
            "model.safetensors",
            "model.json",
        ):
            assert (run / name).exists(), f"{row}: {name}"
        assert not list(run.glob("*.running.ipynb")) and not list(run.glob(".*part"))
    budget = json.loads((folder / "runs" / "adv" / "seed=0" / "metrics.json").read_text())["budget"]
    assert budget["generator_steps"] == budget["discriminator_steps"] == 12 and budget["images"] == 48


def test_the_report_has_its_tables_and_figures(study):
    folder, _, done = study
    for name in ("table1.csv", "table1.md", "table1.html", "report.ipynb"):
        assert (folder / name).stat().st_size > 500, name
    for name in ("fig1", "fig2", "fig3", "fig4", "curves"):
        for suffix in ("png", "pdf"):
            assert (folder / f"{name}.{suffix}").stat().st_size > 5000, f"{name}.{suffix}"
    assert "fig1.png" in done.stdout and "protocol hu@96x128" in done.stdout
    table = pd.read_csv(folder / "table1.csv")
    assert set(table["source"]) == {"ours", "report", "poster", "errata", "hu2019"}
    assert "impossible" in (folder / "table1.md").read_text()


def test_records_are_the_contract(study):
    images = pd.read_parquet(study[0] / "runs" / "adv" / "seed=0" / "images.parquet")
    assert list(images.columns) == [
        "study", "row", "seed", "dataset", "split", "scene", "image", "protocol", "metric", "value", "n_valid"
    ]  # fmt: skip
    assert {"mse", "rms", "rel", "log10", "delta1", "delta2", "delta3", "sq_rel", "silog", "mae"} <= set(
        images["metric"]
    )
    assert images["value"].notna().all() and (images["n_valid"] > 0).all()
    assert images["scene"].nunique() == 2 and images["image"].nunique() == 4


def test_a_finished_study_is_not_run_again(study, worlds):
    folder, words, _ = study
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
    again = command(*words, data=worlds)
    assert again.returncode == 0 and "3 of 3 runs are done already" in again.stdout
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_one_damaged_record_is_made_again_and_no_other(study, worlds):
    folder, words, _ = study
    (folder / "runs" / "adv" / "seed=0" / "metrics.json").write_text('{"fingerp')
    mean = (folder / "runs" / "mean_depth" / "seed=0" / "metrics.json").stat().st_mtime_ns
    weights = (folder / "runs" / "adv" / "seed=0" / "model.safetensors").stat().st_mtime_ns
    assert command(*words, data=worlds).returncode == 0
    assert json.loads((folder / "runs" / "adv" / "seed=0" / "metrics.json").read_text())["row"] == "adv"
    assert mean == (folder / "runs" / "mean_depth" / "seed=0" / "metrics.json").stat().st_mtime_ns
    assert weights == (folder / "runs" / "adv" / "seed=0" / "model.safetensors").stat().st_mtime_ns  # only judged again


def test_ctrl_c_says_how_to_go_on_and_leaves_no_kernel(tmp_path, worlds):
    import psutil

    words = ("ablate", "table1", "--scale", "smoke", "--rows", "baseline", "--set", "epochs=500", "--out", tmp_path)
    process = start(*words, data=worlds)
    wait_for(tmp_path / "table1-rooms-smoke-report+epochs=500/runs/baseline/seed=0/checkpoint.pt", process)
    kernels = psutil.Process(process.pid).children(recursive=True)
    assert kernels
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "goes on from the last finished epoch" in errors
    _, alive = psutil.wait_procs(kernels, timeout=10)
    assert not alive


def test_a_row_that_fails_keeps_its_notebook_and_the_others_go_on(tmp_path, worlds):
    words = (
        "ablate", "table1", "--scale", "smoke", "--rows", "mean_depth,baseline", "--set", "encoder=no_such_encoder",
        "--out", tmp_path,
    )  # fmt: skip
    done = command(*words, data=worlds)
    folder = tmp_path / "table1-rooms-smoke-report+encoder=no_such_encoder"
    assert done.returncode == 1
    assert "baseline seed 0 failed" in done.stderr and "missing: baseline seed 0" in done.stderr
    assert (folder / "runs" / "mean_depth" / "seed=0" / "metrics.json").exists()
    failed = folder / "runs" / "baseline" / "seed=0" / "train.failed.ipynb"
    assert "no_such_encoder" in failed.read_text() and "Traceback" in failed.read_text()


def test_a_dead_kernel_is_tried_once_more(tmp_path, monkeypatch):
    import papermill
    from nbclient.exceptions import DeadKernelError

    from advdepth_nb.study import execute_notebook

    calls = []

    def dies(source, out, *args, **kwargs):
        calls.append(out)
        Path(out).write_text("{}")
        if len(calls) == 1:
            raise DeadKernelError("Kernel died")

    monkeypatch.setattr(papermill, "execute_notebook", dies)
    assert execute_notebook("train", tmp_path / "train.ipynb", {"seed": 1}).exists() and len(calls) == 2
    calls[:] = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda s, out, *a, **k: calls.append(out) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        execute_notebook("train", tmp_path / "train.ipynb", {"seed": 1})
    assert len(calls) == 1  # any other error is not tried again
    with pytest.raises(ValueError, match=r"train\.ipynb has no parameter sead"):
        execute_notebook("train", tmp_path / "train.ipynb", {"sead": 1})


def test_two_jobs_give_the_same_records_as_one(tmp_path, worlds):
    words = ("ablate", "table1", "--scale", "smoke", "--rows", "baseline,ssim", "--set", "epochs=1", "--out")
    name = "table1-rooms-smoke-report+epochs=1/runs"
    assert command(*words, tmp_path / "one", data=worlds).returncode == 0
    assert command(*words, tmp_path / "two", "--jobs", 2, data=worlds).returncode == 0
    for row in ("baseline", "ssim"):
        one, two = (pd.read_parquet(tmp_path / f / name / row / "seed=0" / "images.parquet") for f in ("one", "two"))
        pd.testing.assert_frame_equal(one, two, rtol=1e-3)  # threads differ, so the last bits may


def test_the_plan_is_shown_and_nothing_is_run(tmp_path, worlds):
    done = command("ablate", "table1", "--seeds", 2, "--dry-run", "--out", tmp_path, data=worlds)
    assert done.returncode == 0 and done.stdout.count("to do") == (8 + 1) * 2 + 1
    assert "balanced_euclidean + gradient + surface_normal + adversarial + ssim_depth" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_second_command_in_the_same_folder_is_refused(tmp_path, worlds):
    from filelock import FileLock

    folder = tmp_path / "table1-rooms-smoke-report"
    folder.mkdir()
    with FileLock(folder / ".lock"):
        done = command("ablate", "table1", "--scale", "smoke", "--out", tmp_path, data=worlds)
    assert done.returncode == 2 and "another command is running" in done.stderr
