"""Stereo and translation: exact resume, whole studies through the command, other people's pairs, and one sentence
for nonsense."""

import json
import os
from dataclasses import replace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from commands import command, run
from figures import check_file, check_pages
from factories import Stopped, stop_after

from advdepth_nb.study.collect import collect
from advdepth_nb.metrics.disparity import DISPARITY_METRICS
from advdepth_nb.metrics.registry import metric_of
from advdepth_nb.systems.catalog import STUDIES
from advdepth_nb.systems.catalog import experiment
from advdepth_nb.metrics.images import score_segment
from advdepth_nb.core.colors import paint
from advdepth_nb.data.stereo import PackedStereo
from advdepth_nb.systems.model_files import load_model
from advdepth_nb.systems.translation import paint_with
from advdepth_nb.study.train import train_run
from advdepth_nb.systems.catalog import SYSTEMS


@pytest.fixture(scope="module")
def fields(worlds):
    """The packed field of the smallest scale, which stereo and translation share."""
    with mock.patch.dict(os.environ, ADVDEPTH_DATA=str(worlds)):
        packed = SYSTEMS["stereo"].data_file(experiment("full", "stereo", "smoke"), "fields")
        assert (
            SYSTEMS["translation"].data_file(experiment("colorize_l1_cgan", "translate", "smoke"), "fields") == packed
        )
    return packed


@pytest.mark.parametrize(
    "study, row", [("stereo", "full"), ("translate", "segment_l1_cgan"), ("translate", "segment_cross_entropy")]
)
def test_stopped_and_resumed_is_the_same_bit_for_bit(fields, tmp_path, study, row):
    e = replace(experiment(row, study, "smoke"), epochs=3)
    train_run(e, fields, tmp_path / "whole", seed=3, device="cpu")

    with pytest.raises(Stopped):
        train_run(e, fields, tmp_path / "parts", seed=3, device="cpu", say=stop_after(0.5))
    train_run(e, fields, tmp_path / "parts", seed=3, device="cpu")
    whole, parts = (load_model(tmp_path / f)[0].state_dict() for f in ("whole", "parts"))
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
    a, b = (pd.read_parquet(tmp_path / f / "history.parquet") for f in ("whole", "parts"))
    pd.testing.assert_frame_equal(a, b)


@pytest.mark.parametrize(
    "study, silent, loud", [("stereo", "baseline", "full"), ("translate", "colorize_l1", "colorize_l1_cgan")]
)
def test_an_adversary_of_weight_zero_changes_nothing(fields, tmp_path, study, silent, loud):
    train_run(replace(experiment(silent, study, "smoke"), epochs=1), fields, tmp_path / "a", device="cpu")
    zero = experiment(loud, study, "smoke", settings={"losses.adversarial": 0.0})
    budget = train_run(replace(zero, epochs=1), fields, tmp_path / "b", device="cpu")
    assert budget["discriminator_steps"] == budget["generator_steps"] > 0
    train_run(replace(experiment(loud, study, "smoke"), epochs=1), fields, tmp_path / "c", device="cpu")
    a, b, c = (load_model(tmp_path / f)[0].state_dict() for f in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a) and not all(torch.equal(a[k], c[k]) for k in a)


@pytest.mark.parametrize(
    "study, row, baseline", [("stereo", "full", "baseline"), ("translate", "colorize_l1_cgan", "colorize_l1")]
)
def test_placebos_take_from_their_row_what_they_say(fields, tmp_path, study, row, baseline):
    placebos = [placebo for placebo, of in STUDIES[study].placebos.items() if of == row]
    steps, weights = {}, {}
    for name in (baseline, row, *placebos):
        e = replace(experiment(name, study, "smoke"), epochs=1)
        steps[name] = train_run(e, fields, tmp_path / name, device="cpu")["discriminator_steps"]
        weights[name] = load_model(tmp_path / name)[0].state_dict()

    def alike(a, b):
        return all(torch.equal(weights[a][k], weights[b][k]) for k in weights[a])

    for name in placebos:
        kind = name.removeprefix(f"{row}_")
        assert steps[name] == (0 if kind == "frozen" else steps[row]) and not alike(name, row)
        assert alike(name, baseline) == (kind == "detached")  # none of the discriminator's gradient arrives
    assert steps[baseline] == 0 < steps[row] and len(placebos) >= 3


