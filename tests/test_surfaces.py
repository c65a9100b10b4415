"""Surfaces that others wrote readers for: trimesh and plyfile read what is written, where they are installed."""

import json
import struct

import numpy as np
import pytest
from commands import run
from factories import photo, saved, write

from advdepth_nb.core.pictures import read_codes
from advdepth_nb.core.surfaces import save_surface, surface_from_depth


@pytest.fixture(scope="module")
def scene():
    """A slanted wall before another one 1 m behind it, with a hole; colors that tell every pixel from every other."""
    depth = 2 + np.linspace(0, 0.3, 48)[:, None].repeat(64, 1)
    depth[:, 40:] += 1
    depth[10:13, 5:9] = 0
    row, column = np.mgrid[:48, :64]
    return depth, np.stack([5 * row, 3 * column, 255 - row - column], -1).astype(np.uint8)


def test_plyfile_reads_the_cloud(scene, tmp_path):
    plyfile = pytest.importorskip("plyfile", reason="plyfile is not installed")
    depth, picture = scene
    read = plyfile.PlyData.read(save_surface("ply", surface_from_depth(depth, 50), picture, tmp_path / "a.ply"))
    vertex = read["vertex"]
    assert read.text is False and read.byte_order == "<" and len(vertex) == 48 * 64 - 12
    known = depth > 0
    assert np.allclose(-vertex["z"], depth[known]) and np.array_equal(vertex["red"], picture[known][:, 0])
    row, column = np.nonzero(known)
    assert np.allclose(vertex["x"], depth[known] * (column - 31.5) / 50, atol=1e-6)
    assert np.allclose(vertex["y"], -depth[known] * (row - 23.5) / 50, atol=1e-6)


def test_trimesh_reads_the_mesh(scene, tmp_path):
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    depth, picture = scene
    made = save_surface("glb", surface_from_depth(depth, 50), picture, tmp_path / "a.glb", {"focal_px": 50})
    (mesh,) = trimesh.load_scene(made).geometry.values()
    assert (mesh.face_normals[:, 2] > 0).all()  # every triangle faces the camera
    z = -mesh.vertices[mesh.faces][..., 2]
    assert (z.max(1) <= 1.05 * z.min(1) + 1e-6).all()
    assert len(mesh.split(only_watertight=False)) == 2  # the two walls hang together nowhere
    u, v = mesh.visual.uv.T  # trimesh counts v from below
    row, column = np.floor((1 - v) * 48).astype(int), np.floor(u * 64).astype(int)
    assert np.allclose(-mesh.vertices[:, 2], depth[row, column], atol=1e-6)
    shown = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    assert shown.shape == (48, 64, 3) and abs(shown.astype(int) - picture).mean() < 6


def read_cloud(path) -> np.ndarray:
    """Positions in a cloud of ours."""
    body = path.read_bytes().partition(b"end_header\n")[2]
    return np.frombuffer(body, [("xyz", "<f4", 3), ("rgb", "u1", 3)])["xyz"]


@pytest.fixture
def photograph(tmp_path):
    return write(tmp_path / "photo.png", photo(0, 90, 160))


def test_a_depth_run_writes_surfaces_beside_its_maps(monkeypatch, capsys, tmp_path, photograph):
    model, out = saved(tmp_path, "baseline", "table1"), tmp_path / "out"
    words = ["predict", photograph, "-o", out, "--model", model, "--ply", "--glb"]
    code, told, error = run(monkeypatch, capsys, *words)
    assert code == 0 and "surfaces: field of view 60 degrees across the longer side, a guess" in told, error
    names = ["photo_color.png", "photo_depth.png", "photo.glb", "photo.ply"]
    assert sorted(p.name for p in out.iterdir()) == sorted(names) and "photo.ply" in told
    points, depth = read_cloud(out / "photo.ply"), read_codes(out / "photo_depth.png", bits=16) / 1000
    assert len(points) == 90 * 160 and np.allclose(-points[:, 2], depth.ravel(), atol=6e-4)
    right = points.reshape(90, 160, 3)[:, -1]
    assert np.allclose(right[:, 0] / -right[:, 2], 79.5 / (80 * 3**0.5), rtol=1e-5)  # nearly tan 30°
    data = (out / "photo.glb").read_bytes()
    magic, version, length, chunk = struct.unpack_from("<4sIII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data)) and chunk % 4 == 0
    focal = json.loads(data[20 : 20 + chunk])["asset"]["extras"]["focal_px"]
    assert abs(focal - 80 * 3**0.5) < 1e-9


def test_a_stereo_run_needs_its_rig(monkeypatch, capsys, tmp_path, photograph):
    model, out = saved(tmp_path, "baseline", "stereo"), tmp_path / "out"
    words = ["predict", photograph, "-o", out, "--model", model, "--ply"]
    for more in ([], ["--focal", 140]):
        code, _, error = run(monkeypatch, capsys, *words, *more)
        assert code == 2 and "a surface of a stereo run needs its rig" in error and not out.exists()
    code, _, error = run(monkeypatch, capsys, *words, "--fov", 50, "--focal", 140, "--baseline", 0.5)
    assert code == 2 and "give either" in error and not out.exists()
    code, told, error = run(monkeypatch, capsys, *words, "--focal", 140, "--baseline", 0.5)
    assert code == 0 and "focal length of the rig, 140 pixels" in told, error
    points, depth = read_cloud(out / "photo.ply"), read_codes(out / "photo_depth.png", bits=16) / 1000
    assert len(points) == (depth > 0).sum() and np.allclose(-points[:, 2], depth[depth > 0], atol=6e-4)


@pytest.mark.parametrize(
    "row, study, words, sentence",
    [
        ("colorize_l1", "translate", ["--glb"], "a surface is made of depth, and this is a run of the translation"),
        ("baseline", "table1", ["--fov", 50], "--fov is for surfaces; give --ply or --glb"),
        ("baseline", "table1", ["--ply", "--fov", 200], "between 0 and 180 degrees, not 200"),
        ("baseline", "table1", ["--ply", "--focal", "nan"], "--focal must be above 0, in pixels"),
        ("baseline", "table1", ["--ply", "--focal", 9, "--baseline", 1], "leave that out"),
    ],
    ids=lambda x: " ".join(map(str, x)) if isinstance(x, list) else "",
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    monkeypatch, capsys, tmp_path, photograph, row, study, words, sentence
):
    words = ["--model", saved(tmp_path, row, study), *words]
    code, _, error = run(monkeypatch, capsys, "predict", photograph, "-o", tmp_path / "out", *words)
    assert code == 2 and sentence in error and len(error.strip().splitlines()) == 1, error
    assert not (tmp_path / "out").exists()
