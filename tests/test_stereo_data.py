"""Stereo layouts against torchvision's readers, bad input of every kind, whole and broken packs, and the real pairs."""

import json
import shutil
import warnings
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from torchvision import datasets as oracles
from factories import disparity, kitti, pfm, rig, sintel, view, write
from refusals import refused

from advdepth_nb.data import stereo as stereo_data
from advdepth_nb.data.augment import STEREO_AUGMENT, stereo_batch
from advdepth_nb.core.geometry import depth_from_disparity, in_frame, warp
from advdepth_nb.data import rendered as worlds
from advdepth_nb.data.rendered import pack_fields
from advdepth_nb.data.disparities import read_pfm
from advdepth_nb.data.rig_checks import view_faults
from advdepth_nb.data.stereo import PackedStereo, open_stereo, pack_stereo, resize_stereo

GREY = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


# ---------------------------------------------------------------- against other people's readers


def test_sintel_agrees_with_torchvision(tmp_path):
    sintel(tmp_path / "Sintel")
    theirs = oracles.SintelStereo(str(tmp_path), pass_name="final")
    ours = open_stereo(tmp_path / "Sintel")
    assert len(ours) == len(theirs) == 3
    for i in range(3):
        left, right, code, valid = theirs[i]
        pair = ours[i]
        assert np.array_equal(pair.left, np.asarray(left)) and np.array_equal(pair.right, np.asarray(right))
        assert np.array_equal(pair.disparity, code[0])
        assert np.array_equal(~pair.occluded & ~pair.out_of_frame, valid.squeeze())


def test_kitti_agrees_with_torchvision(tmp_path):
    kitti(tmp_path / "Kitti2015")
    theirs, ours = oracles.Kitti2015Stereo(str(tmp_path)), open_stereo(tmp_path / "Kitti2015")
    assert len(ours) == len(theirs) == 2
    for i in range(2):
        left, right, code, _ = theirs[i]
        assert np.array_equal(ours[i].left, np.asarray(left)) and np.array_equal(ours[i].right, np.asarray(right))
        assert np.array_equal(ours[i].disparity, code[0].astype(np.float32))


def test_kitti_2012_agrees_with_torchvision(tmp_path):
    for i in range(2):
        for side in (0, 1):
            write(tmp_path / f"Kitti2012/training/colored_{side}/{i:06d}_10.png", view(10 * i + side))
        code = np.round(256 * disparity(i)).astype(np.uint16)
        for kind, hidden in (("disp_occ", 1), ("disp_noc", 3)):
            write(tmp_path / f"Kitti2012/training/{kind}/{i:06d}_10.png", np.where(np.arange(40) % hidden, 0, code))
    theirs, ours = oracles.Kitti2012Stereo(str(tmp_path)), open_stereo(tmp_path / "Kitti2012")
    assert len(ours) == len(theirs) == 2 and ours.layout == "KITTI 2012"
    for i in range(2):
        left, right, code, _ = theirs[i]
        assert np.array_equal(ours[i].left, np.asarray(left)) and np.array_equal(ours[i].right, np.asarray(right))
        seen = code[0] > 0  # torchvision reads what both views see
        assert np.array_equal(ours[i].disparity[seen], code[0][seen].astype(np.float32))
        assert not (ours[i].occluded & seen).any() and (ours[i].occluded | ours[i].out_of_frame | seen).any()


def test_sceneflow_agrees_with_torchvision(tmp_path):
    root = tmp_path / "SceneFlow/FlyingThings3D"
    for i, scene in enumerate(("TRAIN/A/0000", "TRAIN/B/0001")):
        for j, side in enumerate(("left", "right")):
            write(root / f"frames_finalpass/{scene}/{side}/0006.png", view(2 * i + j))
            pfm(root / f"disparity/{scene}/{side}/0006.pfm", disparity(2 * i + j))
    theirs = oracles.SceneFlowStereo(str(tmp_path), variant="FlyingThings3D", pass_name="final")
    ours = open_stereo(tmp_path / "SceneFlow")
    assert len(ours) == len(theirs) == 2 and ours.layout == "SceneFlow (final pass)" and ours.scenes_known
    for i in range(2):
        left, right, code = theirs[i][:3]
        assert np.array_equal(ours[i].left, np.asarray(left)) and np.array_equal(ours[i].right, np.asarray(right))
        assert np.array_equal(ours[i].disparity, np.abs(code[0]))


