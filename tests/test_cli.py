"""The command: a user's mistake is one sentence and exit code 2; the verbs do what the library does."""

import json
import warnings
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from commands import run
from factories import classes, frame, frame_h5, hu, kitti, mat, painted, photo, rig, saved, sintel, write

from advdepth_nb.study import train as study
from advdepth_nb.data.nyu import PackedDepth, open_source, pack
from advdepth_nb.systems.catalog import experiment
from advdepth_nb.core.colors import PALETTES
from advdepth_nb.data.pairs import PackedPairs
from advdepth_nb.data.samples import resplit
from advdepth_nb.core.pictures import read_codes
from advdepth_nb.data.disparities import decode_kitti
from advdepth_nb.data.stereo import PackedStereo, open_stereo, pack_stereo
from advdepth_nb.metrics.registry import METRICS
from advdepth_nb.systems.model_files import load_model, save_model
from advdepth_nb.systems.catalog import SYSTEMS


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
        (["ablate", "table1", "--set", "adversary.norm=layer"], "norm must be 'instance', 'batch' or 'none'"),
        (["ablate", "table1", "--set", "adversary.r1=-1"], "r1 must be at least 0, not -1"),
        (["ablate", "table1", "--scale", "smoke", "--recipe", "authors_code"], "4 layers need 48 pixels a side"),
        (["ablate", "table1", "--seeds", "0"], "seeds must be from 1 to 1000"),
        (["ablate", "table1", "--seeds", "many"], "--seeds"),
        (["ablate", "table1", "--jobs", "0"], "--jobs must be at least 1"),
        (["ablate", "table1", "--data", "nowhere.h5"], "nowhere.h5"),
        (["ablate", "table1", "--scale", "paper"], "give --data PATH"),
        (["ablate", "table1", "--set", "lr"], "--set lr is not name=value"),
        (["ablate", "table1", "--set", "learning=1"], "unknown setting 'learning'"),
        (["ablate", "table1", "--rows", "mean_depth", "--set", "learning=1"], "unknown setting 'learning'"),
        (["ablate", "table1", "--rows", "pretrain", "--set", "foo=1"], "unknown setting 'foo'; DepthExperiment has"),
        (["ablate", "table1", "--set", "epochs=two"], "epochs=two"),
        (["ablate", "table1", "--set", "adversary.objective=wasserstein"], "wasserstein"),
        (["ablate", "table1", "--device", "gpu"], "unknown device 'gpu'; use auto, cpu, cuda or mps"),
        (["evaluate", "nowhere", "--data", "x.h5"], "has no model.json"),
        (["predict", "nowhere.jpg", "-o", "out"], "nowhere.jpg does not exist"),
        (["predict", "a.jpg", "-o", "out", "--focal", "700"], "--focal and --baseline make depth together"),
        (["predict", "a.jpg", "-o", "out", "--baseline", "0.1"], "give both or neither"),
        (["predict", "a.jpg", "-o", "out", "--focal", "-7", "--baseline", "1"], "focal must be above 0, in pixels"),
        (["predict", "a.jpg", "-o", "out", "--focal", "7", "--baseline", "nan"], "baseline must be above 0, in metres"),
        (["data", "info", "nowhere", "--kind", "mono"], "unknown kind 'mono'; known: depth, stereo, pairs"),
        (["data", "info", ".", "--task", "paint"], "unknown task 'paint'; known: colorize, segment"),
        (["data", "info", "nowhere", "--kind", "stereo"], "nowhere does not exist"),
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


@pytest.mark.parametrize("device, words, seen", [("cuda", "no CUDA device", torch.cuda),
                                                 ("mps", "no Apple GPU", torch.backends.mps)])  # fmt: skip
