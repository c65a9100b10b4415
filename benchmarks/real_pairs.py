"""How far a network trained on fields carries to photographs of rigs: disparity, and scaled to the truth's median.

python benchmarks/real_pairs.py --data FOLDER [FOLDER ...]                the weights that come with the package
python benchmarks/real_pairs.py --data FOLDER --model RUN                 another network

Each FOLDER holds pairs with disparity in any layout that is read (`advdepth data info FOLDER`). The network sees the
left picture alone, so it cannot know the rig: what it says in pixels is right for its own fields, and the median-scaled
error tells whether it knows near from far. `constant` is the best that knows nothing of a picture: the truth's own
median. EPE in pixels of the pair's own width, over all known pixels.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from advdepth_nb.apps.predict import load
from advdepth_nb.data.stereo import open_stereo


def end_point_errors(pred: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """EPE of a prediction `(H,W)`, of the same at the truth's median, and of that median; their correlation."""
    known = truth > 0
    pred, truth = pred[known].double(), truth[known].double()
    scaled = pred * truth.median() / pred.median().clamp(min=1e-6)
    mean_error = lambda guess: (guess - truth).abs().mean().item()  # noqa: E731
    return {
        "epe": mean_error(pred), "epe median scaled": mean_error(scaled),
        "epe of a constant": mean_error(truth.median()),
        "correlation": torch.corrcoef(torch.stack([pred, truth]))[0, 1].item(),
    }  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, nargs="+", required=True)
    options.add_argument("--model", default="stereo", help="a run, or weights that come with the package")
    given = options.parse_args()
    predictor, rows = load(given.model), {}
    for folder in given.data:
        source = open_stereo(folder)
        for i, record in enumerate(source.records):
            pair = source[i]
            truth = torch.as_tensor(pair.disparity).squeeze().float().nan_to_num(0, 0, 0)
            rows[f"{folder.name}/{record.name}"] = end_point_errors(predictor(pair.left).squeeze(), truth)
    print(f"{len(rows)} pairs, disparity from the left picture")
    print(pd.DataFrame(rows).T.round(2).to_string())


if __name__ == "__main__":
    main()
