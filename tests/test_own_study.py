"""A study of one's own, from a file to verdicts: run, resumed, edited, moved, refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import command, start

from advdepth_nb import load
from advdepth_nb.report import page, verdicts
from advdepth_nb.study.collect import collect
from advdepth_nb.study.evaluate import evaluate_run
from advdepth_nb.study.plan import Run, make_plan
from advdepth_nb.study.schedule import packed_files
from advdepth_nb.study.train import train_planned
from advdepth_nb.systems.base import STUDIES, load_file
from advdepth_nb.systems.experiments import as_settings

FILE = Path(__file__).with_name("edge_study.py")
FIVE = ("--scale", "smoke", "--seeds", 2, "--jobs", 2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A copy of the study's two files, to be edited."""
    folder = tmp_path_factory.mktemp("own")
    for name in ("edge_study.py", "edge_terms.py"):
        shutil.copy(FILE.with_name(name), folder)
    return folder


@pytest.fixture(scope="module")
def folder(place, worlds):
    done = command("ablate", place / "edge_study.py", *FIVE, "--out", place / "r", data=worlds)
    assert done.returncode == 0, done.stderr
    assert "judged" in done.stdout and "protocol hu" in done.stdout
    return place / "r" / "edge_study-rooms-smoke-report"


def states(place, worlds, *words) -> pd.DataFrame:
    """The plan of the study as the command prints it, a line a run."""
    done = command("ablate", place / "edge_study.py", *FIVE, "--out", place / "r", "--dry-run", "--json", *words,
                   data=worlds)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return pd.DataFrame(json.loads(done.stdout)["runs"]).set_index(["row", "seed"])


def planned(folder, row) -> dict:
    return json.loads((folder / "runs" / row / "seed=1" / "experiment.json").read_text())


def test_it_is_run_judged_and_reported(folder):
    table = pd.read_csv(folder / "edge_study.csv").query("source == 'ours' and protocol.str.startswith('hu')")
    assert list(table["row"]) == ["mean_depth", "baseline", "mine", "halving", "judged"]
    assert (table["seeds"][1:] == 2).all() and table["rmse"].between(0.01, 10).all()
    said = (folder / "verdicts.md").read_text()
    assert "Against `baseline`" in said and "`mine`" in said
    assert (folder / "runs/judged/seed=0/gan_health.png").exists() and (folder / "fig3.png").exists()
    assert "With a network of their own: `halving`" in (folder / "report.ipynb").read_text()


def test_experiments_stay_plain_data_that_names_its_parts(folder):
    assert planned(folder, "mine")["experiment"]["guests"] == {"losses.edge_l1": "edge_study:edge_l1"}
    assert planned(folder, "mine")["experiment"]["losses"]["edge_l1"] == 0.5
    assert set(planned(folder, "judged")["experiment"]["guests"]) == {"adversary.network", "adversary.objective"}
    assert planned(folder, "mine")["experiment"]["hypothesis"].startswith("Steps between neighbors")
    logged = pd.read_parquet(folder / "runs/mine/seed=0/history.parquet")
    assert {"term/edge_l1", "grad_fraction/edge_l1"} <= set(logged)
    copy = folder / planned(folder, "mine")["code"]
    assert copy.read_text() == FILE.read_text() and copy.with_name("edge_terms.py").exists()


def test_a_row_of_ours_is_the_same_run_as_in_our_study(folder, tmp_path):
    assert "guests" not in planned(folder, "baseline")["experiment"] and planned(folder, "baseline")["code"] == ""
    (ours,) = make_plan("table1", "smoke", rows=["baseline"], seeds=[1], out=tmp_path).runs
    assert ours.fingerprint == planned(folder, "baseline")["fingerprint"]


PINNED = {  # of runs that bring nothing along: a finished one stays finished
    ("table1", "baseline"): "5cea04844e75004f", ("table1", "adv"): "75d18fbf23322c30",
    ("stereo", "full"): "c119cd643847f9e8", ("translate", "colorize_l1_cgan"): "d28534b30ca4f7f4",
}  # fmt: skip


@pytest.mark.parametrize("study, row", PINNED)
def test_the_fingerprint_of_a_run_without_guests_is_pinned(study, row, tmp_path):
    data = "" if study == "table1" else "fields"  # the world of these studies when the digits were written
    (run,) = make_plan(study, "smoke", rows=[row], seeds=[3], data=data, out=tmp_path).runs
    assert run.fingerprint == PINNED[study, row] and run.code == "" and "guests" not in as_settings(run.experiment)


