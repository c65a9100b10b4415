"""The diffs of CONTRIBUTING.md apply to the notebooks as they are."""

import re
import subprocess
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).parents[1]
DIFFS = re.findall(r"```diff\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("diff", DIFFS, ids=lambda diff: diff.split("/", 2)[2].split(".py")[0])
def test_a_diff_applies(diff, tmp_path):
    names = re.findall(r"^--- a/nbs_py/(.*)\.py$", diff, re.MULTILINE)
    assert names
    for name in names:
        text = jupytext.writes(jupytext.read(ROOT / "nbs" / f"{name}.ipynb"), fmt="py:percent")
        (tmp_path / "nbs_py" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nbs_py" / f"{name}.py").write_text(text, encoding="utf-8")
    done = subprocess.run(["git", "apply", "--check", "-"], input=diff, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
