"""README.md says what the committed records say: its numbers and sentences are made again and compared."""

import ast
import os
import re
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

SHOWN = """
import matplotlib; matplotlib.use("agg")
import IPython.display
IPython.display.Markdown = lambda text: print(text, end=chr(10) + chr(12))
"""


def made_again(cell: str) -> str:
    """A cell of the README's notebook, in a script: its last expression is shown as a notebook would."""
    tree = ast.parse(cell)
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        tree.body[-1].value = ast.Call(ast.Name("_shown"), [tree.body[-1].value], [])
    return ast.unparse(ast.fix_missing_locations(tree))


@pytest.fixture(scope="module")
def again() -> list[str]:
    """Every sentence and table of the README that is computed, from the records as they lie here."""
    notebook = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    code = [made_again(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    shown = "\nfrom IPython.display import Markdown\n_shown = lambda thing: None\n"
    run = [sys.executable, "-c", SHOWN + shown + "\n".join(code)]
    done = subprocess.run(run, cwd=ROOT / "nbs", env=os.environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return [text.strip() for text in done.stdout.split("\f") if text.strip()]


def test_every_number_and_sentence_follows_from_the_records(again):
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(again) >= 3
    for text in again:
        assert text in page, f"README.md is older than its records; run tools/notebooks.py run index: {text[:300]}"


def test_it_begins_with_the_answer_and_stays_short(again):
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert page.index(again[0]) < 300 and len(page.splitlines()) <= 150
    assert re.search(r"\*\*(helps|hurts|equivalent|no evidence|invalid)\*\*", again[0])
    first = re.search(r"\| data .*?\n\n", page, re.S)[0].splitlines()[2:]
    assert all(re.match(r"\| (synthetic|13 photographs)", line) for line in first if line)  # what they are, first