def test_it_is_done_and_an_edit_concerns_the_rows_that_need_the_file(folder, place, worlds):
    assert (states(place, worlds)["state"] == "done").all()
    terms = place / "edge_terms.py"
    before = terms.read_text()
    terms.write_text(before.replace("error, total", "error, total  ").replace("clamp(min=1)", "clamp(min=2)"))
    try:
        now = states(place, worlds)["state"].unstack("seed")[1].dropna()
        assert now.to_dict() == {"baseline": "done", "mine": "to do", "halving": "to do", "judged": "to do"}
        done = command("ablate", place / "edge_study.py", *FIVE, "--out", place / "r", data=worlds)
        assert done.returncode == 2 and "the file of its study has changed" in done.stderr
    finally:
        terms.write_text(before)
    assert (states(place, worlds)["state"] == "done").all()


def test_placebos_and_controls_come_with_a_row_that_has_a_discriminator(folder, place, worlds):
    named = states(place, worlds, "--rows", "placebos,judged_compute").index.get_level_values("row")
    assert set(named) == {"judged_frozen", "judged_detached", "judged_random", "judged_compute"}


def test_settings_reach_its_terms(place, worlds):
    words = ("--scale", "smoke", "--out", place / "r", "--dry-run", "--json", "--set", "losses.edge_l1=0.1")
    done = command("ablate", place / "edge_study.py", *words, data=worlds)
    found = {run["row"]: run["terms"] for run in json.loads(done.stdout)["runs"]}
    assert found["mine"]["edge_l1"] == 0.1 and "edge_l1" not in found["baseline"]


def test_a_run_is_evaluated_and_predicts_when_its_file_is_named(folder, worlds, tmp_path):
    run, copy = folder / "runs/halving/seed=0", folder / planned(folder, "halving")["code"]
    done = command("evaluate", run, "--data", "rooms", "--code", copy, "--json", data=worlds)
    assert done.returncode == 0 and json.loads(done.stdout)["metrics"][0]["rmse"] > 0, done.stderr
    photograph = tmp_path / "a.png"
    from PIL import Image

    Image.new("RGB", (80, 60), (120, 90, 60)).save(photograph)
    words = ("predict", photograph, "-o", tmp_path / "out", "--model", run, "--code", copy)
    assert command(*words, data=worlds).returncode == 0 and (tmp_path / "out" / "a_depth.png").exists()


def test_another_process_runs_nothing_unasked_and_names_what_is_missing(folder, worlds, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    run, code = moved / "runs/mine/seed=0", planned(folder, "mine")["code"]
    ask = f"from advdepth_nb import load; load({str(run)!r})"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False).stderr
    assert f"give --code {moved / code}, or load_file(" in told
    ask = f"import advdepth_nb as a; print(a.load_file({str(moved / code)!r}), a.load({str(run)!r}) and 'loaded')"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    assert done.stdout == "['edge_study'] loaded\n", done.stderr
    (moved / code).with_name("edge_terms.py").unlink()
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False).stderr
    assert "edge_study.py, line 3 imports edge_terms, which is not there" in told
    shutil.rmtree(moved / "code")
    refused = start("evaluate", run, "--data", "rooms", data=worlds)
    assert f"needs {code}, a copy of the file of its study" in refused.communicate()[1] and refused.returncode == 2


def test_the_report_is_made_again_when_the_file_is_named(folder, worlds):
    refused = start("report", folder, data=worlds)
    told = refused.communicate()[1]
    assert "give --code" in told and "edge_study.py" in told and refused.returncode == 2


def as_notebook(path: Path, *cells: str) -> Path:
    code = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": cell} for cell in cells]
    path.write_text(json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


TERM = "def edge(pred, target, mask):\n    return ((pred - target).abs() * mask).sum() / mask.sum()"
HEAD = "from advdepth_nb import Study, rows\nimport torch"


@pytest.mark.parametrize("name", ["hand", "module"])
def test_a_notebook_and_a_module_hold_a_study_too(name, tmp_path, worlds, monkeypatch):
    declared = 'study = Study.like("table1", rows={"baseline": rows.baseline, "edge": rows.baseline.with_loss(edge)})'
    if name == "hand":
        given = as_notebook(
            tmp_path / "by_hand.ipynb", "%matplotlib inline", HEAD, TERM, declared, "study.run(seeds=99)", "1 / 0"
        )
    else:
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "terms.py").write_text(TERM)
        (tmp_path / "package" / "by_module.py").write_text(f"{HEAD}\nfrom .terms import edge\n\n{declared}\n")
        monkeypatch.chdir(tmp_path)
        given = "package.by_module:study"
    done = command("ablate", given, "--scale", "smoke", "--out", tmp_path, "--dry-run", data=worlds)
    assert done.returncode == 0 and f"by_{name}-rooms-smoke-report: 3 runs" in done.stdout, done.stderr


