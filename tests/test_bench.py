"""`make bench`: two calls in turn, medians of CPU seconds, a table with the processor's name in its own."""

import subprocess
import sys
import time

import pandas as pd
from conftest import ROOT

SCRIPT = ROOT / "benchmarks" / "bench.py"


def test_a_part_is_measured_beside_its_alternative(tmp_path):
    words = ["--only", "files", "--repeats", "1", "--threads", "1", "-o", str(tmp_path)]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("bench-*1-threads.csv")
    line = pd.read_csv(written).iloc[0]
    assert line["cpu_s"] > 0 and abs(line["ratio"] - line["against_cpu_s"] / line["cpu_s"]) < 1e-9


def test_the_ratio_is_that_of_the_work(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import bench

    now = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: now[0])
    ours, other = (lambda cost=cost: now.__setitem__(0, now[0] + cost) for cost in (1.0, 3.0))
    line = bench.measured(("a", ours, "b", other), 5)
    assert (line["cpu_s"], line["against_cpu_s"], line["ratio"]) == (1, 3, 3)
