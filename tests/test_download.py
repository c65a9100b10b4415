"""Data that arrives: from a server on this machine that cuts, forgets, replaces, lies and refuses."""

import errno
import hashlib
import io
import json
import os
import tarfile
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from commands import run
from factories import disparity, pfm, view, write
from servers import Shelf, serving

from advdepth_nb.data import download as downloads
from advdepth_nb.data import sources
from advdepth_nb.data.download import BLOCK, WAITS, download, get_data
from advdepth_nb.data.sources import RemoteData, RemoteFile, read_sources

FIRST = np.random.default_rng(0).bytes(10 * BLOCK + 77)
SECOND = np.random.default_rng(1).bytes(10 * BLOCK + 77)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(downloads, "WAITS", (0, 0, 0, 0))


@pytest.fixture
def shelf():
    with serving(Shelf({"/a.bin": FIRST})) as shelf:
        yield shelf


def remote(*addresses: str, size=None, sha256="", name="a.bin") -> RemoteFile:
    return RemoteFile(name, addresses, size, sha256)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("dated", [False, True], ids=["by tag", "by date"])
def test_after_cuts_only_what_is_missing_is_asked_for(shelf, tmp_path, dated):
    shelf.cuts, shelf.dated = [3 * BLOCK, 2 * BLOCK, 4 * BLOCK], dated
    told = download(remote(f"{shelf.address}/a.bin"), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == FIRST and os.listdir(tmp_path) == ["a.bin"]
    assert [wanted for _, wanted in shelf.asked] == [None, *(f"bytes={n * BLOCK}-" for n in (3, 5, 9))]
    assert shelf.sent == len(FIRST) and told["sha256"] == sha(FIRST)


def test_another_process_goes_on_where_the_first_one_was_killed(shelf, tmp_path):
    """Within one process nothing is remembered but what lies on the disk."""
    shelf.cuts = [6 * BLOCK] + [1] * 9  # which bring nothing
    with pytest.raises(ValueError, match="run the same command again to go on"):
        download(remote(f"{shelf.address}/a.bin"), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a.bin.partial", "a.bin.partial.json"]
    shelf.cuts, shelf.asked, shelf.sent = [], [], 0
    download(remote(f"{shelf.address}/a.bin"), tmp_path)
    assert shelf.asked == [("/a.bin", f"bytes={6 * BLOCK}-")] and shelf.sent == len(FIRST) - 6 * BLOCK
    assert (tmp_path / "a.bin").read_bytes() == FIRST


def test_a_file_that_was_replaced_between_two_tries_is_not_glued_together(shelf, tmp_path):
    shelf.cuts = [5 * BLOCK]

    def replace(_):
        shelf.files["/a.bin"], shelf.tags["/a.bin"] = SECOND, '"2"'

    download(remote(f"{shelf.address}/a.bin"), tmp_path, sleep=replace)
    assert (tmp_path / "a.bin").read_bytes() == SECOND and shelf.asked[1][1] == f"bytes={5 * BLOCK}-"


def test_a_shorter_file_in_its_place_is_begun_again(shelf, tmp_path):
    """A server that does not look at If-Range and answers 416, as the new file ends before what is there."""
    shelf.cuts = [5 * BLOCK]

    def replace(_):
        shelf.files["/a.bin"] = SECOND[: 2 * BLOCK]

    download(remote(f"{shelf.address}/a.bin"), tmp_path, sleep=replace)
    assert (tmp_path / "a.bin").read_bytes() == SECOND[: 2 * BLOCK]


@pytest.mark.parametrize("change", [{"ranges": False}, {"bare": True}, {"tags": {"/a.bin": 'W/"1"'}}], ids=str)
def test_without_ranges_or_a_strong_validator_it_begins_again(shelf, tmp_path, change):
    vars(shelf).update(change)
    shelf.cuts = [5 * BLOCK]
    download(remote(f"{shelf.address}/a.bin"), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == FIRST and shelf.sent == 5 * BLOCK + len(FIRST)


def test_a_killed_process_that_had_all_is_not_asked_for_more(shelf, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(FIRST)
    told = {"address": f"{shelf.address}/a.bin", "validator": '"1"', "total": len(FIRST), "sha256": ""}
    (tmp_path / "a.bin.partial.json").write_text(json.dumps(told))
    download(remote(f"{shelf.address}/a.bin"), tmp_path)
    assert shelf.sent == 0 and (tmp_path / "a.bin").read_bytes() == FIRST


def test_a_wrong_hash_is_thrown_away_and_the_mirror_is_asked(shelf, tmp_path):
    shelf.files["/good.bin"] = SECOND
    file = remote(f"{shelf.address}/a.bin", f"{shelf.address}/good.bin", sha256=sha(SECOND))
    told = download(file, tmp_path)
    assert told["address"].endswith("good.bin") and (tmp_path / "a.bin").read_bytes() == SECOND
    alone = remote(f"{shelf.address}/a.bin", sha256=sha(SECOND), name="b.bin")
    with pytest.raises(ValueError, match=f"has the SHA-256 {sha(FIRST)}, not {sha(SECOND)}") as refused:
        download(alone, tmp_path)
    assert "\n" not in str(refused.value) and os.listdir(tmp_path) == ["a.bin"]


def test_a_wrong_size_is_thrown_away(shelf, tmp_path):
    with pytest.raises(ValueError, match=f"has {len(FIRST)} bytes, not 5"):
        download(remote(f"{shelf.address}/a.bin", size=5), tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_hash_that_comes_with_the_redirection_is_compared(shelf, tmp_path):
    shelf.redirects["/hub.bin"] = "/a.bin"
    shelf.headers = {"X-Linked-ETag": f'"{sha(FIRST)}"'}
    told = download(remote(f"{shelf.address}/hub.bin"), tmp_path)
    assert told["sha256_is"] == "compared with what the server promised"
    shelf.headers = {"X-Linked-ETag": f'"{sha(SECOND)}"'}
    with pytest.raises(ValueError, match=f"not {sha(SECOND)}"):
        download(remote(f"{shelf.address}/hub.bin", name="b.bin"), tmp_path)


def test_a_missing_file_a_login_and_a_dead_server_lead_to_the_mirror(shelf, tmp_path):
    with serving(Shelf({"/login": b"<html>"}, kind="text/html; charset=utf-8")) as other:
        gone, login, dead = f"{shelf.address}/gone", f"{other.address}/login", "http://127.0.0.1:9/a.bin"
        told = download(remote(gone, login, dead, f"{shelf.address}/a.bin"), tmp_path)
        assert told["address"] == f"{shelf.address}/a.bin"
        with pytest.raises(ValueError) as refused:
            download(remote(gone, login, dead, name="b.bin"), tmp_path)
    for words in (
        "gone answers with status 404",
        "a web page",
        "it may want a login",
        "cannot be reached, or broke off",
    ):
        assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_mirror_that_is_asked_in_between_leaves_what_came_from_the_first(shelf, tmp_path):
    """The network goes while the first address sends; the mirror does not answer either, and spoils nothing."""
    shelf.cuts = [6 * BLOCK] + [1] * 9
    file = remote(f"{shelf.address}/a.bin", "http://127.0.0.1:9/a.bin")
    with pytest.raises(ValueError, match="could not be had"):
        download(file, tmp_path)
    shelf.cuts, shelf.sent = [], 0
    download(file, tmp_path)
    assert shelf.sent == len(FIRST) - 6 * BLOCK


def test_a_busy_server_is_asked_again_and_not_for_ever(shelf, tmp_path):
    shelf.statuses = [503, 429, 500]
    download(remote(f"{shelf.address}/a.bin"), tmp_path)
    shelf.statuses, shelf.asked = [503] * 50, []
    with pytest.raises(ValueError, match="answers with status 503"):
        download(remote(f"{shelf.address}/a.bin", name="b.bin"), tmp_path)
    assert len(shelf.asked) == len(WAITS) + 1


def test_too_small_a_disk_is_told_before_the_first_byte(shelf, tmp_path):
    full = mock.patch("shutil.disk_usage", return_value=mock.Mock(free=len(FIRST) - 1))
    with full, pytest.raises(OSError, match="free some, or choose another place"):
        download(remote(f"{shelf.address}/a.bin"), tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_keeps_what_came_and_the_next_try_goes_on(shelf, tmp_path):
    written, real_open = [], Path.open

    class Full(io.BufferedWriter):
        def write(self, block):
            if len(written) == 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(len(block))
            return super().write(block)

    def opened(path, mode="r", *rest, **named):
        if path.name.endswith(".partial") and mode == "wb":
            return Full(io.FileIO(path, "w"))
        return real_open(path, mode, *rest, **named)

    with (
        mock.patch.object(Path, "open", opened),
        pytest.raises(OSError, match="no space is left on its disk") as refused,
    ):
        download(remote(f"{shelf.address}/a.bin"), tmp_path)
    assert "a.bin.partial cannot be written" in str(refused.value)
    shelf.asked = []
    download(remote(f"{shelf.address}/a.bin"), tmp_path)
    assert shelf.asked == [("/a.bin", f"bytes={4 * BLOCK}-")] and (tmp_path / "a.bin").read_bytes() == FIRST


def zipped(**files: bytes) -> bytes:
    told = io.BytesIO()
    with zipfile.ZipFile(told, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return told.getvalue()


def data_of(*files: RemoteFile) -> RemoteData:
    return RemoteData("toy", files, "stereo", "1 kB", "free", "them", "https://a.org", "words", "", "", "", "tried")


def test_a_data_set_appears_whole_and_is_not_fetched_twice(shelf, tmp_path):
    shelf.files |= {"/a.zip": zipped(**{"t/1.txt": b"one"}), "/b.zip": zipped(**{"t/2.txt": b"two"})}
    files = [remote(f"{shelf.address}/{name}.zip", name=f"{name}.zip") for name in "ab"]
    said: list[str] = []
    broken = data_of(files[0], remote(f"{shelf.address}/gone.zip", name="b.zip"))
    with pytest.raises(ValueError, match=r"b.zip could not be had: .* status 404"):
        get_data(broken, tmp_path, said.append)
    assert not (tmp_path / "toy").exists() and (tmp_path / "toy.download/t/1.txt").exists()
    shelf.asked = []
    folder = get_data(data_of(*files), tmp_path, said.append)
    assert [path for path, _ in shelf.asked] == ["/b.zip"]  # the first one is there
    assert sorted(p.name for p in folder.rglob("*")) == ["1.txt", "2.txt", "t"]
    record = json.loads((tmp_path / "toy.source.json").read_text())
    assert record["complete"] and record["files"]["b.zip"]["sha256"] == sha(shelf.files["/b.zip"])
    assert record["files"]["a.zip"]["unpacked"] == 1 and record["files"]["a.zip"]["sha256_is"].startswith(
        "computed here"
    )
    assert sha(shelf.files["/a.zip"]) in said[0]
    assert get_data(data_of(*files), tmp_path, said.append) == folder and len(shelf.asked) == 1


def test_archives_may_be_kept_and_a_lost_folder_is_fetched_again(shelf, tmp_path):
    shelf.files["/a.zip"] = zipped(**{"1.txt": b"one"})
    toy = data_of(remote(f"{shelf.address}/a.zip", name="a.zip"))
    folder = get_data(toy, tmp_path, keep=True, say=lambda _: None)
    assert sorted(p.name for p in folder.iterdir()) == ["1.txt", "a.zip"]
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert sorted(p.name for p in get_data(toy, tmp_path, lambda _: None).iterdir()) == ["1.txt"]


def test_an_archive_that_would_write_elsewhere_leaves_nothing(shelf, tmp_path):
    told = io.BytesIO()
    with tarfile.open(fileobj=told, mode="w") as file:
        file.addfile(tarfile.TarInfo("../../up.txt"))
    shelf.files["/a.tar"] = told.getvalue()
    with pytest.raises(ValueError, match="leads out of its folder"):
        get_data(data_of(remote(f"{shelf.address}/a.tar", name="a.tar")), tmp_path / "deep/er", lambda _: None)
    assert not list(tmp_path.rglob("up.txt")) and not (tmp_path / "deep/er/toy").exists()


def middlebury() -> tuple[bytes, bytes]:
    """Two archives as those of Middlebury's evaluation, version 3: pictures and calibrations; disparities and masks."""
    with tempfile.TemporaryDirectory() as scratch:
        for scene, split in (("Adirondack", "training"), ("Pipes", "training"), ("Bicycle2", "test")):
            folder = Path(scratch) / f"data/MiddEval3/{split}Q/{scene}"
            for side in (0, 1):
                write(folder / f"im{side}.png", view(side))
            (folder / "calib.txt").write_text(
                "cam0=[30 0 20; 0 30 6; 0 0 1]\ncam1=[30 0 20; 0 30 6; 0 0 1]\n"
                "doffs=0\nbaseline=100\nwidth=40\nheight=12\n"
            )
            if split == "training":
                truth = Path(scratch) / f"truth/MiddEval3/{split}Q/{scene}"
                pfm(truth / "disp0GT.pfm", disparity())
                write(truth / "mask0nocc.png", np.full((12, 40), 255, np.uint8))
        return tuple(
            zipped(**{p.relative_to(base).as_posix(): p.read_bytes() for p in base.rglob("*") if p.is_file()})
            for base in (Path(scratch) / "data", Path(scratch) / "truth")
        )


@pytest.fixture
def table(shelf, monkeypatch, tmp_path):
    """The package's own table with the addresses of Middlebury on this machine."""
    text = sources.TABLE.read_text(encoding="utf-8")
    text = text.replace("https://vision.middlebury.edu/stereo/submit3/zip/", f"{shelf.address}/")
    (tmp_path / "sources.csv").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sources, "TABLE", tmp_path / "sources.csv")


def test_middlebury_is_fetched_unpacked_merged_and_packed(shelf, table, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    shelf.files["/MiddEval3-data-Q.zip"], shelf.files["/MiddEval3-GT0-Q.zip"] = middlebury()
    code, told, error = run(monkeypatch, capsys, "data", "get", "middlebury-q")
    assert code == 2 and "no explicit licence" in told and "say advdepth data get middlebury-q --accept" in error
    assert shelf.asked == []
    words = ["data", "get", "middlebury-q", "--accept", "--pack", "--size", "12x40"]
    code, told, error = run(monkeypatch, capsys, *words)
    assert code == 0, error
    assert "middlebury-q is in data/middlebury-q/MiddEval3/trainingQ" in told and "packed: data/middlebury-q.h5" in told
    code, told, _ = run(monkeypatch, capsys, "data", "info", "data/middlebury-q.h5")
    assert code == 0 and "12x40" in told


def test_the_motorcycle_comes_out_of_an_installed_package(monkeypatch, tmp_path):
    """Its files are compared with the table; a package that brings others is refused."""
    (tmp_path / "site/skimage/data").mkdir(parents=True)
    (tmp_path / "site/skimage/__init__.py").touch()
    for name in ("left.png", "right.png", "disp.npz"):
        (tmp_path / f"site/skimage/data/motorcycle_{name}").write_bytes(b"other")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    pair = read_sources()["motorcycle"]
    packaged = [RemoteFile(f.file, f.addresses[:1], f.bytes, f.sha256) for f in pair.files]
    with pytest.raises(ValueError, match=r"motorcycle_left\.png has 5 bytes, not 644701"):
        get_data(data_of(*packaged), tmp_path, lambda _: None)
    loose = [RemoteFile(f.file, f.addresses[:1], None, "") for f in pair.files]
    folder = get_data(data_of(*loose), tmp_path / "loose", lambda _: None)
    assert (folder / "left/motorcycle.png").read_bytes() == b"other"
    assert "baseline=193.001" in (folder / "calib.txt").read_text()


@pytest.mark.skipif(find_spec("skimage") is None, reason="scikit-image is not installed")
def test_the_motorcycle_of_the_real_package_opens_as_a_rig(tmp_path):
    from advdepth_nb.data.stereo import open_stereo

    folder = get_data(read_sources()["motorcycle"], tmp_path, lambda _: None)
    pair = open_stereo(folder)
    assert len(pair) == 1 and np.nanmax(pair[0].disparity) < 60


@pytest.mark.parametrize("name, words", [("nyu-hu", "wants a browser"), ("cityscapes", "ask for an account")])
def test_what_a_person_has_to_fetch_is_explained(monkeypatch, capsys, tmp_path, name, words):
    monkeypatch.chdir(tmp_path)
    code, told, error = run(monkeypatch, capsys, "data", "get", name, "--accept")
    assert code == 2 and words in error and "https://" in error and "licence" in told and error.count("\n") == 1
    assert os.listdir(tmp_path) == []
