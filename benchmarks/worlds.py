"""Images per second: rooms rendered into a packed file, and stereo pairs of rooms and fields, by one process per core.

    python benchmarks/worlds.py --size 228 304 --scenes 40 --repeats 3
    python benchmarks/worlds.py --world field --size 256 512 --scenes 20 --repeats 3

Rooms are also rendered by this process with all its threads, in turn. Prints the median over the repeats; for rooms,
starting the processes is included. Close other programs first.
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from advdepth_nb.data.rendered import pack_rooms
from advdepth_nb.scenes.fields import field
from advdepth_nb.scenes.rooms import room_pair


def time_rooms(size: tuple[int, int], scenes: int, repeats: int) -> None:
    """Images per second of `pack_rooms`, with and without processes of its own."""
    cores = torch.get_num_threads()
    rates: dict[int, list[float]] = {0: [], cores: []}
    with tempfile.TemporaryDirectory() as folder:
        for run in range(2 * repeats):
            workers = cores * (run % 2)
            sizes = {"train_size": size, "test_size": (48, 64)}
            begun = time.perf_counter()
            # Other rooms each time, since one that was furnished is remembered.
            pack_rooms(Path(folder) / f"{run}.h5", scenes, 1, 1, **sizes, seed=1 + run, progress=False, workers=workers)
            rates[workers].append((scenes + 1) / (time.perf_counter() - begun))
    for workers, found in rates.items():
        what = f"{workers} processes of one thread" if workers else f"one process of {cores} threads"
        print(f"{what}: {statistics.median(found):.1f} images of {size[0]}x{size[1]} per second")


def one_pair(make, size: tuple[int, int], scene: int) -> None:
    """Render a pair and forget it: what is timed is the rendering."""
    make(scene, 0, size)


def time_pairs(make, size: tuple[int, int], scenes: int, repeats: int) -> None:
    """Pairs per second of processes of one thread each."""
    cores, found = torch.get_num_threads(), []
    with get_context("spawn").Pool(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        pool.map(partial(one_pair, make, size), range(900_000, 900_000 + cores), chunksize=1)  # everything is loaded
        for run in range(repeats):
            begun = time.perf_counter()
            pool.map(partial(one_pair, make, size), range(1000 * run, 1000 * run + scenes), chunksize=1)
            found.append(scenes / (time.perf_counter() - begun))
    name = {field: "fields", room_pair: "rooms"}[make]
    spread = f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
    print(f"{name}, {cores} processes of one thread: {spread} pairs of {size[0]}x{size[1]} per second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=["room", "room-pair", "field"], default="room")
    parser.add_argument("--size", type=int, nargs=2, default=(228, 304), metavar=("H", "W"))
    parser.add_argument("--scenes", type=int, default=40, help="images or pairs, each of a scene of its own")
    parser.add_argument("--repeats", type=int, default=3)
    a = parser.parse_args()
    if a.world == "room":
        time_rooms(tuple(a.size), a.scenes, a.repeats)
    else:
        time_pairs(field if a.world == "field" else room_pair, tuple(a.size), a.scenes, a.repeats)


if __name__ == "__main__":
    main()
