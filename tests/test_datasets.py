"""Bad inputs of every layout on tiny files, whole and killed writes, and the real frames where they exist."""

import csv
import hashlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat
from factories import frame, frame_h5, hu, mat
from refusals import refused

from advdepth_nb.core.pictures import read_codes
from advdepth_nb.data.nyu import DepthSource, PackedDepth, open_source, pack
from advdepth_nb.data import rendered
from advdepth_nb.data.rendered import pack_rooms
from advdepth_nb.data.samples import Sample, resplit

pytestmark = pytest.mark.filterwarnings("ignore:.*the official one 654")


# ---------------------------------------------------------------- Hu's csv


def test_hu_missing_file_is_named_with_its_line(tmp_path):
    root = hu(tmp_path)
    (root / "data/nyu2_train/den_0001_out/1.png").unlink()
    refused(lambda: open_source(root), "nyu2_train.csv, line 2", "den_0001_out/1.png", kind=FileNotFoundError)


@pytest.mark.parametrize(
    "row, columns", [("a.png", "1 column"), ("a.png,b.png,c.png", "3 column"), ("a;b", "1 column")]
)
def test_hu_wrong_number_of_columns(tmp_path, row, columns):
    listing = hu(tmp_path) / "data/nyu2_test.csv"
    listing.write_text(listing.read_text() + row + "\n")
    refused(lambda: open_source(listing), "nyu2_test.csv, line 3", columns)


def test_hu_blank_lines_and_spaces_do_not_shift_the_count(tmp_path):
    listing = hu(tmp_path) / "data/nyu2_test.csv"
    first, second = listing.read_text().split()
    listing.write_text(f"{first.replace(',', ' , ')}\n\n{second}\r\n")
    assert len(open_source(listing)) == 2
    listing.write_text(f"{first}\n\nb.png\n")
    refused(lambda: open_source(listing), "line 3")


def test_hu_roles_fix_the_number_of_bits(tmp_path):
    root = hu(tmp_path)
    train, test = root / "data/nyu2_train.csv", root / "data/nyu2_test.csv"
    train_rows, test_rows = train.read_text(), test.read_text()
    train.write_text(test_rows)
    test.write_text(train_rows)
    refused(lambda: open_source(train)[0], "nyu2_train.csv, line 1", "16-bit", "v/255*10")
    refused(lambda: open_source(test)[0], "nyu2_test.csv, line 1", "8-bit", "0.001*v")


def test_hu_name_without_a_role(tmp_path):
    listing = hu(tmp_path) / "data/nyu2_test.csv"
    renamed = listing.rename(listing.with_name("frames.csv"))
    refused(lambda: open_source(renamed), "frames.csv", "'train'", "'test'")


def test_hu_empty_csv_and_duplicates(tmp_path):
    listing = hu(tmp_path) / "data/nyu2_test.csv"
    rows = listing.read_text()
    listing.write_text(rows + rows)
    refused(
        lambda: open_source(listing),
        f"{listing}, line 1 and {listing}, line 3",
        "test image 00000 is listed twice",
    )
    listing.write_text("")
    refused(lambda: open_source(listing), "holds no frames")


@pytest.mark.parametrize("name", ["00001_colors.png", "00001_depth.png"])
def test_hu_truncated_picture(tmp_path, name):
    root = hu(tmp_path)
    broken = root / "data/nyu2_test" / name
    broken.write_bytes(broken.read_bytes()[:-40])
    source = open_source(root / "data/nyu2_test.csv")
    source[0]
    refused(lambda: source[1], "nyu2_test.csv, line 2", name, "cannot be read")


def test_hu_color_and_depth_swapped_or_of_different_size(tmp_path):
    root = hu(tmp_path)
    listing = root / "data/nyu2_test.csv"
    rows = [row.split(",") for row in listing.read_text().split()]
    listing.write_text("\n".join(f"{depth},{image}" for image, depth in rows))
    refused(lambda: open_source(listing)[0], "line 1", "is it a depth map?")
    listing.write_text("\n".join(f"{image},{depth}" for image, depth in rows))
    Image.fromarray(np.ones((3, 4), np.uint16)).save(root / rows[0][1])
    for source in (open_source(listing), open_source(listing.parent)):  # the line is named either way
        i = [r.split for r in source.records].index("test")
        refused(lambda s=source, i=i: s[i], f"{listing}, line 1", "image 00000 is 6x8 but its depth is 3x4")
    assert open_source(listing)[1].depth.shape == (6, 8)