WRONG = {
    "return ((pred - target).abs()).mean()": "edge (wrong.py, line 5) ignores the mask: it goes from",
    "return (pred - target).abs()": "edge (wrong.py, line 5) gives (2, 1, 26, 34), but a scalar tensor is expected",
    "return (pred.clamp(min=1e-3).log() * mask).mean()": "edge (wrong.py, line 5) has no gradient where the prediction",
    "return (pred.log() * mask).sum()": "edge (wrong.py, line 5) is nan where the prediction is below zero",
    "return torch.zeros(()).requires_grad_()": "edge (wrong.py, line 5) has no gradient",
    "return pred.mean() + missing": "edge (wrong.py, line 5) fails on two made-up images at wrong.py, line 6: ",
}


@pytest.mark.parametrize("body", WRONG, ids=range(len(WRONG)))
def test_what_cannot_teach_is_refused_before_anything_starts(body, tmp_path, worlds):
    declared = 'study = Study.like("table1", rows={"baseline": rows.baseline, "edge": rows.baseline.with_loss(edge)})'
    text = f"{HEAD}\n\n\ndef edge(pred, target, mask):\n    {body}\n\n\n{declared}\n"
    (tmp_path / "wrong.py").write_text(text)
    words = ("ablate", tmp_path / "wrong.py", "--scale", "smoke", "--out", tmp_path / "r", "--dry-run")
    done = command(*words, data=worlds)
    assert done.returncode == 2 and WRONG[body] in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "r").exists()


def test_a_file_that_holds_nothing_or_fails_is_told_so(tmp_path, worlds):
    for text, words in (
        ("x = 1\n", "holds no study: write `study = Study.like(...)` in it"),
        ("import torch\nx = torch.zeros(2) @ 3\n", "bad.py, line 2: TypeError"),
        ("x = (\n", "bad.py, line 1: this is not Python"),
    ):
        (tmp_path / "bad.py").write_text(text)
        done = command("ablate", tmp_path / "bad.py", "--dry-run", data=worlds)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_script_runs_its_own_study(tmp_path, worlds):
    (tmp_path / "script.py").write_text(
        f"{HEAD}\n\n\n{TERM}\n\n\n"
        'study = Study.like("table1", rows={"baseline": rows.baseline, "edge": rows.baseline.with_loss(edge)})\n'
        'if __name__ == "__main__":\n'
        '    plan = study.plan("smoke", seeds=2, out="r")\n'
        '    print(plan.folder, [run.code for run in plan.runs][-1])\n'
    )  # fmt: skip
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "r/script-rooms-smoke-report code/" in done.stdout, done.stderr


def test_guest_runs_are_read_with_any_code_for_comparison(folder):
    run = Run.read(folder / "runs/mine/seed=1", any_code=True)
    assert run.fingerprint == planned(folder, "mine")["fingerprint"] and run.code == planned(folder, "mine")["code"]


def declared(path: Path, text: str):
    """The study of a file with this text."""
    path.write_text(text)
    (name,) = load_file(path)
    return STUDIES[name]


OTHERS = {
    "stereo": (
        "rows.stereo.baseline", "def term(disparities, left, right):\n    return disparities.square().mean()",
        "nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Sigmoid())", (4, 32, 64),
    ),
    "translate": (
        "rows.translate.segment_l1", "def term(pred, target, given):\n    return (pred - target).square().mean()",
        "nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh())", (4, 3, 32, 64),
    ),
}  # fmt: skip


