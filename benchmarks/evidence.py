"""Does the verdict keep its promises, and how long does it take?

    python benchmarks/evidence.py normal --draws 4000   coverage and false effects; all sources of chance are normal
    python benchmarks/evidence.py skewed --draws 2000   the same for pooled rms and a mean; skewed errors, uneven scenes
    python benchmarks/evidence.py speed                 8 rows x 10 seeds x 654 images x 12 metrics, from the long table

`normal` and `skewed` print per cent: intervals that hold the truth (promised: 93 to 97), tables of seven rows equal to
the reference with a false effect after Holm (promised: at most 5); `skewed` also tables of seven rows that differ by
exactly the margin of which one is called equivalent (at most 5). Two standard errors of a share of 95 or 5 per cent are
0.7 with 4000 draws and 1.0 with 2000.
"""

import argparse
import resource
import sys
import time

import numpy as np
import pandas as pd

from advdepth_nb.metrics.registry import METRICS
from advdepth_nb.stats.crossed import Paired, VarianceComponents, evidence, half_width, p_value, variance_components

SEEDS, ROWS, MARGIN = (3, 5, 10), 7, 0.01


def false_effect(found: VarianceComponents, pooled_df: bool = False) -> np.ndarray:
    """Of each table (N,rows): whether Holm, whose first step is Bonferroni's, calls any row different from zero."""
    return (abs(found.mean) > half_width(found, 0.05 / found.mean.shape[-1], pooled_df)).any(-1)


