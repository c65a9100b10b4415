"""Where the error of finished runs lies, and how much texture they copy: exploratory scores beside those of the runs.

python benchmarks/what_adversaries_change.py results/preregistered/table1-rooms-quick-report -o results/shown/sharpen

Into the folder -o: `changes.parquet`, of every run of a study on the rooms, on its test rooms at the frame of protocol
`hu`: the mean absolute error by distance from a true boundary (`error@0px`, ...), and the share of false depth edges
on walls with plain paper and with a pattern (`false_edges@stripes`, ...). `scores.parquet`, the runs' own scores under
`hu`. `views.npz`, what each row's first seed sees in a few rooms. Runs that are in `changes.parquet` already are not
predicted again.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from advdepth_nb.core.files import write_atomically
from advdepth_nb.data.rendered import world_splits
from advdepth_nb.metrics.depth import as_judged
from advdepth_nb.metrics.protocols import PROTOCOLS, Protocol
from advdepth_nb.metrics.records import records
from advdepth_nb.metrics.sharpness import DISTANCES, error_by_distance, false_edges
from advdepth_nb.report.verdicts import invalid_rows
from advdepth_nb.scenes.rooms import room
from advdepth_nb.scenes.variation import PATTERNS
from advdepth_nb.study.collect import collect
from advdepth_nb.systems.depth import predict_for
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
            scores |= dict(zip(RINGS, error_by_distance(pred, truth, valid)[0, :, None])) | {
                "n_valid": valid.sum()[None]
            }
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


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("study", type=Path)
    options.add_argument("-o", "--out", type=Path, required=True)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = {name: given.out / name for name in ("changes.parquet", "scores.parquet", "views.npz", "invalid.json")}
    known = [pd.read_parquet(kept["changes.parquet"])] if kept["changes.parquet"].exists() else []
    done = {*zip(known[0]["row"], known[0]["seed"])} if known else set()
    left = [(row, seed, *load_model(folder)) for row, seed, folder in finished(given.study) if (row, seed) not in done]
    if not left:
        raise SystemExit(f"{given.study}: {'no run is left to look at' if done else 'no finished run'}")
    world = vars(left[0][3].world)
    wanted, size = world_splits(**{name: value for name, value in world.items() if name != "varied"})["test"]
    protocol, first = PROTOCOLS["hu"].fitted(*size), min(seed for _, seed, _ in finished(given.study))
    pictures = dict(np.load(kept["views.npz"])) if kept["views.npz"].exists() else {}
    for number, (scene, view) in enumerate(wanted):
        views = views_of(scene, view, size)
        pictures |= pictured(views, number, protocol) if number in PICTURED else {}
        for row, seed, net, e in left:
            with torch.inference_mode():
                made = {pattern: predict_for(net.eval(), e, shown[0], protocol) for pattern, shown in views.items()}
                found = scores_of(made, views, protocol)
            keys = {"study": "table1", "row": row, "seed": seed, "dataset": "rooms", "split": "test"}
            known.append(records(found, protocol.name, **keys, scene=f"room-{scene}", image=f"room-{scene}/{view}"))
            if seed == first and number in PICTURED:
                pictures[f"{number}/{PICTURED[number]}/{row}"] = made[PICTURED[number]][0, 0].half().numpy()
    packed = lambda table: lambda path: table.to_parquet(path, compression="zstd", index=False)  # noqa: E731
    write_atomically(kept["changes.parquet"], packed(pd.concat(known, ignore_index=True)))
    ran = collect(given.study)
    own = ran.images[ran.images["metric"].str.fullmatch(KEPT) & (ran.images["protocol"] == protocol.name)]
    write_atomically(kept["scores.parquet"], packed(own))
    write_atomically(kept["invalid.json"], lambda path: path.write_text(json.dumps(invalid_rows(ran), indent=1) + "\n"))
    with open(kept["views.npz"], "wb") as file:
        np.savez_compressed(file, **pictures)
    print(f"{len(left)} runs, {len(wanted)} images each: {given.out}")


if __name__ == "__main__":
    main()
