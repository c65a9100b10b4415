"""Every system and kind of row trains under every precision, watched by all that `train_run` lets watch."""

import os
from dataclasses import replace
from functools import cache
from unittest import mock

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from safetensors.torch import load_file
from factories import Stopped, stop_after

from advdepth_nb.study import train as study
from advdepth_nb.systems.experiments import PRECISIONS
from advdepth_nb.systems.catalog import experiment
from advdepth_nb.systems.model_files import load_model
from advdepth_nb.study.train import train_run
from advdepth_nb.systems.catalog import SYSTEMS
from advdepth_nb.training.callbacks import NotFinite

PLAYER = {"adversary.width": 4, "adversary.n_layers": 1}
TINY = {
    "depth": {
        **PLAYER,
        "encoder": "test_resnet",
        "fusion_width": 4,
        "frame": (36, 48),
        "crop": (32, 44),
        "init_from": "",
    },
    "stereo": {**PLAYER, "size": (32, 64), "norm": "batch"},
    "translation": {**PLAYER, "size": (32, 64), "load_size": (36, 72), "width": 4},
}
ROWS = {  # system -> its study, a row without and one with a discriminator, the latter's gradient fractions
    "depth": ("table1", "baseline", "adv", {"surface_normal": 0.2, "adversarial": 0.3}),
    "stereo": ("stereo", "baseline", "full", {"consistency": 0.2, "adversarial": 0.3}),
    "translation": ("translate", "colorize_l1", "colorize_l1_gan", {"adversarial": 0.3}),
}
KINDS = {  # settings of the discriminator that make an adversarial row into this kind
    "adversarial": {},
    "conditional": {"conditional": True},
    "shuffled": {"conditional": True, "placebo": "shuffled"},
    "frozen": {"placebo": "frozen"},
    "detached": {"placebo": "detached"},
    "random": {"placebo": "random"},
    "wgangp": {"objective": "wgangp", "norm": "none", "steps": 2},
    "relativistic": {"objective": "relativistic", "norm": "instance", "r1": 0.1, "r2": 0.1},
}
CASES = [
    (system, kind)
    for system in ROWS
    for kind in ("plain", *KINDS, "fractions")
    if system != "stereo" or not KINDS.get(kind, {}).get("conditional")  # its discriminator sees views alone
]
ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 needs a CUDA device")


def row(system, kind, precision="32-true", **changes):
    """The smallest experiment of this kind: an epoch of three steps, its best epoch kept."""
    name, plain, adversarial, fractions = ROWS[system]
    picked = {"precision": precision, "select": "best_val", "validation": 0.25}
    e = experiment(plain if kind == "plain" else adversarial, name, "smoke", settings={**TINY[system], **picked})
    if kind in KINDS:
        e = replace(e, adversary=replace(e.adversary, **KINDS[kind]))
    return replace(
        e, **{"epochs": 1, "batch": 2, "grad_fractions": fractions if kind == "fractions" else {}, **changes}
    )


@pytest.fixture(scope="module")
def packed(worlds):
    """System -> its packed file."""
    with mock.patch.dict(os.environ, ADVDEPTH_DATA=str(worlds)):
        return {name: system.data_file(row(name, "plain"), system.worlds[0]) for name, system in SYSTEMS.items()}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """What the panel is drawn from is computed; drawing it takes longer than the run."""
    monkeypatch.setattr(study, "panel", lambda *_: plt.figure(figsize=(1, 1)))


@pytest.fixture(scope="module")
def in_float32(packed, tmp_path_factory):
    """What is logged of the first step of a case in 32-true; each case is run once."""

    @cache
    def first_step(system, kind):
        folder = tmp_path_factory.mktemp("float32")
        e = row(system, kind, epochs=1 if kind == "fractions" else 1 / 3)  # weights are found on an epoch's batches
        assert train_run(e, packed[system], folder, device="cpu")["precision"] == "32-true"
        return pd.read_parquet(folder / "history.parquet").iloc[0]

    return first_step


def check(folder, budget, e, reference):
    """What a run left behind is whole, finite, and begins as in float32."""
    assert budget["precision"] == e.precision and budget["generator_steps"] == 3
    weights = load_file(folder / "model.safetensors")
    wide = torch.float64 if e.precision == "64-true" else torch.float32
    assert all(w.dtype == wide and w.isfinite().all() for w in weights.values() if w.is_floating_point())
    history = pd.read_parquet(folder / "history.parquet")
    assert history.notna().all(axis=None) and abs(history.filter(like="grad_fraction/").iloc[0].sum() - 1) < 1e-6
    first = pd.concat([reference, history.iloc[0]], axis=1, keys=["float32", "here"]).filter(like="/", axis=0)
    relative, absolute = (1e-3, 1e-3) if e.precision == "64-true" else (0.2, 1e-2)
    odd = first[(first["here"] - first["float32"]).abs() > relative * first["float32"].abs() + absolute]
    assert odd.index.difference(["adversary/accuracy", "adversary/gradient_norm"]).empty, odd
    if "adversarial" in e.losses:
        checks = pd.read_parquet(folder / "gan_monitor.parquet")
        assert len(checks) == 3 and checks.notna().all(axis=None) and (folder / "gan_health.json").exists()
        assert (checks["grad_fraction"] > 0).all() == (checks["ratio"] > 0).all() == (e.adversary.placebo != "detached")


