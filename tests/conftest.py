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
    "test_precision", "test_docs",
)  # fmt: skip


# What takes more than a few seconds: whole studies and trainings, the type check, and notebooks that render or train.
SLOW_FILES = {
    "test_study", "test_study_failures", "test_systems", "test_training", "test_precision", "test_fourth_system",
    "test_datasets", "test_stereo_data", "test_image_pairs", "test_encoders", "test_cli", "test_mutate", "test_export",
    "test_own_study", "test_demo", "test_tracking", "test_lab", "test_docs", "test_parallel", "test_cluster",
}  # fmt: skip
FAST_NOTEBOOKS = ("00_core/", "40_losses/", "50_metrics/", "70_stats/")


def marks(item) -> set[str]:
    """`real` if it reads the real data beside the project; `slow` or `fast`."""
    slow = item.path.stem in SLOW_FILES or "types" in item.name or "site" in item.fixturenames
    slow |= item.path.stem == "test_notebooks" and not any(name in item.name for name in FAST_NOTEBOOKS)
    return {"slow" if slow else "fast"} | ({"real"} if "real_data" in item.fixturenames else set())


def pytest_collection_modifyitems(items):
    def place(item):
        name = item.path.stem
        return FIRST.index(name) if name in FIRST else len(FIRST)

    items.sort(key=place)
    for item in items:
        for name in marks(item):
            item.add_marker(name)


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