def test_hu_listed_in_two_csvs_names_both(tmp_path):
    root = hu(tmp_path)
    for split in ("train", "test"):
        (root / f"nyu2_{split}.csv").write_text((root / f"data/nyu2_{split}.csv").read_text())
    refused(lambda: open_source(root), "data/nyu2_train.csv, line 1 and ", f"{root}/nyu2_train.csv, line 1", "twice")


def test_fifty_thousand_records_are_checked_at_once(tmp_path):
    records = [Sample("den", f"den/{i}", "train", ()) for i in range(50_000)]
    start = time.perf_counter()
    DepthSource("many", tmp_path, tuple(records), None)
    refused(
        lambda: DepthSource("many", tmp_path, (*records, records[-1]), None), "train image den/49999 is listed twice"
    )
    assert time.perf_counter() - start < 5  # comparing each with each takes more than a minute


def test_hu_warns_about_a_test_split_that_is_not_the_official_one(tmp_path):
    root = hu(tmp_path)
    with pytest.warns(UserWarning, match="test split has 2 images, the official one 654"):
        open_source(root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_source(root / "data/nyu2_train.csv")


# ---------------------------------------------------------------- the .mat


def test_mat_reads_upright_and_counts_from_one(tmp_path):
    source = open_source(mat(tmp_path / "m"))
    assert [(r.split, r.name, r.scene) for r in source.records] == [
        ("train", "00000", "cafe_0000"), ("train", "00002", "cafe_0002"),
        ("test", "00001", "cafe_0001"), ("test", "00003", "cafe_0003"),
    ]  # fmt: skip
    image, depth = frame(1)
    assert np.array_equal(source[2].image, image) and np.array_equal(source[2].depth, depth)
    raw = open_source(tmp_path / "m", raw=True)[2].depth
    assert np.array_equal(raw, np.where(depth > 5, 0, depth)) and (raw == 0).any()


@pytest.mark.parametrize("test, words", [((2, 5), ("testNdxs holds 5", "1 to 4")), ((0, 2), ("testNdxs holds 0",)),
                                         ((2, 3), ("image 3 is in trainNdxs and in testNdxs",))])  # fmt: skip
def test_mat_bad_splits(tmp_path, test, words):
    refused(lambda: open_source(mat(tmp_path, test=test)), "splits.mat", *words)


def test_mat_without_splits_or_with_a_broken_one(tmp_path):
    path = mat(tmp_path / "m")
    splits = path.with_name("splits.mat")
    moved = splits.rename(tmp_path / "elsewhere.mat")
    refused(lambda: open_source(path), "splits.mat does not exist", kind=FileNotFoundError)
    assert len(open_source(path, splits=moved)) == 4
    splits.write_bytes(b"nothing")
    refused(lambda: open_source(path), "not the official splits.mat")
    savemat(splits, {"trainNdxs": [1]})
    refused(lambda: open_source(path), "not the official splits.mat", "testNdxs")


def test_mat_an_index_twice_in_splits(tmp_path):
    path = mat(tmp_path, test=(2, 4, 2))
    refused(lambda: open_source(path), "splits.mat, testNdxs: the test image 00001 is listed twice")


def test_mat_missing_field_wrong_axes_truncated(tmp_path):
    refused(lambda: open_source(mat(tmp_path / "a", depths=None)), "no field 'depths'", "rawDepths")
    plain = np.zeros((4, 6, 8, 3), np.uint8)  # as if the axes had been put right already
    refused(lambda: open_source(mat(tmp_path / "b", images=plain)), "(4, 6, 8, 3)", "(N,3,W,H)")
    path = mat(tmp_path / "c")
    path.write_bytes(path.read_bytes()[:3000])
    refused(lambda: open_source(path), "nyu.mat cannot be read as HDF5")


# ---------------------------------------------------------------- .h5 per frame


def test_frames_h5(tmp_path):
    for name in ("train/den_0001/00002", "train/den_0001/00001", "val/official/00007"):
        frame_h5(tmp_path / f"{name}.h5")
    source = open_source(tmp_path)
    assert [(r.split, r.scene, r.name) for r in source.records] == [
        ("train", "den_0001", "den_0001/00001"), ("train", "den_0001", "den_0001/00002"), ("test", "00007", "00007"),
    ]  # fmt: skip
    assert not source.scenes_known and source[0].image.shape == (6, 8, 3)


@pytest.mark.parametrize(
    "content, words",
    [
        ({"rgb": np.zeros((6, 8, 3), np.uint8)}, ("(6, 8, 3)", "(3,H,W)")),
        ({"rgb": np.zeros((3, 6, 8), np.float32)}, ("float32", "uint8")),
        ({"depth": np.full((6, 8), 2500, np.uint16)}, ("uint16", "float metres")),
        ({"depth": np.full((6, 8), 2500.0)}, ("to 2500", "millimetres")),
        ({"depth": np.full((6, 8), -1.0)}, ("from -1", "expected")),
        ({"depth": np.full((5, 8), 1.0)}, ("is 6x8 but its depth is 5x8",)),
    ],
)
def test_frames_h5_bad_content(tmp_path, content, words):
    frame_h5(tmp_path / "train/den/1.h5", **content)
    refused(lambda: open_source(tmp_path)[0], *words)


def test_frames_h5_truncated_and_unknown_depth(tmp_path):
    unknown = np.array([[np.nan, np.inf, 2.0, 0.0]] * 6)
    path = frame_h5(tmp_path / "train/den/1.h5", rgb=np.zeros((3, 6, 4), np.uint8), depth=unknown)
    assert open_source(tmp_path)[0].depth[0].tolist() == [0, 0, 2, 0]
    assert PackedDepth(pack(tmp_path, tmp_path / "p.h5", progress=False)).unknown == 0.75
    path.write_bytes(path.read_bytes()[:1000])
    refused(lambda: open_source(tmp_path)[0], "1.h5", "truncated")


# ---------------------------------------------------------------- raw frames


def test_pgm_values_are_not_stretched(tmp_path):
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 100
    path = tmp_path / "depth_1.pgm"
    for largest in (4700, 65535):
        path.write_bytes(b"P5\n# by hand\n8 6\n%d\n" % largest + values.astype(">u2").tobytes())
        assert np.array_equal(read_codes(path, bits=16, what="depth"), values)
    path.write_bytes(path.read_bytes()[:-1])
    refused(lambda: read_codes(path, bits=16, what="depth"), "depth_1.pgm", "truncated")
    path.write_bytes(b"P5 8 6 255\n" + bytes(48))
    refused(lambda: read_codes(path, bits=16, what="depth"), "8-bit, but 16-bit is expected of depth")
    path.write_bytes(b"P2 8 6 255\n")
    refused(lambda: read_codes(path, bits=16, what="depth"), "not a binary PGM")


def test_raw_frame_without_partner(tmp_path):
    image, depth = frame()
    for i in (1, 2):
        Image.fromarray(image).save(tmp_path / f"rgb_{i}.png")
    Image.fromarray(np.rint(depth * 1000).astype(np.uint16)).save(tmp_path / "sync_depth_1.png")
    refused(lambda: open_source(tmp_path), "rgb_2.png has no partner")


@pytest.mark.parametrize(
    "extra, words",
    [
        ("color_1.jpg", ("color_1.jpg", "rgb_1.png", "two pictures")),
        ("1_colors.png", ("1_colors.png", "rgb_1.png", "two pictures")),
        ("depth_1.png", ("depth_1.png", "sync_depth_1.png", "two depth maps")),
    ],
)
def test_raw_two_files_for_one_frame(tmp_path, extra, words):
    image, depth = frame()
    millimetres = np.rint(depth * 1000).astype(np.uint16)
    Image.fromarray(image).save(tmp_path / "rgb_1.png")
    Image.fromarray(millimetres).save(tmp_path / "sync_depth_1.png")
    assert len(open_source(tmp_path)) == 1
    Image.fromarray(millimetres if "depth" in extra else image).save(tmp_path / extra)
    refused(lambda: open_source(tmp_path), *words)
    (tmp_path / "other").mkdir()
    (tmp_path / extra).rename(tmp_path / "other" / extra)  # another folder is another scene: only a partner is missing
    if "depth" in extra:
        with pytest.warns(UserWarning, match="without pictures beside them are passed over: 1, such as .*depth_1.png"):
            assert len(open_source(tmp_path)) == 1
    else:
        refused(lambda: open_source(tmp_path), extra, "no partner (1 such files)")


def test_raw_two_folders_of_one_name(tmp_path):
    image, depth = frame()
    for house in ("a", "b"):
        (tmp_path / house / "den").mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / house / "den/rgb_1.png")
        Image.fromarray(np.rint(depth * 1000).astype(np.uint16)).save(tmp_path / house / "den/depth_1.png")
    refused(lambda: open_source(tmp_path), "a/den/rgb_1.png and ", "b/den/rgb_1.png", "den/1 is listed twice")


