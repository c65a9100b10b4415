"""What a row of scale `quick` learns, and how far seeds agree, for other steps, rates, batches and heads.

python benchmarks/quick_scale.py --seeds 0 1 2 3 4                                 the scale as it is
python benchmarks/quick_scale.py --seeds 0 1 2 --set epochs=0.4 fusion_width=6     another row, on another head
python benchmarks/quick_scale.py --seeds 0 1 2 --pretrain epochs=0.8 lr=2e-3          another pretraining

Each seed: `pretrain` is trained, `baseline` goes on from it, both are scored on the 40 test rooms under protocol `hu`.
One thread a process; run two at once on two cores. Settings of the network (fusion_width, frozen_stages) hold for both.
With --csv FILE a line for each seed is added to it. `quick_scale_search.csv` holds the search that chose the scale: one
line a seed, EfficientNet-Lite0 at 112x152, CPU seconds of one thread on a machine with other work to do.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from advdepth_nb.apps.cli_options import parse_settings
from advdepth_nb.metrics.registry import headings_of
from advdepth_nb.systems.experiments import Experiment, with_settings
from advdepth_nb.systems.catalog import experiment
from advdepth_nb.study.evaluate import evaluate_model
from advdepth_nb.systems.model_files import load_model
from advdepth_nb.study.train import train_run
from advdepth_nb.systems.catalog import SYSTEMS

METRICS = headings_of("rmse", "edge_f1_25", "delta1")


def scored(folder: Path, e: Experiment, packed: Path) -> dict[str, float]:
    """METRICS of a trained run."""
    system = SYSTEMS["depth"]
    keys = {"study": "search", "row": e.row, "seed": 0, "dataset": packed.stem, "split": "test"}
    net = load_model(folder)[0]
    table = evaluate_model(net, e, system.dataset(packed, "test", e), ["hu"], device="cpu", **keys)
    return system.summary(table, "hu").iloc[0][list(METRICS)].to_dict()


def one_seed(seed: int, pretrain: Experiment, row: Experiment, folder: Path) -> dict[str, float]:
    """What the pretraining and the row are worth with one seed, and the CPU seconds of a step of each."""
    packed = SYSTEMS["depth"].data_file(row, "rooms")
    found: dict[str, float] = {"seed": seed}
    for name, e, begin in (("pretrain", pretrain, ""), ("row", row, folder / "pretrain")):
        begun = time.process_time()
        budget = train_run(e, packed, folder / name, seed, "cpu", init_from=begin, threads=1)
        found[f"{name}_seconds_a_step"] = (time.process_time() - begun) / budget["generator_steps"]
        found |= {f"{name}_{metric}": value for metric, value in scored(folder / name, e, packed).items()}
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    options.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="of the row and the network")
    options.add_argument("--pretrain", nargs="*", default=[], metavar="NAME=VALUE", help="of the pretraining")
    options.add_argument("--csv", type=Path)
    given = options.parse_args()
    torch.set_num_threads(1)
    row = experiment("baseline", settings=parse_settings(given.set))
    pretrain = with_settings(experiment("pretrain", settings=parse_settings(given.set)), parse_settings(given.pretrain))
    print(
        f"{'':6s}" + "".join(f"{f'{name} {label}':>18s}" for name in ("pretrain", "row") for label in METRICS.values())
    )
    lines = []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(one_seed(seed, replace(pretrain, row="pretrain"), replace(row, init_from=""), Path(folder)))
        told = [lines[-1][f"{name}_{metric}"] for name in ("pretrain", "row") for metric in METRICS]
        print(f"{seed:<6d}" + "".join(f"{value:18.3f}" for value in told), flush=True)
    table = pd.DataFrame(lines)
    if len(table) > 1:
        for metric, label in METRICS.items():
            values = table[f"row_{metric}"]
            print(f"{label}: mean {values.mean():.3f}, standard deviation {values.std() / values.mean():.1%} of it")
    print(
        f"CPU seconds a step: pretrain {table['pretrain_seconds_a_step'].mean():.2f}, row "
        f"{table['row_seconds_a_step'].mean():.2f}"
    )
    if given.csv:
        settings = {"set": " ".join(given.set), "pretrain": " ".join(given.pretrain)}
        table.assign(**settings).to_csv(given.csv, mode="a", header=not given.csv.exists(), index=False)


if __name__ == "__main__":
    main()