@pytest.mark.parametrize("order", ["<", ">"])
def test_pfm_agrees_with_torchvision(tmp_path, order):
    from torchvision.datasets._stereo_matching import _read_pfm_file

    values = disparity(3, 7, 11)
    path = pfm(tmp_path / "a.pfm", values, order)
    assert np.array_equal(read_pfm(path), values)
    assert np.array_equal(read_pfm(path), _read_pfm_file(str(path))[0])


# ---------------------------------------------------------------- bad input


def test_a_missing_view_is_named(tmp_path):
    root = rig(tmp_path / "rig")
    (root / "right/1.png").unlink()
    refused(lambda: open_stereo(root), "left/1.png", "no right view", "copy it", kind=FileNotFoundError)
    write(root / "right/1.png", view())
    (root / "left/0.png").unlink()
    refused(lambda: open_stereo(root), "right/0.png", "no left view", kind=FileNotFoundError)
    shutil.rmtree(root / "right")
    refused(lambda: open_stereo(root), "no right view", kind=FileNotFoundError)
    road = kitti(tmp_path / "kitti")
    (road / "training/image_3/000001_10.png").unlink()
    refused(lambda: open_stereo(road), "image_3/000001_10.png does not exist", "right view", kind=FileNotFoundError)
    write(tmp_path / "loose/a_l.png", view())
    refused(lambda: open_stereo(tmp_path / "loose"), "a_l.png", "no right view", kind=FileNotFoundError)


def test_views_of_different_sizes(tmp_path):
    root = rig(tmp_path)
    write(root / "right/1.png", view(1, 12, 41))
    refused(lambda: open_stereo(root)[1], "train pair 1", "12x40", "12x41")
    refused(lambda: pack_stereo(root, tmp_path / "out.h5", progress=False), "train pair 1")
    assert not list(tmp_path.glob("*.h5")) and not list(tmp_path.glob(".*"))


def test_disparity_of_another_encoding(tmp_path):
    root = kitti(tmp_path / "kitti")
    file = root / "training/disp_occ_0/000000_10.png"
    write(file, np.full((12, 40), 7, np.uint8))
    refused(lambda: open_stereo(root)[0], str(file), "8-bit", "16-bit is expected of disparity")
    write(file, view())
    refused(lambda: open_stereo(root)[0], str(file), "mode RGB", "one channel")
    write(file, np.full((12, 40), 60000, np.uint16))
    refused(lambda: open_stereo(root)[0], "train pair 000000_10", "40 wide", "another code")
    write(file, np.full((11, 40), 300, np.uint16))
    refused(lambda: open_stereo(root)[0], "12x40", "disparity is 11x40")
    file.write_bytes(b"not a picture")
    refused(lambda: open_stereo(root)[0], str(file), "no picture of a known format")
    scene = sintel(tmp_path / "sintel")
    file = scene / "training/disparities/alley_0/frame_0001.png"
    write(file, np.full((20, 60), 500, np.uint16))
    refused(lambda: open_stereo(scene)[1], str(file), "16 bits a pixel", "8-bit")


def test_broken_pfm(tmp_path):
    root = tmp_path / "mb/Piano"
    write(root / "im0.png", view()), write(root / "im1.png", view(1))
    file = pfm(root / "disp0.pfm", disparity())
    whole = file.read_bytes()
    for data, word in [
        (whole[:-9], "truncated"),
        (whole + b"more", "is damaged"),
        (b"PF" + whole[2:], "color PFM"),
        (b"P5" + whole[2:], "cannot be read as a picture"),
        (b"", "no picture of a known format"),
    ]:
        file.write_bytes(data)
        refused(lambda: open_stereo(tmp_path / "mb")[0], str(file), word)
    pfm(file, -disparity())
    refused(lambda: open_stereo(tmp_path / "mb")[0], "Piano/im0", "negate")
    pfm(file, disparity())
    write(root / "mask0nocc.png", np.full((12, 41), 255, np.uint8))
    refused(lambda: open_stereo(tmp_path / "mb")[0], "mask0nocc.png is 12x41", "one release")
    write(root / "mask0nocc.png", view())
    refused(lambda: open_stereo(tmp_path / "mb")[0], "mask0nocc.png", "mode RGB")
    (root / "mask0nocc.png").unlink()
    (root / "calib.txt").write_text("cam0=[f 0 0]\nbaseline=ten\n")
    refused(lambda: open_stereo(tmp_path / "mb")[0], "calib.txt", "baseline= in mm")


