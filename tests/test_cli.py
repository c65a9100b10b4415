"""The command: a user's mistake is one sentence and exit code 2; the verbs do what the library does."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from advdepth_nb import cli
from advdepth_nb.experiments import experiment
from advdepth_nb.study import build_network, save_model


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
    save_model(build_network(e), e, tmp_path / "model")
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