def test_a_stereo_study_from_command_to_report(fields, tmp_path):
    rows = "mean_disparity,multiscale"
    done = command(
        "ablate", "stereo", "--scale", "smoke", "--rows", rows, "--jobs", 2, "--out", tmp_path, data=fields.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "stereo-stalks-smoke-stereo_gan"
    images = pd.read_parquet(folder / "runs" / "multiscale" / "seed=0" / "images.parquet")
    assert set(images["protocol"]) == {"all", "noc", "all_median", "noc_median"}
    depth = {"depth_abs_rel", "depth_rmse", "depth_delta1"}  # the world's rig is known
    assert {*DISPARITY_METRICS, "edge_recall", "edge_recall@stalk"} | depth == set(images["metric"])
    assert all("stereo" in metric_of(metric).systems for metric in images["metric"].unique())  # all are registered
    assert images["scene"].nunique() == 2 and images["image"].nunique() == 4
    drawn = check_pages(SYSTEMS["stereo"].pages(collect(folder), {"": fields}, folder))
    for name in ("errors", "network", "views", "rows", "fig7", "curves"):
        check_file(folder / f"{name}.png")
        assert name in (*drawn, "curves"), name
    text = (folder / "stereo.md").read_text()
    assert "Smoke run" in text and "9.28 %" in text and "it leaves open" in text
    assert "9.28 %" in json.dumps(json.loads((folder / "report.ipynb").read_text()))
    again = command("ablate", "stereo", "--scale", "smoke", "--rows", rows, "--out", tmp_path, data=fields.parent)
    assert again.returncode == 0 and "2 of 2 runs are done already" in again.stdout


def test_a_rig_without_disparities_is_studied_by_its_reconstructions(fields, tmp_path):
    """From folders of views to verdicts: nothing is refused, nothing is NaN, and no EPE is claimed."""
    for i, pair in enumerate(PackedStereo(fields)):
        for side in ("left", "right"):
            path = tmp_path / f"rig/{side}/row_{i // 2}/{side}_{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pair[side].permute(1, 2, 0).numpy()).save(path)
    rows = ["ablate", "stereo", "--scale", "smoke", "--rows", "mean_disparity,full", "--set", "epochs=1"]
    done = command(*rows, "--data", tmp_path / "rig", "--out", tmp_path / "out", data=tmp_path / "data")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "out").iterdir()
    records = collect(folder)
    assert set(records.images["protocol"]) == {"reconstruction"}
    assert set(records.images["metric"]) == {"photo_l1", "photo_ssim", "mse"} and records.images["value"].notna().all()
    drawn = check_pages(SYSTEMS["stereo"].pages(records, {"": next((tmp_path / "data").glob("*.h5"))}, folder))
    assert {"errors", "views", "rows"} <= set(drawn)
    text = (folder / "stereo.md").read_text()
    assert "reconstruction L1 ↓" in text and "no error of disparity (EPE) can be given" in text and "nan" not in text


def test_depth_is_scored_where_the_rig_is_known_and_only_there(fields):
    e, system = experiment("mean_disparity", "stereo", "smoke"), SYSTEMS["stereo"]
    net, data = system.network(e), system.dataset(fields, "test", e)
    net.mean.fill_(0.1)
    z = data.focal[0] / data.doffs.new_tensor(0.1 * data.size[1]) * data.baseline[0]
    truth = data.focal[0] * data.baseline[0] / data[0]["disparity"]
    kept = (data[0]["disparity"] > 0) & ~data[0]["out_of_frame"] & (truth < 80)
    [(_, scores)] = system.scores(net, e, data, 0, ["all"])
    assert abs(scores["depth_abs_rel"].item() - ((z - truth).abs() / truth)[kept].mean().item()) < 1e-4
    data.focal = data.focal * float("nan")
    [(_, unknown)] = system.scores(net, e, data, 0, ["all"])
    assert set(scores) - set(unknown) == {"depth_abs_rel", "depth_rmse", "depth_delta1"}
    assert all(torch.equal(unknown[name], scores[name]) for name in unknown)


def test_a_classifier_is_judged_as_a_painter_is(fields):
    e, system = experiment("segment_majority_class", "translate", "smoke"), SYSTEMS["translation"]
    data = system.dataset(fields, "test", e)
    e = replace(e, size=(32, 64), num_classes=4)  # half the data's: what is judged was resized
    net = system.network(e).fit(system.dataset(fields, "train", e))
    [(_, judged)] = system.scores(net, e, data, 0, ["segment"])
    painted = paint(paint_with(net, e, data[0]["input"][None]), data.palette)
    alike = score_segment(painted, data[0]["labels"][None], data.palette)
    assert all(torch.equal(judged[name].nan_to_num(-1), alike[name].nan_to_num(-1)) for name in alike)


