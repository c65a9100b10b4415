"""What tests are made of: tiny files in every layout that is read, untrained runs, and runs that stop midway."""

from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

from advdepth_nb.core.colors import paint
from advdepth_nb.systems.catalog import SYSTEMS, experiment
from advdepth_nb.systems.model_files import save_model


def frame(seed: int = 0, height: int = 6, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """An image of noise (H,W,3) and depth in metres (H,W)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), np.uint8), rng.uniform(0.7, 9.9, (height, width)).astype(np.float32)


def hu(root: Path, train: int = 3, test: int = 2) -> Path:
    """Hu et al.'s layout: lists of 8-bit depth to train on, 16-bit to test."""
    for split, count, kind, scale in (("train", train, np.uint8, 25.5), ("test", test, np.uint16, 1000)):
        lines = []
        for i in range(count):
            image, depth = frame(i)
            stem = f"data/nyu2_{split}/" + (f"den_{i:04d}_out/{i}" if split == "train" else f"{i:05d}")
            names = (f"{stem}_colors.png", f"{stem}_depth.png") if split == "test" else (f"{stem}.png", f"{stem}_d.png")
            (root / names[0]).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / names[0])
            Image.fromarray(np.rint(depth * scale).astype(kind)).save(root / names[1])
            lines.append(",".join(names))
        if lines:
            (root / f"data/nyu2_{split}.csv").write_text("\n".join(lines) + "\n")
    return root


def mat(folder: Path, count: int = 4, train=(1, 3), test=(2, 4), **fields) -> Path:
    """The labelled .mat with scenes, and splits.mat beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    images, depths = zip(*(frame(i) for i in range(count)))
    content = {
        "images": np.stack([i.transpose(2, 1, 0) for i in images]),
        "depths": np.stack([d.T for d in depths]),
        "rawDepths": np.stack([np.where(d > 5, 0, d).T for d in depths]),
    } | fields
    with h5py.File(folder / "nyu.mat", "w") as file:
        for name, value in content.items():
            if value is not None:
                file[name] = value
        scenes = file.create_dataset("scenes", (1, count), h5py.ref_dtype)
        for i in range(count):
            file[f"#refs#/{i}"] = np.array([[ord(c)] for c in f"cafe_{i:04d}"], np.uint16)
            scenes[0, i] = file[f"#refs#/{i}"].ref
    column = {"trainNdxs": train, "testNdxs": test}
    savemat(folder / "splits.mat", {k: np.array(v, np.uint16)[:, None] for k, v in column.items()})
    return folder / "nyu.mat"


def frame_h5(path: Path, rgb=None, depth=None) -> Path:
    """One frame as FastDepth keeps it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image, metres = frame()
    with h5py.File(path, "w") as file:
        file["rgb"] = image.transpose(2, 0, 1) if rgb is None else rgb
        file["depth"] = metres if depth is None else depth
    return path


def write(path: Path, pixels: np.ndarray) -> Path:
    """An image file of these pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def photo(seed: int = 0, height: int = 16, width: int = 24) -> np.ndarray:
    """Noise (H,W,3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def classes(seed: int = 0, height: int = 16, width: int = 24, count: int = 4) -> np.ndarray:
    """Class numbers (H,W)."""
    return np.random.default_rng(1000 + seed).integers(0, count, (height, width), np.uint8)


def painted(labels: np.ndarray, palette: str = "field") -> np.ndarray:
    """The classes in the colors of a palette (H,W,3)."""
    return paint(torch.from_numpy(labels)[None], palette).permute(1, 2, 0).numpy()


def view(seed: int = 0, height: int = 12, width: int = 40) -> np.ndarray:
    """One view of a rig: noise (H,W,3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def disparity(seed: int = 0, height: int = 12, width: int = 40) -> np.ndarray:
    """Pixels, (H,W)."""
    return np.random.default_rng(seed).uniform(0.1, 20, (height, width)).astype(np.float32)


def pfm(path: Path, values: np.ndarray, order: str = "<") -> Path:
    """A float map as Middlebury keeps it, lowest row first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"Pf\n{values.shape[1]} {values.shape[0]}\n{-1 if order == '<' else 1}\n".encode()
    path.write_bytes(head + values[::-1].astype(f"{order}f4").tobytes())
    return path


def rig(root: Path, count: int = 2, **sizes) -> Path:
    """Pairs in left/ and right/, without ground truth."""
    for i in range(count):
        write(root / f"left/{i}.png", view(i, **sizes))
        write(root / f"right/{i}.png", view(i + 50, **sizes))
    return root


def kitti(root: Path, count: int = 2) -> Path:
    """KITTI 2015 with holes in its disparities."""
    for i in range(count):
        for side in (2, 3):
            write(root / f"training/image_{side}/{i:06d}_10.png", view(10 * i + side))
        code = np.round(256 * disparity(i)).astype(np.uint16)
        code[:, ::3] = 0
        for kind in ("disp_occ_0", "disp_occ_1"):
            write(root / f"training/{kind}/{i:06d}_10.png", code)
    return root


def sintel(root: Path) -> Path:
    """MPI Sintel's stereo training set."""
    for i in range(3):
        name = f"alley_{i // 2}/frame_{i:04d}.png"
        for render in ("final", "clean"):
            write(root / f"training/{render}_left/{name}", view(i, 20, 60))
            write(root / f"training/{render}_right/{name}", view(i + 9, 20, 60))
        red, green = np.random.default_rng(i).integers(0, [[[12]], [[256]]], (2, 20, 60))
        write(root / f"training/disparities/{name}", np.stack([red, green, 0 * red], -1).astype(np.uint8))
        for k, kind in enumerate(("occlusions", "outofframe")):
            write(
                root / f"training/{kind}/{name}",
                (np.random.default_rng(i + k).random((20, 60)) < 0.1).astype(np.uint8) * 255,
            )
    return root


def saved(folder: Path, row: str, study: str) -> Path:
    """The folder of an untrained run of the smallest scale."""
    e = experiment(row, study, "smoke")
    torch.manual_seed(0)
    save_model(SYSTEMS[e.system].network(e), e, folder / row)
    return folder / row


class Stopped(Exception):
    """Ends a training from within its `say`, as a kill would."""


def stop_after(fraction: float):
    """A `say` that ends the run once that fraction of it is done."""

    def say(done: float, text: str) -> None:
        if done > fraction:
            raise Stopped

    return say