def normal(draws: int, random_state: int) -> pd.DataFrame:
    """Differences of seven rows against one reference, by numbers of scenes and seeds and mixture of the sources."""
    rng, lines = np.random.default_rng(random_state), []
    mixtures = [(1, 1, 1), (0.3, 1, 1), (0.1, 1, 1), (1, 0.3, 1), (0.3, 0.3, 1), (0.3, 0, 1), (0, 1, 1), (0, 0, 1)]
    for scenes in (10, 30, 100):
        for seed_sd, scene_sd, rest_sd in mixtures:
            for seeds in SEEDS:
                parts = []
                for n in [200] * (draws // 200):  # a bite of memory at a time
                    cells = rest_sd * rng.standard_normal((n, 1 + ROWS, seeds, scenes))
                    cells += seed_sd * rng.standard_normal((n, 1 + ROWS, seeds, 1))
                    cells += scene_sd * rng.standard_normal((n, 1 + ROWS, 1, scenes))
                    found = variance_components(cells[:, 1:] - cells[:, :1])
                    holds = (abs(found.mean) <= half_width(found, 0.05, True))[:, 0]  # one row: independent draws
                    strict = (abs(found.mean) <= half_width(found, 0.05))[:, 0]
                    parts.append([holds, strict, false_effect(found), false_effect(found, True)])
                shares = 100 * np.concatenate(parts, axis=1).mean(axis=1)
                lines.append([scenes, f"{seed_sd}/{scene_sd}/{rest_sd}", seeds, *shares])
    names = ["interval holds", "own-df interval holds", "false effect", "false effect by the interval's df"]
    return pd.DataFrame(lines, columns=["scenes", "seed/scene/rest", "seeds", *names])


def study(rng: np.random.Generator, seeds: int, scenes: int, relative: float, sd: tuple) -> tuple[np.ndarray, ...]:
    """Mean squared errors and mean errors by scene of 1 + ROWS rows, (rows,S,C) each, and images of each scene.

    Scenes hold 1 to 12 images and differ in difficulty by a factor of about 1.5, images by 1.25, both lognormal; rows
    after the first are larger by `relative`; what seeds, scenes and chance add is drawn on the logarithm, per row.
    """
    counts = rng.integers(1, 13, scenes)
    seed_sd, scene_sd, rest_sd = sd
    starts, image = np.r_[0, counts.cumsum()[:-1]], np.repeat(np.arange(scenes), counts)
    log = rng.normal(0, 0.4, scenes)[image] + rng.normal(0, 0.22, len(image))
    shape = (1 + ROWS, seeds, len(image))
    log = log + seed_sd * rng.standard_normal((1 + ROWS, seeds, 1)) + rest_sd * rng.standard_normal(shape)
    log += scene_sd * rng.standard_normal((1 + ROWS, 1, scenes))[:, :, image]
    error = 0.5 * np.exp(log)
    error[1:] *= 1 + relative
    by_scene = lambda v: np.add.reduceat(v, starts, axis=-1) / counts  # noqa: E731
    return by_scene(error**2), by_scene(error), counts


def skewed(draws: int, random_state: int) -> pd.DataFrame:
    """Pooled rms and a mean over images, end to end from values by scene."""
    rng, lines = np.random.default_rng(random_state), []
    mixtures = [(0.01, 0.03, 0.05), (0.003, 0.03, 0.05), (0.001, 0.005, 0.01)]
    for scenes in (20, 60):
        for sd in mixtures:
            for seeds in SEEDS:
                for root in (True, False):
                    shares = []
                    for relative in (0.0, MARGIN):
                        z, references = [], []
                        for _ in range(draws):
                            squared, plain, counts = study(rng, seeds, scenes, relative, sd)
                            means = squared if root else plain
                            pairs = [Paired(m, means[0], counts, root, "lower", 0.5, 0, ()) for m in means[1:]]
                            z.append([pair.influence for pair in pairs])
                            references.append(pairs[0].scores(means[0]).mean())
                        found = variance_components(np.array(z))
                        if not relative:
                            holds = (abs(found.mean) <= half_width(found, 0.05, True))[:, 0]
                            shares += [100 * holds.mean(), 100 * false_effect(found).mean()]
                        else:
                            inside = MARGIN * np.array(references)[:, None] - abs(found.mean)
                            p = np.where(inside > 0, p_value(found, abs(inside)) / 2, 1.0)
                            shares.append(100 * (p.min(axis=1) < 0.05 / ROWS).mean())
                    what = "pooled rms" if root else "mean"
                    lines.append([scenes, "/".join(map(str, sd)), seeds, what, *shares])
    names = ["interval holds", "false effect", "false equivalence"]
    return pd.DataFrame(lines, columns=["scenes", "seed/scene/rest", "seeds", "metric", *names])


def long_table(rows: int, seeds: int, images: int, metrics: int, scenes: int) -> pd.DataFrame:
    """Records of the given size, `rmse` and `mse` among the metrics."""
    rng = np.random.default_rng(0)
    names = ["rmse", "mse", *[m for m in METRICS if m not in ("rmse", "mse")]][:metrics]
    index = pd.MultiIndex.from_product(
        [[f"row{i}" for i in range(rows)], range(seeds), names, range(images)], names=["row", "seed", "metric", "image"]
    )
    table = index.to_frame(index=False)
    scene = "scene" + (table["image"] % scenes).astype(str)
    fixed = {"study": "speed", "dataset": "nyu", "split": "test", "protocol": "hu", "n_valid": 69312}
    return table.assign(scene=scene, image=table["image"].astype(str), value=rng.lognormal(0, 0.3, len(table)), **fixed)


def speed() -> None:
    """Seconds and peak memory of `evidence`, with the table of records in memory."""
    table = long_table(8, 10, 654, 12, 215)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    result = evidence(table, "row0")
    seconds = time.perf_counter() - begun
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, kilobytes elsewhere
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(
        f"{len(table):,} records, {len(result)} verdicts: {seconds:.1f} s, peak memory {after / 2**30:.2f} GiB "
        f"({before * unit / 2**30:.2f} GiB before)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["normal", "skewed", "speed"])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--random-state", type=int, default=0)
    a = parser.parse_args()
    if a.what == "speed":
        speed()
    else:
        table = {"normal": normal, "skewed": skewed}[a.what](a.draws, a.random_state)
        print(table.round(1).to_string(index=False))


if __name__ == "__main__":
    main()
