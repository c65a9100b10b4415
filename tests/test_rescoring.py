"""Anybody's predictions: every file format, every bad input, the command, and real frames where they exist."""

import re

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat
from commands import run
from factories import hu, write

from advdepth_nb.data.nyu import open_source
from advdepth_nb.metrics.depth import DEPTH_METRICS
from advdepth_nb.metrics.protocols import PROTOCOL_SWEEP, PUBLISHED
from advdepth_nb.metrics.records import COLUMNS
from advdepth_nb.metrics.predictions import match_predictions, open_predictions
from advdepth_nb.metrics.rescoring import score_predictions, side_by_side

pytestmark = pytest.mark.filterwarnings("ignore:.*the official one 654")


@pytest.fixture
def truth(tmp_path):
    """Three test frames of 6x8 in Hu's layout, 16-bit millimetres, and their depth."""
    source = open_source(hu(tmp_path / "hu", train=1, test=3))
    frames = [frame for frame in source if frame.split == "test"]
    return source, np.stack([frame.depth for frame in frames]), [frame.name for frame in frames]


def millimetres(metres):
    return Image.fromarray(np.rint(1000 * metres).astype(np.uint16))


def lay(folder, form, depths, names):
    """Predictions in one of the formats read, in metres; returns what to give."""
    folder.mkdir()
    match form:
        case "npy":
            for depth, name in zip(depths, names):
                np.save(folder / f"{name}.npy", depth)
        case "npy, float64, (H,W,1), by order":
            for i, depth in enumerate(depths):
                np.save(folder / f"out{i + 8}.npy", depth[..., None].astype(np.float64))
        case "npz":
            for depth, name in zip(depths, names):
                np.savez(folder / f"{name}.npz", depth=depth, focal=500.0)
        case "npy, (1,1,H,W)":
            for depth, name in zip(depths, names):
                np.save(folder / f"{name}_pred.npy", depth[None, None])
        case "pfm, with a network's name":
            for depth, name in zip(depths, names):
                rows = depth[::-1].astype("<f4").tobytes()
                (folder / f"{name}-dpt_large_384.pfm").write_bytes(b"Pf\n8 6\n-1.0\n" + rows)
        case "tif of floats":
            for depth, name in zip(depths, names):
                Image.fromarray(depth).save(folder / f"{name}.tif")
        case "tif of 16 bits":
            for depth, name in zip(depths, names):
                millimetres(depth).save(folder / f"{name}.tiff")
        case "mat":
            for depth, name in zip(depths, names):
                savemat(folder / f"{name}.mat", {"depth": depth, "name": name})
        case "one mat":
            savemat(folder / "all.mat", {"predictions": depths.transpose(1, 2, 0)})
        case "one npz":
            np.savez(folder / "all.npz", depths)
        case "png":
            for depth, name in zip(depths, names):
                millimetres(depth).save(folder / f"{name}_depth.png")
        case "png beside pictures":
            for depth, name in zip(depths, names):
                millimetres(depth).save(folder / f"{name}_colors_depth.png")
                Image.new("RGB", (8, 6)).save(folder / f"{name}_colors_color.png")
        case "one npy":
            np.save(folder / "all.npy", depths)
        case "one npy, by path":
            np.save(folder / "all.npy", depths[:, None])
            return folder / "all.npy"
        case "one h5":
            with h5py.File(folder / "all.h5", "w") as file:
                file["run/depth"], file["index"] = depths, np.arange(len(depths))
    return folder


FORMS = ["npy", "npy, float64, (H,W,1), by order", "npy, (1,1,H,W)", "npz", "png", "png beside pictures",
         "pfm, with a network's name", "tif of floats", "tif of 16 bits", "mat", "one npy", "one npy, by path",
         "one npz", "one mat", "one h5"]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_format_is_read_and_belongs_to_its_image(truth, tmp_path, form):
    source, depths, names = truth
    path = lay(tmp_path / "out", form, depths * np.array([1.0, 1.1, 1.2], np.float32)[:, None, None], names)
    by_order = "one" in form or "order" in form
    chosen = {"protocols": [PUBLISHED["ma2018"]], "by_order": by_order}
    scored = score_predictions(open_predictions(path), source, **chosen)
    rel = scored.images[scored.images["metric"] == "abs_rel"].set_index("image")["value"]
    assert list(rel.index) == names and np.allclose(rel, [0, 0.1, 0.2], atol=1e-3)
    assert f"matched by {'order' if by_order else 'name'}" in scored.notes[0] and len(scored.notes) == 1
    if by_order:  # and never by itself
        with pytest.raises(ValueError, match="--by-order"):
            score_predictions(open_predictions(path), source)


