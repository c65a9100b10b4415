"""The demo, served and used: over HTTP, in a browser, by two users, by one who means harm; and what it leaves."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from commands import run
from PIL import Image

from advdepth_nb.apps import demo
from advdepth_nb.apps.demo_examples import Example
from advdepth_nb.core.pictures import read_codes
from advdepth_nb.data.calibration import Rig
from advdepth_nb.systems.catalog import SYSTEMS, experiment
from advdepth_nb.systems.model_files import save_model

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
AGE = 20  # seconds


def test_without_gradio_the_command_says_what_installs_it(monkeypatch, capsys):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    code, told, error = run(monkeypatch, capsys, "demo")
    assert (code, told) == (
        2,
        "",
    ) and error == "advdepth: advdepth demo needs gradio: pip install 'advdepth_nb[demo]'\n"


def smoke_run(folder: Path, row: str, study: str) -> Path:
    """An untrained network of the smallest scale."""
    e = experiment(row, study, "smoke")
    torch.manual_seed(len(row))
    save_model(SYSTEMS[e.system].network(e), e, folder / study / row / "seed=0")
    return folder / study / row / "seed=0"


def picture(seed: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def examples() -> list[Example]:
    """Small ones, which need no rendering."""
    flat = np.full((60, 80), 2.0)
    return [Example("rendered room 1", picture(1), depth=flat, fov=63.0),
            Example("pair", picture(2), picture(3), flat, 3 * flat, Rig(60.0, 0.1), 66.0)]  # fmt: skip


@contextlib.contextmanager
def serving(networks, age: int = AGE):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo, "rooms", examples)
        patched.setattr(demo, "motorcycle", list)
        patched.setattr(demo, "fields", list)
        with demo.served(networks, age=age) as address:
            yield address


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Two depth networks and a stereo network on a page."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("runs")
    runs = [smoke_run(folder, row, study) for row, study in
            (("baseline", "table1"), ("adv", "table1"), ("baseline", "stereo"))]  # fmt: skip
    with serving(demo.load_networks(runs, "cpu")) as at:
        yield at


@pytest.fixture
def client(address, tmp_path):
    from gradio_client import Client

    return Client(address, verbose=False, download_files=tmp_path / "downloads")


def given(path: Path, pixels: np.ndarray):
    from gradio_client import handle_file

    Image.fromarray(pixels).save(path)
    return handle_file(str(path))


def test_a_photograph_is_answered_with_maps_files_and_a_surface(client, tmp_path):
    photograph = given(tmp_path / "my room.png", picture(5))
    page = client.predict(photograph, api_name="/depth")
    assert re.findall('<b title="(.*?)"', page) == ["photograph", "baseline", "adv", "adv − baseline"]
    files = [Path(file) for file in client.predict(photograph, api_name="/depth_files")["value"]]
    names = [file.name.replace("-", "_").replace(" ", "_") for file in files]
    assert names == [f"my_room_{row}_{what}.png" for row in ("baseline", "adv") for what in ("depth", "color")]
    metres = read_codes(files[0], bits=16) / 1000
    assert metres.shape == (60, 80)
    told = float(re.search(r'title="baseline".*?<small>median ([\d.]+) m', page)[1])
    assert abs(np.median(metres) - told) < 0.006
    mesh = client.predict(photograph, "adv", 60, api_name="/surface")
    assert Path(mesh).read_bytes().startswith(b"glTF")


def test_a_pair_is_answered_with_disparity_and_depth(client, tmp_path):
    left, right = (given(tmp_path / f"{side}.png", picture(k)) for k, side in enumerate(("left", "right")))
    page = client.predict(left, right, 60, 0.1, None, api_name="/disparity")
    assert "disparity, px" in page and "depth, m" in page and "left remade, baseline" in page
    files = client.predict(left, 60, 0.1, None, api_name="/disparity_files")["value"]
    assert [Path(file).name for file in files] == [f"left_{what}.png" for what in ("disparity", "color", "depth")]
    other = given(tmp_path / "other.png", picture(9, (50, 80)))
    for words, told in (
        ((left, other, None, None, None), "give both views of one pair"),
        ((left, right, 60, None, None), "fill in both, or neither"),
        ((left, right, 3, 0.1, None), "too short for a picture 80 wide"),
        ((None, None, None, None, None), "there is no left picture"),
    ):
        with pytest.raises(Exception, match=told):
            client.predict(*words, api_name="/disparity")


def test_what_would_do_harm_is_refused_in_a_sentence(client, tmp_path):
    from gradio_client import handle_file

    Image.new("1", (25_000, 25_000)).save(tmp_path / "bomb.png")
    Image.new("1", (9_000, 9_000)).save(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("no picture")
    Image.new("I;16", (20, 20)).save(tmp_path / "depth.png")
    for name, told in (
        ("bomb.png", "bomb.png has more than 178 million pixels"), ("large.png", "large.png has 81 million pixels"),
        ("text.png", "text.png is no picture of a known format"), ("depth.png", "is it a depth map"),
    ):  # fmt: skip
        with pytest.raises(Exception, match=told) as refused:
            client.predict(handle_file(str(tmp_path / name)), api_name="/depth")
        assert "\n" not in str(refused.value) and "advdepth-demo-" not in str(refused.value)
    outside = {"path": str(tmp_path / "depth.png"), "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception):  # noqa: B017  # a file of this machine's, which nobody uploaded
        client.predict(outside, api_name="/depth")


def test_two_users_get_their_own_answers(address, tmp_path):
    from gradio_client import Client

    said: dict[str, list[str]] = {"a": [], "b": []}

    def user(name: str, size: tuple[int, int]) -> None:
        client = Client(address, verbose=False)
        for k in range(5):
            page = client.predict(given(tmp_path / f"{name}{k}.png", picture(k, size)), api_name="/depth")
            said[name].append(re.search('data-rows="(.*?)" data-columns="(.*?)"', page).groups())

    users = [threading.Thread(target=user, args=pair) for pair in (("a", (60, 80)), ("b", (50, 90)))]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join(120)
    assert said == {"a": 5 * [("60", "80")], "b": 5 * [("50", "90")]}


def test_files_go_in_time_and_examples_stay(tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    from gradio_client import Client

    monkeypatch.setattr(demo.tempfile, "tempdir", str(tmp_path))
    with serving(demo.load_networks([smoke_run(tmp_path, "baseline", "table1")], "cpu"), age=2) as at:
        (folder,) = tmp_path.glob("advdepth-demo-*")
        before = {path for path in folder.rglob("*") if path.is_file()}
        client = Client(at, verbose=False, download_files=False)
        for k in range(6):
            photograph = given(tmp_path / f"{k}.png", picture(k))
            client.predict(photograph, api_name="/depth")
            client.predict(photograph, api_name="/depth_files")
        assert len({path for path in folder.rglob("*") if path.is_file()}) > len(before)
        until = time.monotonic() + 30
        while {path for path in folder.rglob("*") if path.is_file()} != before:
            assert time.monotonic() < until, "old files stay"
            time.sleep(0.3)
        assert len(before) >= 2
    assert not folder.exists()


def test_the_command_serves_this_machine_alone_and_leaves_nothing(tmp_path):
    pytest.importorskip("gradio")
    folder = smoke_run(tmp_path, "baseline", "stereo")
    code = (
        "import sys; from advdepth_nb.apps import cli, demo; demo.rooms = demo.fields = demo.motorcycle = list;"
        f"sys.argv = ['advdepth', 'demo', {str(folder)!r}, '--device', 'cpu']; cli.main()"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1", "HTTP_PROXY": "http://127.0.0.1:9"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert "rendered once" in process.stdout.readline()
        line = process.stdout.readline()
        assert re.match(r"http://127\.0\.0\.1:\d+/  \(for this machine alone; Ctrl-C ends it\)", line), line
        import psutil

        places = [c.laddr.ip for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert places and set(places) == {"127.0.0.1"}
        assert list(tmp_path.glob("advdepth-demo-*"))
        process.send_signal(signal.SIGTERM)
        _, complained = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0 and complained == "" and not list(tmp_path.glob("advdepth-demo-*"))


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium that can reach nothing but this machine, and draws surfaces without a graphics card."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    words = ["--no-sandbox", "--enable-unsafe-swiftshader", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=words)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, address):
    """The demo in a tab of its own; every address that it asked must have been the server's."""
    tab = browser.new_page(viewport={"width": 1300, "height": 900})
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    yield tab
    tab.close()
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(address).netloc}


