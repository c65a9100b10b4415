"""Make the pictures of results/shown small: `python tools/pictures.py FOLDER [...]`.

A PNG of 256 colors is a third of one of 16 million. A picture is replaced where that saves a quarter of it at least and
changes its pixels by at most 1.5 of 255 on average; run again it finds nothing to do.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

MOST = 1.5  # mean absolute change of a channel, of 255
LEAST = 0.25  # of the file's size


def with_few_colors(path: Path) -> bytes | None:
    """The file of the same picture in 256 colors; None if that saves little or shows."""
    with Image.open(path) as opened:
        if opened.mode == "P":
            return None
        whole = opened.convert("RGB")
    small = whole.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    held = io.BytesIO()
    small.save(held, "PNG", optimize=True)
    change = np.abs(np.asarray(small.convert("RGB"), np.int16) - np.asarray(whole, np.int16)).mean()
    saves = held.tell() < (1 - LEAST) * path.stat().st_size
    return held.getvalue() if saves and change <= MOST else None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folders", type=Path, nargs="+")
    saved, count = 0, 0
    for path in sorted(p for folder in options.parse_args().folders for p in folder.rglob("*.png")):
        if (small := with_few_colors(path)) is not None:
            saved, count = saved + path.stat().st_size - len(small), count + 1
            path.write_bytes(small)
    print(f"{count} pictures, {saved / 1e6:.1f} MB less")


if __name__ == "__main__":
    main()