def test_the_factor_makes_metres(truth, tmp_path):
    source, depths, names = truth
    for form, stored, factor in [("npy", 100 * depths, 0.01), ("png", depths * 256 / 1000, 1 / 256)]:
        path = lay(tmp_path / form, form, stored, names)
        right, wrong = (
            score_predictions(open_predictions(path, f), source, protocols=[PUBLISHED["bts2019"]])
            for f in (factor, None)
        )
        error = side_by_side(right)["abs_rel"].item(), side_by_side(wrong)["abs_rel"].item()
        assert error[0] < 2e-3 and error[1] > 0.1
        told = [note for note in wrong.notes if "another unit?" in note]
        assert len(told) == 1 and f"--factor {factor:.7g} (" in told[0], wrong.notes


def test_other_sizes_are_resized_and_told(truth, tmp_path):
    source, depths, names = truth
    path = lay(tmp_path / "out", "npy", np.ones((3, 3, 4), np.float32), names)
    scored = score_predictions(open_predictions(path), source, protocols=[PUBLISHED["bts2019"]])
    assert "3 predictions of 3x4 were resized" in scored.notes[1] and "frames of 6x8" in scored.notes[1]
    cropped = [
        d[slice(*map(int, rows.split(":"))), slice(*map(int, columns.split(":")))]
        for d in depths
        for rows, columns in [re.findall(r"\d+:\d+", next(iter(scored.protocols.values())).cells()["crop"])]
    ]
    expected = [(abs(1 - d[d > 0]) / d[d > 0]).mean() for d in cropped]
    rel = scored.images[scored.images["metric"] == "abs_rel"]["value"]
    assert np.allclose(rel, expected, rtol=1e-4)


def test_names_may_carry_words_and_folders(truth, tmp_path):
    source, depths, _ = truth
    images = [r for r in source.records if r.split == "test"]
    for name in ("sub/00001", "00000_pred", "sub/00002_rgb", "other", "00000"):
        (tmp_path / "out/sub").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / f"out/{name}.npy", depths[0])
    with pytest.raises(ValueError, match=r"00000\.npy and 00000_pred\.npy are predictions of one image"):
        match_predictions(open_predictions(tmp_path / "out"), images)
    (tmp_path / "out/00000.npy").unlink()
    (tmp_path / "out/._00000.npy").touch(), (tmp_path / "out/log.txt").touch()
    matching = match_predictions(open_predictions(tmp_path / "out"), images)
    assert matching.how == (
        "matched by name (scene and number); left out: 1 predictions without an image; left "
        "out: 1 files of no kind that holds maps (1 .txt)"
    )
    labels = [open_predictions(tmp_path / "out").labels[i] for i in matching.indices]
    assert labels == ["00000_pred.npy", "sub/00001.npy", "sub/00002_rgb.npy"]


def raw_frames(folder, depths, names):
    """Raw frames, named scene/number, of depths in metres."""
    for depth, name in zip(depths, names):
        scene, number = name.split("/")
        write(folder / scene / f"rgb_{number}.png", np.zeros((*depth.shape, 3), np.uint8))
        write(folder / scene / f"sync_depth_{number}.png", np.rint(1000 * depth).astype(np.uint16))
    return folder


def rmse(path, data, protocol="bts2019", by_order=False, **options):
    """Of predictions against all frames at `data`, and the notes."""
    predictions, source = open_predictions(path, **options), open_source(data)
    scored = score_predictions(predictions, source, protocols=[PUBLISHED[protocol]], by_order=by_order)
    return side_by_side(scored)["rmse"].item(), scored.notes


TREE = ["bathroom/00045", "office/00008", "office_kitchen/00410", "study_room/00278"]


