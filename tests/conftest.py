"""Shared by all tests: where the optional real frames lie, and no download, ever."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side
ROOT = Path(__file__).resolve().parents[1]


# Files go to workers whole, at first two to each: the ones that take minutes come first, so that no worker is left
# alone with them at the end, and a short one is the second of the worker that has the notebooks.
FIRST = (
    "test_notebooks", "test_study", "test_datasets", "test_systems", "test_study_failures", "test_training",
    "test_precision",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    def place(item):
        name = item.path.stem
        return FIRST.index(name) if name in FIRST else len(FIRST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Small real data beside the project, where it exists."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.exists():
        pytest.skip("no real data beside the project")
    return folder


@pytest.fixture(scope="session")
def worlds(tmp_path_factory) -> Path:
    """Where rendered rooms are kept: the workers render them once between them."""
    folder = tmp_path_factory.getbasetemp().parent / "worlds"  # above the folders of the workers
    folder.mkdir(exist_ok=True)
    return folder