@pytest.mark.parametrize("system", OTHERS)
def test_a_term_and_a_network_for_the_other_systems(system, tmp_path, worlds, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    row, term, network, shape = OTHERS[system]
    study = declared(
        tmp_path / f"own_{system}.py",
        f"from torch import nn\n{HEAD}\n\n\n{term}\n\n\ndef small():\n    return {network}\n\n\n"
        f"begun = {row}\nmine = begun.with_network(small).with_loss(term)\n"
        f"study = Study.like({system!r}, rows={{'a': begun, 'b': mine}})",
    )
    folder = study.train("b", scale="smoke", out=tmp_path)
    assert "term/term" in pd.read_parquet(folder / "history.parquet")
    assert load(folder, device="cpu")(torch.rand(4, 3, 32, 64)).shape == shape


METRIC = """
from advdepth_nb.metrics.protocols import Protocol
from advdepth_nb.metrics.registry import Metric, register

register(Metric("largest", "largest error", "lower", "largest absolute error of depth", "m"))


def largest(pred, target, valid):
    return ((pred - target).abs() * valid).amax((1, 2, 3))


study = Study.like(
    "table1", rows={"baseline": rows.baseline, "ssim": rows.ssim}, metrics={"largest": largest},
    protocols=[Protocol("near", (96, 128), max_depth=3.0)], endpoints={"largest": "superior?"},
)
"""


def test_a_metric_and_a_protocol_of_ones_own_reach_table_and_verdicts(tmp_path, worlds, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    study = declared(tmp_path / "own_metric.py", HEAD + METRIC)
    plan = study.plan("smoke", seeds=2, out=tmp_path)
    packed = packed_files(plan, lambda text: None)[""]
    for run in plan.runs:
        run.write()
        train_planned(run.folder, packed, "cpu")
        evaluate_run(run.folder, packed, device="cpu")
    records = collect(plan.folder)
    assert {"near", "hu@96x128"} <= set(records.images["protocol"]) and len(records.runs) == 5
    table = page.readable(records, "near")
    assert "largest error, m ↓" in table and list(table.index) == ["mean_depth", "baseline", "ssim"]
    judged = verdicts.verdict_tables(records)
    asked = judged["hu@96x128"].query("endpoint == 'primary'")
    assert set(asked["metric"]) == {"largest"} and "declared with the study" in verdicts.write_verdicts(
        records, judged, tmp_path
    )


SHARED = """
from advdepth_nb.metrics.registry import Metric, register

register(Metric("largest_{system}", "largest error", "lower", "largest absolute error", {unit!r}))


def largest(pred, target, valid):
    assert pred.ndim == 4 and valid.dtype == torch.bool and valid.shape == target[:, :1].shape
    return ((pred - target).abs() * valid).amax((1, 2, 3)).float()


study = Study.like(
    {system!r}, rows={rows}, metrics={{"largest_{system}": largest}}, protocols={protocols},
    endpoints={{"largest_{system}": "superior?"}},
)
"""
OWN_SCORES = {
    "stereo": (
        "px", "dict(a=rows.stereo.baseline, b=rows.stereo.no_smoothness)",
        "from advdepth_nb.metrics.disparity import DisparityProtocol as P",
        "[P('every', out_of_frame=True)]", {"every"},
    ),
    "translate": (
        "", "dict(a=rows.translate.segment_l1, b=rows.translate.colorize_l1)",
        "from advdepth_nb.metrics.images import ImageProtocol as P",
        "[P('strict', 'segment', 'same', 'nearest'), P('gray', 'colorize')]", {"strict", "gray"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("system", OWN_SCORES)
def test_a_metric_and_a_protocol_of_ones_own_for_the_other_systems(system, tmp_path, worlds, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    unit, rows, head, protocols, names = OWN_SCORES[system]
    text = SHARED.format(system=system, unit=unit, rows=rows, protocols=protocols)
    study = declared(tmp_path / f"own_scores_{system}.py", f"{HEAD}\n{head}\n{text}")
    plan = study.plan("smoke", seeds=2, rows=["a", "b"], out=tmp_path)
    packed = packed_files(plan, lambda text: None)
    for run in plan.runs:
        run.write()
        train_planned(run.folder, packed[run.experiment.task], "cpu")
        evaluate_run(run.folder, packed[run.experiment.task], device="cpu")
    records = collect(plan.folder)
    under = records.images.groupby("protocol")["row"].unique().map(set)
    assert names <= set(under.index) and all(under[name] for name in names)
    if system == "translate":  # each row under the protocols of its task
        assert under["strict"] == under["segment"] == {"a"} and under["gray"] == under["colorize"] == {"b"}
    key = f"largest_{system}"
    own = records.images[records.images["metric"] == key]
    assert set(own["protocol"]) == set(records.images["protocol"]) and own["value"].between(0, 512).all()
    name = sorted(names)[0]
    assert f"largest error{', px' * bool(unit)} ↓" in page.readable(records, name)
    assert name in page.protocol_fact(records, name)
    judged = verdicts.verdict_tables(records)
    if system == "stereo":
        assert set(judged["every"].query("endpoint == 'primary'")["metric"]) == {key}
        worst = own.groupby("protocol")["value"].max()
        assert worst["every"] >= worst["all"]  # more pixels count


def test_a_layout_of_ones_own_is_packed_when_it_is_planned_with(tmp_path, worlds, monkeypatch):
    monkeypatch.setenv("ADVDEPTH_DATA", str(tmp_path / "data"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "depths.npy").write_bytes(b"")
    reader = (
        "def frames(folder):\n    assert (folder / 'depths.npy').exists()\n"
        "    images = [torch.rand(3, 72, 96) for _ in range(8)]\n"
        "    return [{'image': x, 'depth': x[0] + 1, 'scene': str(i)} for i, x in enumerate(images)]"
    )
    study = declared(
        tmp_path / "own_layout.py",
        f"{HEAD}\n\n\n{reader}\n\n\nstudy = Study.like('table1', rows={{'baseline': rows.baseline}}, layout=frames)",
    )
    plan = study.plan("smoke", data=str(tmp_path / "mine"), out=tmp_path)
    assert plan.data.startswith(str(tmp_path / "data" / "mine-frames-")) and Path(plan.data).exists()
    assert study.plan("smoke", data=str(tmp_path / "mine"), out=tmp_path).data == plan.data
