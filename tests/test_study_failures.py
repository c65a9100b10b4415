"""Studies that are interrupted, broken or refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from commands import command, start, wait_for

from advdepth_nb.study import schedule as study
from advdepth_nb.study.plan import make_plan
from advdepth_nb.systems.model_files import load_model, save_model
from advdepth_nb.systems.catalog import SYSTEMS


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
        "ablate", "table1", "--scale", "smoke", "--rows", "mean_depth,baseline", "--set", "lr=1e12",
        "--out", tmp_path,
    )  # fmt: skip
    done = command(*words, data=worlds)
    folder = tmp_path / "table1-rooms-smoke-report+lr=1e12"
    assert done.returncode == 1
    assert "baseline seed 0 failed" in done.stderr and "missing: baseline seed 0" in done.stderr
    assert (folder / "runs" / "mean_depth" / "seed=0" / "metrics.json").exists()
    failed = folder / "runs" / "baseline" / "seed=0" / "train.failed.ipynb"
    assert "not finite" in failed.read_text() and "Traceback" in failed.read_text()


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """A trained run that has not been judged, and the names of the notebooks that are executed for it."""
    run, executed = make_plan(rows=["baseline"], scale="smoke", out=tmp_path, settings={"init_from": ""}).runs[0], []
    save_model(SYSTEMS["depth"].network(run.experiment), run.experiment, run.folder)
    run.write()
    for name, content in (("budget.json", "{}"), ("train.ipynb", "{}")):
        (run.folder / name).write_text(content)
    torch.save({"run": torch.ones(100)}, run.folder / "checkpoint.pt")

    def execute(name, out, parameters, kernel):
        left = (run.folder / "checkpoint.pt").exists()
        executed.append(f"{name} from a checkpoint" if name == "train" and left else name)

    monkeypatch.setattr(study, "execute_notebook", execute)
    return run, executed


def judge(run):
    said = []
    study.run_one(make_plan(rows=["baseline"], scale="smoke", out=run.folder), run, run.folder, say=said.append)
    return said


def test_what_is_whole_is_not_made_again(planned):
    run, executed = planned
    assert judge(run) == [] and executed == ["evaluate"]
    assert json.loads((run.folder / "progress.json").read_text()) == {"fraction": 1.0, "text": "scoring"}
    (run.folder / "budget.json").unlink()  # killed in training
    torch.save({"run": torch.ones(100)}, run.folder / "checkpoint.pt")
    assert judge(run) == [] and executed[1:] == ["train from a checkpoint", "evaluate"]


def test_the_kernel_of_a_killed_command_ends_before_its_run_goes_on(planned):
    run, executed = planned
    orphan = """
import sys, time
from pathlib import Path
from filelock import FileLock
folder = Path(sys.argv[1])
with FileLock(folder.with_name(f".{folder.name}.lock")):
    print(flush=True)
    time.sleep(1)
    (folder / ".checkpoint.pt.0.part").write_text("it dies as it writes")
"""
    process = subprocess.Popen([sys.executable, "-c", orphan, run.folder], stdout=subprocess.PIPE)
    process.stdout.readline()
    assert judge(run) == [] and executed == ["evaluate"]
    assert process.wait() == 0 and not list(run.folder.glob(".*.part"))


@pytest.mark.parametrize(
    "name", ["budget.json", "model.json", "model.safetensors", "checkpoint.pt", "gan_monitor.parquet"]
)
@pytest.mark.parametrize("left", [0, 40], ids=["empty", "truncated"])
def test_what_a_power_cut_left_empty_does_not_block_its_row(planned, name, left):
    run, executed = planned
    path = run.folder / name
    whole = path.read_bytes() if path.exists() else b""
    path.write_bytes(whole[: min(left, max(0, len(whole) - 1))])
    if name.startswith("model"):
        with pytest.raises(ValueError, match=rf"{name} is damaged and cannot be read; train that run again"):
            load_model(run.folder)
    assert judge(run) == [f"baseline seed 0: {name} is damaged, as after a power cut; training begins again"]
    assert executed == ["train", "evaluate"] and not path.exists()


def test_a_folder_whose_data_is_not_known_any_more_goes_on(tmp_path):
    plan = make_plan(rows=["baseline"], scale="smoke", out=tmp_path, settings={"init_from": ""})
    (plan.runs[0].folder).mkdir(parents=True)
    (plan.runs[0].folder / "metrics.json").write_text(json.dumps({"fingerprint": plan.runs[0].fingerprint}))
    (plan.folder / "data.json").write_text("")
    assert study.run_plan(plan, say=lambda text: None) == {}
    assert json.loads((plan.folder / "data.json").read_text()) == {"data": "rooms", "identity": "rooms"}


def test_a_dead_kernel_is_tried_once_more(tmp_path, monkeypatch):
    import papermill
    from nbclient.exceptions import DeadKernelError

    from advdepth_nb.study.notebooks import execute_notebook

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


@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_a_run_that_all_others_wait_for_has_the_cores_to_itself(tmp_path, worlds, monkeypatch, chosen):
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    monkeypatch.setattr(study.torch, "get_num_threads", lambda: 2)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
    running, seen = set(), {}

    def run_one(plan, run, packed, threads, say, kernel):
        running.add(run)
        time.sleep(0.2)  # until the other one runs, if there is one
        seen[run.row, run.seed] = threads, len(running), os.environ.get("OMP_WAIT_POLICY")
        time.sleep(0.2)
        running.remove(run)

    monkeypatch.setattr(study, "run_one", run_one)
    names = ["mean_depth", "adv", "ssim", "adv_ssim"]  # the first runs beside the second
    rows = {"scale": "smoke", "rows": names, "settings": {"init_from": "pretrain"}, "out": tmp_path}
    assert study.run_plan(make_plan("table1", **rows), jobs=2, say=lambda text: None) == {}
    alone, shared = (2, 1, chosen), (1, 2, chosen or "PASSIVE")
    assert seen["pretrain", 0] == alone and seen["adv", 0] == seen["ssim", 0] == shared
    assert os.environ.get("OMP_WAIT_POLICY") == chosen  # and so has the report
    assert study.run_plan(make_plan("table1", **rows, seeds=2), jobs=2, say=lambda text: None) == {}
    assert seen["pretrain", 0] == seen["pretrain", 1] == shared  # two that others wait for have each other
    assert study.run_plan(make_plan("table1", **rows), jobs=1, say=lambda text: None) == {}
    assert {seen[row, 0] for row in ("pretrain", "adv", "ssim", "mean_depth")} == {alone}