def test_names_of_other_code_find_their_scene_and_number(tmp_path):
    """BTS's own names against its own tree, and Marigold's: by order some would get another room."""
    depths = [np.full((12, 16), 1.0 + k, np.float32) for k in range(4)]
    data = raw_frames(tmp_path / "tree", depths, TREE)
    for depth, name in zip(depths, TREE):
        scene, number = name.split("/")
        write(tmp_path / f"bts/{scene}_rgb_{number}.png", np.rint(1000 * depth).astype(np.uint16))
        (tmp_path / f"marigold/test/{scene}").mkdir(parents=True)
        np.save(tmp_path / f"marigold/test/{scene}/pred_{int(number):04d}.npy", depth)
        (tmp_path / "numbers").mkdir(exist_ok=True)
        np.save(tmp_path / f"numbers/{number}.npy", depth)
    for folder in ("bts", "marigold", "numbers"):
        error, notes = rmse(tmp_path / folder, data)
        assert error < 1e-6 and "matched by name" in notes[0] and "are they copies of it?" in notes[-1], folder
    error, notes = rmse(tmp_path / "bts", data, by_order=True)
    assert error > 0.4 and "the numbers of 2 of 4 pairs differ" in notes[0]


@pytest.mark.parametrize(
    "names, words",
    [
        (["00000", "00001", "00002", "00003"], "none of its files is named after an image"),
        (
            ["00008", "00045", "00046", "00047"],
            "2 of 4 images have no prediction: office_kitchen/00410, study_room/00278",
        ),
        (
            ["office_00045", "bathroom_00008", "office_kitchen_00410", "study_room_00278"],
            "office_00045.npy for bathroom/",
        ),
        (["a", "b", "c", "d"], "none of its files is named after an image"),
    ],
    ids=["other numbers", "some numbers", "other scenes", "no numbers"],
)
def test_names_in_doubt_are_refused_and_go_by_order_if_asked(tmp_path, names, words):
    depths = [np.full((12, 16), 1.0 + k, np.float32) for k in range(4)]
    data = raw_frames(tmp_path / "tree", depths, TREE)
    (tmp_path / "p").mkdir()
    for depth, name in zip(depths, names):
        np.save(tmp_path / f"p/{name}.npy", depth)
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        rmse(tmp_path / "p", data)
    assert "--by-order" in str(error.value) and "\n" not in str(error.value)
    assert "matched by order" in rmse(tmp_path / "p", data, by_order=True)[1][0]


def test_the_truth_beside_predictions_is_never_scored(tmp_path):
    depths = [np.full((12, 16), 1.0 + k, np.float32) for k in range(4)]
    data = raw_frames(tmp_path / "tree", depths, TREE)
    for depth, name in zip(depths, TREE):  # in the folders of the data set itself
        np.save(data / f"{name}_pred.npy", depth + 0.5)
        write(tmp_path / f"both/{name}_pred.png", np.rint(1000 * depth + 500).astype(np.uint16))
        write(tmp_path / f"both/{name}_depth.png", np.rint(1000 * depth).astype(np.uint16))
    with pytest.raises(ValueError, match=r"00045_depth\.png and .*00045_pred\.png are predictions of one image"):
        rmse(tmp_path / "both", data)
    with pytest.raises(ValueError, match=r"holds \.npy and \.png files"):
        rmse(data, data)
    for file in data.rglob("*_pred.npy"):
        write(file.with_suffix(".png"), np.rint(1000 * np.load(file)).astype(np.uint16))
        file.unlink()
    error, notes = rmse(data, data)  # also the pictures that the data set holds
    assert abs(error - 0.5) < 1e-6 and "left out: 4 files of the data set itself" in notes[0]
    for file in data.rglob("*_pred.png"):
        file.unlink()
    with pytest.raises(ValueError, match="files of the data set itself only"):
        rmse(data, data)


@pytest.mark.parametrize("rows, columns", [((45, 471), (41, 601)), ((44, 471), (40, 601)), ((20, 459), (24, 615))])
def test_a_known_crop_is_put_in_its_place(tmp_path, rows, columns):
    y, x = np.mgrid[0:480, 0:640]
    depth = ((1000 + 4 * x + 3 * y + 1500 * (x > 300)) / 1000).astype(np.float32)
    data = raw_frames(tmp_path / "tree", [depth], ["den/1"])
    (tmp_path / "p").mkdir()
    np.save(tmp_path / "p/1.npy", depth[slice(*rows), slice(*columns)])
    error, notes = rmse(tmp_path / "p", data)
    place = f"[{rows[0]}:{rows[1]}, {columns[0]}:{columns[1]}] of 480x640"
    outside = 480 * 640 - (rows[1] - rows[0]) * (columns[1] - columns[0])
    assert error < 1e-6 and place in notes[1] and f"the {outside} pixels outside" in notes[1]
    assert ("count under bts2019" in notes[1]) == (rows[1] < 471)  # where its own crop ends
    assert "count under hu2019" in rmse(tmp_path / "p", data, "hu2019")[1][1]


