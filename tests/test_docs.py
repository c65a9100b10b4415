"""The documentation is built without a warning, shows what signatures say, and asks nothing of the outside."""

import base64
import io
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image
from psutil import Process

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "tools")]

import citations
import comments
import make
import notebooks


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `make docs` builds it, but with no notebook executed; a warning is an error."""
    out = tmp_path_factory.mktemp("docs")
    words = [sys.executable, ROOT / "docs" / "make.py", "--no-execute", "--out", out]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return out / "html"


class Asked(HTMLParser):
    """Addresses that a browser fetches by itself when it opens a page; a link that somebody clicks is none."""

    FETCHED = ("src", "srcset", "data", "poster", "background")

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        fetched = (*self.FETCHED, "href", "xlink:href") if tag in ("link", "image", "use", "base") else self.FETCHED
        told = dict(attrs)
        if told.get("rel") in ("canonical", "author", "license", "next", "prev", "index", "search"):
            return
        self.found += [value for name, value in attrs if name in fetched and value]
        self.handle_css(told.get("style") or "")

    def handle_css(self, text: str) -> None:
        self.found += re.findall(r"""url\(\s*['"]?([^'")]+)""", text) + re.findall(r"""@import\s+['"]([^'"]+)""", text)

    def handle_data(self, data):
        if self.inside == "style":
            self.handle_css(data)
        elif self.inside == "script":
            self.found += re.findall(r"""(?:import|from|fetch\(|src\s*=)\s*\(?['"]([^'"]+)""", data)


def outside(addresses: list[str]) -> set[str]:
    return {a for a in addresses if re.match(r"(https?:)?//", a.strip())}


def asked_by(page: str) -> set[str]:
    reader = Asked()
    reader.feed(page)
    return outside(reader.found)


@pytest.mark.parametrize(
    "page, count",
    [
        ('<script src="https://cdn.example.org/x.js"></script>', 1),
        ('<link rel="stylesheet" href="//fonts.example.org/css">', 1),
        ('<p style="background: url(http://example.org/a.png)">', 1),
        ("<style>@import 'https://example.org/a.css'; p {}</style>", 1),
        ('<script>import("https://example.org/a.mjs")</script>', 1),
        ('<img src="data:image/png;base64,AAAA"><script src="_static/a.js"></script>', 0),
        ('<a href="https://example.org">read it there</a>', 0),
    ],
)
def test_what_a_page_fetches_is_seen(page, count):
    assert len(asked_by(page)) == count


def test_no_page_asks_anything_of_the_outside(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 200
    asked = {page.relative_to(site): found for page in pages if (found := asked_by(page.read_text("utf-8")))}
    assert not asked
    for sheet in site.rglob("*.css"):
        reader = Asked()
        reader.handle_css(sheet.read_text(encoding="utf-8"))
        assert not outside(reader.found), sheet.name


def test_every_notebook_module_and_report_has_its_page_and_guides_come_first(site):
    for path in [p for p in ROOT.glob("nbs/**/*.ipynb") if ".ipynb_checkpoints" not in p.parts]:
        assert (site / path.relative_to(ROOT)).with_suffix(".html").exists(), path
    for path in [p for p in ROOT.glob("advdepth_nb/*/*.py") if not p.name.startswith("_")]:
        assert (site / "api" / f"{path.parent.name}.{path.stem}.html").exists(), path
    home = (site / "index.html").read_text(encoding="utf-8")
    order = ["your_own_loss", "nbs/README.html", "studies.html", "reports.html", "api/", "glossary", "bibliography"]
    bar = home[home.index("sidebar-tree") :]
    places = [bar.index(f"{name}") for name in order]
    assert places == sorted(places)


def test_api_pages_show_shapes_and_units(site):
    page = (site / "api" / "losses.depth.html").read_text(encoding="utf-8")
    start = page.index('id="advdepth_nb.losses.depth.log_depth"')
    entry = re.sub(r"<[^>]+>", "", page[start : page.index("<dt ", start + 1) + 6000])
    assert re.search(r"pred.{0,40}\(B,1,H,W\) metres", entry) and re.search(r"mask.{0,40}\(B,1,H,W\) bool", entry)
    assert 'bibliography.html#hu2019"' in page


def test_formulas_and_search_come_from_files(site):
    page = (site / "nbs" / "40_losses" / "depth.html").read_text(encoding="utf-8")
    script = re.search(r'src="([^"]*tex-svg-full\.js)', page)
    assert script and (site / "nbs" / "40_losses" / script[1]).resolve().stat().st_size > 1e6
    assert "requantize" in (site / "searchindex.js").read_text(encoding="utf-8").lower()
    assert "#| export" not in page and "#|" not in re.sub(r"<[^>]+>", "", page)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_without_a_network_draws_the_formulas(site, tmp_path):
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    words += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", "--dump-dom"]
    page = site / "nbs" / "40_losses" / "depth.html"
    done = subprocess.run([*words, page.as_uri()], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.count("<mjx-container") > 20


# --- Sources --------------------------------------------------------------------------------------------------------


def texts() -> dict[str, str]:
    """Everything that may cite: notebooks, the table of published rows, pages."""
    pages = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("advdepth_nb/*.csv")]
    found = {p.name: p.read_text(encoding="utf-8") for p in pages}
    for path in ROOT.glob("nbs/**/*.ipynb"):
        if ".ipynb_checkpoints" not in path.parts:
            cells = nbformat.read(path, as_version=4).cells
            found[str(path.relative_to(ROOT))] = "\n".join(re.sub(r"(?m)^\s*# ?", "", cell.source) for cell in cells)
    return found


def test_every_citation_is_in_the_bibliography_and_every_source_is_cited():
    known, cited = citations.known(), set()
    for name, text in texts().items():
        cited |= {citations.keys()[citations.plain(m[0])] for m in known.finditer(text)}
        for match in citations.LOOKS_CITED.finditer(text):
            assert known.fullmatch(match[0]), f"{name} cites {match[0]!r}, which is not in docs/references.bib"
    uncited = set(citations.keys().values()) - cited
    assert not uncited, "in docs/references.bib, and cited nowhere"


@pytest.mark.parametrize(
    "text, key",
    [
        ("as Hu et al. 2019 do", "hu2019"),
        ("Hu et\nal. (2019, WACV)", "hu2019"),
        ("(Menze and Geiger 2015)", "menze2015"),
        ("Lim & Ye 2017", "lim2017"),
        ("Koenderink & van Doorn 1992", "koenderink1992"),
        ("(Barron 2019, the Cauchy loss)", "barron2019"),
        ("Parhar's project page", "parhar"),
    ],
)
def test_a_citation_leads_to_its_source(text, key):
    match = citations.known().search(text)
    assert match and citations.keys()[citations.plain(match[0])] == key


def test_what_is_no_citation_is_left_alone():
    assert not citations.known().search("KITTI 2015, Middlebury 2014, November 2026, Hu et al. say, Hu et al. 2024b")
    assert not citations.LOOKS_CITED.search("WACV 2019") and citations.LOOKS_CITED.search("Nobody et al. 2031")


def test_a_notebook_is_executed_again_only_when_its_code_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "page.ipynb"
    monkeypatch.setattr(make, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(make, "keeps_outputs", lambda path: False)

    def page(code: str) -> str:
        words = nbformat.v4.new_markdown_cell("# Page")
        notebook = nbformat.v4.new_notebook(cells=[words, nbformat.v4.new_code_cell(code)])
        nbformat.write(notebooks.clean(notebook, outputs=False), path)
        return make.as_page(path, make.get_cache(make.CACHE))

    code = "#| export\nprint('a' * 40)\n1 / 4"
    assert "0.25" not in page(code)
    assert make.fill_cache([path], jobs=1) == []
    kernels = [child for child in Process().children() if "ipykernel_launcher" in child.cmdline()]
    assert not kernels, "a kernel was left running"
    assert "a" * 40 in page(code) and "0.25" in page(code) and "#|" not in page(code)
    monkeypatch.setattr(make, "executed", lambda path, threads: pytest.fail("executed again"))
    assert make.fill_cache([path], jobs=1) == [] and "0.25" not in page(code + " + 1")


def test_a_notebook_that_fails_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "CACHE", tmp_path / "cache")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(notebooks.clean(notebook, outputs=False), tmp_path / "wrong.ipynb")
    (told,) = make.fill_cache([tmp_path / "wrong.ipynb"], jobs=1)
    assert "/wrong: " in told and "division by zero" in told


def test_docstrings_are_text_and_code_and_nothing_else():
    assert comments.as_rst("`pred` of |a| * b_ and c_i") == r"``pred`` of \|a\| \* b\_ and c\_i"
    assert comments.as_rst("over `two\n    lines`") == "over ``two lines``"


def test_a_parameter_without_a_comment_has_no_line_and_inherited_fields_keep_theirs():
    from advdepth_nb.losses.depth import balanced
    from advdepth_nb.systems.depth_rows import DepthExperiment

    assert "limit" in comments.parameters(balanced) and "a1" not in comments.parameters(balanced)
    told = comments.parameters(DepthExperiment)
    assert told["fusion_width"].startswith("channels") and told["crop"].startswith("(H,W)")


# --- Outputs that are kept ------------------------------------------------------------------------------------------


def test_idea_notebooks_hold_small_pictures_of_their_own_code():
    paths = notebooks.notebooks(list(notebooks.IDEAS))
    assert len(paths) == 10 and sum(p.stat().st_size for p in paths) < 3e6
    for path in paths:
        assert "image/png" in path.read_text(encoding="utf-8"), path.name
    assert not [told for path in paths if (told := notebooks.stale(path))]


def test_stale_outputs_are_told_with_the_line_that_mends_them(tmp_path):
    path = tmp_path / "40_losses" / "gan.ipynb"
    path.parent.mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1"), nbformat.v4.new_markdown_cell("a")])

    def told() -> str:
        nbformat.write(notebook, path)
        return notebooks.stale(path)

    assert "at an unknown time" in told()
    notebook.metadata["made_with"] = notebooks.stamp_of(notebook)
    notebook.cells[1].source = "words may change"
    assert told() == ""
    notebook.cells[0].source = "1 + 2"
    assert "from other code: run `python tools/notebooks.py run losses/gan`" in told()
    notebook.metadata["made_with"] = notebooks.stamp_of(notebook) | {"version": "0.0.1"}
    assert "by version 0.0.1, and this is" in told() and "other code" not in told()


def test_only_pictures_that_stay_as_they_look_lose_colors():
    def kept(picture: np.ndarray) -> tuple[np.ndarray, int, int]:
        png = io.BytesIO()
        Image.fromarray(picture).save(png, "PNG")
        data = {"image/png": base64.b64encode(png.getvalue()).decode()}
        cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("display_data", data=data)])
        notebooks.shrink(nbformat.v4.new_notebook(cells=[cell]))
        now = base64.b64decode(cell.outputs[0].data["image/png"])
        return np.asarray(Image.open(io.BytesIO(now)).convert("RGB")), len(now), len(png.getvalue())

    y, x = np.mgrid[:200, :256].astype(np.uint8)
    flat, smooth = np.stack([x // 32 * 30, y // 50 * 40, 0 * x], -1), np.stack([x, y, 255 - x], -1)
    picture, now, before = kept(flat)
    assert np.array_equal(picture, flat) and now < before
    picture, now, before = kept(smooth)
    assert np.array_equal(picture, smooth) and now == before


def test_cleaning_keeps_the_stamp_where_outputs_are_kept():
    def stamped():
        cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text="one")])
        return nbformat.v4.new_notebook(cells=[cell], metadata={"made_with": {"version": "1"}, "other": 1})

    kept, bare = notebooks.clean(stamped(), outputs=True), notebooks.clean(stamped(), outputs=False)
    assert kept.metadata["made_with"] == {"version": "1"} and kept.cells[0].outputs
    assert "made_with" not in bare.metadata and not bare.cells[0].outputs and "other" not in kept.metadata
