"""What may be wrong with a file or a number: each function takes a generator and what was right."""

import io
import json
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

# -- any file -------------------------------------------------------------------------------------------------------


def cut(rng: random.Random, content: bytes) -> bytes:
    """The first bytes, as of a copy that stopped."""
    return content[: rng.randrange(max(1, len(content)))]


def flipped(rng: random.Random, content: bytes) -> bytes:
    """Some bytes are others: anywhere, or in the header."""
    changed, end = bytearray(content or b"\0"), rng.choice([64, 512, 1 << 30])
    for _ in range(rng.randint(1, 20)):
        changed[rng.randrange(min(end, len(changed)))] = rng.randrange(256)
    return bytes(changed)


def noise(rng: random.Random, content: bytes) -> bytes:
    return rng.randbytes(rng.choice([1, 8, 100, len(content) + 1]))


def text(rng: random.Random, content: bytes) -> bytes:
    return rng.choice([b"", b"not what its name says\n", "\ufeffa,b;c\n\u00e4".encode("utf-16"), b"\n" * 50, b"null"])


def zeros(rng: random.Random, content: bytes) -> bytes:
    return bytes(len(content))


BYTES = (cut, flipped, noise, text, zeros)


def as_folder(rng: random.Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_pipe(rng: random.Random, path: Path) -> None:
    """A FIFO, which nobody ever writes to."""
    path.unlink()
    os.mkfifo(path)


def as_link(rng: random.Random, path: Path) -> None:
    """A link to nowhere, or to itself."""
    path.unlink()
    path.symlink_to(path if rng.random() < 0.5 else path.with_name("gone"))


def as_nothing(rng: random.Random, path: Path) -> None:
    path.unlink()


PLACES = (as_folder, as_link, as_nothing, as_pipe)

# -- by kind --------------------------------------------------------------------------------------------------------
HUGE = (0, 1, 2**16, 60_000, 2**31 - 1)  # sides that a header may claim


def lying_png(rng: random.Random, path: Path) -> None:
    """A header that claims another size, with the sum that belongs to it."""
    content = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", *rng.choices(HUGE, k=2)) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])


def lying_npy(rng: random.Random, path: Path) -> None:
    """A header of another shape or type than the values; objects; a record."""
    shapes = ((10**6, 10**6), (2**40, 8, 8), (-1, 5), (0, 8), (3, 0), (2,) * 40, ())
    kind = rng.choice(["<f4", "|O", "<c16", "<U9", "[('a', '<f4')]", "<f2", "|b1"])
    head = (
        f"{{'descr': {kind if '[' in kind else repr(kind)}, 'fortran_order': False, 'shape': {rng.choice(shapes)}, }}"
    )
    head += " " * (63 - (len(head) + 10) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + bytes(192))


def lying_pfm(rng: random.Random, path: Path) -> None:
    heads = (
        "Pf\n99999 99999\n-1\n",
        "Pf\n-3 5\n-1\n",
        "Pf\nx y\n-1\n",
        "PF\n4 4\n-1\n",
        "Pf\n8 6\n0\n",
        "Pf\n8 6\nnan\n",
    )
    path.write_bytes(rng.choice(heads).encode() + bytes(64))


def lying_safetensors(rng: random.Random, path: Path) -> None:
    """Another network's names, values that are not finite, or a header that is none."""
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    name = rng.choice(sorted(weights))
    how = rng.randrange(6)
    if how == 0:
        weights = {f"model.{key}": value for key, value in weights.items()}
    elif how == 1:
        del weights[name]
    elif how == 2:
        weights[name] = weights[name].new_full((3, 3), 7)
    elif how == 3:
        weights = {}
    elif how == 4:
        weights[name] = (
            weights[name].new_full(weights[name].shape, float("nan")) if weights[name].ndim else weights[name]
        )
    save_file(weights, path)
    if how == 5:
        header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header)


JUNK = (None, [], {}, "x", "", -1, 0, 10**30, 1e308, float("nan"), float("inf"), True, ["a", 1], {"a": {"b": 1}})


def other_json(rng: random.Random, path: Path) -> None:
    """A field is another value, or is missing, or one too many; or all of it is another thing."""
    content = json.loads(path.read_text())
    if not isinstance(content, dict) or rng.random() < 0.15:
        path.write_text(rng.choice(["[" * 100_000, "[]", "3", '"x"', '{"a": NaN}', "{} {}", '{"experiment": []}']))
        return
    place = content
    while any(isinstance(v, dict) and v for v in place.values()) and rng.random() < 0.8:
        place = rng.choice([v for v in place.values() if isinstance(v, dict) and v])
    key = rng.choice(sorted(place))
    if rng.random() < 0.25:
        del place[key]
    elif rng.random() < 0.15:
        place["unknown"] = 1
    else:
        place[key] = rng.choice(JUNK)
    path.write_text(json.dumps(content))


def other_hdf5(rng: random.Random, path: Path) -> None:
    """One array of the file has another shape, type or place; or an attribute is another."""
    with h5py.File(path, "r+") as file:
        arrays: list[str] = []
        file.visititems(lambda name, thing: arrays.append(name) if isinstance(thing, h5py.Dataset) else None)
        if file.attrs and rng.random() < 0.3:
            key = rng.choice(sorted(file.attrs))
            file.attrs[key] = rng.choice([-1, "x", 1e300, np.arange(3.0), ""])
            return
        name = rng.choice([a for a in arrays if not a.startswith("#")])
        old = file[name]
        shape, kind, some = old.shape, old.dtype, rng.randrange(7)
        del file[name]
        if some == 0:  # far more than there is, none of it written
            file.create_dataset(name, (2**20, *shape[1:-1], 2**24), np.uint8, chunks=True)
        elif some == 1:
            file.create_dataset(name, shape[1:] or (2,), "f4")
        elif some == 2:
            file.create_dataset(name, (max(0, shape[0] - 1), *shape[1:]), kind)
        elif some == 3:
            file.create_dataset(name, shape, "S3")
        elif some == 4:
            file.create_dataset(name, data=np.full(shape, np.nan))
        elif some == 5:
            file.create_group(name)