def test_inverse_depth_and_disparity_are_aligned_as_such(tmp_path):
    depths = [(1 + k + np.linspace(0, 2, 64)[None].repeat(48, 0)).astype(np.float32) for k in range(4)]
    data = raw_frames(tmp_path / "tree", depths, TREE)
    (tmp_path / "inverse").mkdir(), (tmp_path / "disparity").mkdir()
    for depth, name in zip(depths, TREE):
        np.save(tmp_path / f"inverse/{name.replace('/', '_')}.npy", 40 / depth + 3)
        np.save(tmp_path / f"disparity/{name.replace('/', '_')}.npy", 60 / depth)
    error, notes = rmse(tmp_path / "inverse", data, "midas2020")
    assert error > 0.1 and "in 4 of 4 images under midas2020@48x64: are they inverse depth? say --inverse" in notes[-1]
    for protocol in ("midas2020", "marigold2024"):
        error, notes = rmse(tmp_path / "inverse", data, protocol, values="inverse")
        assert error < 2e-3 and not any("fall" in note for note in notes)
        assert rmse(tmp_path / "disparity", data, protocol, values="disparity")[0] < 2e-3
    assert rmse(tmp_path / "disparity", data, values="disparity")[0] < 2e-3  # by the median
    assert rmse(tmp_path / "disparity", data, values="disparity", factor=60.0)[0] < 2e-3  # in metres
    error, notes = rmse(tmp_path / "disparity", data, values="disparity", factor=120.0)
    assert error > 1 and "--factor 60 " in notes[-1]
    for depth, name in zip(depths, TREE):
        np.save(tmp_path / f"inverse/{name.replace('/', '_')}.npy", depth)
    assert "leave out --inverse" in rmse(tmp_path / "inverse", data, values="inverse")[1][-1]


