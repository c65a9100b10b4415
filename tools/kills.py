"""Does a run that was killed end as one that was left alone? Killed at random moments, gone on with, compared by bits.

python tools/kills.py                              20 kills of `ablate --jobs 2`, 20 of `train`, at scale smoke
python tools/kills.py --count 5 --seed 3           fewer, at other moments
python tools/kills.py --commands train             of one command

Each command is first left alone. Then it is started in another folder, killed at a random moment (SIGKILL to its
process group, every other time also to the kernels that it has started), and started again until it ends. What it has
made is compared with what was left alone: tables, records of images, histories and GAN monitors, facts and weights, all
but what they say of time and memory. This goes on, each round in a new folder, until there were `--count` kills. A line
for each kill, a summary; the exit status is 1 if anything differed. Temporary folders are removed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

ROOT = Path(__file__).resolve().parents[1]
OUT = "results"  # what a command makes, below its folder

# Each runs in a folder of its own, so that all that it writes has the same path. Of twelve epochs of two steps the GAN
# monitor looks at every third step, so that the first epoch ends without a check.
SMALL = "--scale smoke --device cpu --set encoder=test_resnet --set fusion_width=4"
COMMANDS = {
    "ablate": "-m advdepth_nb ablate table1 --rows mean_depth,baseline,adv --jobs 2 --set epochs=6 "
              f"--set init_from=pretrain --out {OUT} {SMALL}",
    "train": f"-m advdepth_nb train adv --set epochs=12 --out {OUT}/adv {SMALL}",
}  # fmt: skip

COSTS = {"seconds", "peak_memory_mb"}  # of the machine, not of the run
SAME = {".parquet", ".csv", ".json", ".safetensors"}  # other files must be there, whatever they hold
NEVER = 124  # status of what did not end
UNTOLD = {"progress.json"}  # where a run stood when somebody last looked


# -- what was made -----------------------------------------------------------------------------------------------------


def without_costs(told: Any) -> Any:
    """What a JSON file says, without time and memory, in any depth."""
    if isinstance(told, dict):
        return {key: without_costs(part) for key, part in told.items() if key not in COSTS}
    return [without_costs(part) for part in told] if isinstance(told, list) else told


def same(path: Path, other: Path) -> bool:
    """Whether two files say the same: bits of weights and numbers, without time and memory."""
    if path.name in UNTOLD or path.suffix not in SAME:
        return True
    if path.suffix == ".json":
        facts, others = (without_costs(json.loads(p.read_text("utf-8"))) for p in (path, other))
        return facts == others
    if path.suffix in (".parquet", ".csv"):
        read = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
        table, beside = (read(p).drop(columns=list(COSTS), errors="ignore") for p in (path, other))
        return table.equals(beside)  # exact, types of columns included; NaN is NaN
    return path.read_bytes() == other.read_bytes()


def made(folder: Path) -> dict[str, Path]:
    """What a command has made, by path below its folder; hidden files are its own business."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path for name, path in found.items() if not any(p.startswith(".") for p in Path(name).parts)}


def differences(whole: Path, resumed: Path) -> list[str]:
    """A line for each file in which the two folders differ."""
    files, others = made(whole), made(resumed)
    if not files:
        return [f"{whole} holds nothing"]
    found = [f"{name} is missing" for name in files if name not in others]
    found += [f"{name} is there only after kills" for name in others if name not in files]
    return found + [f"{name} differs" for name in files if name in others and not same(files[name], others[name])]


# -- kills -------------------------------------------------------------------------------------------------------------


def start(words: str, folder: Path) -> subprocess.Popen:
    """A command in a folder and a process group of its own; temporary files stay in the folder, too."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    own = {"ADVDEPTH_DATA": str(folder / "worlds"), "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT)}
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *words.split()], cwd=folder, env={**os.environ, **own}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def kill(process: subprocess.Popen, kernels_too: bool) -> list[psutil.Process]:
    """Kill a command and its group; the processes that it had started in groups of their own, such as kernels."""
    try:
        started = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:  # it ended just now
        started = []
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for child in started if kernels_too else ():
        end(child)
    return started


def end(process: psutil.Process) -> None:
    """Kill a process, if it is still the one it was."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


def last_line(folder: Path) -> str:
    """What a command said last, up to 70 letters; a progress bar is one line."""
    lines = (folder / "log.txt").read_text("utf-8", errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip()[:70] for line in reversed(lines) if line.strip()), "nothing yet")


@dataclass
class Tried:
    """What became of a command: kills, rounds, and what differed."""

    name: str
    seconds: float = 0.0  # that it takes when it is left alone
    kills: int = 0
    rounds: int = 0
    wrong: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The summary."""
        ended = f"{len(self.wrong)} differences" if self.wrong else "all as if left alone, bit for bit"
        return f"{self.name}: {self.kills} kills in {self.rounds} rounds, {ended}"


@contextmanager
def own_folder(path: Path) -> Iterator[Path]:
    """A new folder, removed at the end."""
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def one_round(
    words: str, folder: Path, tried: Tried, count: int, rng: random.Random, say: Callable[[str], None]
) -> int:
    """Start, kill and start again until the command ends by itself, after `count` kills in all at most; its status."""
    orphans: list[psutil.Process] = []
    process = None
    try:
        while True:
            process, moment = start(words, folder), rng.uniform(0.02, 1) * tried.seconds
            last = tried.kills >= count
            try:
                return process.wait(10 * tried.seconds + 600 if last else moment)
            except subprocess.TimeoutExpired:
                if last:
                    return NEVER
            kernels_too = tried.kills % 2 == 1
            started = kill(process, kernels_too)
            orphans, tried.kills = [*orphans, *started], tried.kills + 1
            who = "with its kernels" if kernels_too and started else "alone"
            say(f"{tried.name} {tried.kills}/{count}: killed {who} after {moment:.1f} s ({last_line(folder)})")
    finally:
        if process and process.poll() is None:
            orphans += kill(process, True)
        for orphan in psutil.wait_procs(orphans, timeout=60)[1]:  # who wait for a parent that is gone
            end(orphan)


def try_command(name: str, words: str, count: int, rng: random.Random, work: Path, say: Callable[[str], None]) -> Tried:
    """Leave a command alone once, then kill it `count` times, and compare whenever it has ended."""
    tried = Tried(name)
    with own_folder(work / name / "whole") as whole:
        begun = time.monotonic()
        if code := start(words, whole).wait():
            raise RuntimeError(f"{name} ended with {code} when left alone: {last_line(whole)}")
        tried.seconds = time.monotonic() - begun
        say(f"{name}: left alone {tried.seconds:.1f} s, {len(made(whole / OUT))} files")
        while tried.kills < count:
            tried.rounds += 1
            with own_folder(work / name / "again") as again:
                code = one_round(words, again, tried, count, rng, say)
                found = [f"ended with {code}: {last_line(again)}"] if code else []
                found += differences(whole / OUT, again / OUT)
            tried.wrong += [f"round {tried.rounds}: {line}" for line in found]
            say("\n".join(found) or f"{name}: round {tried.rounds} ended as if left alone, after {tried.kills} kills")
    return tried


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--commands", nargs="*", choices=list(COMMANDS), default=list(COMMANDS))
    given = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that folders and processes are tidied up
    say = lambda text: print(text, flush=True)  # noqa: E731
    results = []
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        for name in given.commands:
            rng = random.Random(f"{name} {given.seed}")
            results.append(try_command(name, COMMANDS[name], given.count, rng, Path(folder).resolve(), say))
    print("\n".join(result.line() for result in results))
    return int(any(result.wrong for result in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