def other_parquet(rng: random.Random, path: Path) -> None:
    table = pd.read_parquet(path)
    column = rng.choice(list(table))
    how = rng.randrange(5)
    if how == 0:
        table = table.drop(columns=column)
    elif how == 1:
        table[column] = None
    elif how == 2:
        table = table.head(0)
    elif how == 3:
        table[column] = "x"
    else:
        table = pd.concat([table, table])
    table.to_parquet(path)


def other_csv(rng: random.Random, path: Path) -> None:
    lines = path.read_text().splitlines()
    wrong = (
        "",
        ",",
        ",,,",
        "a\0b,c",
        "/etc/passwd,/etc/passwd",
        "..,..",
        "é" * 400,
        '"',
        "x.png",
        "a.png,b.png,1",
        "~,~",
    )
    lines[rng.randrange(len(lines))] = rng.choice(wrong)
    path.write_text("\n".join(lines), encoding=rng.choice(["utf-8", "utf-8-sig", "utf-16"]))


def other_mat(rng: random.Random, path: Path) -> None:
    """A .mat of version 5 with other arrays."""
    from scipy.io import savemat

    wrong = (
        {}, {"trainNdxs": "x", "testNdxs": [1]}, {"trainNdxs": [-1.5], "testNdxs": [np.nan]}, {"trainNdxs": [1]},
        {"trainNdxs": np.zeros((0, 0)), "testNdxs": np.zeros((0, 0))}, {"trainNdxs": [1e30], "testNdxs": [10**9]},
        {"a": np.array([[1, "x"]], object)}, {"p": np.ones((3, 4)), "q": np.ones((3, 4))}, {"p": np.full((3, 4), 1j)},
    )  # fmt: skip
    target = io.BytesIO()
    savemat(target, rng.choice(wrong))
    path.write_bytes(target.getvalue())


def other_text(rng: random.Random, path: Path) -> None:
    lines = path.read_text().splitlines()
    place = rng.randrange(len(lines))
    key = lines[place].partition("=")[0]
    lines[place] = key + rng.choice(["", "=", "=x", "=-1", "=nan", "=[1 2 3]", "=[1e999 0; 0 0]", " = 0"])
    path.write_text("\n".join(lines))


KINDS: dict[str, Callable[[random.Random, Path], None]] = {
    ".png": lying_png, ".npy": lying_npy, ".pfm": lying_pfm, ".safetensors": lying_safetensors, ".json": other_json,
    ".h5": other_hdf5, ".parquet": other_parquet, ".csv": other_csv, ".mat": other_mat, ".txt": other_text,
}  # fmt: skip


def malform(rng: random.Random, path: Path) -> str:
    """Make something wrong with a file of a copy; the name of what was done."""
    own = path.read_bytes()
    path.unlink()  # it may be a link to the sample's
    path.write_bytes(own)
    how = rng.random()
    if how < 0.12:
        done = rng.choice(PLACES)
        done(rng, path)
    elif how < 0.6 and path.suffix in KINDS and not (path.suffix == ".mat" and h5py.is_hdf5(path)):
        done = KINDS[path.suffix]
        done(rng, path)
    elif how < 0.6 and path.suffix == ".mat":
        done = other_hdf5
        done(rng, path)
    else:
        done = rng.choice(BYTES)
        path.write_bytes(done(rng, own))
    return done.__name__


def copy_of(sample: Path, place: Path) -> Path:
    """A copy that shares its files with the sample: only what is made anew is its own."""
    if sample.is_dir():
        shutil.copytree(sample, place, copy_function=os.link)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(sample, place)
    return place


# -- numbers and words ------------------------------------------------------------------------------------------------

WHOLE = ("-1", "0", "10000000", "1000000000000", "9" * 400, "1e3", "nan", "", "\u0663", "0x10", " 1", "1.5", "True")
REAL = ("nan", "inf", "-inf", "-1", "0", "1e308", "1e-320", "", "1,5", "0x1p3", "9" * 400, "x")
SIZES = ("0x0", "999999x999999", "1x1", f"2x{'9' * 30}", "240\u00d7320", "-1x3", "8", "x", "1e2x3", "3x100000")
WORDS = ("", "\u00e9" * 300, "../..", "a b", "--", "\x1b[31m", "a\nb", "None", "~x", ".", "%s{}", "0")
PATHS = ("nowhere/at.all", "", "/dev/null", "/dev/full/x", "/proc/self/mem", "\u00e9" * 300, ".")
LITERALS = (
    *WHOLE, *REAL, "[]", "{}", "(1, 2)", "(0, 0)", "(1, 10**9)", "(-3, 5)", "(1e9, 2)", "(100000, 100000)", "None",
    "'x'", "(" * 500, "[" * 5000, "-" * 5000 + "1", "b'x'", "1j", "...", "lambda: 0", "none", "'" * 3, "(32, 44)",
)  # fmt: skip
