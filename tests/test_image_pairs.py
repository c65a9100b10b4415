"""Paired images: every layout and division on tiny files, the worlds' packed files, and the real field photographs."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from factories import classes, painted, photo, write

from advdepth_nb.core.colors import (
    PALETTES, chroma_to_network, decode, from_network, gray_of, lab_from_network, lab_to_rgb, lightness_to_network,
    rgb_to_lab, to_network,
)  # fmt: skip
from advdepth_nb.data.nyu import PackedDepth, open_source
from advdepth_nb.data.packed import DATA_FORMAT
from advdepth_nb.data.pairs import PackedPairs, open_pairs, pack_pairs
from advdepth_nb.data.rendered import pack_fields, pack_rooms
from advdepth_nb.data.samples import Sample, identity
from advdepth_nb.metrics.images import IMAGE_PROTOCOLS, score_images
from advdepth_nb.data.stereo import PackedStereo, StereoSource, open_stereo, pack_stereo


def message(call) -> str:
    """The one sentence of a user's mistake."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("form", ["{part}/{side}", "{side}/{part}", "{part}{side}"])
@pytest.mark.parametrize("held_out", ["test", "val"])
def test_folders_divided_by_their_names(tmp_path, form, held_out):
    for i, part in enumerate(["train", "train", held_out]):
        write(tmp_path / form.format(part=part, side="A") / f"{i}.jpg", photo(i))
        write(tmp_path / form.format(part=part, side="B") / f"{i}.png", painted(classes(i)))
    source = open_pairs(tmp_path, "segment", palette="field")
    assert [r.split for r in source.records] == ["train", "train", "test"] and source.division == "the source's own"
    for i, pair in enumerate(source):
        assert np.array_equal(pair.labels, classes(i))
        assert np.array_equal(pair.input, np.asarray(Image.open(source.records[i].where[0])))


def test_val_is_left_out_where_test_exists(tmp_path):
    for part in ("train", "val", "test"):
        write(tmp_path / part / "A/x.png", photo())
        write(tmp_path / part / "B/x.png", painted(classes()))
    assert [r.split for r in open_pairs(tmp_path, "segment", "field").records] == ["train", "test"]
    for name in ("holiday/train/a.png", "holiday/val/b.png", "holiday/test/c.png"):
        write(tmp_path / name, photo())
    assert [(r.split, r.name) for r in open_pairs(tmp_path / "holiday", "colorize").records] == [
        ("test", "test/c"), ("train", "train/a")
    ]  # fmt: skip


def test_side_by_side(tmp_path):
    for i in range(5):
        write(tmp_path / f"{i}.png", np.hstack([photo(i, 16, 16), painted(classes(i, 16, 16))]))
    source = open_pairs(tmp_path, "segment", palette="field")
    assert source.layout.startswith("pairs side by side")
    assert [r.split for r in source.records] == ["train"] * 4 + ["test"]
    assert all(np.array_equal(pair.labels, classes(i, 16, 16)) for i, pair in enumerate(source))
    assert all(np.array_equal(pair.input, photo(i, 16, 16)) for i, pair in enumerate(source))
    assert open_pairs(tmp_path, "colorize", layout="photographs")[0].target.shape == (16, 32, 3)  # overruled
    write(tmp_path / "odd.png", photo(9, 16, 16))
    said = message(lambda: open_pairs(tmp_path, "segment", palette="field"))
    assert "odd.png is not twice as wide as high" in said and "5 pictures" in said


def test_a_few_panoramas_are_photographs(tmp_path):
    for i in range(5):
        write(tmp_path / f"{i}.png", photo(i, 16, 32 if i == 0 else 20))
    source = open_pairs(tmp_path, "colorize")
    assert source.layout == "photographs" and source[0].target.shape == (16, 32, 3)


@pytest.mark.parametrize("kind", ["numbers", "palette", "zero_one", "black_white", "one_bit"])
def test_masks_of_every_kind(tmp_path, kind):
    for i in range(3):
        labels = classes(i, count=4 if kind in ("numbers", "palette") else 2)
        write(tmp_path / f"images/{i}.jpg", photo(i))
        path = tmp_path / f"masks/{i}.png"
        path.parent.mkdir(exist_ok=True)
        picture = Image.fromarray(labels * (255 if kind in ("black_white", "one_bit") else 1))
        if kind == "palette":
            picture = picture.convert("P")
            picture.putpalette([c for color in PALETTES["field"].values() for c in color])
        picture.convert("1").save(path) if kind == "one_bit" else picture.save(path)
    four = kind in ("numbers", "palette")
    source = open_pairs(tmp_path, "segment", palette="field" if four else None, test_every=0)
    assert tuple(source.palette) == (("sky", "soil", "stalk", "leaf") if four else ("background", "foreground"))
    assert all(np.array_equal(pair.labels, classes(i, count=4 if four else 2)) for i, pair in enumerate(source))


