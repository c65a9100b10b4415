"""Where the error of finished runs lies, and how much texture they copy: exploratory scores beside those of the runs.

python benchmarks/what_adversaries_change.py results/preregistered/table1-rooms-quick-report -o results/shown/sharpen

Into the folder -o: `changes.parquet`, of every run of a study on the rooms, on its test rooms at the frame of protocol
`hu`: the mean absolute error by distance from a true boundary (`error@0px`, ...), and the share of false depth edges
on walls with plain paper and with a pattern (`false_edges@stripes`, ...). `scores.parquet`, the runs' own scores under
`hu`. `views.npz`, what each row's first seed sees in a few rooms. Runs that are in `changes.parquet` already are not
predicted again.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdepth_nb.core.files import write_atomically, write_json
from advdepth_nb.data.rendered import world_splits
from advdepth_nb.metrics.depth import as_judged
from advdepth_nb.metrics.protocols import PROTOCOLS, Protocol
from advdepth_nb.metrics.records import records
from advdepth_nb.metrics.sharpness import DISTANCES, error_by_distance, false_edges
from advdepth_nb.report.verdicts import invalid_rows
from advdepth_nb.scenes.rooms import room
from advdepth_nb.scenes.variation import PATTERNS
from advdepth_nb.study.collect import collect
from advdepth_nb.systems.depth import DepthExperiment, predict_for
from advdepth_nb.systems.model_files import load_model

RINGS = [*(f"error@{d:.0f}px" for d in DISTANCES), "error@beyond"]
KEPT = (
    r"mse|mae|abs_rel|delta1|edge_(precision|recall|f1)_(25|50|100)|edge_recall_25@.*|si_f1(@own)?|dbe_.*|normal_mean"
)
PICTURED = {0: "", 1: "checks"}  # rooms of which `views.npz` holds pictures, and with which paper
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


def cut(x: Tensor, protocol: Protocol) -> Tensor:
    """The protocol's crop of a picture or mask of the source, `(1,C,H,W)`."""
    top, bottom, left, right = protocol.box
    return F.interpolate(x.float(), protocol.frame, mode="nearest-exact")[..., top:bottom, left:right]


def scores_of(made: dict[str, Tensor], views: Views, protocol: Protocol) -> dict[str, Tensor]:
    """What one network's predictions of one view are worth, `(1,)` by name of the score."""
    scores = {}
    for pattern, (_, depth, walls) in views.items():
        pred, truth, valid = as_judged(made[pattern], depth, protocol)
        if not pattern:
            scores |= dict(zip(RINGS, error_by_distance(pred, truth, valid)[0, :, None]))
            scores["n_valid"] = valid.sum()[None]
        else:
            scores[f"false_edges@{pattern}"] = false_edges(pred, truth, cut(walls, protocol) > 0, valid)
    return scores


def finished(study: Path) -> Iterator[tuple[str, int, Path]]:
    """Row, seed and folder of every run of a study that has been scored."""
    for scored in sorted(study.glob("runs/*/seed=*/images.parquet")):
        folder = scored.parent
        if (folder / "model.safetensors").exists():
            yield folder.parent.name, int(folder.name.removeprefix("seed=")), folder


def pictured(views: Views, number: int, protocol: Protocol) -> dict[str, np.ndarray]:
    """Picture `(3,h,w)` and depth `(h,w)` of the protocol's crop, by name for `views.npz`."""
    image, depth, _ = views[pattern := PICTURED[number]]
    whole = cut(F.interpolate(image[None].float(), protocol.frame, mode="area"), protocol)
    shown = {f"{number}/{pattern}/image": whole[0].round().byte().numpy()}
    return shown | {f"{number}/truth": cut(depth, protocol)[0, 0].half().numpy()}


def looked_at(
    left: Sequence[tuple[str, int, nn.Module, DepthExperiment]], first: int, pictures: dict[str, np.ndarray]
) -> Iterator[pd.DataFrame]:
    """Records of every run and test room, a room rendered once for all; what seed `first` sees goes to `pictures`."""
    world = vars(left[0][3].world)
    wanted, size = world_splits(**{name: value for name, value in world.items() if name != "varied"})["test"]
    protocol = PROTOCOLS["hu"].fitted(*size)
    for number, (scene, view) in enumerate(wanted):
        views = views_of(scene, view, size)
        pictures |= pictured(views, number, protocol) if number in PICTURED else {}
        for row, seed, net, e in left:
            with torch.inference_mode():
                made = {pattern: predict_for(net.eval(), e, shown[0], protocol) for pattern, shown in views.items()}
                found = scores_of(made, views, protocol)
            keys = {"study": "table1", "row": row, "seed": seed, "dataset": "rooms", "split": "test"}
            yield records(found, protocol.name, **keys, scene=f"room-{scene}", image=f"room-{scene}/{view}")
            if seed == first and number in PICTURED:
                pictures[f"{number}/{PICTURED[number]}/{row}"] = made[PICTURED[number]][0, 0].half().numpy()


def write_table(table: pd.DataFrame, path: Path) -> None:
    """A parquet file that is there whole or not at all."""
    write_atomically(path, lambda part: table.to_parquet(part, compression="zstd", index=False))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("study", type=Path)
    options.add_argument("-o", "--out", type=Path, required=True)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    changes, pictured_in = given.out / "changes.parquet", given.out / "views.npz"
    known = [pd.read_parquet(changes)] if changes.exists() else []
    done = {*zip(known[0]["row"], known[0]["seed"])} if known else set()
    runs = list(finished(given.study))
    left = [(row, seed, *load_model(folder)) for row, seed, folder in runs if (row, seed) not in done]
    if not left:
        raise SystemExit(f"{given.study}: {'every finished run is in ' + str(changes) if done else 'no finished run'}")
    pictures = dict(np.load(pictured_in)) if pictured_in.exists() else {}
    known += looked_at(left, min(seed for _, seed, _ in runs), pictures)
    write_table(pd.concat(known, ignore_index=True), changes)
    ran = collect(given.study)
    judged = ran.images["protocol"].isin(known[-1]["protocol"].unique())
    write_table(ran.images[judged & ran.images["metric"].str.fullmatch(KEPT)], given.out / "scores.parquet")
    write_json(given.out / "invalid.json", invalid_rows(ran))
    with open(pictured_in, "wb") as file:
        np.savez_compressed(file, **pictures)
    print(f"{len(left)} runs looked at: {given.out}")


if __name__ == "__main__":
    main()
