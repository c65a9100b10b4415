"""Images per second of the boundary measures, on rooms, by processes of one thread each; and what each part costs.

    python benchmarks/boundaries.py --size 480 640 --images 8 --processes 2 --repeats 3

The predictions are what a network gives: a quarter of the size, enlarged. Prints the median over the repeats (and the
range), and for one process the milliseconds per image of each part. Close other programs first.
"""

import argparse
import statistics
import time
from multiprocessing import get_context

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from advdepth_nb.metrics import boundaries as b
from advdepth_nb.core.geometry import NYU_CAMERA
from advdepth_nb.scenes.rooms import room


def imperfect(depth: torch.Tensor) -> torch.Tensor:
    """A decent prediction of `depth`, `(1,1,H,W)`: 3 % of smooth relative error, edges soft by a pixel."""
    noise = torch.randn(1, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    pred = depth * (0.03 * F.interpolate(noise, depth.shape[-2:], mode="bicubic")).exp()
    return torch.from_numpy(gaussian_filter(pred.numpy(), (0, 0, 1, 1), mode="nearest"))


def pair(size: tuple[int, int], scene: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction and the true depth, `(1,1,H,W)`."""
    truth = room(scene, 0, size)["depth"][None]
    small = F.interpolate(imperfect(truth), (size[0] // 4, size[1] // 4), mode="area")
    return F.interpolate(small, size, mode="bilinear", align_corners=True), truth


def rate(size: tuple[int, int], scenes: list[int], repeats: int) -> list[tuple[float, float]]:
    """When each repeat began and ended, in one process."""
    torch.set_num_threads(1)
    pairs, camera, spans = [pair(size, scene) for scene in scenes], NYU_CAMERA.resized(*size), []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        for pred, truth in pairs:
            b.boundary_scores(pred, truth, None, camera)
        spans.append((begun, time.perf_counter()))
    return spans[1:]


def parts(size: tuple[int, int], repeats: int) -> None:
    """Milliseconds of each part for one image."""
    torch.set_num_threads(1)
    (pred, truth), camera = pair(size, 3), NYU_CAMERA.resized(*size)
    mask, group = torch.ones_like(truth, dtype=torch.bool), torch.zeros_like(truth, dtype=torch.long)
    edges, planes = b.canny(truth, mask), b.planar_regions(truth, mask)
    calls = {
        "Hu's edges": lambda: b.hu_edges(pred, truth, mask, group),
        "scale-invariant contours": lambda: b.ratio_edges(pred, truth, mask, group),
        "Canny's edges, of one map": lambda: b.canny(pred, mask),
        "distances between edges": lambda: b.boundary_error(b.canny(pred, mask), edges),
        "planar regions of the truth": lambda: b.planar_regions(truth, mask),
        "plane errors": lambda: b.plane_errors(pred, truth, mask, camera, planes),
        "normals": lambda: b.normal_errors(pred, truth, mask, camera),
        "curvature": lambda: b.curvature_errors(pred, truth, mask, camera),
        "kinds of edges, where asked for": lambda: b.edge_kinds(truth, mask, camera),
        "all but the kinds": lambda: b.boundary_scores(pred, truth, mask, camera),
    }
    for name, call in calls.items():
        seconds = []
        for _ in range(3 * repeats + 1):
            begun = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begun)
        print(f"  {name}: {1e3 * statistics.median(seconds[1:]):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    parser.add_argument("--images", type=int, default=8, help="for each process, of rooms of their own")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    a = parser.parse_args()
    size = tuple(a.size)
    with get_context("spawn").Pool(a.processes) as pool:
        scenes = [list(range(k * a.images, (k + 1) * a.images)) for k in range(a.processes)]
        spans = pool.starmap(rate, [(size, some, a.repeats) for some in scenes], chunksize=1)
    found = [sum(a.images / (end - begun) for begun, end in runs) for runs in zip(*spans)]
    spread = f"{statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f})"
    print(f"{a.processes} processes of one thread: {spread} images of {size[0]}x{size[1]} a second")
    parts(size, a.repeats)


if __name__ == "__main__":
    main()
