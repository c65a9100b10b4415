"""JupyterLab in a real browser: every notebook opens whole, templates and guides run by *Run All*.

One server, one page; a notebook is opened without a kernel, so that all of them take a minute or two. Skipped where
there is no chromium.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [
    path.relative_to(ROOT).as_posix()
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")) if ".ipynb_checkpoints" not in path.parts
]  # fmt: skip
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")

# JupyterLab's own, of a notebook without a kernel.
HARMLESS = "Cannot read properties of null (reading 'kernel')"
# Every cell is drawn, not only those in view; nothing is asked of the network.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none", "kernelShutdown": True},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
OPEN = """async ([path, withKernel]) => {
  const app = window.jupyterapp;
  let over = false;
  const kernelPreference = withKernel ? undefined : {shouldStart: false, canStart: true};
  const complaint = async () => {  // of a file that is no notebook: its widget never becomes ready
    while (!over && !document.querySelector('.jp-Dialog')) await new Promise(done => setTimeout(done, 100));
    return -1;
  };
  const open = async () => {
    const widget = await app.commands.execute('docmanager:open', {path, factory: 'Notebook', kernelPreference});
    window.opened = widget;
    await widget.context.ready;
    await widget.revealed;
    if (withKernel) await widget.sessionContext.ready;
    return widget.content.model.cells.length;
  };
  return await Promise.race([open(), complaint()]).finally(() => { over = true; });
}"""
DRAWN = """() => window.opened.content.widgets.filter(c => c.model.type === 'markdown').every(
  c => c.node.querySelector('.jp-MarkdownOutput')?.childElementCount
    && [...c.node.querySelectorAll('img')].every(i => i.complete))"""
WRONG = """() => [
  ...[...document.querySelectorAll('.jp-Dialog')].map(d => 'dialog: ' + d.innerText),
  ...[...(window.opened?.node.querySelectorAll('mjx-merror, [data-mjx-error]') ?? [])].map(
    e => 'formula: ' + e.closest('mjx-container')?.innerText + ' ' + (e.dataset.mjxError ?? e.getAttribute('title'))),
  ...[...(window.opened?.node.querySelectorAll('.jp-MarkdownOutput img') ?? [])].filter(i => !i.naturalWidth).map(
    i => 'picture: ' + (i.alt || i.src)),
  ...[...(window.opened?.content.widgets ?? [])].flatMap(c => c.model.type === 'code' ? c.model.outputs.toJSON() : [])
    .filter(o => o.output_type === 'error').map(o => o.ename + ': ' + o.evalue)]"""
LOADED = "() => [...document.querySelectorAll('.jp-MarkdownOutput img')].every(i => i.complete)"
ENDED = """() => {
  const cells = window.opened.content.widgets.filter(c => c.model.type === 'code' && c.model.sharedModel.source.trim());
  const failed = cells.some(c => c.model.outputs.toJSON().some(o => o.output_type === 'error'));
  const idle = window.opened.sessionContext.session?.kernel?.status === 'idle';
  return failed || (idle && cells.every(c => c.model.executionCount)) || document.querySelector('.jp-Dialog') !== null;
}"""
CLOSE = """async () => {
  const widget = window.opened;
  window.opened = null;
  document.querySelectorAll('.jp-Dialog .jp-mod-reject, .jp-Dialog .jp-mod-accept').forEach(b => b.click());
  if (widget?.sessionContext.session) await widget.sessionContext.shutdown();
  widget?.dispose();
}"""


def wait_until(answers, seconds: float = 90) -> None:
    begun = time.monotonic()
    while not answers():
        assert time.monotonic() - begun < seconds, "JupyterLab does not answer"
        time.sleep(0.1)


@contextlib.contextmanager
def server(home: Path, worlds: Path):
    """JupyterLab on copies of the notebooks, with settings and folders of its own: its address."""
    for name, settings in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {
        "JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython",
    }  # fmt: skip
    environ = {**os.environ, **{name: str(home / folder) for name, folder in where.items()}}
    environ |= {"ADVDEPTH_DATA": str(worlds), "PYTHONPATH": str(ROOT)}
    words = [
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
        f"--ServerApp.root_dir={home / 'root'}", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--no-browser", "--allow-root",
    ]  # fmt: skip
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "jupyterlab", *words], env=environ, stdout=log, stderr=log)
    try:

        def answers() -> bool:
            assert process.poll() is None, (home / "server.log").read_text()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5).status == 200
            return False

        wait_until(answers)
        yield f"http://127.0.0.1:{port}/lab"
    finally:
        process.terminate()
        process.wait(30)


class Lab:
    """The page of a browser that shows JupyterLab."""

    def __init__(self, page, root: Path) -> None:
        self.page, self.root, self.raised = page, root, []
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self.raised.append(str(error)))

    def check(self, path: str) -> None:
        """AssertionError for what is wrong with the notebook that is open."""
        self.page.wait_for_function(LOADED)  # a picture that is on its way is no missing one
        found = self.page.evaluate(WRONG) + [error for error in self.raised if HARMLESS not in error]
        assert not found, f"{path}: {'; '.join(found)}"

    @contextlib.contextmanager
    def opened(self, path: str, kernel: bool = False):
        """The notebook, drawn whole and right."""
        self.raised.clear()
        try:
            count = self.page.evaluate(OPEN, [path, kernel])
            self.check(path)
            assert count == len(nbformat.read(self.root / path, as_version=4).cells), f"{path}: {count} cells"
            self.page.wait_for_function(DRAWN)
            self.check(path)
            yield
        finally:
            self.page.evaluate(CLOSE)

    def run_all(self, path: str, seconds: float = 150) -> None:
        """*Run All Cells* of the menu, as a user would choose it, and its end without an error."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        self.page.wait_for_function(ENDED, timeout=1000 * seconds, polling=250)
        self.check(path)