def test_an_example_shows_metres_under_the_pointer_files_and_a_surface(page):
    page.get_by_role("button", name="rendered room 1").click()
    begun = time.monotonic()
    page.locator(".adv-frame").first.wait_for()
    assert time.monotonic() - begun < 30  # below 2 s where nothing else runs
    titles = page.locator(".adv-map figcaption b").all_text_contents()
    assert titles == ["photograph", "truth", "baseline", "adv", "baseline − truth", "adv − truth", "adv − baseline"]
    page.locator(".adv-frame").nth(2).hover()
    said = page.locator(".adv-map output").all_text_contents()
    assert said[:2] == ["", "2.00 m"] and re.fullmatch(r"[+-]?\d+\.\d\d m", said[6])
    ours, adv, difference = (float(text.split()[0]) for text in (said[2], said[3], said[6]))
    assert abs(adv - ours - difference) < 0.02
    page.get_by_role("heading", level=1).hover()
    assert set(page.locator(".adv-map output").all_text_contents()) == {""}
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("KB|B")).first.click()
    assert read_codes(download.value.path().rename(download.value.path().with_suffix(".png")), bits=16).shape == (
        60,
        80,
    )
    page.locator("canvas").wait_for()


def test_a_mistake_is_a_sentence_on_the_page(page, tmp_path):
    Image.new("1", (25_000, 25_000)).save(tmp_path / "bomb.png")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "bomb.png")
    page.get_by_text("bomb.png has more than 178 million pixels, the most that is read; make it smaller").wait_for()


def test_a_pair_in_the_browser(page):
    page.get_by_role("tab", name="Stereo").click()
    page.get_by_role("button", name="pair").click()
    page.locator("img[src*='pair_right']").first.wait_for()
    page.get_by_role("button", name="Disparity", exact=True).click()
    page.locator(".adv-frame:visible").nth(5).wait_for()
    titles = page.locator(".adv-map:visible figcaption b").all_text_contents()
    assert titles[:6] == [
        "left picture",
        "truth",
        "baseline",
        "baseline − truth",
        "right picture",
        "left remade, baseline",
    ]
    page.get_by_role("tab", name="Model cards").click()
    page.get_by_text("Hu et al.'s three terms").last.wait_for()


def test_without_a_stereo_network_the_tab_says_how_to_get_one(browser):
    pytest.importorskip("gradio")
    with serving(demo.load_networks(device="cpu")) as at:
        tab = browser.new_page()
        tab.goto(at)
        tab.get_by_text("It has seen synthetic rooms only").first.wait_for()
        if not demo.load_networks(device="cpu").stereo:
            tab.get_by_role("tab", name="Stereo").click()
            tab.get_by_text("advdepth ablate stereo").wait_for()
        tab.close()