def bad(folder, names, depths):
    """What to lay wrongly, with arguments of open_predictions, and the words of the refusal."""

    def one(name, value):
        np.save(folder / name, value)
        return folder / name

    def h5(**arrays):
        with h5py.File(folder / "p.h5", "w") as file:
            for key, value in arrays.items():
                file[key] = value
        return folder / "p.h5"

    def objects():
        np.save(folder / "o.npy", np.array([{}]), allow_pickle=True)
        return folder / "o.npy"

    def pairs_of_arrays():
        np.savez(folder / "p.npz", a=depths, b=depths)
        return folder / "p.npz"

    def text(name):
        (folder / name).write_text("not a number")
        return folder / name

    def all_but(first, *others):
        for name in names[1:]:
            np.save(folder / f"{name}.npy", depths[0])
        return folder

    def eight_bit():
        for name in names:
            Image.new("L", (8, 6), 7).save(folder / f"{name}.png")
        return folder

    def twice():
        one(f"{names[0]}_depth.npy", depths[0]), one(f"{names[0]}_pred_depth.npy", depths[0])
        return folder

    def kinds():
        one("a.npy", depths[0]), millimetres(depths[0]).save(folder / "b.png")
        return folder

    def stacks():
        for n in "ab":
            with h5py.File(folder / f"{n}.h5", "w") as file:
                file["d"] = depths
        return folder

    nan = depths.copy()
    nan[1, 2, 3] = np.nan
    return {
        "nothing": (lambda: folder / "nowhere", {}, "does not exist"),
        "empty": (lambda: folder, {}, "holds no predictions: looked for .npy"),
        "two kinds": (kinds, {}, "holds .npy and .png files"),
        "text": (lambda: text("p.npy"), {}, "p.npy cannot be read as an array of numbers"),
        "objects": (objects, {}, "o.npy cannot be read as an array of numbers"),
        "not hdf5": (lambda: text("p.h5"), {}, "p.h5 cannot be read as HDF5"),
        "a csv": (lambda: text("p.csv"), {}, "p.csv: a folder of .npy"),
        "no maps": (lambda: h5(a=np.arange(3)), {}, "but there is only a"),
        "two arrays": (lambda: h5(a=depths, b=depths), {}, "but there are a, b; name one"),
        "no such array": (lambda: h5(a=depths), {"dataset": "c"}, "has no dataset 'c'; it has a"),
        "a flat array": (lambda: h5(a=depths, b=np.ones(3)), {"dataset": "b"}, "b is an array of shape (3,)"),
        "a name for npy": (lambda: one("p.npy", depths), {"dataset": "c"}, "of an .h5 only"),
        "two h5": (stacks, {}, "holds 2 .h5 files"),
        "one picture": (lambda: eight_bit() / f"{names[0]}.png", {}, "is one picture; give the folder"),
        "8-bit": (eight_bit, {}, "00000.png is 8-bit, but 16-bit is expected"),
        "too few": (lambda: one("p.npy", depths[:2]), {}, "holds 2 predictions, but there are 3 images"),
        "a stack": (lambda: one("p.npy", depths), {}, "its maps have no names (the first image is 00000, the"),
        "two in one": (lambda: pairs_of_arrays(), {}, "holds the arrays a, b, but one array of maps is expected"),
        "a factor of inverse depth": (lambda: folder, {"factor": 2.0, "values": "inverse"}, "leave it out"),
        "one missing": (lambda: all_but(names[0]), {}, "1 of 3 images have no prediction: 00000; predict them too"),
        "one twice": (twice, {}, "are predictions of one image"),
        "five axes": (lambda: one("p.npy", depths[:, None, None]), {}, "but (N, height, width) is expected"),
        "colors": (lambda: one("p.npy", np.stack([depths] * 3, 3)), {}, "but (N, height, width) is expected"),
        "complex": (lambda: one("p.npy", depths * 1j), {}, "p.npy, map 0 holds complex"),
        "NaN": (lambda: one("p.npy", nan), {}, "map 1 is not finite everywhere (1 pixels)"),
        "transposed": (lambda: one("p.npy", depths.transpose(0, 2, 1)), {}, "height and width have changed places"),
        "factor 0": (lambda: one("p.npy", depths), {"factor": 0.0}, "factor must be above 0"),
    }  # fmt: skip


CASES = list(bad(None, ["00000"] * 3, np.ones((3, 6, 8))))
BY_ORDER = ("too few", "complex", "NaN", "transposed")  # of stacks, which have no names


@pytest.mark.parametrize("case", CASES)
def test_bad_predictions_are_refused_in_one_sentence(truth, tmp_path, case):
    source, depths, names = truth
    folder = tmp_path / "out"
    folder.mkdir()
    path, options, words = bad(folder, names, depths)[case]
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        score_predictions(open_predictions(path(), **options), source, by_order=case in BY_ORDER)
    assert words in str(error.value) and "\n" not in str(error.value), error.value


def test_an_image_without_depth_is_in_no_mean(truth, tmp_path):
    source, depths, names = truth
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(source.root / f"data/nyu2_test/{names[1]}_depth.png")
    path = lay(tmp_path / "out", "npy", 1.1 * depths, names)
    table = side_by_side(score_predictions(open_predictions(path), source))
    assert (table["n_images"] == 2).all() and np.allclose(table.loc["ma2018@6x8", "abs_rel"], 0.1, atol=1e-4)
    assert table.notna().all(axis=None)


# ---------------------------------------------------------------- the command


def test_the_command_writes_table_picture_and_records(monkeypatch, capsys, truth, tmp_path):
    source, depths, names = truth
    path = lay(tmp_path / "mine", "npy", 1.1 * depths, names)
    out = tmp_path / "made/records.parquet"
    words = ["--predictions", path, "--data", source.root, "--out", out]
    code, told, error = run(monkeypatch, capsys, "evaluate", *words)
    assert code == 0, error
    assert "Hu et al.'s csv" in told and "3 .npy files, matched by name" in told and "spread, unaligned" in told
    records = pd.read_parquet(out)
    assert tuple(records.columns) == COLUMNS and len(records) == 3 * len(PROTOCOL_SWEEP) * len(DEPTH_METRICS)
    assert set(records["row"]) == {"mine"} and set(records["dataset"]) == {"hu"}
    table = pd.read_csv(tmp_path / "made/records-protocols.csv", index_col=0)
    assert np.isclose(table.loc["hu2019@6x8", "abs_rel"], 0.1, atol=1e-4)
    aligned = table.loc["marigold2024@6x8"]
    assert aligned["abs_rel"] < 1e-3 and aligned["alignment"] == "scale_shift"
    assert Image.open(tmp_path / "made/records-protocols.png").format == "PNG"
    assert {f.name for f in out.parent.iterdir()} == {
        "records.parquet", "records-protocols.csv", "records-protocols.png"
    }  # fmt: skip


