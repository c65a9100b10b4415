"""What the loop promises: exact resume, a weight of 0 that changes nothing, a NaN that is named."""

import json
import os
from dataclasses import replace
from unittest import mock

import h5py
import pandas as pd
import pytest
import torch
from factories import Stopped, stop_after

from advdepth_nb.systems.catalog import experiment
from advdepth_nb.study.train import cost_of_a_step, hold_out, train_run
from advdepth_nb.study.evaluate import evaluate_run
from advdepth_nb.systems.model_files import load_model
from advdepth_nb.systems.catalog import SYSTEMS
from advdepth_nb.training.callbacks import NotFinite
from advdepth_nb.training.loop import Callback, Training
from advdepth_nb.core.files import write_json


@pytest.fixture(scope="module")
def packed(worlds):
    with mock.patch.dict(os.environ, ADVDEPTH_DATA=str(worlds)):
        return SYSTEMS["depth"].data_file(experiment("baseline", scale="smoke"), "rooms")


def weights(folder):
    return load_model(folder)[0].state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("settings", [{}, {"adversary.objective": "wgangp"}], ids=["lsgan", "wgangp"])
def test_stopped_and_resumed_is_the_same_bit_for_bit(packed, tmp_path, settings):
    e = replace(experiment("adv_ssim", scale="smoke", settings=settings), epochs=3)
    whole = train_run(e, packed, tmp_path / "whole", seed=3, device="cpu")

    with pytest.raises(Stopped):
        train_run(e, packed, tmp_path / "parts", seed=3, device="cpu", say=stop_after(0.5))
    assert (tmp_path / "parts" / "checkpoint.pt").exists()
    resumed = train_run(e, packed, tmp_path / "parts", seed=3, device="cpu")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    counts = ("images", "generator_steps", "discriminator_steps")
    assert [whole[c] for c in counts] == [resumed[c] for c in counts]
    a, b = (pd.read_parquet(tmp_path / f / "history.parquet") for f in ("whole", "parts"))
    pd.testing.assert_frame_equal(a, b)


def test_a_run_killed_before_its_first_check_goes_on(packed, tmp_path):
    """An epoch has two steps and its GAN monitor looks every third: of the first epoch it keeps an empty table."""
    e = replace(experiment("adv", scale="smoke", settings={"encoder": "test_resnet", "fusion_width": 4}), epochs=12)
    train_run(e, packed, tmp_path / "whole", device="cpu")
    step = Training.one_step

    def killed(run, *given):
        if run.step == 2:
            raise Stopped
        return step(run, *given)

    with mock.patch.object(Training, "one_step", killed), pytest.raises(Stopped):
        train_run(e, packed, tmp_path / "parts", device="cpu")
    assert pd.read_parquet(tmp_path / "parts/gan_monitor.parquet").empty
    train_run(e, packed, tmp_path / "parts", device="cpu")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    for name in ("gan_monitor", "history"):
        a, b = (pd.read_parquet(tmp_path / f / f"{name}.parquet") for f in ("whole", "parts"))
        pd.testing.assert_frame_equal(a, b)


def test_another_seed_is_another_run(packed, tmp_path):
    e = replace(experiment("baseline", scale="smoke"), epochs=1)
    train_run(e, packed, tmp_path / "0", seed=0, device="cpu")
    train_run(e, packed, tmp_path / "1", seed=1, device="cpu")
    assert not same(weights(tmp_path / "0"), weights(tmp_path / "1"))


def test_an_adversary_of_weight_zero_changes_nothing(packed, tmp_path):
    baseline = replace(experiment("baseline", scale="smoke"), epochs=1)
    silent = replace(experiment("adv", scale="smoke", settings={"losses.adversarial": 0.0}), epochs=1)
    train_run(baseline, packed, tmp_path / "baseline", device="cpu")
    budget = train_run(silent, packed, tmp_path / "silent", device="cpu")
    assert budget["discriminator_steps"] > 0
    assert same(weights(tmp_path / "baseline"), weights(tmp_path / "silent"))
    loud = replace(silent, losses={**silent.losses, "adversarial": 1.0})
    train_run(loud, packed, tmp_path / "loud", device="cpu")
    assert not same(weights(tmp_path / "baseline"), weights(tmp_path / "loud"))


def test_a_checkpoint_of_another_experiment_is_not_resumed(packed, tmp_path):
    e = replace(experiment("baseline", scale="smoke"), epochs=2)
    calls = []

    def die(fraction, text):
        calls.append(fraction)
        if fraction >= 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        train_run(e, packed, tmp_path / "a", device="cpu", say=die)
    other = replace(e, lr=2 * e.lr)
    budget = train_run(other, packed, tmp_path / "a", device="cpu")
    fresh = train_run(other, packed, tmp_path / "b", device="cpu")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert budget["images"] == fresh["images"]


