"""The door for photographs opens fast: whoever only predicts loads neither reports nor statistics nor the trainer."""

import subprocess
import sys

import torch
from PIL import Image

from advdepth_nb.systems.model_files import save_model
from advdepth_nb.systems.catalog import experiment
from advdepth_nb.systems.catalog import SYSTEMS

CODE = """
import sys
from advdepth_nb.apps.predict import load, predict_files
((_, files),) = predict_files(load(sys.argv[1], "cpu"), [sys.argv[2]], sys.argv[3])
assert all(file.exists() for file in files)
print(*(name for name in sys.argv[4:] if name in sys.modules))
"""
HEAVY = ("seaborn", "scipy.stats", "statsmodels", "lightning", "torchmetrics", "papermill", "advdepth_nb.report",
         "advdepth_nb.stats", "advdepth_nb.figures")  # fmt: skip


def test_a_prediction_loads_no_report_and_no_trainer(tmp_path):
    e = experiment("baseline", scale="smoke")
    torch.manual_seed(0)
    save_model(SYSTEMS[e.system].network(e), e, tmp_path / "run")
    Image.new("RGB", (64, 48), (90, 120, 60)).save(tmp_path / "a.png")
    words = [sys.executable, "-c", CODE, tmp_path / "run", tmp_path / "a.png", tmp_path / "out", *HEAVY]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_fresh_install_predicts():
    from advdepth_nb import load
    from advdepth_nb.scenes.rooms import room
    from advdepth_nb.systems.released import model_folder, released

    assert released() == ["depth", "stereo"]
    for name in released():
        folder = model_folder(name)
        assert (folder / "model.safetensors").stat().st_size < 10e6 and (folder / "README.md").exists()
    predictor = load(device="cpu")
    ours, plain = 0.0, 0.0
    for scene in range(500_000, 500_004):  # test rooms, which it has not seen
        view = room(scene, 0, (240, 320))
        truth = view["depth"][0]
        ours += float((predictor(view["image"]) - truth).abs().mean())
        plain += float((truth.median() - truth).abs().mean())
    assert ours < 0.4 * plain


def test_a_fresh_install_predicts_disparity():
    from advdepth_nb import load
    from advdepth_nb.scenes.fields import field

    predictor, ours, plain = load("stereo", device="cpu"), 0.0, 0.0
    for scene in range(500_000, 500_004):  # test fields, which it has not seen
        pair = field(scene, 0, (256, 512), look="stalks")
        truth, found = pair["disparity"][0], predictor(pair["left"])
        assert float(torch.corrcoef(torch.stack([truth.flatten(), found.flatten()]))[0, 1]) > 0.5
        ours += float((found - truth).abs().mean())
        plain += float((truth.median() - truth).abs().mean())
    assert ours < 0.7 * plain
