"""A whole study through the command: killed, finished two at a time, reported, left alone, mended."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from commands import command, start, wait_for
from figures import check_file, check_pages

from advdepth_nb.systems.catalog import SYSTEMS
from advdepth_nb.metrics.depth import DEPTH_METRICS
from advdepth_nb.metrics.registry import metric_of
from advdepth_nb.study.collect import collect
from advdepth_nb.study.evaluate import evaluate_run
from advdepth_nb.study.plan import make_plan
from advdepth_nb.study.schedule import run_plan
from advdepth_nb.study.train import train_planned


@pytest.fixture(scope="module")
def study(tmp_path_factory, worlds):
    """The mean, the start and a row at the smallest scale, killed in that row's first epochs, then finished."""
    out = tmp_path_factory.mktemp("out")
    words = ("ablate", "table1", "--scale", "smoke", "--rows", "mean_depth,adv", "--out", out)
    words = (*words, "--set", "epochs=6", "--set", "init_from=pretrain")
    folder = out / "table1-rooms-smoke-report+epochs=6+init_from=pretrain"
    process = start(*words, data=worlds)
    wait_for(folder / "runs" / "adv" / "seed=0" / "checkpoint.pt", process)
    process.kill()  # as a power cut would
    process.wait()
    assert not (folder / "runs" / "adv" / "seed=0" / "metrics.json").exists()
    return folder, words, command(*words, "--jobs", 2, data=worlds)


def test_a_killed_study_is_finished_by_the_same_command(study):
    folder, _, done = study
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 3 runs are done already" in done.stdout  # references wait for a gap between trained rows
    for row in ("mean_depth", "pretrain", "adv"):
        run = folder / "runs" / row / "seed=0"
        for name in (
            "train.ipynb",
            "evaluate.ipynb",
            "images.parquet",
            "metrics.json",
            "model.safetensors",
            "model.json",
        ):
            assert (run / name).exists(), f"{row}: {name}"
        assert not list(run.glob("*.running.ipynb")) and not list(run.glob(".*part"))
    adv = folder / "runs" / "adv" / "seed=0"
    checks = pd.read_parquet(adv / "gan_monitor.parquet")
    assert json.loads((adv / "gan_health.json").read_text())["checks"] == len(checks) == 12
    check_file(adv / "gan_health.png")
    budget = json.loads((adv / "metrics.json").read_text())["budget"]
    assert budget["generator_steps"] == budget["discriminator_steps"] == 12 and budget["images"] == 48


def test_the_report_has_its_tables_and_figures(study, worlds):
    folder, _, done = study
    for name in ("table1.md", "table1.html", "report.ipynb"):
        assert "adv" in (folder / name).read_text(), name
    for name in ("fig1", "fig2", "fig3", "fig4", "curves"):
        check_file(folder / f"{name}.png")
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF"), name
    (packed,) = worlds.glob("rooms*.h5")
    assert check_pages(SYSTEMS["depth"].pages(collect(folder), {"": packed}, folder)) == ["fig1", "fig2", "fig3"]
    assert "fig1.png" in done.stdout and "protocol hu@96x128" in done.stdout
    table = pd.read_csv(folder / "table1.csv")
    assert set(table["source"]) == {"ours", "report", "poster", "errata", "hu2019"}
    text = (folder / "table1.md").read_text()
    assert "impossible" in text and "Smoke run" in text


def test_records_are_the_contract(study):
    images = pd.read_parquet(study[0] / "runs" / "adv" / "seed=0" / "images.parquet")
    assert list(images.columns) == [
        "study", "row", "seed", "dataset", "split", "scene", "image", "protocol", "metric", "value", "n_valid"
    ]  # fmt: skip
    assert {"mse", "rmse", "abs_rel", "log10", "delta1", "delta2", "delta3", "sq_rel", "silog", "mae"} <= set(
        images["metric"]
    )
    assert {"si_f1", "dbe_acc", "pe_plan", "normal_mean", "si_f1@0-2m", "si_recall@occlusion"} <= set(images["metric"])
    assert images.loc[images["metric"].isin(DEPTH_METRICS), "value"].notna().all() and (images["n_valid"] > 0).all()
    assert images["scene"].nunique() == 2 and images["image"].nunique() == 4
    assert all("depth" in metric_of(metric).systems for metric in images["metric"].unique())  # all are registered


