"""`make gpu`, rehearsed on the CPU: what a GPU will be asked runs here, and what fails there becomes a line."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks/gpu.py"


def gpu(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True, text=True, timeout=600, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


def test_a_rehearsal_takes_a_step_in_every_precision(tmp_path):
    done = gpu("--device", "cpu", "--parts", "steps", "--rows", "adv", "-o", str(tmp_path / "gpu.csv"))
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "gpu.csv").set_index("what")
    assert table["error"].isna().all()
    losses = table.loc[table["unit"] == "loss after one step", "value"]
    assert len(losses) == 5 and losses.between(0.98 * losses.max(), losses.max()).all()
    assert table.loc["table1 adv: cpu against cpu, 32-true", "value"] == 0


def test_what_cannot_be_had_is_a_line_and_not_the_end(tmp_path):
    asked = ("--device", "cpu", "--parts", "speed,rendering", "--encoders", "no_such_net", "--rows", "adv")
    done = gpu(*asked, "--repeats", "1", "-o", str(tmp_path / "gpu.csv"))
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "gpu.csv")
    assert table.query("part == 'speed'")["error"].str.contains("no_such_net").all()
    assert len(table.query("part == 'rendering' and value > 0")) == 2


def test_a_machine_without_a_gpu_is_told_so():
    done = gpu()
    assert done.returncode == 2 and "torch sees no CUDA device here" in done.stderr
    assert "there are steps, speed" in gpu("--device", "cpu", "--parts", "steps,tea").stderr
