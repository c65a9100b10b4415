"""A thousand uploads by two users at once: what the demo's disk and memory do.

python benchmarks/demo_uploads.py [--uploads 1000] [--age 60] [--run RUN]

Each upload is a photograph of its own, 640x480, of which depth, files and surface are asked. Printed: seconds of a
first answer (median and slowest), the server's memory, and the files it keeps, in the course of it. Files are removed
`age` seconds after they were made (600 in `advdepth demo`). RUN is another network than the package's, such as one of
scale smoke, where only what surrounds it is of interest. Needs the extra `demo`.
"""

import argparse
import io
import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from gradio_client import Client, handle_file
from PIL import Image

from advdepth_nb.apps.demo import load_networks, served


def photograph(seed: int) -> bytes:
    """A JPEG of smooth noise, 640x480, of about 100 kB."""
    small = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(kept := io.BytesIO(), "JPEG", quality=92)
    return kept.getvalue()


def user(address: str, row: str, seeds: list[int], folder: Path, waits: list[float]) -> None:
    """One user, who uploads one photograph after the other."""
    client = Client(address, verbose=False, download_files=False)
    for seed in seeds:
        path = folder / f"{seed}.jpg"
        path.write_bytes(photograph(seed))
        begun = time.monotonic()
        page = client.predict(handle_file(str(path)), api_name="/depth")
        waits.append(time.monotonic() - begun)
        assert page.count("<figure") == 2, page[:200]
        client.predict(handle_file(str(path)), api_name="/depth_files")
        client.predict(handle_file(str(path)), row, 60, api_name="/surface")
        path.unlink()


def kept_by_server() -> tuple[int, float]:
    """Number of files, and megabytes of them, in the server's folder."""
    files = [file for file in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if file.is_file()]
    sizes = [file.stat().st_size for file in files if file.exists()]
    return len(sizes), sum(sizes) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=1000)
    parser.add_argument("--age", type=int, default=60)
    parser.add_argument("--run", action="append", default=[])
    asked = parser.parse_args()
    networks = load_networks(asked.run, "cpu")
    row = next(iter(networks.depth))
    waits: list[float] = []
    folder = Path(tempfile.mkdtemp(prefix="advdepth-"))
    with served(networks, age=asked.age) as address:
        seeds = [list(range(asked.uploads))[k::2] for k in (0, 1)]
        users = [threading.Thread(target=user, args=(address, row, part, folder, waits), daemon=True) for part in seeds]
        for thread in users:
            thread.start()
        print("uploads  seconds  median_s  slowest_s  memory_MB  files  files_MB", flush=True)
        begun, told = time.monotonic(), 0
        while any(thread.is_alive() for thread in users):
            time.sleep(1)
            if len(waits) >= told + asked.uploads // 10:
                told = len(waits)
                memory = psutil.Process().memory_info().rss / 1e6
                count, size = kept_by_server()
                wait = f"{statistics.median(waits):8.2f}  {max(waits):9.2f}"
                print(
                    f"{told:7d}  {time.monotonic() - begun:7.0f}  {wait}  {memory:9.0f}  {count:5d}  {size:8.1f}",
                    flush=True,
                )
        place = Path(os.environ["GRADIO_TEMP_DIR"]).parent
    print(f"{len(waits)} of {asked.uploads} answered; the folder is {'still there' if place.exists() else 'gone'}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
