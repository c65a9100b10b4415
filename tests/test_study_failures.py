"""Studies that are interrupted, broken or refused."""

import signal
from pathlib import Path

import pytest
from commands import command, start, wait_for


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
