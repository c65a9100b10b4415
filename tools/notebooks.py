"""Keep notebooks, their text pairs, the exported modules and README.md in step.

python tools/notebooks.py text              write nbs_py/*.py from nbs/*.ipynb (a fresh clone has none)
python tools/notebooks.py build [NAME ...]  text -> notebook -> module (all notebooks, or those named); README.md
python tools/notebooks.py run NAME ...      build, execute and keep the outputs (of index, studies and idea notebooks)
python tools/notebooks.py check             exit 1 if a notebook, a module or README.md is out of step, or outputs stale

NAME is that of a module, such as losses/depth, or of a page, such as index or studies/shortcut_audit.
"""

import base64
import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbdev.clean import clean_nb
from nbdev.export import nb_export
from nbdev.doclinks import _build_modidx

ROOT = Path(__file__).resolve().parents[1]
NBS, TEXT, LIB = ROOT / "nbs", ROOT / "nbs_py", ROOT / "advdepth_nb"


# Notebooks that carry an idea and can be read on the web as they lie in git: their outputs are small, and stamped.
IDEAS = (
    "models/hu2019", "losses/depth", "losses/stereo", "losses/gan", "metrics/protocols", "metrics/boundaries",
    "training/adversary", "training/gan_monitor", "stats/verdicts", "stats/power",
)  # fmt: skip


def is_idea(path: Path) -> bool:
    return f"{path.parent.name[3:]}/{path.stem}" in IDEAS


def keeps_outputs(path: Path) -> bool:
    """The README's notebook, the studies and the idea notebooks are committed with their pictures, no others."""
    return path.stem == "index" or path.parent.name == "studies" or is_idea(path)


def text_of(notebook: Path) -> Path:
    return (TEXT / notebook.relative_to(NBS)).with_suffix(".py")


def name_of(path: Path) -> str:
    """`losses/depth` of nbs/40_losses/depth.ipynb: folders are numbered, for the order of reading; packages are not."""
    return re.sub(r"^\d\d_", "", path.relative_to(NBS).with_suffix("").as_posix())


def notebooks(names: list[str] = []) -> list[Path]:  # noqa: B006
    """All notebooks known as text or as .ipynb, or those named."""
    found = {p.relative_to(NBS).with_suffix("") for p in NBS.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts}
    found |= {p.relative_to(TEXT).with_suffix("") for p in TEXT.rglob("*.py") if ".ipynb_checkpoints" not in p.parts}
    paths = [(NBS / p).with_suffix(".ipynb") for p in sorted(found)]
    if unknown := set(names) - {name_of(p) for p in paths}:
        sys.exit(f"no notebook named {', '.join(sorted(unknown))} in nbs/ or nbs_py/")
    return [p for p in paths if not names or name_of(p) in names]


def module_of(path: Path) -> Path | None:
    """The module that a notebook exports, by its `default_exp`; None for a page."""
    named = re.search(r"#\| default_exp ([\w.]+)", path.read_text(encoding="utf-8"))
    return LIB / f"{named[1].replace('.', '/')}.py" if named else None


def number_cells(notebook) -> None:
    """Ids follow from the cell's text, so that building twice, or on two machines, gives the same file."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        text = cell.cell_type + cell.source
        seen[text] = seen.get(text, -1) + 1
        cell["id"] = hashlib.sha1(f"{text}{seen[text]}".encode()).hexdigest()[:8]


def formatted(text: str, path: Path) -> str:
    """The text of a module or notebook as `ruff format` wants it, with the project's settings."""
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(path), "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True, encoding="utf-8").stdout