@pytest.mark.parametrize(
    ("files", "task", "options", "words"),
    [
        ({"A/x.png": photo()}, "segment", {}, ["B does not exist"]),
        ({"A/x.png": photo(), "B/y.png": photo()}, "segment", {}, ["no partner", "2 such files"]),
        ({"A/x.png": photo(), "A/x.jpg": photo(), "B/x.png": photo()}, "segment", {}, ["have one name", "remove"]),
        ({"A/x.png": photo(0, 8, 8), "B/x.png": painted(classes())}, "segment", {}, ["is 8x8", "is 16x24", "resize"]),
        ({"A/x.png": photo(), "B/x.png": photo(1)}, "segment", {}, ["B/x.png", "more than 16 colors", "palette"]),
        ({"A/x.png": photo(), "B/x.png": photo(1)}, "segment", {"palette": "field"}, ["color of no class", "palette"]),
        ({"A/x.png": photo(), "B/x.png": photo(1)}, "colorize", {}, ["A/x.png is in color", "segment"]),
        ({"A/x.png": photo()[..., 0], "B/x.png": photo()[..., 0]}, "colorize", {}, ["B/x.png carries no color"]),
        ({"old.png": photo()[..., 0]}, "colorize", {}, ["old.png carries no color", "colored original"]),
        ({"x.png": photo()}, "segment", {}, ["holds photographs", "masks/"]),
        ({"images/x.png": photo(), "masks/x.png": classes() + 3}, "segment", {"palette": "field"},
         ["masks/x.png holds the value 6", "0 to 3"]),
        ({"images/x.png": photo(), "masks/x.png": photo()}, "segment", {}, ["masks/x.png has three channels"]),
        ({"images/x.png": photo(), "masks/x.png": photo()[..., 0]}, "segment", {}, ["neither black nor white"]),
        ({"images/x.png": photo(), "masks/x.png": classes().astype(np.uint16) * 300}, "segment", {}, ["has 16 bits"]),
        ({"notes/x.csv": None}, "colorize", {}, ["holds no pictures"]),
        ({"A/x.csv": None, "B/x.csv": None}, "colorize", {}, ["holds no pictures"]),
        ({"x.png": b"nothing"}, "colorize", {}, ["x.png is no picture of a known format"]),
        ({"x.png": photo()}, "colors", {}, ["'colorize' or 'segment'"]),
        ({"x.png": photo()}, "colorize", {"palette": "field"}, ["palette belongs to the task 'segment'"]),
        ({"x.png": photo()}, "colorize", {"layout": "pix2pix"}, ["side_by_side", "not 'pix2pix'"]),
        ({"x.png": photo()}, "colorize", {"test_every": 1}, ["test_every is 1"]),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else None,
)  # fmt: skip
def test_bad_input_is_one_sentence(tmp_path, files, task, options, words):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, np.ndarray):
            Image.fromarray(content).save(tmp_path / name)
        else:
            (tmp_path / name).write_bytes(content or b"")
    said = message(lambda: open_pairs(tmp_path, task, **{"test_every": 0} | options)[0])
    assert all(word in said for word in words), said


def test_lab_is_kornias_lab():
    kornia = pytest.importorskip("kornia")
    picture = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    ours, theirs = rgb_to_lab(picture), kornia.color.rgb_to_lab(picture)
    assert (ours - theirs).abs().max() < 0.05  # their white is rounded to five digits
    assert (lab_to_rgb(theirs) - picture).abs().max() < 1e-3


