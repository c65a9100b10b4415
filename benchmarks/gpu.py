"""What only a machine with a GPU can tell, in one table: `make gpu`, or

python benchmarks/gpu.py -o benchmarks/                     a CSV with the device in its name
python benchmarks/gpu.py --device cpu --encoders resnet18 --parts steps,speed --rows adv,full --repeats 1    a rehearsal

Parts: `steps` takes one step of every trained row in every precision, and compares its loss in
float32 with the CPU's; `speed` gives images/s and peak memory of scale `paper` for each encoder in float32, TF32, bf16
and compiled, and of stereo and pix2pix at full size; `loader` says what part of an epoch waits for data; `rendering`
counts rooms and fields a second on the device and on the CPU; `ablation` trains two rows at scale `quick`.
A part that fails leaves its error in the table, and the others go on.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.fabric import Fabric

from advdepth_nb.core.devices import pick_device
from advdepth_nb.scenes.fields import field
from advdepth_nb.scenes.rooms import room
from advdepth_nb.study.plan import make_plan
from advdepth_nb.study.schedule import run_plan
from advdepth_nb.study.train import prepare_run
from advdepth_nb.systems.catalog import STUDIES, SYSTEMS, experiment
from advdepth_nb.systems.experiments import Experiment
from advdepth_nb.training.loop import Training, generator_for

PRECISIONS = ("32-true", "bf16-mixed", "bf16-true", "16-mixed", "64-true")
Found = Iterator[dict[str, Any]]  # lines of the table: what, value, unit


class Examples:
    """A data set of made-up pictures that fills batches, as `Training` wants it."""

    def __init__(self, e: Experiment, count: int) -> None:
        pair = SYSTEMS[e.system].example(e, torch.Generator().manual_seed(0))
        self.items = [{name: values[i] for name, values in pair.items()} for i in range(2)]
        self.count = count
        self.scenes = self.images = [str(i) for i in range(count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return self.items[i % 2]


def training(e: Experiment, device: str, precision: str, batches: int = 1) -> Training:
    """A run on examples, without weights from a hub, about to take its first step."""
    fabric = Fabric(accelerator=device, devices=1, precision=precision)
    return prepare_run(e.without_pretraining(), Examples(e, batches * e.batch), 0, fabric)


def waited(device: str) -> float:
    """The time, once the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def step_of(run: Training) -> Callable[[], None]:
    """A step on one batch that lies on the device already."""
    generator = generator_for(0, 0)
    raw = next(run.batches(generator))
    run.task.net.train()
    return partial(run.one_step, raw, generator)


