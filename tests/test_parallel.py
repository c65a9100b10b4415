"""Two processes that share every batch, against one: the same run; killed, and gone on with, in a notebook's kernel."""

import multiprocessing
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
import torch

from advdepth_nb.study.notebooks import execute_notebook
from advdepth_nb.study.plan import Run, make_plan
from advdepth_nb.study.processes import run_together
from advdepth_nb.study.schedule import check_jobs
from advdepth_nb.study.train import _train_on, train_run
from advdepth_nb.systems.catalog import SYSTEMS, experiment

# A discriminator with instance and with batch norm, a gradient penalty, batch norm and dropout in the generator, holes
# in the depth, an image pool, random numbers on the way to the discriminator, discriminator first and last.
TINY = {"encoder": "test_resnet", "fusion_width": "4", "adversary.width": "4", "adversary.pool_size": "10"}
ROWS = {
    "depth": ("adv", "table1", "rooms", {**TINY, "adversary.r1": "0.1"}),
    "stereo": ("full", "stereo", "stalks", {"adversary.width": "4"}),
    "translation": ("colorize_l1_cgan", "translate", "stalks", {"adversary.width": "4"}),
}
TABLES = ("history.parquet", "gan_monitor.parquet")


@pytest.fixture(scope="module")
def planned(worlds, tmp_path_factory):
    """By name of a row: 20 steps in float64, and the packed file. Each batch has four images."""
    runs, folder = {}, tmp_path_factory.mktemp("one")
    with mock.patch.dict(os.environ, ADVDEPTH_DATA=str(worlds)):
        for name, (row, study, world, settings) in ROWS.items():
            e = replace(experiment(row, study, "smoke", settings=settings), epochs=10, precision="64-true")
            runs[name] = (e, str(SYSTEMS[e.system].data_file(e, world)))
    for name, (e, data) in runs.items():
        train_run(e, data, folder / name, seed=1, device="cpu", threads=1)
    return folder, {name: data for name, (_, data) in runs.items()}


def train_all(place, say, folder, data, out):
    """What each of two processes does: all runs planned in `folder`, below `out`, and the first one once more."""
    fabric = place.join("cpu", "64-true")
    for name in (*data, "killed"):
        run = replace(Run.read(Path(folder) / name.replace("killed", "depth")), folder=Path(out) / name)
        if place.index == 0:
            run.write()
        told = partial(say, name) if place.index == 0 else None
        assert _train_on(fabric, run, data.get(name, data["depth"]), "", 1, "", told)["devices"] == 2


def kill(name: str, fraction: float, text: str) -> None:
    """End the second process in the middle of the last run."""
    if name == "killed" and fraction > 0.5:
        max(multiprocessing.active_children(), key=lambda process: process.pid).kill()


@pytest.fixture(scope="module")
def shared(planned, tmp_path_factory):
    """The same runs by two processes, the last of which is cut short."""
    folder, data = planned
    out = tmp_path_factory.mktemp("two")
    with pytest.raises(ChildProcessError, match=r"process 2 of 2 of this run was ended \(SIGKILL.*finished epoch"):
        run_together(train_all, 2, str(folder), data, str(out), say=kill)
    assert not multiprocessing.active_children()
    return out


def state(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["run"]


def tensors(thing, name=""):
    """Name and value of every tensor and number in a checkpoint, but the seconds."""
    if isinstance(thing, (dict, list, tuple)):
        parts = thing.items() if isinstance(thing, dict) else enumerate(thing)
        return {k: v for key, part in parts if key != "seconds" for k, v in tensors(part, f"{name}/{key}").items()}
    return {} if thing is None or isinstance(thing, str) else {name: torch.as_tensor(thing)}


def worst(a: dict, b: dict) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a if a[name].numel())


@pytest.mark.parametrize("name", ROWS)
def test_two_processes_are_one(planned, shared, name):
    one, two = state(planned[0] / name), state(shared / name)
    assert one["step"] == two["step"] == 20 and one["adversary"]["steps"] == two["adversary"]["steps"] >= 20
    for known in (one, two) if name == "depth" else ():  # biases before a norm: all their gradient is rounding, and
        for layer in (2, 5, 8):  # Adam makes it as large as any
            known["adversary"]["discriminator"].pop(f"layers.{layer}.bias")
    assert worst(tensors(one["net"]), tensors(two["net"])) <= 1e-9
    assert worst(tensors(one["adversary"]["discriminator"]), tensors(two["adversary"]["discriminator"])) <= 1e-9
    assert worst(tensors(one["adversary"]["pool"]), tensors(two["adversary"]["pool"])) <= 1e-9
    assert torch.equal(one["adversary"]["generator"], two["adversary"]["generator"])
    for table in TABLES:
        a, b = (pd.read_parquet(folder / name / table) for folder in (planned[0], shared))
        pd.testing.assert_frame_equal(a, b, rtol=1e-9, atol=1e-9)


def test_a_killed_run_goes_on_in_a_kernel(planned, shared):
    folder = shared / "killed"
    assert 5 <= state(folder)["epoch"] < 10 and not (folder / "model.safetensors").exists()
    words = {"out": str(folder), "data": planned[1]["depth"], "device": "cpu", "devices": 2, "threads": 2}
    execute_notebook("train", folder / "train.ipynb", words)
    whole, parts = (tensors(state(place)) for place in (shared / "depth", folder))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    for table in TABLES:
        pd.testing.assert_frame_equal(*(pd.read_parquet(place / table) for place in (shared / "depth", folder)))


def test_what_cannot_be_shared_is_refused(worlds):
    with mock.patch.dict(os.environ, ADVDEPTH_DATA=str(worlds)):
        with pytest.raises(ValueError, match="a batch of 4, which 3 devices cannot share evenly; --set batch=6"):
            make_plan("table1", "smoke", device="cpu", devices=3)
        with pytest.raises(ValueError, match="--devices must be at least 1, not 0"):
            make_plan("table1", "smoke", device="cpu", devices=0)
        plan = make_plan("table1", "smoke", rows=["baseline"], device="cpu", devices=2)
    with pytest.raises(ValueError, match="--jobs 2 with --devices 2: every run would take the same 2 devices"):
        check_jobs(plan, 2)
    alone = make_plan("table1", "smoke", rows=["baseline"], device="cpu")
    assert [run.fingerprint for run in plan.runs] == [run.fingerprint for run in alone.runs]