def test_folders_that_hold_nothing_or_too_much(tmp_path):
    refused(lambda: open_stereo(tmp_path), "no stereo pairs of a known layout", "KITTI")
    refused(lambda: open_stereo(tmp_path / "none"), "does not exist", kind=FileNotFoundError)
    (tmp_path / "empty/left").mkdir(parents=True), (tmp_path / "empty/right").mkdir()
    refused(lambda: open_stereo(tmp_path / "empty"), "left/ and right/", "no frames")
    both = rig(kitti(tmp_path / "both"))
    refused(lambda: open_stereo(both), "several layouts, KITTI 2015", "left/ and right/")
    (tmp_path / "words.txt").write_text("x")
    refused(lambda: open_stereo(tmp_path / "words.txt"), "words.txt")
    refused(lambda: open_stereo(both / "left/0.png"), "0.png", "folder")


def test_options_that_do_not_apply(tmp_path):
    refused(lambda: open_stereo(rig(tmp_path / "a"), factor=1 / 3), "factor is no option")
    root = sintel(tmp_path / "b")
    for wrong in (0, float("nan"), float("inf")):
        refused(lambda: open_stereo(root, factor=wrong), "factor must be the pixels", "at most 1")  # noqa: B023
    shutil.rmtree(tmp_path / "b/training/clean_left")
    refused(lambda: open_stereo(tmp_path / "b", render="clean"), "clean_left does not exist", kind=FileNotFoundError)


# ---------------------------------------------------------------- rigs as people have them