def test_what_a_perfect_network_says_is_scored_perfect(tmp_path):
    for i in range(3):
        write(tmp_path / f"A/{i}.png", photo(i))
        write(tmp_path / f"B/{i}.png", painted(classes(i)))
    packed = pack_pairs(tmp_path, tmp_path / "p.h5", None, "segment", "field", test_every=0, progress=False)
    data = PackedPairs(packed)
    batch = data.batch([0, 1, 2])
    output = to_network(batch["target"]) * 0.93 + 0.04  # a little off every color
    scores = score_images(from_network(output), batch, IMAGE_PROTOCOLS["segment"], data.palette)
    assert (scores["iou"] == 1).all() and (scores["mse"] > 0).all() and scores["n_valid"].tolist() == [384] * 3
    data = PackedPairs(packed, task="colorize")
    batch = data.batch([0, 1, 2])
    lightness, chroma = lightness_to_network(batch["input"]), chroma_to_network(batch["target"])
    scores = score_images(lab_from_network(lightness, chroma), batch, IMAGE_PROTOCOLS["colorize"])
    assert (scores["psnr"] > 45).all() and (scores["ssim"] > 0.999).all() and (scores["color_distance"] < 0.5).all()
    gray = score_images(batch["input"].expand(-1, 3, -1, -1), batch, IMAGE_PROTOCOLS["colorize"])
    assert (gray["color_distance"] > 20).all()


def test_packed_worlds_need_no_second_file(tmp_path):
    def read(record: Sample) -> dict:
        i = record.where[0]
        return {"left": photo(i), "right": photo(i + 50), "segmentation": classes(i)}

    names = [(f"field-{i // 2}", f"field-{i // 2}/{i % 2}", "train" if i < 4 else "test", (i,)) for i in range(6)]
    source = StereoSource("a made-up field", tmp_path, tuple(Sample(*n) for n in names), read)
    stereo = pack_stereo(source, tmp_path / "stereo.h5", progress=False)
    data = PackedPairs(stereo, "train", "segment")
    assert len(data) == 4 and data.scenes == ["field-0"] * 2 + ["field-1"] * 2 and data.scenes_known
    assert data.classes == ("sky", "soil", "stalk", "leaf") and data.size == (16, 24)
    item = data[3]
    assert np.array_equal(item["labels"][0], classes(3)) and np.array_equal(item["input"].permute(1, 2, 0), photo(3))
    assert torch.equal(decode(item["target"], data.palette), item["labels"])
    color = PackedPairs(stereo, "test", "colorize")[1]
    assert torch.equal(color["input"], gray_of(color["target"]))
    assert np.array_equal(color["target"].permute(1, 2, 0), photo(5))
    del data, item, color  # the file is open as long as a data set is
    with h5py.File(stereo, "a") as file:
        file.attrs["classes"] = json.dumps(["road", "car"])
    assert "holds the classes road, car" in message(lambda: PackedPairs(stereo, "train", "segment"))


def test_rooms_can_be_colored_and_have_no_classes(tmp_path):
    rooms = pack_rooms(tmp_path / "rooms.h5", 1, 1, 1, train_size=(24, 32), test_size=(24, 32), progress=False)
    item = PackedPairs(rooms, "test")[0]
    assert item["input"].shape == (1, 24, 32) and item["target"].shape == (3, 24, 32)
    assert "holds no classes" in message(lambda: PackedPairs(rooms, "test", "segment"))


def test_a_rendered_field_serves_both_tasks(tmp_path):
    packed = pack_fields(tmp_path / "field.h5", 2, 1, 1, (64, 128), (64, 128), progress=False)
    data = PackedPairs(packed, "train", "segment")
    found = torch.cat([data[i]["labels"].flatten() for i in range(2)]).bincount(minlength=4)
    assert data.classes == ("sky", "soil", "stalk", "leaf") and (found > 0).all()
    assert PackedPairs(packed, "test", "colorize")[0]["input"].shape == (1, 64, 128)


def _pack_slowly(source: Path, out: Path) -> None:
    import advdepth_nb.data.pairs as module

    fitted = module._fitted
    module._fitted = lambda *args, **kwargs: (time.sleep(0.05), fitted(*args, **kwargs))[1]
    pack_pairs(source, out, (8, 8), "colorize", progress=False)


def test_a_killed_packing_leaves_nothing_under_the_name(tmp_path):
    for i in range(60):
        write(tmp_path / f"photos/{i:02d}.png", photo(i))
    out = tmp_path / "p.h5"
    process = multiprocessing.get_context("spawn").Process(target=_pack_slowly, args=(tmp_path / "photos", out))
    process.start()
    deadline = time.time() + 60
    while not list(tmp_path.glob(".p.h5.*.part")) and time.time() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(tmp_path.glob(".p.h5.*.part")) and not out.exists()
    assert len(PackedPairs(pack_pairs(tmp_path / "photos", out, (8, 8), "colorize", progress=False))) == 48