@pytest.mark.parametrize(
    "precision", [pytest.param(p, marks=ON_CUDA if p == "16-mixed" else ()) for p in PRECISIONS if p != "32-true"]
)
@pytest.mark.parametrize("system, kind", CASES)
def test_every_kind_of_row_trains_and_is_watched(packed, in_float32, tmp_path, system, kind, precision):
    e = row(system, kind, precision)
    device = "cuda" if precision == "16-mixed" else "cpu"
    budget = train_run(e, packed[system], tmp_path, device=device, say=lambda fraction, text: None)
    check(tmp_path, budget, e, in_float32(system, kind))
    assert load_model(tmp_path)[1].precision == precision


def same_when_resumed(e, packed, folder):
    """Whether a run that was stopped in its second epoch ends with the bits of one that was not; the scale, if any."""
    e = replace(e, epochs=3)

    train_run(e, packed, folder / "whole", device="cpu")
    with pytest.raises(Stopped):
        train_run(e, packed, folder / "parts", device="cpu", say=stop_after(0.5))
    scale = torch.load(folder / "parts" / "checkpoint.pt", weights_only=True)["run"]["precision"].get("scale")
    train_run(e, packed, folder / "parts", device="cpu")
    whole, parts = (load_file(folder / name / "model.safetensors") for name in ("whole", "parts"))
    a, b = (pd.read_parquet(folder / name / "gan_monitor.parquet") for name in ("whole", "parts"))
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    return all(torch.equal(whole[k], parts[k]) for k in whole), scale


@pytest.mark.parametrize("system, precision", [*((s, "bf16-mixed") for s in ROWS), ("translation", "64-true")])
def test_stopped_and_resumed_is_the_same_bit_for_bit(packed, tmp_path, system, precision):
    assert same_when_resumed(row(system, "adversarial", precision), packed[system], tmp_path) == (True, None)


@pytest.fixture
def float16_on_cpu(monkeypatch):
    """Nobody trains in float16 on a CPU, but the loss scale can be watched there; its first value can be chosen."""

    def stand_in(scale):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        return Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler))

    def start_at(scale):
        monkeypatch.setattr(study, "check_precision", lambda *_: None)
        monkeypatch.setattr(study, "Fabric", lambda **_: stand_in(scale))

    return start_at


@pytest.mark.parametrize(
    "system, kind", [("depth", "relativistic"), ("depth", "random"), ("stereo", "fractions"), ("translation", "frozen")]
)
def test_the_loss_scale_of_float16_is_in_no_number(packed, in_float32, tmp_path, float16_on_cpu, system, kind):
    float16_on_cpu(2.0**10)
    e = row(system, kind, "16-mixed")
    check(tmp_path, train_run(e, packed[system], tmp_path, device="cpu"), e, in_float32(system, kind))


def test_the_loss_scale_of_float16_is_resumed(packed, tmp_path, float16_on_cpu):
    float16_on_cpu(2.0**8)
    assert same_when_resumed(row("translation", "adversarial", "16-mixed"), packed["translation"], tmp_path) == (
        True, 2.0**8,
    )  # fmt: skip


@pytest.mark.parametrize("system", ROWS)
def test_a_loss_scale_that_is_too_large_is_lowered(packed, tmp_path, float16_on_cpu, system):
    """The steps are skipped, the guard lets them pass, and what is logged is finite all the same."""
    float16_on_cpu(2.0**60)
    train_run(row(system, "adversarial", "16-mixed"), packed[system], tmp_path, device="cpu")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["run"]
    assert 2.0**50 < state["precision"]["scale"] < 2.0**60
    assert all(of["step"] == 0 for of in state["optimizer"]["state"].values())  # Adam's count of steps taken
    assert (
        pd.read_parquet(tmp_path / "history.parquet").filter(regex="grad_fraction/|term/|total").notna().all(axis=None)
    )
    assert pd.read_parquet(tmp_path / "gan_monitor.parquet").notna().all(axis=None)


def test_a_loss_scale_below_one_ends_the_run(packed, tmp_path, float16_on_cpu):
    float16_on_cpu(0.5)
    with pytest.raises(NotFinite, match=r"overflow float16 at a loss scale of 0\.5; set precision=bf16-mixed"):
        train_run(row("stereo", "plain", "16-mixed"), packed["stereo"], tmp_path, device="cpu")


def test_float16_without_cuda_is_refused(packed, tmp_path):
    with pytest.raises(ValueError, match=r"precision '16-mixed' needs a CUDA device.*--set precision=bf16-mixed"):
        train_run(row("depth", "plain", "16-mixed"), packed["depth"], tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())


def test_a_reference_says_what_it_was_computed_in(packed, tmp_path):
    e = replace(row("depth", "plain", "bf16-mixed"), network="mean_depth", losses={}, adversary=None)
    assert train_run(e, packed["depth"], tmp_path, device="cpu")["precision"] == "32-true"
