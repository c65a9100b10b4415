"""Rooms rendered into a packed file per second: this process with all threads, and one process per core, in turn.

    python benchmarks/worlds.py --size 228 304 --scenes 40 --repeats 3

Prints the median over the repeats, starting the processes included. Close other programs first.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from advdepth_nb.datasets import pack_rooms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(228, 304), metavar=("H", "W"))
    parser.add_argument("--scenes", type=int, default=40, help="images, each of a room of its own")
    parser.add_argument("--repeats", type=int, default=3)
    a = parser.parse_args()
    cores = torch.get_num_threads()
    rates: dict[int, list[float]] = {0: [], cores: []}
    with tempfile.TemporaryDirectory() as folder:
        for run in range(2 * a.repeats):
            workers = cores * (run % 2)
            sizes = {"train_size": tuple(a.size), "test_size": (48, 64)}
            begun = time.perf_counter()
            # Other rooms each time, since one that was furnished is remembered.
            pack_rooms(
                Path(folder) / f"{run}.h5", a.scenes, 1, 1, **sizes, seed=1 + run, progress=False, workers=workers
            )
            rates[workers].append((a.scenes + 1) / (time.perf_counter() - begun))
    for workers, found in rates.items():
        what = f"{workers} processes of one thread" if workers else f"one process of {cores} threads"
        print(f"{what}: {statistics.median(found):.1f} images of {a.size[0]}x{a.size[1]} per second")


if __name__ == "__main__":
    main()
