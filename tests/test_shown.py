"""What makes `results/shown`: scores of where errors lie, reports without paths of a machine, small pictures."""

import nbformat
import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    for folder in ("benchmarks", "tools"):
        monkeypatch.syspath_prepend(str(ROOT / folder))


def test_exact_depth_has_no_error_and_copied_texture_has_false_edges():
    from advdepth_nb.metrics.protocols import PROTOCOLS
    from what_adversaries_change import RINGS, cut, scores_of, views_of

    protocol = PROTOCOLS["hu"]
    views = views_of(500_000, 0, protocol.frame)
    exact = {pattern: cut(depth, protocol) for pattern, (_, depth, _) in views.items()}
    scores = scores_of(exact, views, protocol)
    assert all(scores[name].nan_to_num(0) < 1e-6 for name in RINGS) and scores["n_valid"] == 228 * 304
    copied = {}
    for pattern, (image, _, _) in views.items():
        gray = cut(image[None].float().mean(1, keepdim=True), protocol) / 255
        copied[pattern] = exact[pattern] * (1 + 0.1 * (gray - gray.mean()))
    found = scores_of(copied, views, protocol)
    assert scores["false_edges@checks"] == 0 and found["false_edges@checks"] > 10 * found["false_edges@plain"] > 0


def test_a_report_is_copied_without_paths_and_dead_links(tmp_path):
    from publish import publish

    study, out = tmp_path / "home" / "results" / "study", tmp_path / "shown"
    for seed in (3, 4):
        cells = [nbformat.v4.new_code_cell(f"out = '{study}/runs/adv/seed={seed}'")]
        (study / f"runs/adv/seed={seed}").mkdir(parents=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells), study / f"runs/adv/seed={seed}/train.ipynb")
    links = [f'<a href="runs/adv/seed={seed}/train.ipynb">seed {seed}</a>' for seed in (3, 4)]
    (study / "study.html").write_text(" ".join(links) + f" {study}/data")
    publish(study, out, 3, str(tmp_path / "home"))
    assert (out / "study.html").read_text() == f"{links[0]} seed 4 results/study/data"
    (notebook,) = out.rglob("*.ipynb")
    assert nbformat.read(notebook, 4).cells[0].source == "out = 'results/study/runs/adv/seed=3'"


def test_a_picture_gets_few_colors_only_where_nobody_sees_it(tmp_path):
    from pictures import with_few_colors

    ramp = np.linspace(0, 255, 300 * 200).reshape(200, 300).astype(np.uint8)
    plot = np.stack([ramp // 64 * 64] * 3, -1)
    Image.fromarray(plot).save(tmp_path / "plot.png", compress_level=0)
    noise = torch.randint(0, 256, (200, 300, 3), generator=torch.Generator().manual_seed(0)).byte().numpy()
    Image.fromarray(noise).save(tmp_path / "noise.png")
    small = with_few_colors(tmp_path / "plot.png")
    (tmp_path / "small.png").write_bytes(small)
    assert (np.asarray(Image.open(tmp_path / "small.png").convert("RGB")) == plot).all()
    assert with_few_colors(tmp_path / "noise.png") is None and with_few_colors(tmp_path / "small.png") is None