def test_raw_depth_of_eight_bits_or_in_color(tmp_path):
    image, _ = frame()
    Image.fromarray(image).save(tmp_path / "rgb_1.png")
    Image.fromarray(image[..., 0]).save(tmp_path / "depth_1.png")
    refused(lambda: open_source(tmp_path)[0], "depth_1.png is 8-bit")
    Image.fromarray(image).save(tmp_path / "depth_1.png")
    refused(lambda: open_source(tmp_path)[0], "depth_1.png", "mode RGB")


def test_nothing_there(tmp_path):
    refused(lambda: open_source(tmp_path / "no"), "does not exist", kind=FileNotFoundError)
    refused(lambda: open_source(tmp_path), "no known layout: looked for *.mat")
    (tmp_path / "notes.txt").touch()
    refused(lambda: open_source(tmp_path / "notes.txt"), "notes.txt: a .csv, .mat or .h5 file is expected")
    mat(hu(tmp_path))
    refused(lambda: open_source(tmp_path), "several layouts", "nyu.mat", "nyu2_*.csv")


# ---------------------------------------------------------------- dividing, packing, reading


def test_resplit_is_stable_and_by_scene(tmp_path):
    source = open_source(hu(tmp_path, train=9, test=0))
    held = [{r.scene for r in resplit(source, 0.3, seed).records if r.split == "test"} for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2] and len(held[0]) == 3
    refused(lambda: resplit(source, 1.0), "between 0 and 1")
    packed = pack(source, tmp_path / "p.h5", test_fraction=0.3, progress=False)
    assert set(PackedDepth(packed, "test").scenes) == held[0]
    assert PackedDepth(packed).division == "by scene, 3 of 9 held out, seed 0"
    assert PackedDepth(packed, "test").quantum.tolist() == pytest.approx([10 / 255] * 3)  # still read as 8-bit


