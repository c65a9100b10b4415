"""Where the error of finished runs lies, and how much texture they copy: exploratory scores beside those of the runs.

python benchmarks/what_adversaries_change.py results/preregistered/table1-rooms-quick-report -o scores.parquet

Of every run of a study on the rooms, on its test rooms at the frame of protocol `hu`: the mean absolute error by
distance from a true boundary (`error@0px`, ...), and the share of false depth edges on walls with plain paper and with
a pattern (`false_edges@stripes`, ...). One line an image, as `advdepth verdict` and `verdicts` read it. Finished runs
that are in the table already are not predicted again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdepth_nb.core.files import write_atomically
from advdepth_nb.data.rendered import world_splits
from advdepth_nb.metrics.depth import as_judged
from advdepth_nb.metrics.protocols import PROTOCOLS, Protocol
from advdepth_nb.metrics.sharpness import DISTANCES, error_by_distance, false_edges
from advdepth_nb.scenes.rooms import room
from advdepth_nb.scenes.variation import PATTERNS
from advdepth_nb.systems.depth import DepthExperiment, predict_for
from advdepth_nb.systems.model_files import load_model

RINGS = [*(f"error@{d:.0f}px" for d in DISTANCES), "error@beyond"]
Views = dict[str, tuple[Tensor, Tensor, Tensor]]


def views_of(scene: int, view: int, size: tuple[int, int]) -> Views:
    """Image `(3,H,W)` uint8, depth and walls `(1,1,H,W)` of one test view: as it is (""), and with each wallpaper."""
    views = {}
    for pattern in ("", *PATTERNS):
        rendered = room(scene, view, size, wallpaper=pattern)
        walls = (rendered["surface"] >= 1) & (rendered["surface"] <= 4)
        image = rendered["image"].mul(255).round().clamp(0, 255).byte()  # as packed files hold it
        views[pattern] = image, rendered["depth"][None], walls[None]
    return views


def scores_of(net: nn.Module, e: DepthExperiment, views: Views, protocol: Protocol) -> dict[str, float]:
    """What one network makes of one view, by name of the score."""
    top, bottom, left, right = protocol.box
    scores = {}
    for pattern, (image, depth, walls) in views.items():
        pred, truth, valid = as_judged(predict_for(net, e, image, protocol), depth, protocol)
        if not pattern:
            scores |= dict(zip(RINGS, error_by_distance(pred, truth, valid)[0].tolist()))
            continue
        flat = F.interpolate(walls.float(), protocol.frame, mode="nearest-exact")[..., top:bottom, left:right] > 0
        scores[f"false_edges@{pattern}"] = float(false_edges(pred, truth, flat, valid))
    return scores


def finished(study: Path) -> Iterator[tuple[str, int, Path]]:
    """Row, seed and folder of every run of a study that has been scored."""
    for scored in sorted(study.glob("runs/*/seed=*/images.parquet")):
        folder = scored.parent
        if (folder / "model.safetensors").exists():
            yield folder.parent.name, int(folder.name.removeprefix("seed=")), folder


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("study", type=Path)
    options.add_argument("-o", "--out", type=Path, required=True)
    given = options.parse_args()
    known = pd.read_parquet(given.out) if given.out.exists() else pd.DataFrame(columns=["row", "seed"])
    done = set(zip(known["row"], known["seed"]))
    left = [(row, seed, *load_model(folder)) for row, seed, folder in finished(given.study) if (row, seed) not in done]
    if not left:
        raise SystemExit(f"{given.study}: every finished run is in {given.out} already" if done else "no finished run")
    lines, world = [], left[0][3].world
    wanted, size = world_splits(**{k: v for k, v in vars(world).items() if k != "varied"})["test"]
    protocol = PROTOCOLS["hu"].fitted(*size)
    for scene, view in wanted:
        views = views_of(scene, view, size)
        for row, seed, net, e in left:
            with torch.inference_mode():
                found = scores_of(net.eval(), e, views, protocol)
            keys = {"protocol": protocol.name, "row": row, "seed": seed, "scene": f"room-{scene}", "image": str(view)}
            lines += [keys | {"metric": name, "value": value} for name, value in found.items()]
    table = pd.concat([known, pd.DataFrame(lines)], ignore_index=True)
    write_atomically(given.out, lambda path: table.to_parquet(path, compression="zstd"))
    means = table.groupby(["row", "metric"], sort=False)["value"].mean().unstack("metric")
    print(f"{len(left)} runs, {len(wanted)} images each: {given.out}")
    print(means.round(4).to_string())


if __name__ == "__main__":
    main()
