"""How far a network trained on rooms carries to photographs: metric, and scaled to the truth's median.

python benchmarks/real_frames.py --data FOLDER                          the weights that come with the package
python benchmarks/real_frames.py --data FOLDER --model RUN --part chosen    while something is still chosen

FOLDER holds frames with depth in any layout that is read (`advdepth data info FOLDER`). By order of name every second
frame is for choosing (`chosen`); the others (`held`, the default) are scored once. Protocol `hu` for full frames, and
the same after median scaling. `constant` is the best that knows nothing of a picture: the truth's own median.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from advdepth_nb.apps.predict import load
from advdepth_nb.data.nyu import open_source
from advdepth_nb.metrics.depth import as_judged, errors
from advdepth_nb.metrics.protocols import PROTOCOLS

METRICS = ("mse", "abs_rel", "delta1")
HU = replace(PROTOCOLS["hu"], view="full", crop=None)


def scored(pred: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """METRICS of one prediction `(1,1,H,W)`, metric and median scaled."""
    found = {}
    for name, protocol in {"metric": HU, "median": replace(HU, alignment="median")}.items():
        scores = errors(*as_judged(pred, truth, protocol), protocol.strict, protocol.divisor)
        found |= {f"{name} {metric}": float(scores[metric]) for metric in METRICS}
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--model", default="depth", help="a run, or weights that come with the package")
    options.add_argument("--part", choices=("chosen", "held"), default="held")
    given = options.parse_args()
    predictor, source = load(given.model), open_source(given.data)
    names = sorted(range(len(source)), key=lambda i: source.records[i].name)
    rows = []
    for i in names[given.part == "chosen" :: 2]:
        frame = source[i]
        truth = torch.from_numpy(frame.depth)[None, None].float()
        pred = predictor(frame.image)[None, None]
        constant = torch.full_like(truth, truth[truth > 0].median().item())
        rows += [{"model": name} | scored(p, truth) for name, p in (("network", pred), ("constant", constant))]
    table = pd.DataFrame(rows).groupby("model", sort=False).mean()
    for kind in ("metric", "median"):
        table[f"{kind} rmse"] = table.pop(f"{kind} mse") ** 0.5
    told = "scored once" if given.part == "held" else "for choosing"
    print(f"{len(rows) // 2} frames, every second by name, {told}; constant: the truth's own median")
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