def test_repacking_keeps_layout_quantum_and_pixels(tmp_path):
    first = pack(hu(tmp_path), tmp_path / "a.h5", progress=False)
    second = pack(first, tmp_path / "b.h5", progress=False)
    assert second.read_bytes() == first.read_bytes()


def test_scenes_in_both_splits_are_told(tmp_path):
    for name in ("train/den/1", "val/den/2"):
        frame_h5(tmp_path / f"{name}.h5")
    with pytest.warns(UserWarning, match="1 scenes, such as den, are in both splits"):
        pack(tmp_path, tmp_path / "p.h5", progress=False)


def test_a_failed_pack_leaves_nothing(tmp_path):
    root = hu(tmp_path / "hu")
    (root / "data/nyu2_test/00001_depth.png").write_bytes(b"")
    out = tmp_path / "out" / "p.h5"
    refused(lambda: pack(root, out, progress=False), "nyu2_test.csv, line 2")
    assert list(out.parent.iterdir()) == []


def broken(path: Path, change, split: str = "test") -> Path:
    """The packed file with one change made to a split's group."""
    with h5py.File(path, "r+") as file:
        change(file[split])
    return path


def replace_field(name: str, value):
    def change(group):
        del group[name]
        group[name] = value

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        *[((lambda g, n=n: g.pop(n)), (f"the test split has no field {n!r}",))
          for n in ("rgb", "depth_mm", "scene", "image", "quantum", "cap")],
        *[((lambda g, n=n: g.parent.attrs.pop(n)), (f"no attribute {n!r}",)) for n in ("layout", "division")],
        (replace_field("quantum", np.ones(3, np.float32)), ("'quantum' is (3,) float32", "(2,)")),
        (replace_field("depth_mm", np.ones((2, 6, 8), np.float32)), ("'depth_mm' is (2, 6, 8) float32", "uint16")),
        (replace_field("rgb", np.ones((2, 6, 8, 3), np.uint8)), ("'rgb' is (2, 6, 8, 3) uint8", "a map of (6, 8)")),
        (replace_field("scene", np.ones(2)), ("'scene' is (2,) float64", "text")),
        ((lambda g: (g.pop("cap"), g.create_group("cap"))), ("no field 'cap'",)),
    ],
)  # fmt: skip
def test_a_packed_file_that_lacks_something(tmp_path, change, words):
    path = pack(hu(tmp_path), tmp_path / "p.h5", progress=False)
    assert len(PackedDepth(path, "test")) == 2 and len(open_source(path)) == 5
    broken(path, change)
    for call in (lambda: PackedDepth(path, "test"), lambda: open_source(path)):
        refused(call, str(path), *words, "pack its data set again")


