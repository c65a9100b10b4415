"""Loggers that follow runs: killed for real, and gone on; a broken one; the same numbers as without them."""

import json

import pandas as pd
import pytest
import torch
from commands import command, start, wait_for
from figures import check_file
from safetensors.torch import load_file as weights_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from advdepth_nb.study.plan import make_plan
from advdepth_nb.study.schedule import packed_files
from advdepth_nb.study.tracking import told_so_far
from advdepth_nb.study.train import train_planned
from advdepth_nb.systems.base import load_file

LOGGERS = """
from pathlib import Path


class Lines:
    def __init__(self, root_dir, name):
        self.file, self.name = Path(root_dir, "lines.txt"), name

    def write(self, text):
        with self.file.open("a") as file:
            print(text, file=file)

    def log_hyperparams(self, params):
        self.write(f"{self.name} {params['lr']}")

    def log_metrics(self, metrics, step):
        self.write(step)

    def log_image(self, key, images, step):
        self.write(f"{key} {step} {Path(images[0]).exists()}")


class Broken(Lines):
    def log_metrics(self, metrics, step):
        raise OSError("no route to host")
"""
ADV = {"epochs": "12", "init_from": ""}


@pytest.fixture(scope="module")
def followed(tmp_path_factory, worlds):
    """A run with four loggers, killed in an epoch, then finished by the same command: its folder, and what was said."""
    out = tmp_path_factory.mktemp("followed")
    (out / "my_loggers.py").write_text(LOGGERS)
    words = ["ablate", "table1", "--scale", "smoke", "--rows", "adv", "--out", out / "r"]
    words += [word for name, value in ADV.items() for word in ("--set", f"{name}={value}")]
    words += ["--track", "csv,tensorboard,my_loggers:Lines,my_loggers:Broken"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        process = start(*words, data=worlds)
        run = out / "r" / "table1-rooms-smoke-report+epochs=12+init_from=" / "runs/adv/seed=0"
        wait_for(run / "checkpoint.pt", process)
        process.kill()
        process.wait()
        assert not (run / "metrics.json").exists()
        before = told_so_far(run / "track")["steps"]["csv"]
        return run, command(*words, data=worlds), before


def test_it_says_its_folder_and_who_failed(followed):
    run, done, before = followed
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"followed by csv,tensorboard,my_loggers:Lines,my_loggers:Broken, in {run.parents[1]}/ROW/seed=N/track" in (
        done.stdout
    )
    assert f"tensorboard --logdir {run.parents[1]}" in done.stdout
    failed = "the logger my_loggers:Broken failed (OSError: no route to host); the run went on without it"
    assert f"adv seed 0: {failed}" in done.stdout and 0 <= before < 24
    warned = [line for line in (run / "train.ipynb").read_text().splitlines() if "the run goes on without it" in line]
    assert len(warned) == 1 and "my_loggers:Broken" in warned[0]


def test_no_step_is_doubled_and_none_is_missing(followed):
    run, _, _ = followed
    history = pd.read_parquet(run / "history.parquet")
    checks = pd.read_parquet(run / "gan_monitor.parquet")
    steps = sorted({*history["step"], *checks["step"]})
    table = pd.read_csv(run / "track/csv/metrics.csv").set_index("step")
    assert list(table.index) == steps and (run / "track/lines.txt").exists()
    both = history.set_index("step").drop(columns="epoch")
    pd.testing.assert_frame_equal(table.loc[both.index, both.columns], both, check_dtype=False)
    assert (table["monitor/real"].dropna() == checks.set_index("step")["real"]).all()
    events = EventAccumulator(str(run / "track/tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()
    assert [e.step for e in events.Scalars("total")] == list(history["step"])
    assert [e.step for e in events.Scalars("monitor/ratio")] == list(checks["step"])
    shown = [e.step for e in events.Images("examples")]
    assert len(shown) == len(set(shown)) and shown[-1] == 24
    lines = (run / "track/lines.txt").read_text().splitlines()
    assert len([x for x in lines if x.startswith("adv-seed0")]) == 2  # of `Lines` and `Broken`: once each
    assert [int(x) for x in lines if x.isdigit()] == steps and f"examples {shown[-1]} True" in lines
    for path in (run / "track/examples").glob("*.png"):
        check_file(path)


def test_history_and_weights_are_those_of_a_run_that_nobody_follows(followed, tmp_path, worlds, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    run, _, _ = followed
    plan = make_plan("table1", "smoke", rows=["adv"], out=tmp_path, settings=ADV)
    (alone,) = plan.runs
    assert alone.fingerprint == json.loads((run / "metrics.json").read_text())["fingerprint"]
    alone.write()
    budget = train_planned(alone.folder, packed_files(plan, lambda text: None)[""], "cpu", threads=1)
    pd.testing.assert_frame_equal(
        pd.read_parquet(alone.folder / "history.parquet"), pd.read_parquet(run / "history.parquet")
    )
    one, other = (weights_of(folder / "model.safetensors") for folder in (alone.folder, run))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert budget["teraflops"] == json.loads((run / "budget.json").read_text())["teraflops"]
    assert not (alone.folder / "track").exists()


def test_a_logger_in_the_file_of_a_study_is_found_in_its_kernels(tmp_path, worlds, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    file = tmp_path / "own_logger.py"
    rows = "study = Study.like('table1', rows={'baseline': rows.baseline})"
    file.write_text(f"from advdepth_nb import Study, rows\n{LOGGERS}\n\n{rows}\n")
    done = command("ablate", file, "--scale", "smoke", "--rows", "baseline", "--out", tmp_path / "r",
                   "--track", "own_logger:Lines", data=worlds)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (lines,) = (tmp_path / "r").glob("*/runs/baseline/seed=0/track/lines.txt")
    assert lines.read_text().startswith("baseline-seed0 ") and "failed" not in done.stdout


def test_training_without_notebooks_is_followed_too(tmp_path, worlds, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    out = tmp_path / "trained"
    done = command("train", "baseline", "--scale", "smoke", "--set", "init_from=", "--out", out, "--track", "csv",
                   data=worlds)  # fmt: skip
    assert done.returncode == 0 and f"baseline: followed by csv, in {out}/track" in done.stdout, done.stderr
    assert len(pd.read_csv(out / "track/csv/metrics.csv")) == len(pd.read_parquet(out / "history.parquet"))
    for system, row in (("stereo", "baseline"), ("translate", "segment_l1")):
        file = tmp_path / f"{system}_first.py"
        made = f"Study.like({system!r}, rows={{'a': rows.{system}.{row}}})"
        file.write_text(f"from advdepth_nb import Study, rows\n\nstudy = {made}\n")
        from advdepth_nb.systems.base import STUDIES

        study = STUDIES[load_file(file)[0]]
        folder = study.train("a", scale="smoke", out=tmp_path, track="csv,tensorboard")
        (last,) = sorted((folder / "track/examples").glob("*.png"))[-1:]
        check_file(last)
        assert told_so_far(folder / "track")["failed"] == {}


def test_what_cannot_follow_is_refused_before_anything_starts(tmp_path, worlds):
    for track, words in (
        ("wandb", "no such logger; give csv, tensorboard, or a class as package.module:Logger"),
        ("nowhere:Logger", "nowhere cannot be imported"),
    ):
        done = command("ablate", "table1", "--scale", "smoke", "--out", tmp_path / "r", "--track", track, data=worlds)
        assert done.returncode == 2 and words in done.stderr and not (tmp_path / "r").exists()