def test_the_command_takes_few_protocols_a_factor_and_a_dataset(monkeypatch, capsys, truth, tmp_path):
    source, depths, _ = truth
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["a"], file["b"] = 100 * depths, depths
    words = ["--predictions", tmp_path / "p.h5", "--data", source.root, "--protocol", "hu2019"]
    code, _, error = run(monkeypatch, capsys, "evaluate", *words, "--dataset", "a", "--factor", "0.01")
    assert code == 2 and "its maps have no names" in error
    words.append("--by-order")
    code, told, error = run(monkeypatch, capsys, "evaluate", *words, "--dataset", "a", "--factor", "0.01")
    assert code == 0 and "0.000" in told and "bts2019" not in told and "spread" not in told, error


@pytest.mark.parametrize(
    "words, sentence",
    [
        ([], "give either the folder of a trained run or --predictions"),
        (["run", "--predictions", "p"], "give either the folder of a trained run or --predictions"),
        (["run", "--factor", "2"], "--factor and --dataset are for --predictions"),
        (["run", "--dataset", "d"], "--factor and --dataset are for --predictions"),
        (["run", "--inverse"], "--by-order, --inverse and --disparity are for --predictions"),
        (["--predictions", "p", "--inverse", "--disparity"], "--inverse and --disparity exclude each other"),
        (["--predictions", "p", "--flip-tta"], "--flip-tta and --device are for a trained run"),
        (["--predictions", "p", "--device", "cpu"], "--flip-tta and --device are for a trained run"),
        (["--predictions", "p", "--protocol", "hu"], "unknown protocol 'hu'; known: hu2019, ma2018"),
        (["--predictions", "p", "--split", "val"], "split must be train or test, not 'val'"),
        (["--predictions", "p", "--factor", "-1"], "factor must be above 0"),
        (["--predictions", "p", "--out", "x.txt"], "must end in .parquet or .csv"),
        (["--predictions", "nowhere"], "nowhere does not exist"),
        (["--predictions", "p", "--data", "gone"], "gone does not exist"),
    ],
    ids=lambda x: " ".join(x)[:40] if isinstance(x, list) else "",
)
def test_a_mistake_is_one_sentence_and_exit_code_2(monkeypatch, capsys, truth, tmp_path, words, sentence):
    source, depths, names = truth
    lay(tmp_path / "p", "npy", depths, names)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    code, _, error = run(monkeypatch, capsys, "evaluate", "--data", source.root, *words)
    assert code == 2 and sentence in error, error
    assert len(error.strip().splitlines()) == 1 and set(tmp_path.rglob("*")) == before


def test_real_frames(real_data, tmp_path):
    """Perfect predictions of 25 NYU frames are perfect everywhere; a tenth too far is a tenth unless aligned."""
    source = open_source(real_data / "nyu_hu_layout")
    stored = np.stack([frame.depth for frame in source])
    np.save(tmp_path / "perfect.npy", stored)
    np.save(tmp_path / "far.npy", 1.1 * stored)
    chosen = [PUBLISHED[name] for name in ("hu2019", "ma2018", "densedepth2018", "marigold2024")]
    perfect, far = (
        side_by_side(
            score_predictions(open_predictions(tmp_path / f"{name}.npy"), source, protocols=chosen, by_order=True)
        )
        for name in ("perfect", "far")
    )
    assert (perfect["rmse"] < 1e-4).all() and (perfect["delta1"] == 1).all() and (perfect["n_images"] == 25).all()
    assert np.isclose(far.loc["hu2019", "abs_rel"], 0.1, atol=1e-4) and far.loc["marigold2024", "abs_rel"] < 0.01
    assert far.loc["hu2019", "rmse"] > far.loc["ma2018", "rmse"]  # pooled above the mean of the images
    assert np.isclose(far.loc["densedepth2018", "abs_rel"], 1 / 11, atol=2e-3)  # over the prediction