@pytest.fixture(scope="module")
def lab(tmp_path_factory, worlds):
    sync_api = pytest.importorskip("playwright.sync_api")
    home = tmp_path_factory.mktemp("lab")
    (home / "root").mkdir()
    shutil.copytree(ROOT / "nbs", home / "root" / "nbs")
    shutil.copytree(ROOT / "results" / "shown", home / "root" / "results" / "shown")  # the server follows no link
    with server(home, worlds) as address, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address, timeout=120_000)
        page.wait_for_function("() => window.jupyterapp?.restored", timeout=120_000)
        page.evaluate("async () => { await window.jupyterapp.restored; }")
        yield Lab(page, home / "root")
        browser.close()


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_a_notebook_opens_with_its_formulas_and_pictures(lab, path):
    with lab.opened(path):
        pass


RUN = ["guides/first_ten_minutes", "guides/how_many_seeds", "guides/two_folders_of_predictions"]


@pytest.mark.parametrize("name", RUN)
def test_a_guide_runs_by_run_all(lab, name):
    path = f"nbs/{name}.ipynb"
    with lab.opened(path, kernel=True):
        lab.run_all(path)
        if name.endswith("first_ten_minutes"):
            slide(lab.page)


def slide(page) -> None:
    """The slider is drawn, and a step of it draws another picture."""
    slider = page.locator(".jp-OutputArea .noUi-handle").first
    slider.scroll_into_view_if_needed()
    picture = page.locator(".jp-OutputArea .widget-image").first
    before = picture.get_attribute("src")
    slider.focus()
    page.keyboard.press("ArrowLeft")  # the guide leaves it at its largest weight; the next one is trained first
    changed = "before => document.querySelector('.jp-OutputArea .widget-image').src !== before"
    page.wait_for_function(changed, arg=before, timeout=150_000)


def test_the_templates_run_by_run_all(lab):
    """One run by hand: trained, scored, and reported as a study of one run."""
    for name in ("train", "evaluate", "report"):
        path = f"nbs/runs/{name}.ipynb"
        made = lab.root / "nbs/runs/results"
        if name == "report":
            study = made / "table1-rooms-smoke-report/runs/baseline/seed=0"
            study.parent.mkdir(parents=True)
            shutil.copytree(made / "by-hand", study)
        with lab.opened(path, kernel=True):
            lab.run_all(path)
    assert (made / "table1-rooms-smoke-report/table1.html").exists()


BROKEN = {
    "raises": (lambda: [new_code_cell("1 / 0")], "ZeroDivisionError: division by zero"),
    "formula": (lambda: [new_markdown_cell("$$\\frac{1}$$")], "formula: "),
    "picture": (lambda: [new_markdown_cell("![a room](nowhere.png)")], "picture: a room"),
}


@pytest.mark.parametrize("name", [*BROKEN, "no_json"])
def test_a_broken_notebook_is_seen(lab, name):
    """The positive control: what these tests look for is found where it is."""
    cells, words = BROKEN.get(name, (list, "dialog: "))
    path = lab.root / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=cells(), metadata={"kernelspec": {"name": "python3", "display_name": ""}}), path)
    if name == "no_json":
        path.write_text("{")
    with pytest.raises(AssertionError) as seen, lab.opened(path.name, kernel=name == "raises"):
        lab.run_all(path.name)
    assert words in str(seen.value), seen.value
