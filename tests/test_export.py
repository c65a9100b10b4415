"""One file for every system, read back by what will read it: torch alone, or onnxruntime where it is installed."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from commands import run
from factories import saved
from torch.nn.functional import interpolate

from advdepth_nb.apps import export
from advdepth_nb.apps.predict import load
from advdepth_nb.systems import released
from advdepth_nb.systems.catalog import SYSTEMS, experiment
from advdepth_nb.systems.model_files import save_model

ROWS = [
    ("baseline", "table1", "depth", (56, 72)),
    ("baseline", "stereo", "disparity", (64, 128)),
    ("colorize_l1_cgan", "translate", "picture", (64, 128)),
]
MISSING = [name for name in export.ONNX if find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"the extra `export` is not installed: {', '.join(MISSING)}")

# A program that knows torch and numpy, and not this library.
STRANGER = """
import sys
import numpy as np, torch
program = torch.export.load(sys.argv[1]).module()
np.save(sys.argv[3], program(torch.from_numpy(np.load(sys.argv[2]))).detach().numpy())
assert not any(name.startswith("advdepth_nb") for name in sys.modules)
"""


def levels(batch: int, size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """Smooth pictures (B,3,H,W) uint8."""
    few = torch.rand(batch, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return (255 * interpolate(few, size, mode="bicubic").clamp(0, 1)).round().byte()


def predicted(model, image: torch.Tensor, row: str) -> torch.Tensor:
    """(B,C,H,W): what the library's own predictor says, in the units of the file; without the noise of pix2pix."""
    predictor = load(model, "cpu")
    if hasattr(predictor.net, "noise"):
        predictor.net.noise, predictor.experiment = False, replace(predictor.experiment, noise=False)
    made = predictor(image)
    return made / 255 if made.dtype == torch.uint8 else made[:, None]


def told_by(said: str) -> list[float]:
    """The differences that were printed."""
    return [float(line.partition("within ")[2].split()[0]) for line in said.splitlines() if "within" in line]


@pytest.mark.parametrize("row, study, name, size", ROWS, ids=lambda x: x if isinstance(x, str) else "")
def test_a_program_computes_what_the_predictor_says(monkeypatch, capsys, tmp_path, row, study, name, size):
    model, out = saved(tmp_path, row, study), tmp_path / "net.pt2"
    code, told, error = run(monkeypatch, capsys, "export", model, "-o", out)
    assert code == 0 and f"{name}: (B," in told and str(out) in told, error
    assert len(told_by(told)) == 3 and max(told_by(told)) < 1e-4
    assert [p.name for p in tmp_path.glob("*net*")] == ["net.pt2"] and not list(tmp_path.glob(".*part"))
    image = levels(2, size)
    np.save(tmp_path / "image.npy", (image / 255).numpy())
    words = [sys.executable, "-c", STRANGER, out, tmp_path / "image.npy", tmp_path / "answer.npy"]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours, theirs = predicted(model, image, row), torch.from_numpy(np.load(tmp_path / "answer.npy"))
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < (0.03 if name == "picture" else 1e-3)  # a picture is in 8 bits


@needs_onnx
@pytest.mark.parametrize("row, study, name, size", ROWS, ids=lambda x: x if isinstance(x, str) else "")
def test_onnxruntime_computes_what_the_predictor_says(monkeypatch, capsys, tmp_path, row, study, name, size):
    import onnxruntime

    model, out = saved(tmp_path, row, study), tmp_path / "net.onnx"
    code, told, error = run(monkeypatch, capsys, "export", model, "-o", out)
    assert code == 0 and len(told_by(told)) == 3 and max(told_by(told)) < 1e-4, error
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    channels = 3 if name == "picture" else 1
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("image", ["batch", 3, "height", "width"])]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [(name, ["batch", channels, "height", "width"])]
    kept = session.get_modelmeta().custom_metadata_map
    assert kept["row"] == row and kept["system"] == SYSTEMS[experiment(row, study).system].name
    assert kept["trained_at"] == "{}x{}".format(*size) and json.loads(kept["experiment"])["row"] == row
    image = levels(3, size, seed=1)
    theirs = torch.from_numpy(session.run(None, {"image": (image / 255).numpy()})[0])
    ours = predicted(model, image, row)
    assert ours.shape == theirs.shape and (ours - theirs).abs().max() < (0.03 if name == "picture" else 1e-3)


def test_a_picture_as_small_as_the_network_halves_is_not_left_out(tmp_path):
    """pix2pix at 256x256 halves 8 times: one column and one row of its coarsest map."""
    e = replace(experiment("colorize_l1", "translate", "smoke"), size=(32, 64))
    net = SYSTEMS["translation"].network(e).eval()
    said = []
    save_model(net, e, tmp_path / "run")
    export.export_run(tmp_path / "run", tmp_path / "net.pt2", said.append)
    assert "1x3x32x64: within" in said[1] and "sizes: multiples of 32" in said[0]


