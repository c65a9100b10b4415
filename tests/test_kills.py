"""The script that kills commands: tried on one that goes on as it should, and on one that counts its starts."""

import importlib.util
import random
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "kills.py"
TOY = """
import json, os, time
from pathlib import Path
out = Path("results")
out.mkdir(exist_ok=True)
count = out / "count.json"
if {loud}:
    with (out / "starts.csv").open("a") as file:
        file.write("start\\n")
done = json.loads(count.read_text())["steps"] if count.exists() else 0
for step in range(done, 40):
    time.sleep(0.02)
    (out / ".part").write_text(json.dumps({{"steps": step + 1, "seconds": time.time()}}))
    os.replace(out / ".part", count)
print("whole", flush=True)
"""


@pytest.fixture(scope="module")
def kills():
    spec = importlib.util.spec_from_file_location("kills", SCRIPT)
    module = sys.modules["kills"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tried(kills, folder: Path, loud: bool):
    """What is said of a toy that is killed three times, and the lines on the way."""
    (folder / "toy.py").write_text(TOY.format(loud=loud))
    said = []
    return kills.try_command("toy", str(folder / "toy.py"), 3, random.Random(0), folder / "work", said.append), said


def test_what_goes_on_where_it_stopped_ends_as_if_left_alone(kills, tmp_path):
    result, said = tried(kills, tmp_path, loud=False)
    assert result.kills == 3 and result.rounds >= 1 and not result.wrong
    assert sum("toy 2/3: killed alone after" in line for line in said) == 1
    assert result.line().endswith("rounds, all as if left alone, bit for bit")
    assert not list((tmp_path / "work/toy").iterdir())


def test_what_does_not_is_told(kills, tmp_path):
    result, _ = tried(kills, tmp_path, loud=True)
    assert result.wrong and all(line.endswith("starts.csv differs") for line in result.wrong)
    assert "differences" in result.line()


def test_every_kind_of_difference_is_seen(kills, tmp_path):
    whole, other = tmp_path / "whole", tmp_path / "other"
    for folder, seconds in ((whole, 1.0), (other, 2.0)):
        (folder / "runs").mkdir(parents=True)
        (folder / "runs/model.safetensors").write_bytes(b"weights")
        (folder / "runs/.run.lock").write_text(str(seconds))
        (folder / "runs/budget.json").write_text(f'{{"deep": [{{"seconds": {seconds}, "images": 3}}]}}')
        table = pd.DataFrame({"value": [0.5, float("nan")], "seconds": seconds})
        table.to_parquet(folder / "images.parquet"), table.to_csv(folder / "table.csv")
        (folder / "fig.png").write_text(str(seconds))
    assert kills.differences(whole, other) == []
    (other / "runs/model.safetensors").write_bytes(b"weightz")
    (other / "runs/budget.json").write_text('{"deep": [{"seconds": 1.0, "images": 4}]}')
    pd.DataFrame({"value": [0.5, 0.25], "seconds": 1.0}).to_parquet(other / "images.parquet")
    pd.DataFrame({"value": [0.5000000001, None], "seconds": 1.0}).to_csv(other / "table.csv")
    (other / "fig.png").unlink(), (other / "more.txt").touch()
    assert kills.differences(whole, other) == [
        "fig.png is missing", "more.txt is there only after kills", "images.parquet differs",
        "runs/budget.json differs", "runs/model.safetensors differs", "table.csv differs",
    ]  # fmt: skip
    assert kills.differences(tmp_path / "none", other)
