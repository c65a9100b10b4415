"""The command: a user's mistake is one sentence and exit code 2; the verbs do what the library does."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from test_datasets import frame_h5, hu, mat

from advdepth_nb import cli
from advdepth_nb.datasets import PackedDepth
from advdepth_nb.experiments import experiment
from advdepth_nb.study import save_model
from advdepth_nb.systems import SYSTEMS


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["advdepth", *map(str, words)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    told = capsys.readouterr()
    return done.value.code, told.out, told.err


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["ablate", "table2"], "unknown study 'table2'; known: table1"),
        (["ablate", "table1", "--rows", "baseline,advv"], "unknown row 'advv'"),
        (["ablate", "table1", "--rows", ","], "--rows names no row"),
        (["ablate", "table1", "--rows", "adv,adv"], "row 'adv' is named twice"),
        (["ablate", "table1", "--scale", "huge"], "unknown scale 'huge'; known: smoke, quick, standard, paper"),
        (["ablate", "table1", "--recipe", "mine"], "unknown recipe 'mine'"),
        (["ablate", "table1", "--recipe", "hu2019"], "describes no discriminator"),
        (["ablate", "table1", "--set", "encoder=resnet5"], "'resnet5' is not a timm model; did you mean"),
        (["ablate", "table1", "--set", "adversary.norm=layer"], "norm must be one of instance, batch, none"),
        (["ablate", "table1", "--set", "adversary.r1=-1"], "r1 must be at least 0, not -1"),
        (["ablate", "table1", "--recipe", "authors_code"], "4 layers need 48 pixels a side"),
        (["ablate", "table1", "--seeds", "0"], "seeds must be at least 1"),
        (["ablate", "table1", "--seeds", "many"], "--seeds"),
        (["ablate", "table1", "--jobs", "0"], "--jobs must be at least 1"),
        (["ablate", "table1", "--data", "nowhere.h5"], "nowhere.h5"),
        (["ablate", "table1", "--scale", "paper"], "give --data PATH"),
        (["ablate", "table1", "--set", "lr"], "--set lr is not name=value"),
        (["ablate", "table1", "--set", "learning=1"], "unknown setting 'learning'"),
        (["ablate", "table1", "--set", "epochs=two"], "epochs=two"),
        (["ablate", "table1", "--set", "adversary.objective=wasserstein"], "wasserstein"),
        (["ablate", "table1", "--device", "gpu"], "unknown device 'gpu'; use auto, cpu, cuda or mps"),
        (["evaluate", "nowhere", "--data", "x.h5"], "has no model.json"),
        (["predict", "nowhere.jpg", "-o", "out"], "nowhere.jpg does not exist"),
        (["report", "nowhere", "--data", "x.h5"], "holds no runs"),
        (["data", "pack", "nowhere", "-o", "x.h5"], "nowhere"),
        *[(["data", "pack", "nowhere", "-o", "x.h5", "--size", size], f"--size {size} is not HxW, for example --size")
          for size in ("240", "240x", "0x5", "240x320x3", "-1x5", "2.5x3", "240 320")],
        (["abblate"], "abblate"),
    ],
    ids=lambda x: " ".join(x)[:40] if isinstance(x, list) else "",
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_exit_code_2(monkeypatch, capsys, tmp_path, words, sentence):
    monkeypatch.chdir(tmp_path)
    code, _, error = run(monkeypatch, capsys, *words)
    assert code == 2 and sentence in error, error
    assert len(error.strip().splitlines()) == 1 and "Traceback" not in error
    assert not list(tmp_path.iterdir()), "a refused command leaves nothing behind"


def test_cuda_is_refused_where_there_is_none(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, error = run(monkeypatch, capsys, "ablate", "table1", "--device", "cuda")
    assert code == 2 and "torch sees no CUDA device" in error


@pytest.fixture
def model(tmp_path):
    e = experiment("baseline", scale="smoke")
    torch.manual_seed(0)
    save_model(SYSTEMS["depth"].network(e), e, tmp_path / "model")
    return tmp_path / "model"


def test_predict_takes_files_and_folders(monkeypatch, capsys, tmp_path, model):
    (tmp_path / "photos").mkdir()
    for name, size in [("a.png", (80, 60)), ("b.jpg", (64, 90))]:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(
            tmp_path / "photos" / name
        )
    out = tmp_path / "out"
    code, told, error = run(monkeypatch, capsys, "predict", tmp_path / "photos", "-o", out, "--model", model)
    assert code == 0, error
    assert sorted(p.name for p in out.iterdir()) == ["a_colour.png", "a_depth.png", "b_colour.png", "b_depth.png"]
    depth = Image.open(out / "a_depth.png")
    assert depth.size == (80, 60) and np.asarray(depth).dtype == np.uint16
    assert told.count("->") == 2


def test_a_broken_photograph_is_named(monkeypatch, capsys, tmp_path, model):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not much of a photograph")
    code, _, error = run(
        monkeypatch, capsys, "predict", tmp_path / "broken.jpg", "-o", tmp_path / "out", "--model", model
    )
    assert code == 2 and "broken.jpg is not an image" in error


def test_help_is_quick_and_names_the_verbs(monkeypatch, capsys):
    code, told, _ = run(monkeypatch, capsys, "--help")
    assert code == 0 and all(verb in told for verb in ("data", "train", "evaluate", "ablate", "report", "predict"))


pytestmark = pytest.mark.filterwarnings("ignore:.*the official one 654")


def test_pack_takes_raw_splits_and_size(monkeypatch, capsys, tmp_path):
    path = mat(tmp_path / "m")
    elsewhere = path.with_name("splits.mat").rename(tmp_path / "elsewhere.mat")
    monkeypatch.chdir(tmp_path)
    code, told, error = run(monkeypatch, capsys, "data", "pack", path, "-o", "plain.h5", "--splits", elsewhere)
    assert code == 0 and "in-filled depth" in told, error
    words = ["--splits", elsewhere, "--raw", "--size", "3x4"]
    code, told, error = run(monkeypatch, capsys, "data", "pack", path, "-o", "raw.h5", *words)
    assert code == 0 and "raw depth with holes" in told, error
    plain, raw = PackedDepth("plain.h5", "test"), PackedDepth("raw.h5", "test")
    assert plain.size == (6, 8) and plain.unknown == 0 and plain.images == raw.images == ["00001", "00003"]
    assert raw.size == (3, 4) and raw.unknown > 0 and "raw depth" in raw.layout
    code, told, error = run(monkeypatch, capsys, "data", "info", path, "--splits", elsewhere, "--raw")
    assert code == 0 and "raw depth with holes" in told and "6x8" in told, error


@pytest.mark.parametrize("verb", [["pack", "-o", "x.h5"], ["info"]], ids=["pack", "info"])
def test_raw_and_splits_belong_to_the_mat(monkeypatch, capsys, tmp_path, verb):
    root = hu(tmp_path / "hu", train=2, test=0)
    monkeypatch.chdir(tmp_path)
    for words in (["--raw"], ["--splits", "s.mat"]):
        code, _, error = run(monkeypatch, capsys, "data", verb[0], root, *verb[1:], *words)
        assert code == 2 and "options of the labelled .mat, but this is Hu et al.'s csv" in error
    path = mat(tmp_path / "m")
    code, _, error = run(monkeypatch, capsys, "data", verb[0], path, *verb[1:], "--splits", "s.mat")
    assert code == 2 and "s.mat does not exist" in error
    assert not (tmp_path / "x.h5").exists()


def test_info_of_a_frame_without_any_depth(monkeypatch, capsys, tmp_path):
    frame_h5(tmp_path / "train/den/1.h5", depth=np.zeros((6, 8), np.float32))
    code, told, error = run(monkeypatch, capsys, "data", "info", tmp_path)
    assert code == 0 and "no depth is known" in told, error


def test_train_pack_info_and_evaluate(monkeypatch, capsys, tmp_path, real_data):
    monkeypatch.chdir(tmp_path)
    frames = real_data / "nyu_raw_png"
    code, told, error = run(monkeypatch, capsys, "data", "info", frames)
    assert code == 0 and "3 frames" in told and "480x640" in told, error
    code, told, error = run(monkeypatch, capsys, "data", "pack", frames, "-o", "raw.h5")
    assert code == 0 and (tmp_path / "raw.h5").exists(), error
    code, told, error = run(
        monkeypatch, capsys, "train", "baseline", "--scale", "smoke", "--out", "trained", "--set", "epochs=1"
    )
    assert code == 0 and (tmp_path / "trained" / "model.safetensors").exists(), error
    code, told, error = run(
        monkeypatch, capsys, "evaluate", "trained", "--data", real_data / "nyu_hu_layout", "--out", "records.csv"
    )
    assert code == 0 and "eigen" in told and (tmp_path / "records.csv").exists(), error