def test_nothing_hidden_is_read_and_links_are_followed(tmp_path):
    """A folder copied from a Mac, with scenes that lie on another disk."""
    root = rig(tmp_path / "rig")
    for side in ("left", "right"):
        (root / side / "._0.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
        write(tmp_path / f"disk/{side}/7.png", view(7))
        (root / side / "far").symlink_to(tmp_path / "disk" / side)
    assert [r.name for r in open_stereo(root).records] == ["0", "1", "far/7"]
    street = kitti(tmp_path / "kitti")
    for side in (2, 3):
        (street / f"training/image_{side}/._000000_10.png").touch()
    assert len(open_stereo(street)) == 2


@pytest.mark.parametrize("name", ["{0}/{0}_{1}.png", "{0}/{1}_{0}.png", "{0}/{1}.png", "{0}_{1}.png", "{1}-{0}.png"])
@pytest.mark.parametrize("sides", [("left", "right"), ("Left", "Right"), ("cam0", "cam1"), ("L", "R")], ids="".join)
def test_views_find_each_other(tmp_path, name, sides):
    for i in range(2):
        for j, side in enumerate(sides):
            write(tmp_path / name.format(side, f"{i:03d}"), view(10 * i + j))
    pairs = open_stereo(tmp_path)
    assert [r.name.replace("cam", "").strip("_-") for r in pairs.records] == ["000", "001"]
    assert np.array_equal(pairs[1].left, view(10)) and np.array_equal(pairs[1].right, view(11))


@pytest.mark.parametrize("kind", [".npy", ".npz", ".tif", ".pfm", ".png"])
def test_disparities_of_every_kind_are_read(tmp_path, kind):
    root, d = rig(tmp_path), np.round(disparity() * 256) / 256
    (root / "Disp").mkdir()
    write_it = {
        ".npy": lambda p: np.save(p, d), ".npz": lambda p: np.savez(p, disp=d), ".pfm": lambda p: pfm(p, d),
        ".tif": lambda p: write(p, d.astype(np.float32)), ".png": lambda p: write(p, (256 * d).astype(np.uint16)),
    }[kind]  # fmt: skip
    write_it(root / f"Disp/disp_0{kind}")
    pairs = open_stereo(root)
    assert "1 of 2 without disparity" in pairs.layout and np.array_equal(pairs[0].disparity, d.astype(np.float32))


def test_disparities_that_are_not_read_are_told(tmp_path):
    root = rig(tmp_path)
    (root / "disparity").mkdir()
    (root / "disparity/0.exr").touch()
    refused(lambda: open_stereo(root), "disparity holds 1 files, 0.exr the first", "as the left views", ".npy")
    np.save(root / "disparity/1.npy", disparity())
    assert "1 files of disparity/ left out, 0.exr the first" in open_stereo(root).layout
    np.save(root / "disparity/1.npy", np.where(disparity() < 9, -1, disparity()))
    assert (open_stereo(root)[1].disparity == 0).mean() > 0.2  # -1 is unknown
    np.save(root / "disparity/1.npy", (16 * disparity()).astype(np.int16))
    refused(lambda: open_stereo(root)[1], "whole numbers (int16)", "--factor")
    assert np.abs(open_stereo(root, factor=1 / 16)[1].disparity - disparity()).max() <= 1 / 16
    np.savez(root / "disparity/1.npz", a=1)
    (root / "disparity/1.npy").unlink()
    refused(lambda: open_stereo(root)[1], "1.npz holds int64 of shape ()")


def test_a_calibration_is_read_wherever_it_lies(tmp_path):
    root = rig(tmp_path / "rig")
    (root / "calib.txt").write_text("CAM0 = [100, 0, 20; 0, 100, 6; 0, 0, 1]\nDOFFS = 2\nbaseline : 120\n", "utf-8-sig")
    pair = open_stereo(root)[0]
    assert (pair.focal, pair.baseline, pair.doffs) == (100, 0.12, 2)
    (root / "calib.txt").write_text("cam0=[100 0 20; 0 100 6; 0 0 1]\nbaseline=0.12\n")
    refused(lambda: open_stereo(root)[0], "calib.txt: baseline=0.12 would be less than a millimetre", "write 120")
    (root / "calib.txt").write_text("cam0=[100 0 20; 0 100 6; 0 0 1]\nbaseline=120\nwidth=80\n")
    refused(lambda: open_stereo(root)[0], "calib.txt is of pictures 80 pixels wide, but this one has 40")
    (root / "calib.txt").rename(root / "calib.npz")
    assert "calib.npz is not read" in open_stereo(root).layout and open_stereo(root)[0].focal is None


# ---------------------------------------------------------------- packing


def test_mixed_sizes_and_a_size(tmp_path):
    root = rig(tmp_path / "rig")
    write(root / "left/9.png", view(1, 24, 80)), write(root / "right/9.png", view(2, 24, 80))
    refused(lambda: pack_stereo(root, tmp_path / "a.h5", progress=False), "pair 9 is 24x80", "give a size")
    refused(lambda: pack_stereo(root, tmp_path / "a.h5", size=(0, 5), progress=False), "at least one pixel")
    data = PackedStereo(pack_stereo(root, tmp_path / "a.h5", size=(8, 16), progress=False))
    assert data.size == (8, 16) and len(data) == 3 and not data.has_disparity and not data.scenes_known
    refused(lambda: pack_stereo(root, tmp_path / "a.h5", progress=False), "already exists")


def test_a_mask_that_some_pairs_lack_is_left_out_aloud(tmp_path):
    root = kitti(tmp_path / "kitti")
    source = open_stereo(root)
    fields = source.read

    def read(record):
        whole = fields(record)
        return whole | ({"occluded": whole["disparity"] > 9} if record.name.startswith("000000") else {})

    with pytest.warns(UserWarning, match="only some pairs have occluded"):
        out = pack_stereo(stereo_data.replace(source, read=read), tmp_path / "a.h5", progress=False)
    assert PackedStereo(out).fields == ("disparity",)


def test_pairs_without_disparity_are_unknown_not_zero_pixels_away(tmp_path):
    root = rig(tmp_path / "rig")
    pfm(root / "disparity/1.pfm", np.full((12, 40), 5, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = PackedStereo(pack_stereo(root, tmp_path / "a.h5", split="test", progress=False), "test")
    assert data.has_disparity and data.unknown == 0.5 and data.division == "all in test"
    assert (data[0]["disparity"] == 0).all() and (data[1]["disparity"] == 5).all()


def test_damaged_and_foreign_files(tmp_path):
    out = pack_stereo(rig(tmp_path / "rig", 6, height=64, width=96), tmp_path / "a.h5", progress=False)
    whole = out.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    refused(lambda: PackedStereo(tmp_path / "cut.h5"), "cut.h5 cannot be read as HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    refused(lambda: PackedStereo(tmp_path / "other.h5"), "was not written by pack_stereo")
    refused(lambda: open_stereo(tmp_path / "other.h5"), "no stereo pairs packed")
    with h5py.File(out, "a") as file:
        del file["train/focal"]
    refused(lambda: PackedStereo(out), "has no field 'focal'; pack its data set again")
    refused(lambda: PackedStereo(tmp_path / "none.h5"), "does not exist", kind=FileNotFoundError)


def test_workers_read_what_one_process_reads(tmp_path):
    out = pack_stereo(rig(tmp_path / "rig", 5), tmp_path / "a.h5", progress=False)
    data = PackedStereo(out)
    data[0]  # opened here, before the fork
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2)
    read = torch.cat([batch["left"] for batch in loader])
    assert torch.equal(read, data.batch(range(5))["left"])


# ---------------------------------------------------------------- worlds


def rendered(scene, view, size, device="cpu"):
    """What a field must return, from two planes."""
    height, width = size
    left = torch.rand(3, height, width, generator=torch.Generator().manual_seed(scene + view))
    d = torch.full((1, height, width), 3.0)
    near = torch.zeros_like(d, dtype=torch.bool)
    near[:, :, 20:30] = True
    views = {"left": left, "right": left.roll(-3, -1), "disparity": d, "depth": 5 / d}
    masks = {"occluded": near, "out_of_frame": ~in_frame(d[None])[0], "segmentation": near.to(torch.uint8) * 2}
    return views | masks | {"focal": 50.0, "baseline": 0.1}


def test_a_field_arrives_whole(tmp_path, monkeypatch):
    monkeypatch.setitem(worlds.PAIR_WORLDS, "field", replace(worlds.PAIR_WORLDS["field"], render=rendered))
    out = pack_fields(tmp_path / "f.h5", 2, 1, 1, train_size=(16, 64), test_size=(16, 64), progress=False)
    data = PackedStereo(out)
    given, item = rendered(1, 0, (16, 64)), data[1]
    assert data.classes == ("sky", "soil", "stalk", "leaf")
    assert data.layout == "procedural sorghum field" and data.division == "by scene"
    assert data.fields == ("disparity", "occluded", "out_of_frame", "segmentation") and data.unknown == 0
    assert all(torch.equal(item[key], given[key]) and item[key].dtype == given[key].dtype for key in data.fields)
    assert torch.equal(item["left"], given["left"].mul(255).round().byte())
    assert (data.focal == 50).all() and (data.baseline == 0.1).all() and data.scenes == ["field-0", "field-1"]
    assert PackedStereo(out, "test").scenes == ["field-500000"]
    pair = open_stereo(out)[1]
    assert np.array_equal(pair.segmentation, given["segmentation"][0]) and pair.focal == 50
    small = resize_stereo(pair, (8, 32))
    assert set(np.unique(small.segmentation)) == {0, 2} and small.focal == 25 and (small.disparity == 1.5).all()
    negative = {"disparity": torch.full((1, 16, 64), -2.0)}
    wrong = replace(worlds.PAIR_WORLDS["field"], render=lambda **given: rendered(**given) | negative)
    monkeypatch.setitem(worlds.PAIR_WORLDS, "field", wrong)
    refused(lambda: pack_fields(tmp_path / "g.h5", 1, 1, 1, (16, 64), (16, 64), progress=False), "field-0/0", "negate")
    assert not (tmp_path / "g.h5").exists() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("world", ["room", "field", "stalk"])
def test_worlds_are_exact_pairs(tmp_path, world):
    sizes = {"train_size": (64, 128), "test_size": (96, 192)}
    out = pack_fields(tmp_path / "w.h5", 2, 1, 2, **sizes, world=world, workers=2, progress=False)
    train, test = PackedStereo(out), PackedStereo(out, "test")
    assert (len(train), len(test)) == (4, 2) and (train.size, test.size) == ((64, 128), (96, 192))
    assert len(set(train.scenes)) == 2 and set(train.scenes).isdisjoint(test.scenes) and train.scenes_known
    assert "segmentation" in train.fields and len(train.classes) == 4
    assert train.focal.isfinite().all() and train.baseline.isfinite().all() and train.has_disparity
    batch = test.batch([0, 1])
    before, after = warp_errors(
        batch["left"], batch["right"], batch["disparity"], ~batch["occluded"] & ~batch["out_of_frame"]
    )
    assert after < before / 2, (before, after)
    stamp = out.stat().st_mtime_ns
    assert pack_fields(out, 2, 1, 2, **sizes, world=world, progress=False).stat().st_mtime_ns == stamp
    refused(lambda: pack_fields(out, 3, 1, 2, **sizes, world=world), "train_scenes 2 instead of 3")
    alone = pack_fields(tmp_path / "again.h5", 2, 1, 2, **sizes, world=world, progress=False)
    assert alone.read_bytes() == out.read_bytes()  # the same file from one process and from two


def test_unknown_world(tmp_path):
    refused(lambda: pack_fields(tmp_path / "a.h5", 1, 1, 1, world="sea"), "field, stalk, room", "'sea'")
    refused(lambda: pack_fields(tmp_path / "a.h5", 0, 1, 1, world="room"), "train_scenes", "at least 1")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- the real pairs


def warp_errors(left, right, d, kept) -> tuple[float, float]:
    """Mean absolute gray difference (0-255) over `kept`: the views as they are, and the right one warped by `d`."""
    one, two = ((GREY * x.float()).sum(1, keepdim=True) for x in (left, right))
    kept = kept & (d > 0) & in_frame(d)
    return (one - two).abs()[kept].mean().item(), (one - warp(two, d)).abs()[kept].mean().item()


def tensors(pair):
    views = [torch.from_numpy(x.copy()).permute(2, 0, 1)[None] for x in (pair.left, pair.right)]
    d = torch.from_numpy(pair.disparity.copy())[None, None]
    hidden = np.zeros(pair.disparity.shape, bool) if pair.occluded is None else pair.occluded | pair.out_of_frame
    return *views, d, torch.from_numpy(~hidden)[None, None]


# Measured on: what Motorcycle's own mask calls visible; what cross-checking art's two disparities leaves; every point
# the laser hit in KITTI's, which has no mask here, so that its occluded points count too.
REAL = {
    "middlebury2014": "Motorcycle/im0",
    "middlebury2005": "art/view1",
    "kitti2015": "000046_10",
}


@pytest.mark.parametrize("folder", REAL)
@pytest.mark.parametrize("scale", [None, (1.0, 0.5), (0.5, 0.5), (0.7, 0.41)], ids=str)
def test_the_right_view_warped_by_the_truth_looks_like_the_left(real_data, folder, scale):
    """Guards sign, scale and rectification: the mean gray-level error falls at least 3 times."""
    pair = open_stereo(real_data / "stereo" / folder)[0]
    assert pair.name == REAL[folder] and (pair.occluded is None) == (folder == "kitti2015")
    if scale:
        height, width = pair.left.shape[:2]
        pair = resize_stereo(pair, (round(height * scale[0]), round(width * scale[1])))
    left, right, d, kept = tensors(pair)
    before, after = warp_errors(left, right, d, kept)
    assert after < before / 3, (before, after)
    for wrong_d in (0.67 * d, 1.5 * d):  # a wrong scale cannot pass
        assert warp_errors(left, right, wrong_d, kept)[1] > before / 3
    assert warp_errors(right, left, d, kept)[1] > before / 3  # nor exchanged views


@pytest.mark.parametrize("folder", REAL)
def test_real_pairs_through_the_packed_file(real_data, tmp_path, folder):
    out = pack_stereo(
        real_data / "stereo" / folder, tmp_path / "real.h5", size=(192, 384), split="test", progress=False
    )
    batch = PackedStereo(out, "test").batch([0])
    hidden = batch.get("occluded", torch.zeros_like(batch["disparity"], dtype=torch.bool))
    before, after = warp_errors(batch["left"], batch["right"], batch["disparity"], ~hidden)
    assert after < before / 3, (before, after)
    views = stereo_batch(batch["left"], batch["right"], STEREO_AUGMENT["none"], torch.Generator())
    assert torch.equal(views[0], batch["left"] / 255)


def test_what_the_real_pairs_say_about_their_rigs(real_data):
    art = open_stereo(real_data / "stereo/middlebury2005")[0]
    assert abs(art.focal - 3740 / 3) < 1e-9 and abs(art.doffs - 200 / 3) < 1e-9 and art.disparity.max() < 80
    d = torch.from_numpy(art.disparity)
    depth = depth_from_disparity(torch.where(d > 0, d + art.doffs, 0), art.focal, art.baseline)[d > 0]
    assert depth.min() > 1 and depth.max() < 3  # a still life on a table
    road = open_stereo(real_data / "stereo/kitti2015")[0]
    depth = depth_from_disparity(torch.from_numpy(road.disparity), road.focal, road.baseline)
    assert depth[depth > 0].min() > 3 and depth.max() < 90
    assert 0.85 < (road.disparity == 0).mean() < 0.9  # a laser's points


@pytest.mark.parametrize("folder", ["middlebury2014", "middlebury2005"])
def test_what_is_called_occluded_is_what_the_right_view_does_not_show(real_data, folder):
    pair = open_stereo(real_data / "stereo" / folder)[0]
    left, right, d, visible = tensors(pair)
    hidden = torch.from_numpy(pair.occluded)[None, None]
    assert 0.03 < hidden.float().mean() < 0.2 and not (hidden & visible).any()
    assert warp_errors(left, right, d, hidden)[1] > 3 * warp_errors(left, right, d, visible)[1]


def test_real_pairs_without_truth(real_data, tmp_path):
    source = open_stereo(real_data / "stereo/no_ground_truth")
    assert [r.name for r in source.records] == ["bowling", "items2"] and source[0].disparity is None
    data = PackedStereo(pack_stereo(source, tmp_path / "a.h5", size=(96, 128), progress=False))
    assert len(data) == 2 and not data.has_disparity and data.focal.isnan().all()
    refused(lambda: open_stereo(real_data / "stereo"), "several layouts, Middlebury 2014", "Middlebury 2005")


def test_keep_ego_hood(tmp_path):
    stem = "val/ulm/ulm_000000_000019"
    for kind in ("leftImg8bit", "rightImg8bit"):
        write(tmp_path / f"{kind}/{stem}_{kind}.png", view(0, 50, 100))
    code = np.zeros((50, 100), np.uint16)
    code[:, 1:] = 1 + 256 * 9
    write(tmp_path / f"disparity/{stem}_disparity.png", code)
    pair = open_stereo(tmp_path, keep_ego_hood=False)[0]
    assert pair.left.shape == (40, 100, 3) and pair.disparity.shape == (40, 100)
    assert set(np.unique(pair.disparity)) == {0, 9} and pair.focal is None and pair.split == "test"
    camera = tmp_path / f"camera/{stem}_camera.json"
    camera.parent.mkdir(parents=True)
    camera.write_text(json.dumps({"intrinsic": {"fx": 2262.5}, "extrinsic": {"baseline": 0.209}}))
    assert open_stereo(tmp_path)[0].baseline == 0.209
    camera.write_text("{")
    refused(lambda: open_stereo(tmp_path)[0], "ulm_000000_000019_camera.json", "cannot be read as json")
    camera.unlink()
    refused(lambda: open_stereo(tmp_path), "camera.json does not exist", kind=FileNotFoundError)


def test_real_pairs_raise_no_alarm_and_spoilt_ones_do(real_data):
    """Each pair as it is, exchanged, and with the right view 3 % of the height lower."""
    for name in (*REAL, "no_ground_truth"):
        source = open_stereo(real_data / "stereo" / name)
        for pair in (source[i] for i in range(len(source))):
            assert view_faults([(pair.left, pair.right, pair.disparity)]) == [], pair.name
            assert "exchanged" in view_faults([(pair.right, pair.left, None)])[0], pair.name
            lower = np.roll(pair.right, round(0.03 * len(pair.right)), 0)
            assert "rectified" in view_faults([(pair.left, lower, None)])[0], pair.name
            if name == "middlebury2014":  # dense enough to show another code
                (said,) = view_faults([(pair.left, pair.right, pair.disparity / 3)])
                assert "are 0.33 times those that" in said


def test_spoilt_rigs_are_packed_with_a_warning(real_data, tmp_path):
    for name, (left, right) in {"as_is": ("view1", "view5"), "exchanged": ("view5", "view1")}.items():
        for side, file in (("left", left), ("right", right)):
            (tmp_path / name / side).mkdir(parents=True)
            shutil.copy(real_data / f"stereo/middlebury2005/art/{file}.png", tmp_path / name / side / "art.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pack_stereo(tmp_path / "as_is", tmp_path / "a.h5", progress=False)
    with pytest.warns(UserWarning, match="exchanged: of 1 pairs looked at, .* are left and right exchanged?"):
        pack_stereo(tmp_path / "exchanged", tmp_path / "b.h5", progress=False)