def test_records_under_old_names_are_read_as_todays(study, tmp_path):
    """A study of the time before the field's names, found complete: its table says the same."""
    shutil.copytree(study[0], tmp_path / "old")
    old = {"rmse": "rms", "abs_rel": "rel", "edge_f1_25": "edge_f25", "si_recall@occlusion": "si_r@occlusion"}
    for path in (tmp_path / "old" / "runs").glob("*/*/images.parquet"):
        table = pd.read_parquet(path)
        table.assign(metric=table["metric"].replace(old)).to_parquet(path)
    pd.testing.assert_frame_equal(collect(tmp_path / "old").images, collect(study[0]).images)


def test_a_finished_study_is_not_run_again(study, worlds):
    folder, words, _ = study
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
    again = command(*words, data=worlds)
    assert again.returncode == 0 and "3 of 3 runs are done already" in again.stdout
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_one_damaged_record_is_made_again_and_no_other(study, worlds, monkeypatch):
    folder = study[0]
    monkeypatch.setenv("ADVDEPTH_DATA", str(worlds))
    settings = {"epochs": "6", "init_from": "pretrain"}
    plan = make_plan("table1", "smoke", rows=["mean_depth", "adv"], out=folder.parent, settings=settings)
    (folder / "runs" / "adv" / "seed=0" / "metrics.json").write_text('{"fingerp')
    (left := folder / "runs" / "adv" / "seed=0" / ".history.parquet.0.part").write_text("as a kill leaves it")
    mean = (folder / "runs" / "mean_depth" / "seed=0" / "metrics.json").stat().st_mtime_ns
    weights = (folder / "runs" / "adv" / "seed=0" / "model.safetensors").stat().st_mtime_ns
    assert plan.folder == folder and not run_plan(plan) and not left.exists()
    assert json.loads((folder / "runs" / "adv" / "seed=0" / "metrics.json").read_text())["row"] == "adv"
    assert mean == (folder / "runs" / "mean_depth" / "seed=0" / "metrics.json").stat().st_mtime_ns
    assert weights == (folder / "runs" / "adv" / "seed=0" / "model.safetensors").stat().st_mtime_ns  # only judged again


def test_a_killed_row_has_the_records_of_one_that_was_not(study, tmp_path, worlds):
    folder, (packed,) = study[0], worlds.glob("rooms*.h5")
    plan = make_plan("table1", "smoke", rows=["adv"], settings={"epochs": "6", "init_from": "pretrain"})
    replace(plan.runs[-1], folder=tmp_path).write()
    train_planned(tmp_path, packed, init_from=folder / "runs" / "pretrain" / "seed=0", device="cpu", threads=1)
    evaluate_run(tmp_path, packed, device="cpu", threads=1)
    whole, killed = (pd.read_parquet(f / "images.parquet") for f in (tmp_path, folder / "runs" / "adv" / "seed=0"))
    for table in (whole, killed):  # an edge is there or not, and threads may differ, so the last bits may
        table.drop(table.index[~table["metric"].isin(DEPTH_METRICS)], inplace=True)
    pd.testing.assert_frame_equal(whole.reset_index(drop=True), killed.reset_index(drop=True), rtol=1e-3)


def test_tasks_of_a_job_array_share_a_folder_and_a_pretraining(tmp_path):
    words = ("ablate", "table1", "--scale", "smoke", "--rows", "baseline,adv_ssim", "--set", "init_from=pretrain")
    words = (*words, "--out", tmp_path)
    runs = int(command(*words, "--count", data=tmp_path).stdout)
    assert runs == 3  # the pretraining, and the rows that begin from it
    # started all at once, as a cluster does, before any data are rendered
    tasks = [start(*words, "--only", number, data=tmp_path / "worlds") for number in range(runs)]
    told = [task.communicate(timeout=900) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0, 0], told
    (folder,) = tmp_path.glob("table1*")
    assert len(list(folder.glob("runs/*/seed=0/metrics.json"))) == 3 and not list(folder.glob("*.html"))

    assert len(list((tmp_path / "worlds").glob("*.h5"))) == 1
    done = command(*words, data=tmp_path / "worlds")
    assert done.returncode == 0 and "3 of 3 runs are done already" in done.stdout and list(folder.glob("report.*"))