def test_a_damaged_file_is_named(tmp_path):
    for i in range(3):
        write(tmp_path / f"photos/{i}.png", photo(i, 64, 64))
    packed = pack_pairs(tmp_path / "photos", tmp_path / "p.h5", None, "colorize", test_every=0, progress=False)
    assert "has no test split" in message(lambda: PackedPairs(packed, "test"))
    content = bytearray(packed.read_bytes())
    with h5py.File(packed) as file:
        at = file["train/target"].id.get_chunk_info(1).byte_offset
    content[at + 20 : at + 400] = bytes(380)
    packed.write_bytes(content)
    data = PackedPairs(packed)
    assert data[0]["target"].shape == (3, 64, 64)
    assert "p.h5: train pair 1 is damaged" in message(lambda: data[1])
    lacking = tmp_path / "lacking.h5"
    lacking.write_bytes(content)
    with h5py.File(lacking, "a") as file:
        del file["train/target"]
    assert "has no field 'target'" in message(lambda: PackedPairs(lacking))


def test_packed_files_of_a_newer_and_of_an_older_format(tmp_path):
    """All three forms, through every door: a newer file is refused in one sentence, one without a format is read."""
    for i in range(3):
        write(tmp_path / f"photos/{i}.png", photo(i, 24, 32))
    sizes = {"train_size": (24, 32), "test_size": (24, 32), "progress": False}
    files = {
        "pairs": (pack_pairs(tmp_path / "photos", tmp_path / "p.h5", None, "colorize", test_every=0, progress=False),
                  [PackedPairs]),
        "depth": (pack_rooms(tmp_path / "d.h5", 1, 1, 1, **sizes), [PackedDepth, open_source, PackedPairs]),
        "stereo": (pack_fields(tmp_path / "s.h5", 1, 1, 1, **sizes, world="room"), [PackedStereo, open_stereo]),
    }  # fmt: skip
    assert PackedPairs(files["pairs"][0]).source_digest == identity(tmp_path / "photos")
    for path, doors in files.values():
        assert all(len(door(path)) for door in doors)
        for change in ({"data_format": DATA_FORMAT + 1}, {}):
            copy = tmp_path / "copy.h5"
            copy.write_bytes(path.read_bytes())
            with h5py.File(copy, "a") as file:
                del file.attrs["data_format"], file.attrs["source_digest"]
                file.attrs.update(change)
            for door in doors:
                if change:
                    told = message(lambda door=door: door(copy))  # noqa: B023
                    assert told.startswith(f"{copy} was written by a newer advdepth_nb (data format 3, this one reads")
                else:
                    assert len(door(copy)) == len(door(path)) and getattr(door(copy), "data_format", 1) == 1


def test_field_photographs_with_panicles(real_data, tmp_path):
    """The real set: 25 photographs, 20 for training and 5 for testing, panicles as classes, soft edges and all."""
    folder = real_data / "sorghum_panicle"
    if not folder.is_dir():
        pytest.skip("no panicle photographs beside the project")
    source = open_pairs(folder, "segment", palette="panicle")
    assert source.layout == "folders images/ and masks/ with equal names" and len(source) == 25
    assert source.division == "by name, one in 5 held out (5 of 25)"
    packed = pack_pairs(source, tmp_path / "panicle.h5", (256, 256), progress=False)
    train, test = PackedPairs(packed, "train"), PackedPairs(packed, "test")
    assert (len(train), len(test)) == (20, 5) and train.classes == ("background", "panicle")
    assert test.images == ["test_008", "test_018", "test_028", "test_038", "test_048"]
    for data, i in ((train, 7), (test, 2)):
        mask = np.asarray(Image.open(folder / "masks" / f"{data.images[i]}.gif").convert("L")) > 127
        share = (data[i]["labels"] == 1).float().mean().item()
        assert abs(share / mask.mean() - 1) < 0.05  # nearest neighbor keeps the area
    batch = test.batch(range(5))
    assert batch["input"].shape == (5, 3, 256, 256) and batch["labels"].max() == 1
    nothing = score_images(torch.zeros_like(batch["labels"]), batch, IMAGE_PROTOCOLS["segment"], test.palette)
    assert (nothing["accuracy"] > 0.9).all() and (nothing["iou_panicle"] == 0).all()  # accuracy says nothing here
    tiled = PackedPairs(pack_pairs(source, tmp_path / "tiles.h5", (128, 128), tiles=4, progress=False))
    assert len(tiled) == 320 and len(set(tiled.scenes)) == 20 and tiled.scenes_known
    assert set(tiled.scenes).isdisjoint(test.images)
    assert PackedPairs(packed, "test", "colorize")[0]["input"].shape == (1, 256, 256)
