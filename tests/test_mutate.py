"""The script that changes the library to see whether its tests notice: tried on one function, every change known."""

import ast
import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tools" / "mutate.py"

SHARE = '''\
def share(part: float, whole: float = 1.0) -> float:
    """What a part is of the whole."""
    if whole < 0:
        raise ValueError(f"whole must be at least 0, not {whole - 1 + 1}")
    return part / whole if whole > 0 else 0.0'''
ASSERTED = """\
assert share(1, 4) == 0.25 and share(1, 0) == 0
try:
    share(1, -0.5)
    raise SystemError("not refused")
except ValueError:
    pass"""
CHANGES = {  # of the above: what notices
    ("whole < 0 -> (whole <= 0)", "0"): "ValueError",
    ("0 -> 1", "0"): "ValueError",
    ("whole > 0 -> (whole >= 0)", "0"): "ZeroDivisionError",
    ("part / whole -> (part * whole)", "0"): "AssertionError",
    ("0.0 -> 1.0", "0"): "AssertionError",
    ("0 -> 1", "1"): "",  # nobody asks for a whole between 0 and 1
    ("1.0 -> 2.0", "0"): "",  # nor for the default
}


@pytest.fixture(scope="module")
def mutate():
    spec = importlib.util.spec_from_file_location("mutate", SCRIPT)
    module = sys.modules["mutate"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A library of one function, and the notebook that exports and tries it."""
    root = tmp_path_factory.mktemp("tree")
    cells = [new_code_cell(f"#| export\n{SHARE}"), new_code_cell(ASSERTED)]
    for name, text in {
        "advdepth_nb/__init__.py": "",
        "advdepth_nb/core/__init__.py": "",
        "advdepth_nb/core/tiny.py": f"LISTED = [1, 2]\n\n\n{SHARE}\n",
        "nbs/00_core/tiny.ipynb": nbformat.writes(new_notebook(cells=cells)),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "tools").mkdir()
    (root / "tools" / "equivalent_mutants.csv").write_text(
        "module,function,change,nth,reason\ncore/tiny,LISTED,1 -> 2,0,nobody reads it\n"
        "core/tiny,LISTED,2 -> 3,0,nobody reads it\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def called(tree: Path, table: Path, *words: str) -> subprocess.CompletedProcess:
    line = [sys.executable, SCRIPT, "--root", tree, "--out", table, "--modules", "core/tiny", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_each_change_is_made_where_it_says(mutate, tree):
    found = {(m.change, str(m.nth)): m for m in mutate.mutants_of("core/tiny", tree) if m.function == "share"}
    assert set(found) == set(CHANGES)  # none in the annotations, the docstring, or what is said of an error
    by = found["0 -> 1", "1"]
    assert by.changed == SHARE.replace("whole > 0", "whole > 1") and by.line == 8
    paths = [tree / "advdepth_nb/core/tiny.py", tree / "nbs/00_core/tiny.ipynb"]
    before = [path.read_bytes() for path in paths]
    with mutate.changed(by, tree):
        assert all("whole > 1" in path.read_text() and "whole > 0" not in path.read_text() for path in paths)
    assert before == [path.read_bytes() for path in paths]


def test_what_the_notebook_notices_is_caught_and_the_rest_named(tree, tmp_path):
    table = tmp_path / "deep" / "table.csv"
    first = called(tree, table, "--count", "2")
    assert first.returncode in (0, 1), first.stderr
    assert len(list(csv.DictReader(table.open()))) == 2
    done = called(tree, table)  # goes on with the other five
    lines = {(line["change"], line["nth"]): line for line in csv.DictReader(table.open())}
    assert {key: line["by"].partition(": ")[2] for key, line in lines.items()} == CHANGES
    assert len(table.read_text().splitlines()) == 8 and "6/6" not in done.stdout and "5/5" in done.stdout
    assert done.returncode == 1 and "5 of 7 changes caught (71.4%), 2 of them by an assertion" in done.stdout
    assert "survived: core/tiny:8 share: 0 -> 1 (1)" in done.stdout
    again = called(tree, table, "--again", "--list")
    assert sorted(again.stdout.splitlines()) == ["core/tiny:4 share: 1.0 -> 2.0 (0)", "core/tiny:8 share: 0 -> 1 (1)"]


def test_every_change_of_the_library_can_be_made(mutate):
    """It is Python, it differs, and cell and module hold the statement that is changed once."""
    for module in mutate.WATCHED_BY:
        source = (ROOT / "advdepth_nb" / f"{module}.py").read_text(encoding="utf-8")
        cells = [c.source for c in nbformat.read(mutate.notebook_of(module, ROOT), as_version=4).cells]
        made = mutate.mutants_of(module, ROOT)
        assert made, module
        for statement in {m.statement for m in made}:
            assert source.count(statement) == 1 == sum(statement in cell for cell in cells), (module, statement[:80])
        for mutant in made:
            ast.parse(mutant.changed)
            assert mutant.changed != mutant.statement, (module, mutant.change)


def test_what_is_named_and_what_is_excused_is_in_the_library(mutate):
    assert len([m for line in mutate.NAMED for m in mutate.planted(*line, ROOT)]) >= len(mutate.NAMED)
    known = {m.key for module in mutate.WATCHED_BY for m in mutate.mutants_of(module, ROOT)}
    excused = mutate.equivalents(ROOT)
    assert excused and all(excused.values()) and not set(excused) - known, set(excused) - known
