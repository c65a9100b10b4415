"""Planted effects in small: from maps whose errors shrink by a known share to the word that the verdict ends in."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom, ttest_1samp

from advdepth_nb.stats.crossed import evidence
from advdepth_nb.metrics.depth import score
from advdepth_nb.metrics.protocols import PROTOCOLS
from advdepth_nb.metrics.records import records

RUNS, ROOMS = 24, 12
PROTOCOL = replace(PROTOCOLS["hu"].scaled(24, 32), crop=None)  # the whole frame: predictions are as large as truth


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    """Depth of a dozen rooms, (room,1,24,32) metres."""
    return 3 + 3 * torch.rand(ROOMS, 1, 24, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def pool(truth) -> list[torch.Tensor]:
    """Predictions of runs that differ by their seeds' luck: 3 % over seeds, far more over rooms."""
    g = torch.Generator().manual_seed(1)
    luck = (0.03 * torch.randn(RUNS, generator=g)).exp()
    hard = (0.3 * torch.randn(ROOMS, 1, 1, 1, generator=g)).exp()
    return [truth + 0.15 * one * hard * torch.randn(truth.shape, generator=g) for one in luck]


def scored(predictions: list[torch.Tensor], truth: torch.Tensor, row: str, share: float = 0.0) -> pd.DataFrame:
    """Records of a row whose predictions have `share` less error; its runs count as seeds 0, 1, ..."""
    rooms = [f"room {i}" for i in range(ROOMS)]
    keys = {"study": "planted", "row": row, "dataset": "rooms", "split": "test", "scene": rooms, "image": rooms}
    tables = []
    for seed, predicted in enumerate(predictions):
        planted = truth + (1 - share) * (predicted - truth)
        tables.append(records(score(planted, truth, PROTOCOL), PROTOCOL.name, seed=seed, **keys))
    return pd.concat(tables, ignore_index=True)


def judge(reference, other, truth, share: float, margin: float = 0.01) -> pd.Series:
    """The line of a study with one planted row."""
    images = pd.concat([scored(reference, truth, "reference"), scored(other, truth, "planted", share)])
    pooling = PROTOCOL.pooling
    return evidence(images, "reference", ["planted"], ["rmse"], margin=margin, pooling=pooling, resamples=10).iloc[0]


def test_planted_share_is_what_the_records_say(pool, truth):
    """Of the same runs the difference is the planted share itself."""
    line = judge(pool[:3], pool[:3], truth, 0.07)
    assert line.relative == pytest.approx(-0.07, abs=1e-5)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("share", "word"), [(0.3, "helps"), (-0.3, "hurts")])
def test_large_effect_is_called(pool, truth, seeds, share, word):
    line = judge(pool[:seeds], pool[seeds : 2 * seeds], truth, share)
    assert line.verdict == word, line.rule
    assert line.low < -share * line.reference_value < line.high


def test_small_effect_is_silence_or_equivalent(pool, truth):
    """Half a per cent is lost in unrelated seeds; where they share their luck it is surely within a per cent."""
    assert judge(pool[:3], pool[3:6], truth, 0.005).verdict == "no evidence"
    assert judge(pool[:3], pool[:3], truth, 0.005).verdict == "equivalent"
    assert judge(pool[:3], pool[:3], truth, 0.02).verdict == "helps"  # beyond the margin, and as sure
    assert judge(pool[:3], pool[:3], truth, 0.02, margin=0.05).verdict == "equivalent"
    assert judge(pool[:10], pool[10:20], truth, 0.0, margin=0.1).verdict == "equivalent"


def test_equal_row_is_called_different_no_more_than_by_chance(pool, truth):
    """Studies drawn from one pool; a rule that takes every image for an independent trial exceeds the limit."""
    draws, rng, called, naive = 60, np.random.default_rng(2), 0, 0
    whole = scored(pool, truth, "pool")
    table = whole[whole.metric == "mse"].pivot(index="seed", columns="scene", values="value")
    for _ in range(draws):
        runs = rng.permutation(RUNS)
        images = [
            whole[(whole.metric == "mse") & whole.seed.isin(part)].assign(
                row=row, seed=lambda t, part=part: t.seed.map({run: i for i, run in enumerate(part)})
            )
            for row, part in (("reference", runs[:5]), ("equal", runs[5:10]))
        ]
        word = evidence(pd.concat(images), "reference", ["equal"], ["rmse"], pooling="pooled", resamples=10).verdict[0]
        called += word in ("helps", "hurts")
        each = np.sqrt(table.loc[runs[5:10]].to_numpy()) - np.sqrt(table.loc[runs[:5]].to_numpy())
        naive += ttest_1samp(each.ravel(), 0).pvalue < 0.05
    limit = binom.ppf(0.999, draws, 0.05)
    assert called <= limit < naive, (called, limit, naive)
