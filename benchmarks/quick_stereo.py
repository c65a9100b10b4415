"""What a row of the stereo table learns at scale `quick`, for other steps, rates, networks and sizes.

python benchmarks/quick_stereo.py --seeds 0 1 2                              the scale as it is
python benchmarks/quick_stereo.py --set lr=1e-3 epochs=6.67                  fewer and smaller steps
python benchmarks/quick_stereo.py --row full --set encoder= pretrained=none  the adversary, without an encoder

A seed is trained with one thread and scored on the 30 test pairs, in pixels of a width of 512, beside the per-pixel
mean of the training disparity. Correlation and spread are also told for the worst pair. With --csv FILE a line for each
seed is added to it. `quick_stereo_search.csv` holds the search that chose view, network, rate and steps: CPU seconds of
one thread on a busy machine; `baseline_cm` and `bare` (fraction of a stalk without leaves) are those of
the view, and correlation and spread are told for the median pair and the worst.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from advdepth_nb.apps.cli_options import parse_settings
from advdepth_nb.study.evaluate import evaluate_model
from advdepth_nb.study.train import train_run
from advdepth_nb.systems.catalog import SYSTEMS, experiment
from advdepth_nb.systems.experiments import Experiment
from advdepth_nb.systems.model_files import load_model

METRICS = ("epe", "correlation", "spread", "edge_recall@stalk")


def each_pair(folder: Path, e: Experiment, packed: Path) -> pd.DataFrame:
    """METRICS of a trained run, a line for each test pair, all known pixels."""
    data = SYSTEMS["stereo"].dataset(packed, "test", e)
    keys = {"study": "search", "row": e.row, "seed": 0, "dataset": packed.stem, "split": "test"}
    protocol = SYSTEMS["stereo"].protocols_for(e, data)[0]
    table = evaluate_model(load_model(folder)[0], e, data, [protocol], device="cpu", **keys)
    wide = table[table["protocol"] == protocol].pivot(index=["scene", "image"], columns="metric", values="value")
    return wide[list(METRICS)]


def trained(e: Experiment, seed: int, packed: Path) -> tuple[pd.DataFrame, float, int]:
    """Its scores, CPU seconds a step, and steps."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        budget = train_run(e, packed, Path(folder) / "run", seed, "cpu", threads=1)
        seconds, steps = time.process_time() - begun, budget["generator_steps"] or 1
        return each_pair(Path(folder) / "run", e, packed), seconds / steps, steps


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--row", default="baseline")
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    options.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    options.add_argument("--csv", type=Path)
    given = options.parse_args()
    torch.set_num_threads(1)
    e = experiment(given.row, "stereo", "quick", settings=parse_settings(given.set))
    packed = SYSTEMS["stereo"].data_file(e, "stalks")
    mean = trained(experiment("mean_disparity", "stereo", "quick"), 0, packed)[0]["epe"].mean()
    print(f"per-pixel mean: EPE {mean:.2f} px")
    lines = []
    for seed in given.seeds:
        pairs, seconds, steps = trained(e, seed, packed)
        line = dict(row=given.row, set=" ".join(given.set), seed=seed, steps=steps, mean_epe=mean, **pairs.mean())
        line |= {f"worst_{name}": pairs[name].min() for name in ("correlation", "spread")} | {"seconds_a_step": seconds}
        lines.append(line)
        print(
            f"seed {seed}: {steps} steps, EPE {line['epe']:.2f} px, {1 - line['epe'] / mean:.0%} under the mean's; "
            f"correlation {line['correlation']:.2f} (worst pair {line['worst_correlation']:.2f}), spread "
            f"{line['spread']:.2f} ({line['worst_spread']:.2f}), stalk edges found {line['edge_recall@stalk']:.2f}; "
            f"{seconds:.2f} CPU seconds a step",
            flush=True,
        )
    if given.csv:
        pd.DataFrame(lines).to_csv(given.csv, mode="a", header=not given.csv.exists(), index=False)


if __name__ == "__main__":
    main()