def test_a_translation_study_from_command_to_report(fields, tmp_path):
    rows = "colorize_l1_cgan,segment_cross_entropy"
    done = command(
        "ablate", "translate", "--scale", "smoke", "--rows", rows, "--jobs", 2, "--out", tmp_path, data=fields.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "translate-stalks-smoke-pix2pix"
    images = pd.read_parquet(folder / "runs" / "segment_cross_entropy" / "seed=0" / "images.parquet")
    assert {"iou", "f1", "iou_stalk", "f1_leaf", "accuracy", "mse"} <= set(images["metric"])
    colored = pd.read_parquet(folder / "runs" / "colorize_l1_cgan" / "seed=0" / "images.parquet")
    assert {"l1", "psnr", "ssim", "color_distance", "mse"} == set(colored["metric"])
    assert all("translation" in metric_of(m).systems for m in {*images["metric"], *colored["metric"]})  # registered
    drawn = check_pages(
        SYSTEMS["translation"].pages(collect(folder), dict.fromkeys(("colorize", "segment"), fields), folder)
    )
    for name in ("fig5_colorize", "fig5_segment", "scores_colorize", "scores_segment", "classes", "network", "curves"):
        check_file(folder / f"{name}.png")
        assert name in (*drawn, "curves"), name
    classes = pd.read_csv(folder / "classes.csv", index_col="row")
    stalk = images.query("metric == 'iou_stalk'")["value"].mean()
    assert (
        abs(classes.loc["segment_cross_entropy", "iou_stalk"] - stalk) < 1e-6
        and "colorize_l1_cgan" not in classes.index
    )
    assert "IoU stalk" in (folder / "translate.md").read_text() and "F1 leaf" in (folder / "translate.html").read_text()
    assert "protocol colorize" in done.stdout and "protocol segment" in done.stdout


def test_rooms_have_classes_to_learn(worlds, tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    e = experiment("segment_cross_entropy", "translate", "smoke")
    packed = SYSTEMS["translation"].data_file(e, "rooms")
    train_run(replace(e, epochs=1), packed, tmp_path / "run", device="cpu")
    net, trained = load_model(tmp_path / "run")
    test = SYSTEMS["translation"].dataset(packed, "test", trained)
    [(_, scores)] = SYSTEMS["translation"].scores(net.eval(), trained, test, 0, ["segment"])
    assert trained.num_classes == 4 and {"iou_floor", "iou_wall", "iou_ceiling", "iou_object"} < set(scores)


def test_a_trained_network_is_fine_tuned_on_pairs_without_ground_truth(fields, tmp_path):
    rng = np.random.default_rng(0)
    for side in ("left", "right"):
        (tmp_path / "rig" / side).mkdir(parents=True)
        for name in "abcd":
            pixels = rng.integers(0, 255, (64, 128, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "rig" / side / f"{name}.png")
    train_run(replace(experiment("baseline", "stereo", "smoke"), epochs=1), fields, tmp_path / "base", device="cpu")
    words = ("train", "baseline", "--study", "stereo", "--scale", "smoke", "--data", tmp_path / "rig")
    words = (
        *words,
        "--no-test-split",
        "--init-from",
        tmp_path / "base",
        "--out",
        tmp_path / "tuned",
        "--set",
        "epochs=1",
    )
    done = command(*words, data=tmp_path)
    assert done.returncode == 0 and "images: 4" in done.stdout, done.stdout + done.stderr
    a, b = (load_model(tmp_path / f)[0].state_dict() for f in ("base", "tuned"))
    assert not all(torch.equal(a[k], b[k]) for k in a)
    words = "evaluate", tmp_path / "tuned", "--data", tmp_path / "rig"
    blind = command(*words, data=tmp_path)
    assert blind.returncode == 0 and "no error of disparity (EPE) can be given" in blind.stdout
    assert "photo_l1" in blind.stdout and "epe" not in blind.stdout
    blind = command(*words, "--protocol", "all", data=tmp_path)
    assert blind.returncode == 2 and "no true disparities in its test split, so protocol all" in blind.stderr
    seen = command("evaluate", tmp_path / "tuned", "--data", fields, "--flip-tta", data=tmp_path)
    assert seen.returncode == 0 and "post-processed with the mirrored image" in seen.stdout


def test_nonsense_is_one_sentence(monkeypatch, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    for side, size in (("left", (64, 128)), ("right", (64, 96))):
        (tmp_path / "odd" / side).mkdir(parents=True)
        for name in "abcdef":  # enough for a batch of four beside a test split
            Image.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / "odd" / side / f"{name}.png")
    monkeypatch.setenv("ADVDEPTH_DATA", str(tmp_path))
    cases = [
        (["ablate", "stereo", "--data", tmp_path / "empty"], "empty"),
        (["ablate", "stereo", "--scale", "smoke", "--data", tmp_path / "odd", "--rows", "baseline"], "64x128"),
        (["ablate", "stereo", "--data", "field"], "or a world: fields or stalks or rooms"),
        (["ablate", "stereo", "--recipe", "report"], "unknown recipe 'report'; known: stereo_gan"),
        (["ablate", "stereo", "--set", "size=(60,100)"], "multiples of 32"),
        (["ablate", "translate", "--set", "task=depth"], "task must be 'colorize' or 'segment'"),
        (
            ["ablate", "translate", "--rows", "segment_l1", "--set", "adversary.norm=none"],
            "none of the rows segment_l1",
        ),
        (["ablate", "table2"], "unknown study 'table2'; known: table1,"),
    ]
    for words, sentence in cases:
        code, _, told = run(monkeypatch, capsys, *words, "--out", tmp_path / "out")
        assert code == 2 and sentence in told and told.count("\n") == 1, (words, told)
    assert not list((tmp_path / "out").rglob("experiment.json"))  # nothing was begun to find that out


def test_the_truth_of_pairs_of_several_sizes_keeps_the_largest(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(tmp_path / "data"))
    for side in ("left", "right"):
        (tmp_path / "rig" / side).mkdir(parents=True)
        for name, size in (("a", (96, 160)), ("b", (120, 200))):
            Image.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / "rig" / side / f"{name}.png")
    e = experiment("baseline", "stereo", "smoke")
    packed = SYSTEMS["stereo"].data_file(e, str(tmp_path / "rig"), whole="test")
    assert SYSTEMS["stereo"].dataset(packed, "test", e).size == (120, 200)


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_than_five_photographs_are_enough(tmp_path, monkeypatch, count):
    monkeypatch.setenv("ADVDEPTH_DATA", str(tmp_path / "data"))
    (tmp_path / "own").mkdir()
    rng = np.random.default_rng(0)
    for name in range(count):
        Image.fromarray(rng.integers(0, 255, (72, 96, 3), dtype=np.uint8)).save(tmp_path / "own" / f"{name}.png")
    e, system = experiment("colorize_l1", "translate", "smoke"), SYSTEMS["translation"]
    for split in ("train", "test"):  # `train --no-test-split`, `evaluate --data`
        whole = system.dataset(system.data_file(e, str(tmp_path / "own"), whole=split), split, e)
        assert len(whole) == count and whole.division == f"all for {split}ing"
    if count == 1:
        with pytest.raises(ValueError, match="holds one picture only"):
            system.data_file(e, str(tmp_path / "own"))
    else:
        packed = system.data_file(e, str(tmp_path / "own"))
        assert [len(system.dataset(packed, split, e)) for split in ("train", "test")] == [2, 1]
        train_run(replace(e, epochs=1, batch=2), packed, tmp_path / "run", device="cpu")


def test_pictures_with_a_training_split_alone_are_divided(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(tmp_path / "data"))
    rng = np.random.default_rng(0)
    for side in "AB":
        (tmp_path / "own/train" / side).mkdir(parents=True)
        for name in "abcdef":
            picture = Image.fromarray(rng.integers(0, 255, (72, 144, 3), dtype=np.uint8))
            (picture.convert("L") if side == "A" else picture).save(tmp_path / "own/train" / side / f"{name}.png")
    e = experiment("colorize_l1_cgan", "translate", "smoke")
    packed = SYSTEMS["translation"].data_file(e, str(tmp_path / "own"))
    parts = {split: SYSTEMS["translation"].dataset(packed, split, e).images for split in ("train", "test")}
    assert parts["test"] and len({*parts["train"], *parts["test"]}) == len(parts["train"] + parts["test"]) == 6
