"""Every notebook runs from top to bottom in a fresh process: its asserting cells are the library's unit tests."""

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The templates in nbs/runs are run by test_study.py, the studies keep the outputs they were committed with.
NOTEBOOKS = [p for where in ("*", "[0-9][0-9]_*/*", "guides/*") for p in sorted(ROOT.glob(f"nbs/{where}.ipynb"))]

# A server imports what is slow to import, once, and forks a process for each notebook.
FRESH = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
PRELOADED = [
    "IPython", "timm", "advdepth_nb.report.verdicts", "advdepth_nb.metrics.rescoring", "kornia", "torchmetrics",
]  # fmt: skip
FRESH.set_forkserver_preload(PRELOADED)


def run_cells(path: Path, scratch: Path) -> None:
    """Run the code cells of a notebook as Jupyter would, up to the first that fails; its files go to `scratch`."""
    import nbformat
    import torch
    from IPython.core.interactiveshell import InteractiveShell

    class Shell(InteractiveShell):
        def enable_gui(self, gui=None):
            """Pictures are drawn inline, without windows."""

    os.chdir(path.parent)
    tempfile.tempdir = str(scratch)
    os.environ["ADVDEPTH_DATA"] = str(scratch / "data")
    torch.set_num_threads(1)  # tests run side by side on two cores
    shell = Shell.instance(colors="NoColor")
    shell.run_line_magic("matplotlib", "inline")
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            result = shell.run_cell(cell.source, store_history=True)  # `In` is where a study finds its cells
            error = result.error_before_exec or result.error_in_exec
            if error:
                told = "\n".join(shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__))
                raise RuntimeError(f"{path.name}:\n{cell.source}\n\n{told}") from error


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_notebook(path, tmp_path):
    with ProcessPoolExecutor(1, mp_context=FRESH) as process:
        process.submit(run_cells, path, tmp_path).result(timeout=600)