@pytest.mark.parametrize("name", ["scenes_known", "unknown"])
def test_a_split_that_lacks_an_attribute(tmp_path, name):
    path = broken(pack(hu(tmp_path), tmp_path / "p.h5", progress=False), lambda g: g.attrs.pop(name))
    refused(
        lambda: PackedDepth(path, "test"), f"p.h5: the test split has no attribute {name!r}; pack its data set again"
    )
    assert len(PackedDepth(path, "train")) == 3 and len(open_source(path)) == 5  # neither needs it


def test_a_split_that_is_no_group(tmp_path):
    path = pack(hu(tmp_path), tmp_path / "p.h5", progress=False)
    with h5py.File(path, "r+") as file:
        del file["test"]
        file["test"] = np.zeros(2)
    for call in (lambda: PackedDepth(path, "test"), lambda: open_source(path)):
        refused(call, "p.h5", "'test' is an array", "pack its data set again")


def test_where_nothing_can_be_written(tmp_path):
    root = hu(tmp_path / "hu")
    (tmp_path / "notes.txt").touch()
    for out in (tmp_path / "notes.txt" / "p.h5", tmp_path / "notes.txt" / "deep" / "er" / "p.h5"):
        for call in (pack, lambda _, *words, **more: pack_rooms(*words, 1, 1, 1, **SIZES | more)):
            refused(
                lambda out=out, call=call: call(root, out, progress=False),
                f"{out} cannot be written",
                "notes.txt is a file, not a folder",
            )


WHOLE = "must be a whole number of at least 1, not"


@pytest.mark.parametrize(
    "size, words",
    [
        ((0, 5), ("the height in {}", f"{WHOLE} 0")),
        ((5, -1), ("the width in {}", f"{WHOLE} -1")),
        ((2.5, 3), ("the height in {}", f"{WHOLE} 2.5")),
        ((True, 3), ("the height in {}", f"{WHOLE} True")),
        ([5], ("{} must be (height, width)", "not [5]")),
        ((), ("{} must be (height, width)", "not ()")),
        (240, ("{} must be (height, width)", "not 240")),
        ("240x320", ("{} must be (height, width)", "not '240x320'")),
    ],
)
def test_a_size_that_is_none(tmp_path, size, words):
    root = hu(tmp_path / "hu")
    out = tmp_path / "p.h5"
    refused(lambda: pack(root, out, size=size, progress=False), *(w.format("size") for w in words))
    for name in ("train_size", "test_size"):
        refused(lambda name=name: pack_rooms(out, 1, 1, 1, **SIZES | {name: size}), *(w.format(name) for w in words))
    assert not out.exists()


