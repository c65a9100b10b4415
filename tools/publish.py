"""Copy what a study says into results/shown: `python tools/publish.py STUDY OUT --seed 3`.

Its report, and the executed notebooks of one seed of each row, with small pictures and without paths of a machine.
Links to what was not copied become plain words.
"""

import argparse
import base64
import re
from pathlib import Path

import nbformat
from pictures import with_few_colors

NOTEBOOKS = ("train.ipynb", "evaluate.ipynb")


def without_paths(text: str, home: str) -> str:
    """The text with every path below `home` made relative to it."""
    return text.replace(home.rstrip("/") + "/", "")


def publish_notebook(path: Path, to: Path, home: str) -> None:
    """One executed notebook, its pictures in 256 colors."""
    notebook = nbformat.reads(without_paths(path.read_text(encoding="utf-8"), home), as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                to.parent.mkdir(parents=True, exist_ok=True)
                (held := to.with_suffix(".png")).write_bytes(base64.b64decode(picture))
                output["data"]["image/png"] = base64.b64encode(with_few_colors(held) or held.read_bytes()).decode()
                held.unlink()
    to.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, to)


def publish(study: Path, out: Path, seed: int, home: str) -> None:
    """The report of a study and the notebooks of one seed."""
    out.mkdir(parents=True, exist_ok=True)
    for name in NOTEBOOKS:
        for path in study.glob(f"runs/*/seed={seed}/{name}"):
            publish_notebook(path, out / path.relative_to(study), home)
    for path in sorted(p for kind in ("md", "csv", "html", "png") for p in study.glob(f"*.{kind}")):
        to = out / path.name
        if path.suffix == ".png":
            to.write_bytes(with_few_colors(path) or path.read_bytes())
            continue
        text = without_paths(path.read_text(encoding="utf-8"), home)
        linked = lambda found: found[0] if (out / found[1]).exists() else found[2]  # noqa: E731
        text = re.sub(r'<a href="(?!https?:|#)([^"]+)">(.*?)</a>', linked, text) if path.suffix == ".html" else text
        to.write_text(text, encoding="utf-8")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("study", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--home", help="paths are given relative to this folder; default: the one of the results")
    given = options.parse_args()
    study = given.study.resolve()
    publish(study, given.out, given.seed, given.home or str(study.parents[1]))
    size = sum(path.stat().st_size for path in given.out.rglob("*") if path.is_file())
    print(f"{given.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