def test_lab_leaves_the_graph_as_rgb(tmp_path):
    e = replace(experiment("colorize_l1", "translate", "smoke"), color_space="lab")
    save_model(SYSTEMS["translation"].network(e), e, tmp_path / "run")
    made = export.export_run(tmp_path / "run", tmp_path / ("net.pt2" if MISSING else "net.onnx"), lambda _: None)
    compute = (export.run_program if MISSING else export.run_onnx)(made)
    image = levels(1, e.size)
    ours, theirs = predicted(tmp_path / "run", image, "lab"), compute(image / 255)
    assert (ours - theirs).abs().mean() < 0.01 and (ours - theirs).abs().max() < 0.05


def test_a_name_of_released_weights_is_a_run(monkeypatch, capsys, tmp_path):
    folder = saved(tmp_path / "weights", "segment_cross_entropy", "translate")
    monkeypatch.setattr(released, "WEIGHTS", tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    code, told, error = run(monkeypatch, capsys, "export", folder.name, "-o", "net.pt2")
    assert code == 0 and "classes: (B,K,H,W)" in told and (tmp_path / "net.pt2").exists(), error


@pytest.mark.parametrize("suffix", [".pt2", pytest.param(".onnx", marks=needs_onnx)])
def test_what_differs_from_torch_leaves_no_file(monkeypatch, capsys, tmp_path, suffix):
    model = saved(tmp_path, "segment_cross_entropy", "translate")
    (tmp_path / f"net{suffix}").write_text("of before")
    reader = "run_onnx" if suffix == ".onnx" else "run_program"
    honest = getattr(export, reader)
    monkeypatch.setattr(export, reader, lambda path: lambda image: honest(path)(image).flip(0))  # mixes up a batch
    code, told, error = run(monkeypatch, capsys, "export", model, "-o", tmp_path / f"net{suffix}")
    assert code == 2 and "differs from torch by" in error and "at 2x3x96x128" in error, error
    assert len(error.strip().splitlines()) == 1 and told.count("within") == 1  # one image cannot be mixed up
    assert (tmp_path / f"net{suffix}").read_text() == "of before" and not list(tmp_path.glob(".*part"))


def test_a_missing_extra_is_said_with_the_line_that_installs_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    model = saved(tmp_path, "baseline", "table1")
    code, _, error = run(monkeypatch, capsys, "export", model, "-o", tmp_path / "net.onnx")
    assert code == 2 and "needs onnx, onnxscript, onnxruntime: pip install 'advdepth_nb[export]'" in error
    assert len(error.strip().splitlines()) == 1 and not (tmp_path / "net.onnx").exists()


def test_the_extra_is_declared():
    from configparser import ConfigParser
    from pathlib import Path

    root, config = Path(__file__).resolve().parents[1], ConfigParser(delimiters=["="], interpolation=None)
    config.read(root / "settings.ini", encoding="utf-8")
    declared = config["DEFAULT"]["export_requirements"].split()
    assert {word.partition(">")[0] for word in declared} == set(export.ONNX)
    assert '"export": settings["export_requirements"].split()' in (root / "setup.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "row, study, sentence",
    [
        ("mean_depth", "table1", "row 'mean_depth' is a reference that is computed, not a network"),
        ("mean_disparity", "stereo", "export a trained row"),
        ("colorize_grayscale_copy", "translate", "export a trained row"),
    ],
)
def test_references_are_not_exported(monkeypatch, capsys, tmp_path, row, study, sentence):
    model = saved(tmp_path, row, study)
    code, _, error = run(monkeypatch, capsys, "export", model, "-o", tmp_path / "net.pt2")
    assert code == 2 and sentence in error and not (tmp_path / "net.pt2").exists()


def test_latency_takes_turns_and_says_where(monkeypatch, capsys, tmp_path):
    model = saved(tmp_path, "colorize_l1", "translate")
    code, told, error = run(monkeypatch, capsys, "evaluate", model, "--latency", "--device", "cpu", "--json")
    assert code == 0, error
    document = json.loads(told)
    assert document["row"] == "colorize_l1" and document["latency"]["threads"] == torch.get_num_threads()
    network, photograph = document["latency"]["times"]
    assert (network["what"], network["size"]) == ("network", "1x3x64x128") and photograph["size"] == "640x480"
    for line in (network, photograph):
        assert line["repeats"] >= 5 and 0 < line["p10_ms"] <= line["median_ms"] <= line["p90_ms"]
    assert "one image at a time, on cpu" in error and "median_ms" in error


def test_a_fixed_size_is_exported_with_the_weights_of_the_package(tmp_path):
    said: list[str] = []
    made = export.export_run("depth", tmp_path / "net.pt2", said.append, fixed_size=True)
    assert made.exists() and "180x240 alone" in said[0] and len(said) == 4  # what it is, and three comparisons