@pytest.mark.parametrize(
    "name, value", [("train_scenes", 0), ("test_scenes", 0), ("views", 0), ("views", 1.5), ("seed", -1)]
)
def test_numbers_of_rooms_that_cannot_be(tmp_path, name, value):
    given = {"train_scenes": 1, "test_scenes": 1, "views": 1} | SIZES | {name: value}
    refused(lambda: pack_rooms(tmp_path / "r.h5", **given), f"{name} must be a whole number of at least", str(value))
    assert not list(tmp_path.iterdir())


def test_wrong_files_and_splits(tmp_path):
    packed = pack(hu(tmp_path) / "data/nyu2_test.csv", tmp_path / "p.h5", progress=False)
    refused(lambda: PackedDepth(packed), "no train split", "--test-fraction")
    refused(lambda: PackedDepth(packed, "val"), "'train' or 'test'")
    refused(lambda: PackedDepth(tmp_path / "q.h5"), "does not exist", kind=FileNotFoundError)
    refused(lambda: PackedDepth(frame_h5(tmp_path / "f.h5")), "not written by pack()")
    refused(lambda: pack(packed, packed, progress=False), "already exists")
    data = PackedDepth(packed, "test")
    refused(lambda: data[2], "image 2 was asked for, but there are 2", kind=IndexError)
    packed.write_bytes(packed.read_bytes()[:2000])
    refused(lambda: PackedDepth(packed, "test"), "truncated")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_same(tmp_path, method):
    data = PackedDepth(pack(hu(tmp_path, train=6), tmp_path / "p.h5", progress=False))
    here = data.batch(range(6))
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context=method)
    there = list(loader)
    assert torch.equal(torch.cat([b["image"] for b in there]), here["image"])
    assert torch.equal(torch.cat([b["depth"] for b in there]), here["depth"])
    assert len(pickle.dumps(data)) < 10_000


# ---------------------------------------------------------------- rooms


def fake_room(scene, view, size=(240, 320), device="cpu", sensor=None, varied=False):
    image, depth = frame(scene * 100 + view, *size)
    return {"image": torch.from_numpy(image).permute(2, 0, 1) / 255, "depth": torch.from_numpy(depth)[None]}


SIZES = {"train_size": (6, 8), "test_size": (12, 16), "progress": False}


@pytest.fixture
def rooms(monkeypatch):
    """`pack_rooms` with a renderer that costs nothing."""
    monkeypatch.setattr(rendered, "room", fake_room)


def _pack_rooms(out):
    rendered.room = fake_room
    pack_rooms(out, 20, 5, 2, **SIZES)


def test_rooms_are_rendered_once(tmp_path, rooms, monkeypatch):
    out = pack_rooms(tmp_path / "r.h5", 3, 2, 2, **SIZES)
    train, test = PackedDepth(out), PackedDepth(out, "test")
    assert (len(train), train.size, len(test), test.size) == (6, (6, 8), 4, (12, 16))
    assert set(train.scenes).isdisjoint(test.scenes) and train.scenes_known
    assert not set(train.scenes) & set(PackedDepth(pack_rooms(tmp_path / "s.h5", 3, 2, 2, seed=1, **SIZES)).scenes)
    # a second rendering would fail
    monkeypatch.setattr(rendered, "room", None)
    assert pack_rooms(out, 3, 2, 2, **SIZES) == out
    refused(lambda: pack_rooms(out, 3, 2, 4, **SIZES), "views 2 instead of 4")


def test_the_test_rooms_of_quick_stay_what_they_are(tmp_path):
    """Every score at `quick` is of these 40 rooms: as long as this holds, versions can be compared by their numbers."""
    from advdepth_nb.systems.catalog import experiment

    world = experiment("baseline", scale="quick").world
    out = pack_rooms(tmp_path / "r.h5", 1, world.test_scenes, world.views, world.train_size, world.test_size)
    with h5py.File(out) as file:
        digest = hashlib.sha256()
        for name in ("depth_mm", "rgb"):
            digest.update(file["test"][name][()].tobytes())
    assert digest.hexdigest() == "306d44b817760b2883f0b3acc3d46eba597da1116c01c4cb1a58d96a8f6d812d"