def test_a_gpu_is_refused_where_there_is_none(monkeypatch, capsys, tmp_path, device, words, seen):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(seen, "is_available", lambda: False)
    code, _, error = run(monkeypatch, capsys, "ablate", "table1", "--device", device)
    assert code == 2 and f"torch sees {words} here; use --device cpu" in error
    assert len(error.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_data_that_cannot_be_trained_on_is_refused_before_anything_starts(monkeypatch, capsys, tmp_path, dry):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.h5").write_text("no HDF5")
    pack(open_source(hu(tmp_path / "hu", train=0)), tmp_path / "judged.h5")
    capsys.readouterr()
    remedy = "divide its source by scene: `advdepth data pack SOURCE -o FILE.h5 --test-fraction 0.2`"
    sentences = {"text.h5": "cannot be read as HDF5", "judged.h5": f"has no train split; {remedy}"}
    for name, sentence in sentences.items():
        words = ["--rows", "baseline", "--scale", "smoke", "--data", name, "--out", "out", *dry]
        code, told, error = run(monkeypatch, capsys, "ablate", "table1", *words)
        assert code == 2 and f"{name} {sentence}" in error and len(error.strip().splitlines()) == 1, error
        assert not told and not (tmp_path / "out").exists()


@pytest.mark.parametrize("row, study", [("full", "stereo"), ("segment_l1_cgan", "translate")])
def test_pairs_that_cannot_be_trained_on_are_refused_too(monkeypatch, capsys, tmp_path, row, study):
    monkeypatch.chdir(tmp_path)
    pack_stereo(resplit(open_stereo(kitti(tmp_path / "kitti")), 0.5), tmp_path / "k.h5")
    with h5py.File("k.h5", "a") as file:
        del file["train"]
    words = ["--rows", row, "--scale", "smoke", "--data", "k.h5", "--dry-run"]
    code, _, error = run(monkeypatch, capsys, "ablate", study, *words)
    assert code == 2 and "k.h5 has no train split; divide its source by scene" in error, error


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
    assert sorted(p.name for p in out.iterdir()) == ["a_color.png", "a_depth.png", "b_color.png", "b_depth.png"]
    depth = Image.open(out / "a_depth.png")
    assert depth.size == (80, 60) and np.asarray(depth).dtype == np.uint16
    assert told.count("->") == 2


@pytest.fixture
def photograph(tmp_path):
    return write(tmp_path / "photo.png", photo(0, 90, 160))


def test_predict_disparity_and_with_a_rig_depth(monkeypatch, capsys, tmp_path, photograph):
    model, out = saved(tmp_path, "baseline", "stereo"), tmp_path / "out"
    code, told, error = run(monkeypatch, capsys, "predict", photograph, "-o", out, "--model", model)
    assert code == 0 and "photo_disparity.png" in told, error
    assert sorted(p.name for p in out.iterdir()) == ["photo_color.png", "photo_disparity.png"]
    disparity = decode_kitti(read_codes(out / "photo_disparity.png", bits=16))
    assert disparity.shape == (90, 160) and abs(disparity.mean() / 160 - 0.15) < 0.05  # as the network begins
    words = ["--model", model, "--focal", 140, "--baseline", 0.5]
    code, told, error = run(monkeypatch, capsys, "predict", photograph, "-o", out, *words)
    assert code == 0 and "photo_depth.png" in told, error
    depth = read_codes(out / "photo_depth.png", bits=16) / 1000
    assert np.allclose(depth * disparity, 140 * 0.5, rtol=1e-3)
    assert Image.open(out / "photo_color.png").size == (160, 90)


def test_the_rig_of_a_calibration_file_gives_depth(monkeypatch, capsys, tmp_path):
    """Beside the photographs it is found; elsewhere it is named; a damaged one costs the depth, and a word."""
    shot, model, out = (
        write(tmp_path / "rig/left/photo.png", photo(0, 90, 160)),
        saved(tmp_path, "baseline", "stereo"),
        tmp_path / "o",
    )
    calib = tmp_path / "rig/calib.txt"
    calib.write_text("cam0 = [140 0 80; 0 140 45; 0 0 1]\ndoffs = 8\nbaseline = 500\n")
    code, _, error = run(monkeypatch, capsys, "predict", shot, "-o", out, "--model", model)
    assert code == 0 and "rig of" in error and "focal 140 px, baseline 0.5 m, doffs 8 px" in error
    disparity = decode_kitti(read_codes(out / "photo_disparity.png", bits=16))
    depth = read_codes(out / "photo_depth.png", bits=16)
    assert np.allclose(depth / 1000 * (disparity + 8), 140 * 0.5, rtol=1e-3)
    calib.rename(tmp_path / "mine.txt")
    for words in (["--calib", tmp_path / "mine.txt"], ["--focal", 140, "--baseline", 0.5, "--doffs", 8]):
        assert run(monkeypatch, capsys, "predict", shot, "-o", out / "again", "--model", model, *words)[0] == 0
        assert np.array_equal(read_codes(out / "again/photo_depth.png"), depth)
    words = ["--model", model, "--calib", tmp_path / "mine.txt", "--focal", 140, "--baseline", 1]
    code, _, error = run(monkeypatch, capsys, "predict", shot, "-o", out, *words)
    assert code == 2 and "--calib says what --focal, --baseline and --doffs say; give either" in error
    calib.write_text("cam0=[140 0 80]\nbaseline=0.5\n")
    code, _, error = run(monkeypatch, capsys, "predict", shot, "-o", out / "none", "--model", model)
    assert code == 0 and "less than a millimetre" in error and "no depth is written" in error
    assert not (out / "none/photo_depth.png").exists()


def test_what_a_disparity_file_cannot_say_is_said(monkeypatch, capsys, tmp_path):
    wide = write(tmp_path / "wide.png", photo(0, 20, 2400))  # 15 % of it: 360 pixels
    model = saved(tmp_path, "baseline", "stereo")
    code, told, error = run(monkeypatch, capsys, "predict", wide, "-o", tmp_path / "out", "--model", model)
    assert code == 0 and "above 0 and up to 255.996 pixels" in error and len(error.strip().splitlines()) == 1
    assert "->" in told and (read_codes(tmp_path / "out/wide_disparity.png", bits=16) == 0).mean() > 0.9


@pytest.mark.parametrize(
    "row, name",
    [
        ("colorize_l1_cgan", "colorize"),
        ("segment_l1_cgan", "segment"),
        ("segment_cross_entropy", "segment"),
        ("colorize_grayscale_copy", "colorize"),
    ],
)
def test_predict_pictures(monkeypatch, capsys, tmp_path, photograph, row, name):
    model, out = saved(tmp_path, row, "translate"), tmp_path / "out"
    code, _, error = run(monkeypatch, capsys, "predict", photograph, "-o", out, "--model", model)
    assert code == 0 and [p.name for p in out.iterdir()] == [f"photo_{name}.png"], error
    picture = Image.open(out / f"photo_{name}.png")
    assert picture.size == (160, 90) and picture.mode == "RGB"
    colors = {c for _, c in picture.getcolors(1 << 24)}
    if row == "segment_cross_entropy":
        assert colors <= {*PALETTES["field"].values()}
    if row == "colorize_grayscale_copy":
        assert all(r == g == b for r, g, b in colors)  # a colored photograph was made gray
    before = (out / f"photo_{name}.png").read_bytes()
    run(monkeypatch, capsys, "predict", photograph, "-o", out, "--model", model)
    assert (out / f"photo_{name}.png").read_bytes() == before  # the noise is drawn from one seed


@pytest.mark.parametrize(
    "row, study, system", [("baseline", "table1", "depth"), ("colorize_l1", "translate", "translation")]
)
def test_a_rig_is_for_stereo_runs(monkeypatch, capsys, tmp_path, photograph, row, study, system):
    words = ["--model", saved(tmp_path, row, study), "--focal", 140, "--baseline", 0.5]
    code, _, error = run(monkeypatch, capsys, "predict", photograph, "-o", tmp_path / "out", *words)
    assert code == 2 and f"is a run of the {system} system; leave that out" in error
    assert len(error.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_broken_photograph_is_named(monkeypatch, capsys, tmp_path, model):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not much of a photograph")
    code, _, error = run(
        monkeypatch, capsys, "predict", tmp_path / "broken.jpg", "-o", tmp_path / "out", "--model", model
    )
    assert code == 2 and "broken.jpg is no picture of a known format" in error


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
    assert "baseline on nyu_hu_layout (test): 25 images" in told
    assert max(map(len, told[told.index("protocol") :].splitlines())) < 100  # a metric a line, not all in one


def test_a_row_is_trained_from_the_start_it_declares(monkeypatch, capsys, tmp_path, worlds):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    words = ["train", "baseline", "--scale", "smoke", "--set", "epochs=1", "--set", "lr=1e-9", "--out", "trained"]
    code, told, error = run(monkeypatch, capsys, *words, "--set", "init_from=pretrain")
    assert code == 0 and "row 'baseline' is pretrained as row 'pretrain', so that is trained first" in told, error
    first, second = (load_model(tmp_path / folder)[0].state_dict() for folder in ("trained/pretrain", "trained"))
    counter = next(name for name in first if name.endswith("num_batches_tracked"))
    assert second[counter] > first[counter] > 0  # it went on where the first had ended
    begun = []
    monkeypatch.setattr(study, "train_planned", lambda *words, say, **how: begun.append(words[-1]) or {})
    words[-1], start = "other", ["--init-from", "trained/pretrain", "--set", "init_from=pretrain"]
    code, told, error = run(monkeypatch, capsys, *words, *start)
    assert code == 0 and "trained first" not in told and begun == [Path("trained/pretrain")], error
    words[-1] = "trained"
    code, told, error = run(monkeypatch, capsys, *words, "--set", "init_from=")
    assert code == 2 and "trained holds another run" in error


def test_stereo_is_found_packed_and_described(monkeypatch, capsys, tmp_path):
    root = kitti(tmp_path / "kitti")
    monkeypatch.chdir(tmp_path)
    code, told, error = run(monkeypatch, capsys, "data", "info", root)
    assert code == 0 and "KITTI 2015: 2 stereo pairs" in told and "12x40, disparity 0." in told, error
    assert "35.0% unknown, focal length unknown, baseline unknown" in told
    words = ["-o", "k.h5", "--size", "6x20", "--test-fraction", 0.5]
    code, told, error = run(monkeypatch, capsys, "data", "pack", root, *words)
    assert code == 0 and "found KITTI 2015: 2 stereo pairs" in told and "packed: k.h5" in told, error
    train, test = PackedStereo("k.h5"), PackedStereo("k.h5", "test")
    assert len(train) == len(test) == 1 and train.size == (6, 20) and train[0]["disparity"].max() <= 10  # half of 20
    code, told, error = run(monkeypatch, capsys, "data", "info", "k.h5")
    assert code == 0 and "KITTI 2015: 2 stereo pairs at k.h5" in told and "6x20" in told, error


def test_info_names_the_rig_and_the_maps(monkeypatch, capsys, tmp_path):
    code, told, error = run(monkeypatch, capsys, "data", "info", sintel(tmp_path / "sintel"))
    assert code == 0 and "baseline 0.1 m, doffs 0 px; maps: occluded, out-of-frame" in told, error
    (rig(tmp_path / "rig") / "calib.txt").write_text("cam0=[700 0 20; 0 700 6; 0 0 1]\ndoffs=2.5\nbaseline=120\n")
    code, told, error = run(monkeypatch, capsys, "data", "info", tmp_path / "rig", "--kind", "stereo")
    assert code == 0 and "no disparity is known, 100.0% unknown" in told, error
    assert "focal length 700 px, baseline 0.12 m, doffs 2.5 px" in told


def test_a_spoilt_rig_is_told(monkeypatch, capsys, tmp_path, real_data):
    """Exchanged views in `info`, a wrong factor too, which the option then mends."""
    pair = open_stereo(real_data / "stereo/middlebury2005")[0]
    write(tmp_path / "rig/left/1.png", pair.left), write(tmp_path / "rig/right/1.png", pair.right)
    write(tmp_path / "rig/disp/1.png", np.round(16 * pair.disparity).astype(np.uint16))
    write(tmp_path / "odd/left/1.png", pair.right), write(tmp_path / "odd/right/1.png", pair.left)

    def info(*words):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            code, told, error = run(monkeypatch, capsys, "data", "info", *words)
        assert code == 0
        return told, error + "".join(str(warning.message) for warning in said)

    _, said = info(tmp_path / "odd")
    assert f"{tmp_path / 'odd'}: of 1 pairs looked at, " in said and "are left and right exchanged?" in said
    _, said = info(tmp_path / "rig")
    assert "the disparities in the files are 0.06" in said and "--factor" in said
    told, said = info(tmp_path / "rig", "--factor", "1/16")
    assert "disparities divided by 16" in told and not said
    before, said = info(tmp_path / "rig", "--factor", 16)  # as it was given before
    assert before == told and "factor 16 is now 1/16, the pixels that one unit is worth" in said


def segments(root, count=6):
    for i in range(count):
        write(root / f"A/{i}.png", photo(i))
        write(root / f"B/{i}.png", painted(classes(i)))
    return root


def test_pairs_are_found_for_a_task(monkeypatch, capsys, tmp_path):
    root = segments(tmp_path / "plants")
    monkeypatch.chdir(tmp_path)
    words = ["-o", "s.h5", "--task", "segment", "--size", "8x12"]
    code, told, error = run(monkeypatch, capsys, "data", "pack", root, *words)
    assert code == 0 and "found folders A/ and B/ with equal names: 6 pairs of pictures" in told, error
    train, test = PackedPairs("s.h5"), PackedPairs("s.h5", "test")
    assert (len(train), len(test), train.size, train.task) == (5, 1, (8, 12), "segment") and len(train.classes) == 4
    words = ["-o", "half.h5", "--task", "segment", "--test-fraction", 0.5]
    code, told, error = run(monkeypatch, capsys, "data", "pack", root, *words)
    assert code == 0, error
    half = PackedPairs("half.h5", "test")
    assert len(half) == 3 and half.size == (16, 24) and half.division.startswith("by scene, 3 of 6")
    for path in (root, "s.h5"):
        code, told, error = run(monkeypatch, capsys, "data", "info", path, "--task", "segment")
        assert code == 0 and "task segment, input photograph; class fractions: #" in told, error
        assert "first pair 0, train" in told
    code, told, error = run(monkeypatch, capsys, "data", "info", "s.h5", "--task", "colorize")  # its photographs
    assert code == 0 and "8x12, task colorize" in told, error
    code, told, error = run(monkeypatch, capsys, "data", "info", root / "A", "--task", "colorize")
    assert code == 0 and "photographs: 6 pairs" in told and "input grayscale made from the target" in told, error


def test_a_world_serves_as_pairs_as_it_is(monkeypatch, capsys, tmp_path):
    root = kitti(tmp_path / "kitti")
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, capsys, "data", "pack", root, "-o", "k.h5")
    words = ["k.h5", "--kind", "pairs", "--task", "colorize"]
    code, told, error = run(monkeypatch, capsys, "data", "info", *words)
    assert code == 0 and "KITTI 2015: 2 pairs of pictures at k.h5" in told and "12x40, task colorize" in told, error
    code, _, error = run(monkeypatch, capsys, "data", "pack", *words, "-o", "again.h5")
    assert code == 2 and "k.h5 is packed already" in error
    code, _, error = run(monkeypatch, capsys, "data", "info", "k.h5", "--task", "colorize")
    assert code == 2 and "--task is for pairs of pictures, but k.h5 holds KITTI 2015; say --kind pairs" in error


@pytest.mark.parametrize("verb", [["pack", "-o", "x.h5"], ["info"]], ids=["pack", "info"])
def test_what_does_not_fit_the_kind_is_one_sentence(monkeypatch, capsys, tmp_path, verb):
    stereo, pairs = kitti(tmp_path / "kitti"), segments(tmp_path / "plants")
    (tmp_path / "empty").mkdir()
    broken = rig(tmp_path / "broken")
    (broken / "right/1.png").unlink()
    monkeypatch.chdir(tmp_path)
    for words, sentence in [
        ([stereo, "--raw"], "--raw is for frames with depth, but"),
        ([stereo, "--kind", "stereo", "--splits", "s.mat"], "--splits is for frames with depth, but --kind stereo was"),
        ([stereo, "--task", "colorize"], "kitti holds KITTI 2015; say --kind pairs"),
        ([stereo, "--kind", "depth"], "kitti holds no known layout: looked for *.mat"),
        ([stereo, "--kind", "pairs"], "say --task colorize or --task segment"),
        ([pairs, "--kind", "stereo"], "plants holds no stereo pairs of a known layout: looked for MPI Sintel"),
        ([pairs, "--task", "segment", "--raw"], "--raw is for frames with depth, but"),
        ([pairs / "A", "--task", "segment"], "holds photographs, but the task 'segment' needs their classes too"),
        ([pairs], "pairs of pictures are read with --task"),
        (["empty"], "empty holds no layout that is known of depth or stereo or pairs"),
        (["empty", "--task", "colorize"], "known of depth or stereo or pairs; --kind depth tells what was looked for"),
        ([broken], "left/1.png has no right view"),
    ]:
        code, _, error = run(monkeypatch, capsys, "data", verb[0], *words, *verb[1:])
        assert code == 2 and sentence in error, (words, error)
        assert len(error.strip().splitlines()) == 1 and not (tmp_path / "x.h5").exists()


def test_few_pairs_ask_for_a_share(monkeypatch, capsys, tmp_path):
    root = segments(tmp_path / "plants", 3)
    words = ["data", "pack", root, "-o", tmp_path / "x.h5", "--task", "segment"]
    code, _, error = run(monkeypatch, capsys, *words)
    assert code == 2 and "holds fewer than 5 pairs and no test split of its own; give --test-fraction" in error
    code, _, error = run(monkeypatch, capsys, *words, "--test-fraction", 0.4)
    assert code == 0 and len(PackedPairs(tmp_path / "x.h5", "test")) == 1, error


def test_info_of_real_pairs(monkeypatch, capsys, real_data):
    code, told, error = run(monkeypatch, capsys, "data", "info", real_data / "stereo/kitti2015")
    assert code == 0 and "375x1242" in told and "focal length 721.538 px, baseline 0.54 m" in told, error
    code, told, error = run(monkeypatch, capsys, "data", "info", real_data / "sorghum_panicle", "--task", "segment")
    assert code == 0 and "25 pairs of pictures" in told and "1024x1024" in told and "foreground 4.0%" in told, error


def test_options_of_one_stereo_layout(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    root = sintel(tmp_path / "sintel")
    for i in range(3):  # the clean pass is darker here
        name = root / f"training/clean_left/alley_{i // 2}/frame_{i:04d}.png"
        Image.fromarray(np.asarray(Image.open(name)) // 2).save(name)
    for render in ("final", "clean"):
        words = ("data", "pack", root, "-o", f"{render}.h5", "--render", render, "--test-fraction", 0.5)
        code, _, error = run(monkeypatch, capsys, *words)
        assert code == 0, error
    bright, dark = (PackedStereo(f"{render}.h5")[0]["left"].float() for render in ("final", "clean"))
    assert (bright // 2 - dark).abs().max() <= 1 and dark.mean() < 0.6 * bright.mean()
    code, _, error = run(monkeypatch, capsys, "data", "pack", root, "-o", "x.h5", "--factor", "1/3")
    assert code == 2 and "factor is no option of this layout" in error
    words = ("data", "pack", root, "-o", "x.h5", "--kind", "pairs")
    code, _, error = run(monkeypatch, capsys, *words, "--no-keep-ego-hood")
    assert code == 2 and "--keep-ego-hood is for stereo pairs, but --kind pairs was asked for" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "words, warning",
    [
        (["data", "pack", "nowhere", "-o", "x.h5", "--no-bonnet"], "--bonnet is now --keep-ego-hood"),
        (["train", "baseline", "--seed", "-1", "--all"], "--all is now --no-test-split"),
        (["evaluate", "nowhere", "--data", "x.h5", "--flip"], "--flip is now --flip-tta"),
    ],
    ids=["bonnet", "all", "flip"],
)
def test_former_names_of_options_are_taken_with_one_line(monkeypatch, capsys, tmp_path, words, warning):
    monkeypatch.chdir(tmp_path)
    code, _, error = run(monkeypatch, capsys, *words)
    first, second = error.strip().splitlines()
    assert code == 2 and warning in first and "nowhere" in second + "nowhere" * ("--seed" in second)
    code, told, _ = run(monkeypatch, capsys, *words[: 2 if words[0] == "data" else 1], "--help")
    assert code == 0 and not re.search(rf"{words[-1]}\b(?!-)", told)


def test_a_plan_as_json(monkeypatch, capsys, tmp_path):
    words = ["ablate", "table1", "--rows", "baseline,adv", "--seeds", 2, "--out", tmp_path, "--dry-run"]
    code, told, error = run(monkeypatch, capsys, *words, "--json")
    document = json.loads(told)
    assert code == 0 and not error
    assert list(document) == ["study", "scale", "recipe", "data", "device", "folder", "runs", "power"]
    assert (document["study"], document["scale"], document["data"]) == ("table1", "quick", "rooms")
    planned = {(run["row"], run["seed"]): run for run in document["runs"]}
    assert {("baseline", 0), ("baseline", 1), ("adv", 0), ("adv", 1)} <= set(planned)
    one = planned["adv", 1]
    assert list(one) == ["row", "seed", "state", "folder", "fingerprint", "epochs", "terms"]
    assert one["state"] == "to do" and len(one["fingerprint"]) == 16 and one["terms"]["adversarial"] > 0
    assert one["folder"] == str(Path(document["folder"]) / "runs/adv/seed=1")
    for line in document["power"]:
        assert list(line) == ["reference", "compared", "seeds", "verdict", "reachable", "why"]
        assert (line["reference"], line["compared"], line["seeds"]) == ("baseline", ["adv"], 2)
    assert {line["reachable"] for line in document["power"]} == {True, False}
    code, told, _ = run(monkeypatch, capsys, *words)
    assert code == 0 and "Power at 2 seeds, 1 comparison with baseline:" in told and "(not attainable)" in told
    code, told, error = run(monkeypatch, capsys, *words[:-1], "--json")
    assert code == 2 and not told and "--json is for a plan" in error
    assert not list(tmp_path.iterdir())


def test_scores_as_json(monkeypatch, capsys, tmp_path, model):
    (tmp_path / "frames/den_1").mkdir(parents=True)
    for i in range(2):
        Image.fromarray(photo(i, 72, 96)).save(tmp_path / f"frames/den_1/rgb_{i}.png")
        depth = np.linspace(1000, 2400, 72 * 96).reshape(72, 96).astype(np.uint16)
        Image.fromarray(depth).save(tmp_path / f"frames/den_1/depth_{i}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVDEPTH_DATA", str(tmp_path / "packed"))
    words = ["evaluate", "model", "--data", "frames", "--split", "train", "--device", "cpu", "--json"]
    code, told, error = run(monkeypatch, capsys, *words, "--out", "records.csv")
    document = json.loads(told)  # packing the frames was told on stderr
    assert code == 0 and "packing it to" in error and "2 images" in error
    assert list(document) == ["row", "dataset", "split", "n_images", "metrics", "files"]
    assert (document["row"], document["n_images"], document["files"]) == ("baseline", 2, ["records.csv"])
    for record in document["metrics"]:
        assert {key.partition("@")[0] for key in record} - {"protocol", "n_images", "n_excluded"} <= {*METRICS}
        assert record["n_images"] == 2 and record["rmse"] > 0
    code, told, error = run(monkeypatch, capsys, "evaluate", "nowhere", "--data", "frames", "--json")
    assert code == 2 and not told and len(error.strip().splitlines()) == 1


def test_data_as_json(monkeypatch, capsys, tmp_path):
    code, told, error = run(monkeypatch, capsys, "data", "info", sintel(tmp_path / "sintel"), "--json")
    document = json.loads(told)
    assert code == 0 and list(document) == ["kind", "layout", "count", "first"] and not error
    assert document["kind"] == "stereo" and document["layout"].startswith("MPI Sintel")
    assert list(document["first"]) == [
        "name", "scene", "split", "height_px", "width_px", "disparity_min_px", "disparity_max_px", "unknown_fraction",
        "focal_length_px", "baseline_m", "doffs_px", "maps",
    ]  # fmt: skip
    assert document["first"]["baseline_m"] == 0.1 and document["first"]["focal_length_px"] is None
    frame_h5(tmp_path / "depth/train/den/1.h5", depth=np.zeros((6, 8), np.float32))
    first = json.loads(run(monkeypatch, capsys, "data", "info", tmp_path / "depth", "--json")[1])["first"]
    assert first["depth_min_m"] is None and first["unknown_fraction"] == 1 and first["scene"] == "den"
    segments(tmp_path / "plants")
    told = run(monkeypatch, capsys, "data", "info", tmp_path / "plants", "--task", "segment", "--json")[1]
    assert abs(sum(json.loads(told)["first"]["class_fractions"].values()) - 1) < 1e-9
    code, told, error = run(monkeypatch, capsys, "data", "info", tmp_path / "nowhere", "--json")
    assert code == 2 and not told and "nowhere does not exist" in error


def test_json_is_told_in_the_help(monkeypatch, capsys):
    for words, keys in [(["ablate"], ("fingerprint", "reachable")), (["evaluate"], ("metrics", "files")),
                        (["data", "info"], ("depth_min_m", "unknown_fraction"))]:  # fmt: skip
        code, told, _ = run(monkeypatch, capsys, *words, "--help")
        assert code == 0 and "--json" in told and all(key in told for key in keys), told


def test_what_has_no_valid_pixel_is_said_and_not_scored(monkeypatch, capsys, tmp_path):
    for i in range(2):
        write(tmp_path / f"den/rgb_{i}.png", frame(i, 48, 64)[0])
        write(tmp_path / f"den/depth_{i}.png", np.zeros((48, 64), np.uint16))
        (tmp_path / "pred").mkdir(exist_ok=True)
        np.save(tmp_path / f"pred/{i}.npy", np.ones((48, 64), np.float32))
    model = saved(tmp_path, "baseline", "table1")
    words = ["--data", tmp_path / "den", "--split", "train"]
    for scored in ([model, "--device", "cpu"], ["--predictions", tmp_path / "pred", "--protocol", "bts2019"]):
        monkeypatch.setenv("ADVDEPTH_DATA", str(tmp_path / "packed"))
        code, told, error = run(monkeypatch, capsys, "evaluate", *scored, *words)
        assert code == 2 and "none of its 2 images has a valid pixel, so that nothing can be scored" in error
        assert "den (train)" in error and "DataFrame" not in told


def no_memory(*_, **__):
    """What torch says on a CPU, of four petabytes: it refuses them at once, and nothing is filled."""
    return torch.empty(2**50)


@pytest.mark.parametrize(
    "words, within, smaller",
    [
        (["data", "info", "."], "apps.cli_data.open_any", "look at a file of smaller frames"),
        (["data", "pack", ".", "-o", "x.h5"], "apps.cli_data.open_any", "give --size HxW, such as --size 240x320"),
        (["train", "adv"], "study.plan.make_plan", "lower --set batch=N, or choose a smaller --scale"),
        (["ablate", "table1"], "study.plan.make_plan", "lower --set batch=N or --jobs, or choose a smaller --scale"),
        (["evaluate", "run", "--data", "x.h5"], "apps.cli.evaluate_run", "data pack --size HxW"),
        (["evaluate", "--predictions", "p", "--data", "x.h5"], "apps.cli.evaluate_predictions", "--size HxW"),
        (["report", "results/x"], "study.collect.collect", "give --data a file packed smaller"),
        (["predict", ".", "-o", "out"], "apps.predict.load", "give smaller photographs"),
    ],
)
def test_memory_that_torch_cannot_have_is_one_sentence(monkeypatch, capsys, tmp_path, words, within, smaller):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.png", photo())
    monkeypatch.setattr(f"advdepth_nb.{within}", no_memory)
    code, told, error = run(monkeypatch, capsys, *words)
    assert (code, told) == (2, "") and error.count("\n") == 1
    assert error.startswith("advdepth: not enough memory (4.5e+06 GB could not be had); end other programs, or ")
    assert smaller in error


@pytest.mark.parametrize("words", [["data", "info"], ["data", "pack", "-o", "x.h5"], ["predict", "-o", "out"]])
def test_a_whole_disk_is_not_searched(monkeypatch, capsys, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    for i in range(8):
        write(tmp_path / f"home/photos/{i}.png", photo())
    monkeypatch.setenv("ADVDEPTH_MOST_FILES", "8")
    code, told, error = run(monkeypatch, capsys, *words, "home")
    assert (code, told) == (2, "") and error.count("\n") == 1
    assert "home holds more than 8 files and folders, which is no data set; give the folder of the data" in error
    assert not (tmp_path / "x.h5").exists() and not (tmp_path / "out").exists()
    monkeypatch.setenv("ADVDEPTH_MOST_FILES", "9")
    assert "more than" not in run(monkeypatch, capsys, *words, "home")[2]
