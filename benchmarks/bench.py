"""CPU seconds of what people wait for, each beside something to measure it by, in one process: `make bench`, or

python benchmarks/bench.py -o benchmarks/           a CSV with the processor in its name
python benchmarks/bench.py --only predict --repeats 3

The two are run in turn, and the medians and their ratio are of CPU seconds, which other programs disturb least. Close
them all the same.
"""

import argparse
import io
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from depthnet import networks, training_step
from PIL import Image
from torch.nn.functional import interpolate

from advdepth_nb import load
from advdepth_nb.metrics.boundaries import boundary_scores
from advdepth_nb.metrics.depth import errors
from advdepth_nb.core.geometry import NYU_CAMERA
from advdepth_nb.scenes.rooms import room
from advdepth_nb.systems.predictor import save_colored, save_depth

Call = Callable[[], object]
Case = tuple[str, Call, str, Call]  # what, and what it is measured by, each with its call


def steps() -> Iterator[Case]:
    """A training step of Hu et al.'s network in the fast form and in the plain one."""
    for encoder, batch, size in (("resnet18", 8, (112, 152)), ("resnet50", 2, (228, 304))):
        nets, image = networks(encoder), torch.rand(batch, 3, *size)
        fast, plain = (partial(training_step, nets[form], image) for form in ("fast", "plain"))
        yield f"step, {encoder}, batch {batch}, {size[0]}x{size[1]}", fast, "plain form", plain


def predict() -> Iterator[Case]:
    """Depth of a photograph with the weights that ship; beside it the network alone, at its own size."""
    predictor = load(device="cpu")
    height, width = predictor.experiment.frame
    alone = torch.inference_mode()(partial(predictor.net, torch.rand(1, 3, height, width)))
    for size in ((480, 640), (3000, 4000)):
        image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
        told = f"depth of a photograph, {size[1]}x{size[0]}"
        yield told, partial(predictor, image), f"network alone, {width}x{height}", alone


def files() -> Iterator[Case]:
    """The two files of a 640x480 map; beside them Pillow's defaults, without colors."""
    depth = room(500_003, 0, (480, 640))["depth"][0]
    codes = (1000 * depth).round().numpy().astype(np.uint16)
    folder = Path(tempfile.mkdtemp())
    ours = lambda: (save_depth(depth, folder / "d.png"), save_colored(depth, folder / "c.png"))  # noqa: E731
    plain = lambda: Image.fromarray(codes).save(io.BytesIO(), "PNG")  # noqa: E731
    yield "16-bit and colored PNG, 640x480", ours, "Pillow's default, 16-bit alone", plain


def scores() -> Iterator[Case]:
    """All boundary measures of a prediction; beside them the usual errors."""
    truth = room(500_003, 0, (240, 320))["depth"][None]
    pred = interpolate(interpolate(truth, (60, 80), mode="area"), (240, 320), mode="bilinear")
    every, camera = torch.ones_like(truth, dtype=torch.bool), NYU_CAMERA.resized(240, 320)
    ours = lambda: boundary_scores(pred, truth, every, camera)  # noqa: E731
    yield "boundary measures, 240x320", ours, "usual errors", lambda: errors(pred, truth, every)


def rendering() -> Iterator[Case]:
    """A room in a sensor's size; beside it one with four samples a pixel."""
    fresh = iter(range(10_000, 20_000))
    ours = lambda: room(next(fresh), 0, (120, 160))  # noqa: E731
    yield "room, 120x160", ours, "with antialiasing", lambda: room(next(fresh), 0, (120, 160), antialias=True)


PARTS = {"steps": steps, "predict": predict, "files": files, "scores": scores, "rendering": rendering}


def processor() -> str:
    """What the system calls its processor."""
    told = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", told.read_text()) if told.exists() else None
    return named[1] if named else platform.processor() or platform.machine()


def measured(case: Case, repeats: int) -> dict[str, object]:
    """Median CPU seconds of both, run in turn after one run that is not counted."""
    what, ours, against, other = case
    spent: dict[Call, list[float]] = {ours: [], other: []}
    for _ in range(repeats + 1):
        for call, times in spent.items():
            begun = time.process_time()
            call()
            times.append(time.process_time() - begun)
    first, second = (statistics.median(times[1:]) for times in spent.values())
    return {"what": what, "cpu_s": first, "against": against, "against_cpu_s": second, "ratio": second / first}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", choices=PARTS, action="append", help="a part; may be given twice; default: all")
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("-o", "--output", type=Path, help="a CSV, or the folder of one; default: print alone")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    lines = [measured(case, given.repeats) for name in given.only or PARTS for case in PARTS[name]()]
    where = f"{processor()}, {given.threads} threads"
    table = pd.DataFrame(lines).assign(repeats=given.repeats, where=where, torch=torch.__version__)
    print(table.drop(columns=["repeats", "where", "torch"]).to_string(index=False, float_format="%.4g"))
    if given.output:
        name = f"bench-{re.sub(r'[^a-z0-9]+', '-', where.lower())}.csv"
        path = given.output / name if given.output.is_dir() else given.output
        table.to_csv(path, index=False)
        print(f"written to {path}")


if __name__ == "__main__":
    main()