def test_rooms_rendered_by_processes_are_the_same_bits(tmp_path):
    sizes = {"train_size": (24, 32), "test_size": (48, 64), "progress": False}
    one, two = (pack_rooms(tmp_path / f"{n}.h5", 3, 1, 2, **sizes, workers=n) for n in (0, 2))
    for split in ("train", "test"):
        a, b = PackedDepth(one, split), PackedDepth(two, split)
        assert a.scenes == b.scenes and a.images == b.images and len(a) == {"train": 6, "test": 2}[split]
        for x, y in zip(a, b):
            assert torch.equal(x["image"], y["image"]) and torch.equal(x["depth"], y["depth"])


def test_a_killed_writer_leaves_no_process(tmp_path):
    code = (
        "from advdepth_nb.data.rendered import pack_rooms\n"
        f"pack_rooms({str(tmp_path / 'r.h5')!r}, 1000, 1, 1, (240, 320), (48, 64), progress=False, workers=2)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 120
    while len(workers := psutil.Process(writer.pid).children()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)  # until the pipe between them is full
    writer.kill()
    writer.wait()
    assert len(workers) == 2
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


def test_rooms_by_several_writers_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_pack_rooms, args=(tmp_path / "r.h5",)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0, 0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["r.h5"]
    assert PackedDepth(tmp_path / "r.h5").batch(range(40))["image"].shape == (40, 3, 6, 8)


def test_a_killed_writer_leaves_no_file_of_that_name(tmp_path):
    code = (
        "import time, torch\nfrom advdepth_nb.data import rendered\n"
        "def slow(scene, view, size, **_):\n    time.sleep(0.05)\n"
        "    return {'image': torch.zeros(3, *size), 'depth': torch.ones(1, *size)}\n"
        "rendered.room = slow\n"
        f"rendered.pack_rooms({str(tmp_path / 'r.h5')!r}, 1000, 1, 1, (6, 8), (6, 8), progress=False)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert len(list(tmp_path.glob(".r.h5.*.part"))) == 1 and not (tmp_path / "r.h5").exists()


# ---------------------------------------------------------------- real frames


def test_real_hu_frames(real_data):
    with pytest.warns(UserWarning, match="has 25 images, the official one 654"):
        source = open_source(real_data / "nyu_hu_layout")
    assert len(source) == 25 and source.layout.startswith("Hu") and not source.scenes_known
    official = set(loadmat(real_data / "nyu_splits/splits.mat")["testNdxs"].ravel().tolist())
    for one in source:
        assert one.image.shape == (480, 640, 3) and one.depth.shape == (480, 640) and one.split == "test"
        assert one.depth.min() > 0.5 and one.depth.max() <= 10 and one.quantum == 0.001
        assert int(one.name) + 1 in official  # names count from 0, splits.mat from 1


@pytest.mark.parametrize("folder, count", [("nyu_raw_png", 3), ("nyu_raw_pgm", 5)])
def test_real_raw_frames(folder, count, real_data):
    source = open_source(real_data / folder)
    assert len(source) == count and source.layout.startswith("a folder of raw") and source.scenes_known
    assert {r.scene for r in source.records} == {folder}
    for one in source:
        assert 0.2 < (one.depth == 0).mean() < 0.4  # holes
        assert one.depth[one.depth > 0].min() > 0.4 and one.depth.max() < 10.5


def test_real_frames_divided_packed_and_read(tmp_path, real_data):
    out = pack(real_data / "nyu_hu_layout", tmp_path / "p.h5", size=(240, 320), test_fraction=0.2, progress=False)
    train, test = PackedDepth(out), PackedDepth(out, "test")
    assert (len(train), len(test), train.size) == (20, 5, (240, 320))
    source = {one.name: one for one in open_source(real_data / "nyu_hu_layout")}
    for i, name in enumerate(test.images):
        assert np.abs(test[i]["depth"][0].numpy() - source[name].depth[1::2, 1::2]).max() < 0.0006  # nearest


def test_manifest_and_layout_agree(real_data):
    with open(real_data / "manifest.csv", newline="") as rows:
        depths = [r["file"] for r in csv.DictReader(rows) if r["kind"] == "depth" and r["file"].startswith("nyu")]
    assert len(depths) == 25 + 8
    for name in depths:
        assert read_codes(real_data / name, bits=16).shape == (480, 640)