def in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def tried(call: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """What a call gives, or None, and the first line of what it raises, or "" ."""
    try:
        return call(*arguments), ""
    except Exception as error:  # whatever a driver, a kernel or a lack of memory raises is a line of the table
        return None, in_a_line(error)


def loss_of_a_step(e: Experiment, device: str, precision: str) -> float:
    run = training(e, device, precision)
    step_of(run)()
    return float(run.total.detach())


def steps(options: argparse.Namespace) -> Found:
    """One step of every trained row in every precision."""
    rows = [(study, row) for study in ("table1", "stereo", "translate") for row in STUDIES[study].all]
    for study, row in rows:
        e = experiment(row, study, "smoke")
        if not e.trained or (options.rows and row not in options.rows):
            continue
        losses = {}
        for device, precision in [("cpu", "32-true"), *((options.device, p) for p in PRECISIONS)]:
            if device == "cpu" and precision == "16-mixed":
                continue
            loss, error = tried(loss_of_a_step, e, device, precision)
            losses[device, precision] = loss
            yield {"what": f"{study} {row} {device} {precision}", "unit": "loss after one step", "error": error,
                   "value": loss}  # fmt: skip
        there, here = losses.get((options.device, "32-true")), losses.get(("cpu", "32-true"))
        if there is not None and here:
            yield {"what": f"{study} {row}: {options.device} against cpu, 32-true", "unit": "relative difference",
                   "value": abs(there / here - 1)}  # fmt: skip


def speed_of(e: Experiment, options: argparse.Namespace, precision: str, tf32: bool, compiled: bool) -> dict[str, Any]:
    """Images a second and peak memory of a step, median of `--repeats` times five steps."""
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    run = training(e, options.device, precision)
    if compiled:
        run.task.net.get_submodule("module").compile()
    step = step_of(run)
    for _ in range(3):  # cudnn chooses, inductor compiles
        step()
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    taken = []
    for _ in range(options.repeats):
        begun = waited(options.device)
        for _ in range(5):
            step()
        taken.append((waited(options.device) - begun) / 5)
    peak = torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else float("nan")
    return {"value": e.batch / sorted(taken)[len(taken) // 2], "unit": "images/s", "peak GiB": peak}


def speed(options: argparse.Namespace) -> Found:
    """Scale `paper` of the three systems."""
    ways = {
        "32-true": ("32-true", False, False),
        "TF32": ("32-true", True, False),
        "bf16-mixed": ("bf16-mixed", False, False),
        "bf16-mixed, compiled": ("bf16-mixed", False, True),
    }
    cases = {f"table1 adv {encoder}": experiment("adv", "table1", "paper", settings={"encoder": encoder})
             for encoder in options.encoders}  # fmt: skip
    cases |= {"stereo full": experiment("full", "stereo", "paper"),
              "translate segment_l1_cgan": experiment("segment_l1_cgan", "translate", "paper")}  # fmt: skip
    for name, e in cases.items():
        if options.rows and e.row not in options.rows:
            continue
        for way, (precision, tf32, compiled) in ways.items():
            found, error = tried(speed_of, e, options, precision, tf32, compiled)
            yield {"what": f"{name}, batch {e.batch}, {way}", "error": error, **(found or {})}
    torch.set_float32_matmul_precision("highest")


def loader(options: argparse.Namespace) -> Found:
    """What part of an epoch at scale `quick` is spent waiting for data, beside steps on a batch that is there."""
    e = experiment("adv", "table1", "quick")
    system = SYSTEMS[e.system]
    train = system.dataset(system.data_file(e, "rooms"), "train", e)
    for workers in (0, 4):
        fabric = Fabric(accelerator=options.device, devices=1, precision=e.precision)
        run = prepare_run(replace(e.without_pretraining(), workers=workers, epochs=0.2), train, 0, fabric)
        step, generator = step_of(run), generator_for(0, 0)
        step()
        begun = waited(options.device)
        for _ in range(20):
            step()
        alone = (waited(options.device) - begun) / 20
        begun, count = waited(options.device), 0
        for raw in run.batches(generator):
            run.one_step(raw, generator)
            count += 1
        loaded = (waited(options.device) - begun) / count
        yield {"what": f"adv at quick, {workers} workers: of a step's time, waiting for data", "unit": "fraction",
               "value": max(0.0, 1 - alone / loaded)}  # fmt: skip


def rendering(options: argparse.Namespace) -> Found:
    """Worlds a second."""
    worlds = {
        "rooms 480x640": partial(room, size=(480, 640)),
        "stalks 256x512": partial(field, size=(256, 512), look="stalks"),
    }
    for name, render in worlds.items():
        for device in dict.fromkeys(("cpu", options.device)):
            render(0, device=device)
            begun = waited(device)
            for seed in range(1, 1 + 5 * options.repeats):
                render(seed, device=device)
            yield {"what": f"{name} on {device}", "unit": "images/s",
                   "value": 5 * options.repeats / (waited(device) - begun)}  # fmt: skip


def ablation(options: argparse.Namespace) -> Found:
    """Two rows at scale `quick`, from the planning to the scores."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        plan = make_plan("table1", rows=["baseline", "adv"], scale="quick", out=out, device=options.device)
        failed = run_plan(plan)
    yield {"what": "ablation: table1, baseline and adv at quick, one seed", "unit": "minutes",
           "value": (time.perf_counter() - begun) / 60, "error": "; ".join(failed.values())}  # fmt: skip


def until_it_fails(part: Found) -> Found:
    """The lines of a part, and where it raises, the error as its last line."""
    try:
        yield from part
    except Exception as error:
        yield {"what": "the part stopped", "error": in_a_line(error)}


PARTS = {part.__name__: part for part in (steps, speed, loader, rendering, ablation)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", type=names, default=list(PARTS))
    parser.add_argument("--rows", type=names, default=[], help="of `steps` and `speed`; default: all")
    parser.add_argument("--encoders", type=names, default=["legacy_senet154", "resnet50"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, help="a CSV, or the folder of one; default: print alone")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    try:
        options.device = pick_device(options.device)
    except ValueError as error:
        parser.error(str(error))
    where = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    if options.output and options.output.is_dir():
        options.output /= f"gpu-{where.lower().replace(' ', '-')}.csv"
    lines: list[dict[str, Any]] = []
    for name in options.parts:
        for line in until_it_fails(PARTS[name](options)):
            lines.append({"part": name, **line})
        table = pd.DataFrame(lines).assign(device=where, torch=torch.__version__)
        if options.output:
            table.to_csv(options.output, index=False)
    print(table.drop(columns=["device", "torch"]).to_string(index=False, float_format="%.4g", na_rep=""))
    print(f"written to {options.output}" if options.output else "")


if __name__ == "__main__":
    main()
