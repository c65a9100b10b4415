"""Every notebook runs from top to bottom in a fresh kernel: its asserting cells are the library's unit tests."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [
    p for p in sorted((ROOT / "nbs").glob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts
]  # the templates in nbs/runs are run by test_study.py, the studies keep the outputs they were committed with


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook(path, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two notebooks run side by side on two cores
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(path, as_version=4)
    sockets = Config({"KernelManager": {"transport": "ipc", "ip": str(tmp_path / "k")}}) if os.name == "posix" else None
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}, config=sockets
    ).execute()