def write(notebook, path: Path) -> None:
    """The notebook, its code formatted; ids follow from the cells, so they are numbered after that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.reads(formatted(nbformat.writes(notebook), path), as_version=4)
    number_cells(notebook)
    text = nbformat.writes(notebook, indent=1, ensure_ascii=False) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def clean(notebook, outputs: bool):
    stamp = {"made_with": notebook.metadata["made_with"]} if outputs and "made_with" in notebook.metadata else {}
    clean_nb(notebook, allowed_cell_metadata_keys=["tags"])
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}} | stamp
    )
    for cell in notebook.cells:
        if cell.cell_type == "code":  # warnings name places on the machine that made them
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"] if outputs else []
    return notebook


def from_text(path: Path):
    """The notebook at `path` with the sources of its text pair and, where it keeps them, the outputs it had."""
    notebook = jupytext.read(text_of(path), fmt="py:percent")
    if keeps_outputs(path) and path.exists():
        before = nbformat.read(path, as_version=4)
        notebook.metadata |= {key: before.metadata[key] for key in before.metadata.keys() & {"made_with"}}
        kept = {c.source: c.outputs for c in before.cells if c.cell_type == "code"}
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = kept.get(cell.source, [])
    return clean(notebook, keeps_outputs(path))


def build(names: list[str]) -> None:
    for path in notebooks(names):
        text = text_of(path)
        if text.exists() and (not path.exists() or text.stat().st_mtime >= path.stat().st_mtime):
            write(from_text(path), path)
            write_text([path])
        elif path.exists() and text.exists():  # edited in JupyterLab since
            write(clean(nbformat.read(path, as_version=4), keeps_outputs(path)), path)
            write_text([path])
        if module := module_of(path):
            nb_export(path, lib_path=LIB)
            module.write_text(formatted(module.read_text(encoding="utf-8"), module), encoding="utf-8")
    if not names:
        _build_modidx(dest=LIB, nbs_path=NBS, skip_exists=False)
    if (NBS / "index.ipynb").exists() and (not names or "index" in names):
        (ROOT / "README.md").write_text(readme(), encoding="utf-8")


def write_text(paths: list[Path]) -> None:
    """The text pairs of notebooks; one that says the same already keeps its time."""
    for path in paths:
        notebook = clean(nbformat.read(path, as_version=4), keeps_outputs(path))
        number_cells(notebook)
        text = jupytext.writes(notebook, fmt="py:percent")
        pair = text_of(path)
        if not pair.exists() or pair.read_text(encoding="utf-8") != text:
            pair.parent.mkdir(parents=True, exist_ok=True)
            pair.write_text(text, encoding="utf-8")


def stamp_of(notebook) -> dict[str, str]:
    """What outputs depend on that is known here: the library's version and the notebook's own code."""
    version = re.search(r"(?m)^version = (\S+)", (ROOT / "settings.ini").read_text(encoding="utf-8"))
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return {"version": version[1] if version else "", "code": hashlib.sha1(code.encode()).hexdigest()[:12]}


def stale(path: Path) -> str:
    """Why the outputs of an idea notebook are not those of its code, with the line that mends it; "" if they are."""
    notebook = nbformat.read(path, as_version=4)
    made, now = notebook.metadata.get("made_with", {}), stamp_of(notebook)
    reasons = []
    if made.get("version") != now["version"]:
        reasons.append(f"by version {made.get('version')}, and this is {now['version']}")
    if made.get("code") != now["code"]:
        reasons.append("from other code")
    told = " and ".join(reasons) if made else "at an unknown time"
    name = f"{path.parent.name[3:]}/{path.stem}"
    return f"{name}: outputs were made {told}: run `python tools/notebooks.py run {name}` and commit it" if told else ""


def shrink(notebook) -> None:
    """Pictures in 256 colors where nobody sees it: most curves and diagrams at a third of the bytes."""
    import numpy as np
    from PIL import Image

    for output in [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]:
        whole, small = base64.b64decode(output.data["image/png"]), io.BytesIO()
        picture = Image.open(io.BytesIO(whole)).convert("RGB")
        fewer = picture.quantize(256, dither=Image.Dither.NONE)
        fewer.save(small, "PNG", optimize=True)
        error = np.abs(np.asarray(picture, int) - np.asarray(fewer.convert("RGB"), int))
        if len(small.getvalue()) < len(whole) and np.percentile(error, 99.9) <= 6:
            output.data["image/png"] = base64.b64encode(small.getvalue()).decode() + "\n"


def run(names: list[str]) -> None:
    from nbclient import NotebookClient

    build(names)
    os.environ.setdefault("ADVDEPTH_DATA", str(ROOT / "data"))  # not beside the notebook
    for path in notebooks(names):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(path.parent)}}).execute()
        if is_idea(path):
            notebook.metadata["made_with"] = stamp_of(notebook)
            shrink(notebook)
        write(clean(notebook, keeps_outputs(path)), path)
        if text_of(path).exists():
            os.utime(text_of(path))
    build(names)


def readme() -> str:
    """README.md: the markdown and the outputs of index.ipynb, and the code of cells not marked `#| hide`."""
    parts = ["<!-- Made from nbs/index.ipynb by tools/notebooks.py; edit there. -->"]
    pictures = NBS / "images"
    for cell in nbformat.read(NBS / "index.ipynb", as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(re.sub(r"\]\((?!https?:|#|\.\./)", "](nbs/", cell.source).replace("](../", "]("))
        elif cell.cell_type == "code":
            if not re.match(r"#\|\s*(hide|echo: false)", cell.source):
                parts.append(f"```python\n{cell.source}\n```")
            if re.match(r"#\|\s*hide", cell.source):
                continue
            for i, output in enumerate(cell.outputs):
                data = output.get("data", {})
                if "image/png" in data:
                    pictures.mkdir(exist_ok=True)
                    picture = pictures / f"{cell['id']}-{i}.png"
                    picture.write_bytes(base64.b64decode(data["image/png"]))
                    parts.append(f"![]({picture.relative_to(ROOT).as_posix()})")
                elif "text/markdown" in data:
                    parts.append("".join(data["text/markdown"]))
                elif "text/plain" in data or output.get("name") == "stdout":
                    parts.append("```\n" + "".join(data.get("text/plain", output.get("text", ""))).rstrip() + "\n```")
    return "\n\n".join(parts) + "\n"


def check() -> int:
    """Rebuild everything from the committed notebooks in a copy and compare; say which file differs."""
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "nbs", "advdepth_nb", "README.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repo"
        for name in [*tracked, "settings.ini", "pyproject.toml", "tools/notebooks.py"]:
            if (ROOT / name).exists():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (copy / name).write_bytes((ROOT / name).read_bytes())
        for path in copy.glob("nbs/**/*.ipynb"):
            notebook = nbformat.read(path, as_version=4)
            write(clean(notebook, keeps_outputs(path)), path)
        done = subprocess.run(
            [sys.executable, "tools/notebooks.py", "build"], cwd=copy, capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(done.stdout + done.stderr)
            return 1
        wrong = [n for n in tracked if (copy / n).exists() and (copy / n).read_bytes() != (ROOT / n).read_bytes()]
    for name in wrong:
        print(f"{name} is out of step: run `make notebooks` and commit the result")
    old = [told for path in notebooks(list(IDEAS)) if (told := stale(path))]
    for told in old:
        print(told)
    return bool(wrong or old)


if __name__ == "__main__":
    os.chdir(ROOT)
    match sys.argv[1:]:
        case ["text"]:
            write_text([path for path in notebooks() if path.exists()])
        case ["build", *names]:
            build(names)
        case ["run", *names] if names:
            run(names)
        case ["check"]:
            sys.exit(check())
        case _:
            sys.exit(__doc__)
