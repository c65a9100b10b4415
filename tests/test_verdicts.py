"""Verdicts on trainings done elsewhere: against independent code, in simulation, and from the command."""

import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from commands import run
from factories import hu
from refusals import refused
from scipy import stats

from advdepth_nb import compare, from_paper, power, verdicts
from advdepth_nb.data.nyu import open_source
from advdepth_nb.stats.crossed import paired, tabulate
from advdepth_nb.stats.tables import as_records, read_table

pytestmark = pytest.mark.filterwarnings("ignore:.*the official one 654")


def draw(
    seeds: int, scenes: int, rng: np.random.Generator, difference: float = 0.0, seed=0.02, scene=0.02, rest=0.02,
    metrics=("rmse",), rows=("new",),
) -> pd.DataFrame:  # fmt: skip
    """Scores of `base` and of rows whose true difference from it is known; each metric is a study of its own."""
    n = len(metrics)
    normal = lambda *shape: rng.standard_normal((*shape, n))  # noqa: E731
    base = 1 + 0.1 * normal(1, scenes) + 0.05 * normal(seeds, scenes)
    keys = pd.MultiIndex.from_product([range(seeds), range(scenes)], names=["seed", "scene"])
    tables = [pd.DataFrame(base.reshape(-1, n), keys, metrics).reset_index().assign(row="base")]
    for row in rows:
        d = difference + seed * normal(seeds, 1) + scene * normal(1, scenes) + rest * normal(seeds, scenes)
        tables.append(pd.DataFrame((base + d).reshape(-1, n), keys, metrics).reset_index().assign(row=row))
    return pd.concat(tables, ignore_index=True)


def studies(draws: int, *args, paired: bool = True, **more) -> pd.DataFrame:
    """Verdicts on so many studies, drawn as `draw` does: those of many metrics, each with a Holm of its own."""
    metrics = [f"m{i}" for i in range(draws)]
    table = draw(*args, metrics=metrics, **more)
    if not paired:
        table["seed"] = table["seed"] + 100 * (table["row"] != "base")
    return verdicts(table, "base", metrics, better=dict.fromkeys(metrics, "lower"), resamples=2)


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """The differences, a line for each seed and scene."""
    both = table.pivot(index=["seed", "scene"], columns="row", values="rmse")
    return (both["new"] - both["base"]).rename("d").reset_index()


# --- against a mixed model ---

