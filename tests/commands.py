"""Running the command in a process of its own, as a user does."""

import os
import subprocess
import sys
import time
from pathlib import Path

ENV = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def command(*words, data: Path, timeout=900):
    return subprocess.run(
        [sys.executable, "-m", "advdepth_nb", *map(str, words)], env={**ENV, "ADVDEPTH_DATA": str(data)},
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def start(*words, data: Path):
    return subprocess.Popen(
        [sys.executable, "-m", "advdepth_nb", *map(str, words)], env={**ENV, "ADVDEPTH_DATA": str(data)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen, seconds=900):
    begun = time.monotonic()
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() - begun < seconds, f"{path} never came"
        time.sleep(0.02)