def test_a_damaged_checkpoint_is_refused_in_one_sentence(packed, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged and cannot be read; delete it"):
        train_run(experiment("baseline", scale="smoke"), packed, tmp_path, device="cpu")


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done, sync, rename = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append("synced") or sync(handle))
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("renamed") or rename(*paths))
    write_json(tmp_path / "a.json", {"rms": 0.5})
    assert done == ["synced", "renamed", "synced"][: 3 if os.name == "posix" else 2]  # the last is the folder


class Poison(Callback):
    """Stands in for a loss that goes wrong at its third call."""

    def __init__(self, loss, spoil):
        self.loss, self.spoil, self.calls = loss, spoil, 0

    def __call__(self, pred, target, mask):
        self.calls += 1
        value = self.loss(pred, target, mask)
        return self.spoil(value, pred) if self.calls >= 3 else value


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda value, pred: value * float("nan"), "the term 'gradient' is nan"),
        (lambda value, pred: value / 0, "the term 'gradient' is -?inf"),
        (lambda value, pred: value + (pred - pred.detach()).abs().sum().sqrt(), "the gradient of the term 'gradient'"),
    ],
    ids=["nan", "inf", "gradient"],
)
def test_what_is_not_finite_stops_the_run_with_its_term(packed, tmp_path, monkeypatch, spoil, words):
    import advdepth_nb.systems.depth as systems

    real = systems.depth_losses
    monkeypatch.setattr(systems, "depth_losses", lambda r: {**real(r), "gradient": Poison(real(r)["gradient"], spoil)})
    with pytest.raises(NotFinite, match=f"step 3: .*{words}"):
        train_run(experiment("baseline", scale="smoke"), packed, tmp_path, device="cpu")


def test_best_val_keeps_scenes_apart_and_the_best_epoch(packed, tmp_path):
    e = replace(experiment("baseline", scale="smoke", settings={"select": "best_val", "validation": "0.25"}), epochs=3)
    budget = train_run(e, packed, tmp_path, device="cpu")
    assert budget["images"] < 3 * 8  # a scene's views were held out
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert same(weights(tmp_path), best["net"])


def test_every_recipe_trains(packed, tmp_path):
    for recipe in ("report", "hu2019", "authors_code"):
        row = "baseline" if recipe == "hu2019" else "balanced_adv_ssim"
        four_layers_need_more = {"adversary.n_layers": "3"} if recipe == "authors_code" else {}
        e = replace(experiment(row, scale="smoke", recipe=recipe, settings=four_layers_need_more), epochs=1, batch=4)
        assert train_run(e, packed, tmp_path / recipe, device="cpu")["generator_steps"] > 0


def test_the_network_is_the_same_for_the_same_seed():
    e = experiment("baseline", scale="smoke")
    torch.manual_seed(5)
    a = SYSTEMS["depth"].network(e).state_dict()
    torch.manual_seed(5)
    assert same(a, SYSTEMS["depth"].network(e).state_dict())


def test_a_control_spends_what_the_adversary_would_have_cost(packed, tmp_path):
    wide = {"epochs": 4, "adversary.width": 96, "init_from": ""}
    control, played = (experiment(row, scale="smoke", settings=wide) for row in ("baseline_compute", "adv"))
    train = SYSTEMS["depth"].dataset(packed, "train", control)
    own, both = cost_of_a_step(control, train) / 1e12, cost_of_a_step(played, train) / 1e12
    budget = train_run(control, packed, tmp_path, device="cpu")
    assert budget["discriminator_steps"] == 0 and budget["generator_steps"] > 8 and both > own
    assert abs(budget["teraflops"] - 8 * both) <= own  # steps are whole
    assert budget["images"] == 4 * budget["generator_steps"]


def test_a_share_sets_a_weight_once_and_held_out_scenes_judge(packed, tmp_path):
    e = experiment("gradient_30", "weights", "smoke", settings={"init_from": "", "validation": 0.25})
    train_run(e, packed, tmp_path, device="cpu")
    weight = json.loads((tmp_path / "weights.json").read_text())["gradient"]
    assert 0 < weight != 1
    said = []
    evaluate_run(tmp_path, packed, device="cpu", say=lambda fraction, text: said.append((fraction, text)))
    assert said[0] == (0, "scoring 1/2")
    images = pd.read_parquet(tmp_path / "images.parquet")
    train, held_out = hold_out(SYSTEMS["depth"].dataset(packed, "train", e), e)
    assert set(images["split"]) == {"validation"} and set(images["image"]) == set(held_out.images)
    assert not set(train.scenes) & set(images["scene"]) and len(train) + len(held_out) == 8


def test_data_without_a_test_split_is_trained_on_unwatched(packed, tmp_path):
    alone = tmp_path / "alone.h5"
    with h5py.File(packed) as source, h5py.File(alone, "w") as target:
        target.attrs.update(source.attrs)
        source.copy("train", target)
    e = replace(experiment("adv", scale="smoke", settings={"init_from": ""}), epochs=1)
    budget = train_run(e, alone, tmp_path / "run", device="cpu")
    assert budget["discriminator_steps"] == 2 and not (tmp_path / "run" / "gan_health.json").exists()
