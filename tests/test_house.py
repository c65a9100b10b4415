"""The rules of the house: data flows upwards, modules and notebooks agree, exported code needs no developer's tool."""

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(p for p in (ROOT / "advdepth_nb").rglob("*.py") if not p.name.startswith("_"))


def name_of(path: Path) -> str:
    """`losses.depth` of a module's file."""
    return ".".join(path.relative_to(ROOT / "advdepth_nb").with_suffix("").parts)


def reading_order() -> list[str]:
    """Modules as the table of nbs/README.md names them, from the ground up."""
    rows = [line.split("|") for line in (ROOT / "nbs" / "README.md").read_text("utf-8").splitlines() if "| [" in line]
    return [f"{row[1].strip(' `')}.{module}" for row in rows for module in re.findall(r"\[`(\w+)`\]", row[2])]


FLOOR = {name: floor for floor, name in enumerate(reading_order())}


def imported(source: str, package: str = "") -> set[str]:
    """Names of the library's modules that the source of one of `package` imports, in any form, and of others."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            here = ["advdepth_nb", *package.split(".")][: None if node.level < 2 else 1] if node.level else []
            module = ".".join(filter(None, [*here, node.module]))
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    ours = {name.removeprefix("advdepth_nb.") for name in found if name.startswith("advdepth_nb.")}
    modules = {".".join(name.split(".")[:2]) for name in ours}
    return modules | {name.split(".")[0] for name in found if not name.startswith("advdepth_nb.")}


@pytest.mark.parametrize(
    "source, names",
    [
        ("from advdepth_nb.study.plan import make_plan", {"study.plan"}),
        ("from advdepth_nb.report import page, depth as pages", {"report.page", "report.depth"}),
        ("from . import plan, notebooks", {"study.plan", "study.notebooks"}),
        ("from .plan import make_plan", {"study.plan"}),
        ("from ..apps.cli import main", {"apps.cli"}),
        ("from ..apps import cli", {"apps.cli"}),
        ("import advdepth_nb.apps.cli", {"apps.cli"}),
        ("import advdepth_nb.apps.cli as c, torch.nn", {"apps.cli", "torch"}),
        ("def f():\n    from advdepth_nb.apps import cli", {"apps.cli"}),
        ("from pytest import approx\nimport nbdev.export", {"pytest", "nbdev"}),
        ("from .. import __version__", {"__version__"}),
        ("import advdepth_nb", {"advdepth_nb"}),
    ],
)
def test_every_form_of_import_is_seen(source, names):
    assert imported(source, "study") == names


@pytest.mark.parametrize(
    "words",
    [
        ["tools/notebooks.py", "check"],
        ["-m", "ruff", "check", "--quiet"],
        ["-m", "ruff", "format", "--check", "--quiet"],
        ["-m", "basedpyright", "--pythonpath", sys.executable],
    ],
    ids=["in step", "lint", "format", "types"],
)
def test_notebooks_modules_and_readme_agree_and_are_tidy(words):
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_of_the_house_names_every_module_and_its_notebook():
    assert sorted(FLOOR) == sorted(map(name_of, MODULES))
    for name in FLOOR:
        package, module = name.split(".")
        assert list(ROOT.glob(f"nbs/[0-9][0-9]_{package}/{module}.ipynb")), name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_lower_floors(path):
    ours = imported(path.read_text(encoding="utf-8"), path.parent.name) & set(FLOOR)
    upwards = {name for name in ours if FLOOR[name] >= FLOOR[name_of(path)]}
    assert not upwards, f"{name_of(path)} imports {upwards}, which stand below it in nbs/README.md"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_exported_code_needs_no_developers_tool(path):
    tools = {"nbdev", "fastcore", "execnb", "jupytext", "pytest", "torchmetrics", "kornia"}
    assert not imported(path.read_text(encoding="utf-8")) & tools


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_public_name_says_what_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name_of(path)}.{node.name} has no docstring"


@pytest.mark.parametrize("name", ["train", "evaluate", "report"])
def test_templates_keep_their_parameters_tag(name):
    """Without the tag papermill runs the defaults and says nothing."""
    import papermill

    assert papermill.inspect_notebook(str(ROOT / "nbs" / "runs" / f"{name}.ipynb"))


ALONE = re.compile(
    r"\s*(?:[-*>] +)?"  # in a list or a quotation
    r"(?:!?\[[^\]]*\]\([^)]*\)"  # a link or a picture
    r"|\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)"  # a picture that is a link
    r"|<?https?://\S+>?)[.,]?\s*"  # an address
)


def may_be_long(line: str, in_formula: bool) -> bool:
    """What cannot be broken in markdown: table rows, displayed formulas, directives, one link or picture alone."""
    alone = ALONE.fullmatch(line) is not None
    return in_formula or line.lstrip().startswith(("|", "$$", "#|", ":::")) or alone


def long_lines(cell) -> list[str]:
    """Lines of more than 120 characters that could have been broken."""
    found, in_formula = [], False
    for line in cell.source.splitlines():
        exempt = cell.cell_type == "markdown" and may_be_long(line, in_formula)
        in_formula ^= line.count("$$") % 2 == 1
        if len(line) > 120 and not exempt:
            found.append(line)
    return found


def test_lines_of_notebooks_are_short():
    import nbformat

    for path in [p for p in ROOT.glob("nbs/**/*.ipynb") if ".ipynb_checkpoints" not in p.parts]:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type in ("code", "markdown") and (long := long_lines(cell)):
                raise AssertionError(f"{path.name}: {long[0]}")


@pytest.mark.parametrize(
    "kind, text, wrong",
    [
        ("code", "ä" * 120, 0),  # characters, not bytes
        ("code", "x" * 121, 1),
        ("code", "| " + "x" * 120, 1),
        ("markdown", "word " * 30, 1),
        ("markdown", "| " + "x" * 120 + " |", 0),
        ("markdown", "$$\nx = " + "y + " * 40 + "z\n$$\n" + "word " * 30, 1),
        ("markdown", "![" + "word " * 30 + "](a.png)", 0),
        ("markdown", "[![" + "word " * 30 + "](a.svg)](https://example.org)", 0),
        ("markdown", "[" + "word " * 20 + "](a.png) and [" + "word " * 10 + "](b.png)", 1),
        ("markdown", "see [it](" + "x" * 130 + ") and more words", 1),
    ],
)
def test_only_what_cannot_be_broken_may_be_long(kind, text, wrong):
    from nbformat.v4 import new_code_cell, new_markdown_cell

    assert len(long_lines({"code": new_code_cell, "markdown": new_markdown_cell}[kind](text))) == wrong


@dataclass(frozen=True)
class Cell:
    """An exported cell that defines something, and whether the code cell behind it asserts anything."""

    module: str  # losses/gan
    functions: tuple[str, ...]
    classes: tuple[str, ...]
    lines: int
    asserted: bool

    @property
    def name(self) -> str:
        return f"{self.module}: {', '.join((*self.classes, *self.functions))}"


EXPORTED = re.compile(r"#\|\s*export\b")
ASSERTING = re.compile(r"\bassert\b|\braises\(|\brefused\(")


def definitions(source: str, module: str, behind: str) -> Cell | None:
    """The cell of this source, if it is exported and defines something; `behind` is the code cell after it."""
    if not EXPORTED.match(source):
        return None
    body = ast.parse(source).body
    functions = tuple(node.name for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    classes = tuple(node.name for node in body if isinstance(node, ast.ClassDef))
    asserted = not EXPORTED.match(behind) and ASSERTING.search(behind) is not None
    cell = Cell(module, functions, classes, len(source.rstrip().splitlines()), asserted)
    return cell if functions or classes else None


@lru_cache(1)
def cells() -> list[Cell]:
    """Of all notebooks that export a module."""
    import nbformat

    found = []
    for path in [p for p in ROOT.glob("nbs/[0-9]*/*.ipynb") if ".ipynb_checkpoints" not in p.parts]:
        module = f"{path.parent.name[3:]}/{path.stem}"
        code = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        found += [definitions(source, module, behind) for source, behind in zip(code, [*code[1:], ""])]
    return [cell for cell in found if cell]


def test_cells_that_define_functions_are_short():
    lines = {cell.name: cell.lines for cell in cells() if cell.functions and not cell.classes}
    assert len(lines) > 700 and median(lines.values()) <= 15
    long = {name for name, count in lines.items() if count > 60}
    assert not long


def test_classes_are_short():
    long = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno >= 100:
                long.add(f"{name_of(path)}.{node.name}")
    assert not long


def test_definitions_are_followed_by_their_assertions():
    bare = [cell.name for cell in cells() if not cell.asserted]
    assert len(bare) <= 0.05 * len(cells()), bare


@pytest.mark.parametrize(
    "source, behind, seen",
    [
        ("#| export\ndef f():\n    pass", "assert f() is None", (("f",), (), 3, True)),
        ("#| export\nX = 1\ndef f(): ...\nclass C:\n    def g(self): ...\n", "print(f())", (("f",), ("C",), 5, False)),
        ("#| export\ndef f(): ...", "#| export\ndef g():\n    assert True", (("f",), (), 2, False)),
        ("#| export\nasync def f(): ...", "refused(lambda: f(1), 'no')", (("f",), (), 2, True)),
        ("#| export\nimport re", "assert re", None),
        ("def f(): ...", "assert f", None),
    ],
)
def test_what_a_cell_defines_is_seen(source, behind, seen):
    cell = definitions(source, "a/b", behind)
    assert (cell and (cell.functions, cell.classes, cell.lines, cell.asserted)) == seen


def test_nothing_here_names_a_machine():
    """No path of one machine may stand in what people get."""
    pattern = re.compile(r"/work/|/root/|/home/\w+/")
    for path in [*MODULES, *ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("tests/*.py"), ROOT / "README.md"]:
        if path.name != "test_house.py" and path.exists():
            assert not pattern.search(path.read_text(encoding="utf-8")), path.name


def test_every_link_of_a_page_leads_somewhere():
    notebooks = [p for p in ROOT.glob("nbs/**/*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    for page in (ROOT / "README.md", ROOT / "data" / "README.md", ROOT / "nbs" / "README.md", *notebooks):
        text = page.read_text(encoding="utf-8")
        if page.suffix == ".ipynb":
            import nbformat

            text = "\n".join(c.source for c in nbformat.reads(text, as_version=4).cells if c.cell_type == "markdown")
        for link in re.findall(r"\]\((?!https?:|#|mailto:|data:|attachment:)([^)\s]+)\)", text):
            if "$" not in link and not (page.parent / link.partition("#")[0]).exists():
                raise AssertionError(f"{page.name}: {link}")


NOT_RUN_HERE = sorted(p for folder in ("studies", "runs") for p in (ROOT / "nbs" / folder).glob("*.ipynb"))


@pytest.mark.parametrize("path", NOT_RUN_HERE, ids=lambda p: p.stem)
def test_names_that_studies_and_templates_use_are_in_the_library(path):
    """Studies take too long to be run by tests, and templates run within whole studies: a renamed name shows here."""
    import importlib.util

    import nbformat

    cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    tree = ast.parse("\n".join(re.sub(r"(?m)^\s*[%!].*$", "", source) for source in cells))
    modules, used = {}, 0
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("advdepth_nb"):
            for alias in node.names:
                used += 1
                try:
                    modules[alias.asname or alias.name] = importlib.import_module(f"{node.module}.{alias.name}")
                except ModuleNotFoundError:
                    assert hasattr(importlib.import_module(node.module), alias.name), f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"{node.value.id}.{node.attr}"
    assert used