pytestmark = [pytestmark, pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.ConvergenceWarning")]


@pytest.mark.parametrize("seeds, scenes", [(6, 20), (20, 8)])
def test_a_mixed_model_of_crossed_random_effects_says_the_same(seeds, scenes):
    """REML on balanced data is the analysis of variance where no component is zero: mean and standard error agree.

    Within 0.1 % of the error, for the optimizer stops there.
    """
    table = draw(seeds, scenes, np.random.default_rng(3), difference=0.03, seed=0.03, scene=0.03)
    crossed = {"seed": "0 + C(seed)", "scene": "0 + C(scene)"}
    model = smf.mixedlm("d ~ 1", wide(table).assign(one=1), groups="one", vc_formula=crossed)
    fit = model.fit(reml=True, method=["lbfgs"])
    line = verdicts(table, "base").iloc[0]
    ours = paired(tabulate(as_records(table).records), "new", "base", "rmse", "per_image").components
    assert line["difference"] == pytest.approx(fit.fe_params["Intercept"], abs=1e-6)
    assert np.sqrt(ours.total) == pytest.approx(fit.bse["Intercept"], rel=1e-3)
    half = (line["high"] - line["low"]) / 2  # made of it, with degrees of freedom between the factors'
    few, many = (stats.t.isf(0.025, n - 1) for n in (min(seeds, scenes), max(seeds, scenes)))
    assert many * fit.bse["Intercept"] < half < few * fit.bse["Intercept"]


def test_a_mixed_model_of_the_scores_says_the_same_difference():
    """Not of differences but of both rows' scores: rows as fixed effect, seeds and scenes within rows crossed."""
    rng = np.random.default_rng(5)
    table = draw(6, 15, rng, difference=0.05)
    crossed = {name: f"0 + C({name})" for name in ("seed", "scene")}
    crossed |= {f"row_{name}": f"0 + C(row):C({name})" for name in ("seed", "scene")}
    fit = smf.mixedlm("rmse ~ C(row)", table.assign(one=1), groups="one", vc_formula=crossed).fit(reml=True)
    line = verdicts(table, "base").iloc[0]
    assert line["difference"] == pytest.approx(fit.fe_params["C(row)[T.new]"], abs=1e-6)


# --- in simulation ---


@pytest.mark.parametrize("seeds, scenes, paired", [(3, 25, True), (6, 12, True), (4, 25, False)])
def test_intervals_hold_the_truth_and_equal_rows_are_seldom_called_different(seeds, scenes, paired):
    """The same draws tell both: where rows are equal, the truth is 0."""
    draws = 400
    found = studies(draws, seeds, scenes, np.random.default_rng(seeds), paired=paired)
    held, called = ((found["low"] <= 0) & (found["high"] >= 0)).sum(), found["verdict"].isin(["helps", "hurts"]).sum()
    assert held >= stats.binom.ppf(0.001, draws, 0.95), f"{held} of {draws} intervals hold the truth"
    assert called <= stats.binom.ppf(0.999, draws, 0.05), f"{called} of {draws} equal rows are called different"
    assert called <= draws - held  # a word asks for more than the interval
    assert found["notes"].str.startswith("not paired").all() != paired


def test_among_many_equal_rows_one_is_called_different_in_few_tables():
    draws, rows = 200, [f"new{i}" for i in range(5)]
    found = studies(draws, 4, 15, np.random.default_rng(0), rows=rows)
    called = found["verdict"].isin(["helps", "hurts"]).groupby(found["metric"]).any().sum()
    assert called <= stats.binom.ppf(0.999, draws, 0.05), f"{called} of {draws}"


def test_one_seed_each_never_ends_in_a_verdict():
    """However sure the difference is over scenes: it is one of two networks."""
    for seed in range(20):
        table = draw(1, 60, np.random.default_rng(seed), difference=0.1)
        line = verdicts(table, "base").iloc[0]
        assert line["verdict"] == "no evidence" and line["over"] == "scenes" and np.isnan(line["p_holm"])
        d = wide(table)["d"]
        assert (line["low"], line["high"]) == pytest.approx(stats.ttest_1samp(d, 0).confidence_interval())


def test_a_planned_study_sees_the_effect_it_was_planned_for():
    """Large pilots, so that their spreads are those of the truth; then as many seeds as asked for: 80 % see it."""
    rng, effect, draws = np.random.default_rng(1), 0.03, 400
    plans = [power(draw(40, 40, rng), effect, "base", scenes=[20])["seeds"].iloc[0] for _ in range(5)]
    seeds = int(np.median(plans))
    seen = (studies(draws, seeds, 20, rng, difference=effect)["verdict"] == "hurts").sum()
    assert 0.72 * draws <= seen <= 0.9 * draws, f"{seeds} seeds: {seen} of {draws}"


@pytest.mark.parametrize("n", [(2, 2), (3, 7)])
def test_means_of_a_paper_are_tested_as_scipy_does(n):
    found = from_paper((0.62, 0.60), (0.003, 0.005), n, better="higher")
    oracle = stats.ttest_ind_from_stats(0.62, 0.003, n[0], 0.60, 0.005, n[1], equal_var=False)
    assert found.p == pytest.approx(oracle.pvalue)


# --- tables ---

LINES = [f"{m},{s},{q},{q}{i},{0.5 + 0.01 * s + 0.02 * i}" for m in ("a", "b") for s in (0, 1) for q in "xyz"
         for i in (0, 1)]  # fmt: skip
HEAD = "row,seed,scene,image,rmse"


@pytest.mark.parametrize(
    "lines, words",
    [
        ([], ["holds no line of scores"]),
        ([LINES[0] + ",7"], ["line 2: 6 cells", "5 columns"]),
        ([LINES[0].replace("0.5", "half")], ["line 2", "the rmse of 'a' is 'half'", "no number"]),
        ([LINES[0], ",0,x,x1,0.5"], ["line 3: the column 'row' is empty"]),
        ([LINES[0], "a,,x,x1,0.5"], ["line 3: the column 'seed' is empty"]),
        ([*LINES, LINES[3]], ["line 26: scored before, in line 5", "row 'a'", "image 'y1'", "keep one"]),
        ([LINES[0], '"a,0,x,x1,0.5'], ["cannot be read as a table"]),
        (["a\0,0,x,x1,0.5"], ["row"]),
    ],
    ids=["empty", "ragged", "word", "no row", "no seed", "double", "quote", "zero byte"],
)
def test_a_malformed_table_is_one_sentence_that_names_the_line(monkeypatch, capsys, tmp_path, lines, words):
    (tmp_path / "s.csv").write_text("\n".join([HEAD, *lines]) + "\n")
    code, told, error = run(monkeypatch, capsys, "verdict", tmp_path / "s.csv", "--reference", "a")
    assert code == 2 and not told and len(error.strip().splitlines()) == 1, error
    assert (all(word in error for word in words) and "s.csv" in error) or "'a'" in error, error


def test_holes_are_named_and_left_out_of_both_rows(monkeypatch, capsys, tmp_path):
    """NaN, a scene that a seed lacks, and a seed that the reference lacks."""
    lines = [line for line in LINES if not line.startswith(("b,1,z", "a,1,x,x0"))] + ["a,1,x,x0,nan", "b,2,x,x0,0.4"]
    (tmp_path / "s.csv").write_text("\n".join([HEAD, *lines]))
    code, told, _ = run(monkeypatch, capsys, "verdict", tmp_path / "s.csv", "--reference", "a")
    assert code == 0 and "1 of 23 scores are missing or not finite, the first in line 23 (rmse of a, seed 1" in told
    assert "b lacks scene z in seed 1; y, z in seed 2" in told and "left out: seed 2 of b" in told
    assert "left out: 3 of 6 images, without a value in both rows for every seed" in told


def test_records_of_evaluate_are_a_table(monkeypatch, capsys, tmp_path):
    """What `evaluate --out` writes is read again; it has several protocols, of which one is chosen."""
    truth = hu(tmp_path / "hu", train=1, test=3)
    source = open_source(truth)
    frames = [frame for frame in source if frame.split == "test"]
    for row, error in (("old", 0.9), ("new", 0.95)):
        (tmp_path / row).mkdir()
        for frame in frames:
            np.save(tmp_path / row / f"{frame.name}.npy", frame.depth * error)
        words = ["evaluate", "--predictions", tmp_path / row, "--data", truth, "--out", tmp_path / f"{row}.csv"]
        assert run(monkeypatch, capsys, *words)[0] == 0
    both = pd.concat([read_table(tmp_path / f"{row}.csv") for row in ("old", "new")], ignore_index=True)
    both.to_parquet(tmp_path / "both.parquet")
    words = ["verdict", tmp_path / "both.parquet", "--reference", "old", "--metric", "abs_rel", "--json"]
    code, _, error = run(monkeypatch, capsys, *words)
    assert code == 2 and "more than one protocol" in error
    code, told, _ = run(monkeypatch, capsys, *words, "--protocol", "bts2019@6x8")
    line = json.loads(told)["verdicts"][0]
    assert code == 0 and line["value"] == pytest.approx(0.05, rel=1e-4) and line["over"] == "scenes"


def test_a_frame_of_names_that_look_like_numbers_is_not_reordered():
    """Images of one scene may have the names of another's; seeds may be words."""
    table = pd.DataFrame([(m, s, q, "0", 1.0 + 0.1 * (m == "b") + 0.01 * (q == "2"))
                          for m in "ab" for s in ("one", "two") for q in "123"],
                         columns=["row", "seed", "scene", "image", "rmse"])  # fmt: skip
    assert verdicts(table, "a")["difference"].iloc[0] == pytest.approx(0.1)


# --- folders ---


@pytest.fixture
def folders(tmp_path):
    """True depth of four frames, and predictions of three seeds in two folders."""
    truth = hu(tmp_path / "hu", train=1, test=4)
    frames = [frame for frame in open_source(truth) if frame.split == "test"]
    rng = np.random.default_rng(0)
    for row, error in (("base", 0.1), ("new", 0.05)):
        for seed in range(3):
            (tmp_path / row / f"seed={seed}").mkdir(parents=True)
            for frame in frames:
                noise = error * (1 + 0.02 * rng.standard_normal()) * rng.choice([-1, 1], frame.depth.shape)
                np.save(tmp_path / row / f"seed={seed}" / f"{frame.name}.npy", frame.depth * (1 + noise))
    return truth, tmp_path / "base", tmp_path / "new"


def test_folders_are_compared_and_reported(monkeypatch, capsys, tmp_path, folders):
    truth, base, new = folders
    out = tmp_path / "out"
    words = ["compare", base, new, "--data", truth, "--metric", "abs_rel", "-o", out, "--json"]
    code, told, said = run(monkeypatch, capsys, *words)
    found = json.loads(told)
    assert code == 0 and found["verdicts"][0]["verdict"] == "helps" and found["n_images"] == 4, said
    assert found["seeds"] == {"base": [0, 1, 2], "new": [0, 1, 2]} and found["protocol"] == "bts2019@6x8"
    assert any("names no scenes: each image counts as a scene of its own" in note for note in found["notes"])
    assert {p.name for p in out.iterdir()} == {
        "index.html", "verdicts.csv", "verdicts.md", "scores.parquet", "forest.png", "forest.pdf"
    }  # fmt: skip
    words = ["verdict", out / "scores.parquet", "--reference", "base", "--metric", "abs_rel", "--json"]
    again = json.loads(run(monkeypatch, capsys, *words)[1])
    assert again["verdicts"] == found["verdicts"]


def test_scores_of_folders_are_those_of_evaluate(monkeypatch, capsys, tmp_path, folders):
    truth, base, new = folders
    found = compare(base, new, data=truth, metrics=["rmse"], protocol="hu2019").images
    words = ["evaluate", "--predictions", new / "seed=1", "--data", truth, "--protocol", "hu2019", "--json"]
    single = json.loads(run(monkeypatch, capsys, *words)[1])["metrics"][0]
    ours = found[(found["row"] == "new") & (found["seed"] == 1)].groupby("metric")["value"].mean()
    assert ours["abs_rel"] == pytest.approx(single["abs_rel"]) and ours["delta1"] == pytest.approx(single["delta1"])


def test_what_cannot_be_compared_is_one_sentence(folders, tmp_path):
    truth, base, new = folders
    (new / "seed=2" / "00003_colors.npy").unlink(missing_ok=True)
    for file in sorted((new / "seed=2").iterdir())[:1]:
        file.unlink()
    refused(lambda: compare(base, new, data=truth), "new: 2 of its parts are a seed's run each, but not all", "seed=2")
    refused(lambda: compare(base, tmp_path / "hu" / "none", data=truth), "none does not exist")
    refused(lambda: compare(base, base, data=truth), "given twice")
    refused(lambda: compare(base, base / "seed=0", data=truth, protocol="densedepth2018"), "weighs images")
