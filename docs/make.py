"""Build the documentation: `python docs/make.py [--no-execute] [--out FOLDER]`, or `make docs`.

Pages, notebooks, studies and reports are laid out in one folder of sources, where links between them hold, and Sphinx
makes pages of it that work from files, with no request to the outside. A notebook is executed once and kept in
docs/_cache until its code changes; `index`, the studies and the ten idea notebooks bring outputs of their own. With
`--no-execute` a notebook that is not in the cache is shown without its outputs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.cache.main import CacheBundleIn
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
DOCS, NBS, SHOWN = ROOT / "docs", ROOT / "nbs", ROOT / "results" / "shown"
CACHE = DOCS / "_cache"
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "data" / "README.md"]
PAGES += sorted((ROOT / "advdepth_nb" / "weights").glob("*/README.md"))
LINK = re.compile(r"\]\((?!https?:|#|mailto:|data:|attachment:)([^)\s#]+)")

sys.path.insert(0, str(ROOT / "tools"))
from notebooks import clean, keeps_outputs


def packages() -> list[tuple[str, list[tuple[str, Path]], str]]:
    """Name, modules with their notebooks, and one line of each package, in the reading order of nbs/README.md."""
    found = []
    for line in (NBS / "README.md").read_text(encoding="utf-8").splitlines():
        if "| [" in line:
            _, name, modules, what, _ = line.split("|")
            links = re.findall(r"\[`(\w+)`\]\(([^)]+)\)", modules)
            found.append((name.strip(" `"), [(module, NBS / path) for module, path in links], what.strip()))
    return found


# --- Outputs --------------------------------------------------------------------------------------------------------


def executed(path: Path, threads: int = 1):
    """The notebook at `path` after a run in its own folder, as JupyterLab would run it, without a download."""
    # Worlds are rendered once for all notebooks.
    chosen = {"ADVDEPTH_DATA": str(CACHE / "data"), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    notebook = clean(nbformat.read(path, as_version=4), outputs=False)
    with tempfile.TemporaryDirectory() as folder:  # over TCP one kernel in a hundred is lost when several start at once
        kernel = KernelManager(transport="ipc", ip=f"{folder}/k")
        client = NotebookClient(notebook, km=kernel, timeout=900, resources={"metadata": {"path": str(path.parent)}})
        try:
            client.execute(env=chosen | os.environ)
        finally:  # a kernel that it was given the client leaves alive
            if kernel.has_kernel:
                kernel.shutdown_kernel(now=True)
    return clean(notebook, outputs=True)  # without times, which would be part of the key


def fill_cache(paths: list[Path], jobs: int) -> list[str]:
    """Execute those of the notebooks whose code is not in the cache; the names of those that failed, with the error."""
    cache, failed = get_cache(CACHE), []

    def one(path: Path):
        print(f"executing {path.parent.name}/{path.stem}", flush=True)
        try:
            return path, executed(path, max(1, (os.cpu_count() or 1) // jobs)), ""
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            return path, None, str(error).strip().splitlines()[-1]

    with ThreadPoolExecutor(jobs) as pool:
        for path, notebook, error in pool.map(one, [p for p in paths if not is_cached(cache, p)]):
            if error:
                failed.append(f"{path.parent.name}/{path.stem}: {error}")
            else:
                cache.cache_notebook_bundle(CacheBundleIn(notebook, str(path)), check_validity=False, overwrite=True)
    return failed


def is_cached(cache, path: Path) -> bool:
    try:
        cache.match_cache_notebook(nbformat.read(path, as_version=4))
    except KeyError:
        return False
    return True


def to_execute() -> list[Path]:
    """Guides and the notebooks of the library, but those that keep outputs in git."""
    guides = sorted(NBS.glob("guides/*.ipynb"))
    modules = [path for _, modules, _ in packages() for _, path in modules]
    return [p for p in (*guides, *modules, NBS / "public_face.ipynb") if not keeps_outputs(p)]


# --- Sources of the pages -------------------------------------------------------------------------------------------


def place(text: str, where: Path) -> None:
    """Write `text`, unless it is there already: Sphinx reads again what is newer."""
    where.parent.mkdir(parents=True, exist_ok=True)
    if not where.exists() or where.read_text(encoding="utf-8") != text:
        where.write_text(text, encoding="utf-8")


def as_page(path: Path, cache) -> str:
    """A notebook for the site: outputs that it keeps or that the cache has; no directives, no empty cells."""
    notebook = nbformat.read(path, as_version=4)
    if not keeps_outputs(path) and is_cached(cache, path):
        notebook = cache.merge_match_into_notebook(notebook)[1]
    notebook = clean(notebook, outputs=True)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if re.match(r"#\|\s*hide\b", cell.source):
                cell.source, cell.outputs = "", []
            elif re.match(r"#\|\s*echo: false", cell.source):
                cell.metadata["tags"] = ["remove-input"]
            cell.source = re.sub(r"(?m)^#\|.*\n?", "", cell.source).strip("\n")
    notebook.cells = [c for c in notebook.cells if c.source.strip() or c.get("outputs")]
    return nbformat.writes(notebook, indent=1, ensure_ascii=False)


def with_links(text: str, path: Path, stage: Path, pages: set[Path]) -> str:
    """The page's text; files it links to are laid beside it, a link to a folder leads to the report in it.

    A page that is only linked to joins `pages`.
    """

    def mend(match: re.Match) -> str:
        target = (path.parent / match[1]).resolve()
        if target.is_dir():
            report = next((p for p in sorted(pages) if p.parent == target), None)
            if report:
                return f"]({match[1].rstrip('/')}/{report.name}"
        elif target.parent == DOCS and target.suffix == ".md":  # these lie one folder higher there
            return f"]({match[1].replace('docs/', '', 1)}"
        elif target.is_file() and target.suffix == ".md":
            pages.add(target)
        elif target.is_file() and target not in pages:
            beside = stage / target.relative_to(ROOT)
            beside.parent.mkdir(parents=True, exist_ok=True)
            if not beside.exists() or beside.read_bytes() != target.read_bytes():
                beside.write_bytes(target.read_bytes())
        return match[0]

    text = re.sub(r"\]\(#([\w-]+)\)", lambda match: f"](#{match[1].lower()})", text)  # JupyterLab keeps capitals
    return LINK.sub(mend, text)


def tree(entries: list[str], depth: int = 1) -> str:
    return "\n".join(["```{toctree}", f":maxdepth: {depth}", "", *entries, "```"]) + "\n"


def reports() -> list[Path]:
    """The page of every report that is shown."""
    return [p for p in sorted(SHOWN.glob("*/*.md")) if p.name != "verdicts.md"]  # which the page ends with


def title_of(path: Path) -> str:
    """A report's heading, from its folder's name; any other page has its own."""
    if path.parent.parent != SHOWN:
        return ""
    parts = path.parent.name.split("-")
    if len(parts) != 4:
        return f"# {path.parent.name}\n\n"
    return "# Study `{}`: {}, scale `{}`, recipe `{}`\n\n".format(*parts)


def lay_out(stage: Path) -> None:
    """All sources of the site in the folder `stage`; what is no longer there goes."""
    cache = get_cache(CACHE)
    notebooks = [p for p in sorted(NBS.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
    markdown = [*PAGES, *reports(), NBS / "README.md"]
    pages = {*notebooks, *markdown}
    texts = {stage / p.relative_to(ROOT): with_links(as_page(p, cache), p, stage, pages) for p in notebooks}
    for path in markdown:
        text = with_links(path.read_text(encoding="utf-8"), path, stage, pages)
        texts[stage / path.relative_to(ROOT)] = title_of(path) + text.replace(" ± ", "\u00a0±\u00a0")
    for path in [*DOCS.glob("*.md"), DOCS / "references.bib"]:
        text = with_links(path.read_text(encoding="utf-8"), path, stage, pages)
        texts[stage / path.name] = text.replace("](../", "](")  # these lie one folder higher there
    texts |= {stage / name: text for name, text in generated().items()}
    for path in sorted(p for p in pages if stage / p.relative_to(ROOT) not in texts and DOCS not in p.parents):
        text = with_links(path.read_text(encoding="utf-8"), path, stage, pages)
        texts[stage / path.relative_to(ROOT)] = "---\norphan: true\n---\n\n" + title_of(path) + text
    others = sorted(p.stem for p in NBS.glob("*.ipynb") if p.stem != "index")
    listed = tree([*(name for name, _, _ in packages()), *others, "templates"])
    texts[stage / "nbs" / "README.md"] += "\n" + listed
    for where in [p for p in stage.rglob("*") if p.suffix in (".md", ".ipynb", ".rst") and p not in texts]:
        where.unlink()
    for where, text in texts.items():
        place(text, where)


def generated() -> dict[str, str]:
    """Pages that only list others: packages of notebooks, the templates, the reports, and the modules for autodoc."""
    found, api = {}, []
    for name, modules, what in packages():
        links = [path.relative_to(NBS).with_suffix("").as_posix() for _, path in modules]
        found[f"nbs/{name}.md"] = f"# `{name}`\n\n{what[:1].upper()}{what[1:]}.\n\n{tree(links)}"
        found[f"api/{name}.md"] = f"# `{name}`\n\n{what[:1].upper()}{what[1:]}.\n\n" + tree(
            [f"{name}.{module}" for module, _ in modules]
        )
        for (module, _), link in zip(modules, links):
            full = f"advdepth_nb.{name}.{module}"
            head = f"{name}.{module}\n{'=' * len(f'{name}.{module}')}\n\nWhy, formulas, pictures and tests: "
            found[f"api/{name}.{module}.rst"] = f"{head}:doc:`/nbs/{link}`.\n\n.. automodule:: {full}\n   :members:\n"
        api.append(name)
    found["api/index.md"] = "# API\n\nWhat every module offers, in reading order.\n\n" + tree(api, depth=2)
    runs = [f"runs/{path.stem}" for path in sorted(NBS.glob("runs/*.ipynb"), key=lambda p: p.stem != "train")]
    found["nbs/templates.md"] = "# Templates\n\nThe notebooks that papermill executes for every run.\n\n" + tree(runs)
    shown = [p.relative_to(ROOT).with_suffix("").as_posix() for p in reports()]
    found["reports.md"] = (DOCS / "reports.md").read_text(encoding="utf-8") + "\n" + tree([f"/{p}" for p in shown])
    return found


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--no-execute", action="store_true", help="show only outputs that are there already")
    asked.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="folder for html/ and its sources")
    asked.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="notebooks executed at a time")
    options = asked.parse_args()
    if not options.no_execute and (failed := fill_cache(to_execute(), options.jobs)):
        print("\n".join(["notebooks that do not run:", *failed]), file=sys.stderr)
        return 1
    out = options.out.resolve()
    lay_out(out / "pages")
    from sphinx.cmd.build import main as sphinx

    words = ["-W", "-n", "--keep-going", "-q", "-a", "-c", DOCS, "-d", out / "read", out / "pages", out / "html"]
    read = out / "read" / "environment.pickle"
    if read.exists() and any(p.stat().st_mtime > read.stat().st_mtime for p in DOCS.glob("*.py")):
        words.insert(0, "-E")  # pages are read again when the way they are read has changed
    code = sphinx([str(word) for word in words])
    if not code:
        print(f"open {out / 'html' / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
