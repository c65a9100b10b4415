"""Seeded wrong inputs over every command: each must end in one sentence that names what is wrong, and leave nothing.

    python tests/fuzz.py --count 1000 --seed 0        # what `make fuzz` does
    python tests/fuzz.py --seed 0 --only 17           # one of them again, and what it said

A case is made from its seed and number alone. It runs within this process, under a limit of time and of memory.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import factories
import h5py
import malformed
import numpy as np
import pandas as pd
from malformed import LITERALS, PATHS, REAL, SIZES, WHOLE, WORDS
from scipy.io import savemat

from advdepth_nb.apps import cli

SECONDS, BYTES = 6, 6 * 2**30
TINY = {"encoder": "test_resnet", "fusion_width": 4, "frame": (36, 48), "crop": (32, 44), "epochs": 1, "batch": 2,
        "init_from": ""}  # fmt: skip


# -- what is right -----------------------------------------------------------------------------------------------------


def quietly(*words) -> None:
    """A command that has to work."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as complained:
        code = run(*words)
    assert code == 0, (words, complained.getvalue())


def run(*words) -> int:
    with mock.patch.object(sys, "argv", ["advdepth", *map(str, words)]):
        try:
            cli.main()
        except SystemExit as done:
            return int(done.code or 0)
    return 0


def frames(folder: Path, count: int = 4) -> Path:
    """Raw frames of two rooms, 48x64."""
    for i in range(count):
        image, depth = factories.frame(i, 48, 64)
        room = folder / f"den_{i % 2}"
        factories.write(room / f"rgb_{i}.png", image)
        factories.write(room / f"depth_{i}.png", np.rint(depth * 1000).astype(np.uint16))
    return folder


def predictions(root: Path) -> None:
    """The same four maps as a folder of each kind, and as one file."""
    maps = [factories.frame(i, 48, 64)[1] for i in range(4)]
    for kind in ("npy", "png", "pfm"):
        (root / kind).mkdir(parents=True)
    for i, values in enumerate(maps):
        np.save(root / f"npy/den_{i % 2}_{i}.npy", values)
        factories.write(root / f"png/den_{i % 2}_{i}.png", np.rint(values * 1000).astype(np.uint16))
        factories.pfm(root / f"pfm/den_{i % 2}_{i}.pfm", values)
    np.save(root / "all.npy", np.stack(maps))
    savemat(root / "all.mat", {"pred": np.stack(maps, -1)})
    with h5py.File(root / "all.h5", "w") as file:
        file["pred"] = np.stack(maps)


def scores(root: Path) -> None:
    """A table of scores as text and as parquet, and two folders of predictions with two seeds each."""
    lines = [(row, seed, f"s{i}", f"s{i}/{k}", 0.5 + 0.01 * i + 0.02 * seed - 0.1 * (row == "new") + 0.003 * k)
             for row in ("base", "new") for seed in (0, 1) for i in range(3) for k in (0, 1)]  # fmt: skip
    table = pd.DataFrame(lines, columns=["row", "seed", "scene", "image", "rmse"])
    root.mkdir()
    table.to_csv(root / "scores.csv", index=False)
    table.to_parquet(root / "scores.parquet")
    for row, seed in ((row, seed) for row in ("base", "new") for seed in (0, 1)):
        for i in range(4):
            depth = factories.frame(i, 48, 64)[1] * (1 + 0.1 * (row == "base") + 0.01 * seed)
            factories.pfm(root / row / f"seed={seed}/den_{i % 2}_{i}.pfm", depth)


def study(root: Path) -> Path:
    """A finished study of one row, without its notebooks."""
    from advdepth_nb.study.evaluate import evaluate_run
    from advdepth_nb.study.plan import make_plan
    from advdepth_nb.study.train import train_planned

    settings = {name: str(value) for name, value in TINY.items()}
    plan = make_plan("table1", "smoke", rows=["baseline"], data=str(root / "depth.h5"), out=root, settings=settings)
    for one in plan.runs:
        placed = replace(one, folder=root / "study/runs" / one.row / "seed=0")
        placed.write()
        train_planned(placed.folder, root / "depth.h5", device="cpu")
        evaluate_run(placed.folder, root / "depth.h5", device="cpu")
    return root / "study"


def make_samples(root: Path) -> Path:
    """Every layout, packed file, model and study that the commands read, all of them right and small."""
    frames(root / "raw"), factories.hu(root / "hu"), factories.mat(root / "mat")
    for i in range(3):
        factories.frame_h5(root / f"frames/train/den/{i:05d}.h5")
    factories.kitti(root / "kitti"), factories.sintel(root / "sintel"), factories.rig(root / "rig")
    (root / "rig/calib.txt").write_text("cam0=[50 0 20; 0 50 6; 0 0 1]\ndoffs=0\nbaseline=120\n")
    for i in range(5):
        factories.write(root / f"pairs/images/{i}.png", factories.photo(i))
        factories.write(root / f"pairs/masks/{i}.png", np.where(factories.classes(i) > 1, 255, 0).astype(np.uint8))
    predictions(root / "predictions"), scores(root / "scores")
    quietly("data", "pack", root / "raw", "-o", root / "depth.h5", "--test-fraction", 0.5)
    quietly("data", "pack", root / "rig", "-o", root / "stereo.h5", "--size", "32x64")
    quietly("data", "pack", root / "pairs", "-o", root / "pairs.h5", "--task", "segment")
    study(root)
    shutil.copytree(root / "study/runs/baseline/seed=0", root / "model")
    for row, table in (("full", "stereo"), ("segment_l1", "translate")):
        factories.saved(root / "models", row, table)
    (root / "weights.json").write_text('{"n_trials.gradient": 3, "losses.gradient": 0.3, "chosen_on": "validation"}')
    return root


# -- what is wrong -----------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """One command with something wrong about it."""

    words: list[str]
    wrong: str  # in words
    named: tuple[str, ...] = ()  # the refusal must hold one of these


Maker = Callable[[random.Random, Path, Path], Case]


def spoilt(rng: random.Random, samples: Path, work: Path, name: str, only: str = "*") -> tuple[Path, str, Path]:
    """A copy of a sample of which one file is malformed; what was done, and to which file."""
    place = malformed.copy_of(samples / name, work / name)
    files = sorted(f for f in place.rglob(only) if f.is_file()) if place.is_dir() else [place]
    chosen = rng.choice(files)
    return place, malformed.malform(rng, chosen), chosen


def with_file(rng: random.Random, samples: Path, work: Path, name: str, words: list, only: str = "*") -> Case:
    """A command that reads a sample with one malformed file; `words` holds HERE where the sample stands."""
    place, done, file = spoilt(rng, samples, work, name, only)
    words = [str(place if word == "HERE" else word) for word in words]
    near = (file.name, file.stem, str(file.parent))
    return Case(words, f"{done} {file.relative_to(work)}", near)


LAYOUTS = ("raw", "hu", "mat", "frames", "kitti", "sintel", "rig", "pairs", "depth.h5", "stereo.h5", "pairs.h5")


def of_layout(name: str) -> list[str]:
    return ["--task", "segment"] if name == "pairs" else []


def info(rng: random.Random, samples: Path, work: Path) -> Case:
    name = rng.choice(LAYOUTS)
    return with_file(rng, samples, work, name, ["data", "info", "HERE", *of_layout(name)])


def pack(rng: random.Random, samples: Path, work: Path) -> Case:
    name = rng.choice(LAYOUTS)
    return with_file(rng, samples, work, name, ["data", "pack", "HERE", "-o", work / "out.h5", *of_layout(name)])


def pack_options(rng: random.Random, samples: Path, work: Path) -> Case:
    options = {
        "--size": SIZES, "--test-fraction": REAL, "--factor": REAL, "--render": WORDS, "--kind": WORDS,
        "--task": WORDS, "--splits": PATHS,
    }  # fmt: skip
    name, (option, values) = rng.choice(LAYOUTS[:8]), rng.choice(sorted(options.items()))
    value = rng.choice(values)
    words = ["data", "pack", samples / name, "-o", work / "out.h5", *of_layout(name), option, value]
    return Case(
        [str(w) for w in words], f"{option} {value!r} for {name}", (option.strip("-").replace("-", "_"), option)
    )


def out_paths(rng: random.Random, samples: Path, work: Path) -> Case:
    """A place that cannot be written to."""
    (work / "file").write_text("a file")
    place = rng.choice(
        [work / "file/x", work / "file", work / ("n" * 300), work / "file/x/y", "/dev/full/x", "/proc/x"]
    )
    words = rng.choice([
        ["data", "pack", samples / "raw", "-o", place], ["predict", samples / "raw/den_0/rgb_0.png", "-o", place,
                                                        "--model", samples / "model", "--device", "cpu"],
        ["evaluate", samples / "model", "--data", samples / "depth.h5", "--out", f"{place}.csv", "--device", "cpu"],
        ["train", "baseline", *tiny(samples), "--out", place],
    ])  # fmt: skip
    return Case([str(w) for w in words], f"written to {str(place)!r}"[:90])


def tiny(samples: Path) -> list[str]:
    """Options with which a row of the first study is trained in a second."""
    settings = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    return ["--scale", "smoke", "--data", str(samples / "depth.h5"), "--device", "cpu", *settings]


STUDIES = {"table1": ("baseline", "adv", "depth.h5"), "stereo": ("baseline", "full", "stereo.h5"),
           "translate": ("segment_l1", "segment_l1_cgan", "pairs.h5")}  # fmt: skip


def any_setting(rng: random.Random, table: str, row: str) -> tuple[str, str]:
    """A field of a row, in any depth, and a value that is hardly right."""
    from advdepth_nb.systems.catalog import experiment

    e = experiment(row, table, "smoke")
    parts = {"world": e.world, "adversary": e.adversary}
    names = [f.name for f in dataclasses.fields(e) if f.name not in ("row", "hypothesis", "scale", "recipe")]
    names += [f"{part}.{f.name}" for part, thing in parts.items() if thing for f in dataclasses.fields(thing)]
    names += [f"{part}.{term}" for part in ("losses", "grad_fractions", "n_trials") for term in e.losses]
    return rng.choice([*names, "unknown", "losses.", ".", "lr.x"]), rng.choice(LITERALS)


def setting(rng: random.Random, samples: Path, work: Path) -> Case:
    """A setting that is wrong: to be refused by the plan, or by nobody."""
    table = rng.choice(sorted(STUDIES))
    *rows, packed = STUDIES[table]
    row = rng.choice(rows)
    name, value = any_setting(rng, table, row)
    given = ["--set", f"{name}={value}", "--scale", "smoke", "--out", str(work / "out")]
    if rng.random() < 0.5:
        words = ["ablate", table, "--rows", row, "--dry-run", *given]
    else:
        base = tiny(samples)[4:] if table == "table1" else ["--device", "cpu"]
        words = ["train", row, "--study", table, "--data", str(samples / packed), *base, *given]
    return Case(words, f"{name}={value[:30]}", (name.rpartition(".")[2] or "unknown setting", name, "--set"))


def plan_options(rng: random.Random, samples: Path, work: Path) -> Case:
    options = {
        "--seeds": WHOLE, "--jobs": WHOLE, "--rows": WORDS, "--scale": WORDS, "--recipe": WORDS, "--device": WORDS,
        "--data": (*PATHS, *WORDS), "--weights": PATHS,
    }  # fmt: skip
    option, values = rng.choice(sorted(options.items()))
    value = rng.choice(values)
    words = ["ablate", rng.choice(["table1", "stereo", "translate"]), "--scale", "smoke", "--dry-run", option, value]
    return Case([*words, "--out", str(work / "out")], f"{option} {value!r}", (option, option.strip("-"), value or "''"))


def plan_weights(rng: random.Random, samples: Path, work: Path) -> Case:
    words = ["ablate", "table1", "--scale", "smoke", "--dry-run", "--weights", "HERE", "--out", work / "out"]
    return with_file(rng, samples, work, "weights.json", words)


def plan_data(rng: random.Random, samples: Path, work: Path) -> Case:
    name, table = rng.choice([("raw", "table1"), ("depth.h5", "table1"), ("stereo.h5", "stereo"),
                              ("rig", "stereo"), ("pairs.h5", "translate")])  # fmt: skip
    row = STUDIES[table][0]
    return with_file(
        rng, samples, work, name,
        ["ablate", table, "--rows", row, "--scale", "smoke", "--dry-run", "--data", "HERE", "--out", work / "out",
         "--set", "batch=1"],
    )  # fmt: skip


def train(rng: random.Random, samples: Path, work: Path) -> Case:
    """Damaged data, or damaged weights to begin from."""
    words = ["train", "baseline", *tiny(samples), "--out", work / "out"]
    if rng.random() < 0.5:
        words[words.index("--data") + 1] = "HERE"
        return with_file(rng, samples, work, "depth.h5", words)
    return with_file(rng, samples, work, "model", [*words, "--init-from", "HERE"], "model.*")


def resumed(rng: random.Random, samples: Path, work: Path) -> Case:
    """A finished run that is damaged, and trained again."""
    return with_file(rng, samples, work, "model", ["train", "baseline", *tiny(samples), "--out", "HERE"], "[!.]*")


def evaluate(rng: random.Random, samples: Path, work: Path) -> Case:
    words = ["evaluate", "HERE", "--data", samples / "depth.h5", "--device", "cpu", "--out", work / "out.csv"]
    if rng.random() < 0.5:
        words[1], words[3] = samples / "model", "HERE"
        return with_file(rng, samples, work, "depth.h5", words)
    return with_file(rng, samples, work, "model", words, "model.*")


def rescore(rng: random.Random, samples: Path, work: Path) -> Case:
    name = rng.choice(["npy", "png", "pfm", "all.npy", "all.mat", "all.h5"])
    words = ["evaluate", "--predictions", "HERE", "--data", samples / "raw", "--split", "train"]
    words += ["--by-order"] * name.startswith("all")
    return with_file(rng, samples, work, f"predictions/{name}", [*words, "--protocol", "bts2019"])


def score_options(rng: random.Random, samples: Path, work: Path) -> Case:
    options = {"--factor": REAL, "--dataset": WORDS, "--protocol": WORDS, "--split": WORDS, "--data": PATHS}
    option, values = rng.choice(sorted(options.items()))
    value = rng.choice(values)
    which = rng.choice(["npy", "all.h5"])
    words = ["evaluate", "--predictions", samples / "predictions" / which, "--data", samples / "raw", "--by-order"]
    words += ["--split", "train"] * (option != "--split")
    return Case([*map(str, words), option, value], f"{option} {value!r}", (option.strip("-"), value or "''"))


def predict(rng: random.Random, samples: Path, work: Path) -> Case:
    words = ["predict", "HERE", "-o", work / "out", "--model", samples / "model", "--device", "cpu"]
    if rng.random() < 0.4:
        return with_file(rng, samples, work, "pairs/images", words)
    name = rng.choice(["model", "models/full", "models/segment_l1"])
    words[1], words[5] = samples / "pairs/images/0.png", "HERE"
    return with_file(rng, samples, work, name, words, "model.*")


def predict_options(rng: random.Random, samples: Path, work: Path) -> Case:
    values = {"--focal": "50", "--baseline": "0.1"}
    option = rng.choice(sorted(values))
    values[option] = rng.choice(REAL)
    words = ["predict", samples / "pairs/images/0.png", "-o", work / "out", "--model", samples / "models/full"]
    words += [word for pair in values.items() for word in pair]
    return Case([*map(str, words), "--device", "cpu"], f"{option} {values[option]!r}", (option.strip("-"),))


def report(rng: random.Random, samples: Path, work: Path) -> Case:
    return with_file(rng, samples, work, "study", ["report", "HERE", "--data", samples / "depth.h5"], "[!.]*")


def verdict(rng: random.Random, samples: Path, work: Path) -> Case:
    words = ["verdict", "HERE", "--reference", "base", "--margin", "0.05"]
    if rng.random() < 0.6:
        return with_file(rng, samples, work, rng.choice(["scores/scores.csv", "scores/scores.parquet"]), words)
    options = {"--reference": WORDS, "--columns": WORDS, "--metric": WORDS, "--protocol": WORDS, "--margin": REAL,
               "--lower-is-better": WORDS, "--higher-is-better": WORDS}  # fmt: skip
    option, values = rng.choice(sorted(options.items()))
    value = rng.choice(values)
    words[1] = samples / "scores/scores.csv"
    return Case([*map(str, words), option, value], f"{option} {value!r}", (option.strip("-"), value or "''"))


def compare(rng: random.Random, samples: Path, work: Path) -> Case:
    words = ["compare", samples / "scores/base", "HERE", "--data", samples / "raw", "--split", "train"]
    if rng.random() < 0.6:
        return with_file(rng, samples, work, "scores/new", words)
    options = {"--factor": REAL, "--dataset": WORDS, "--protocol": WORDS, "--split": WORDS, "--metric": WORDS,
               "--data": PATHS, "--margin": REAL}  # fmt: skip
    option, values = rng.choice(sorted(options.items()))
    value = rng.choice(values)
    words[2] = samples / "scores/new"
    return Case([*map(str, words), option, value], f"{option} {value!r}", (option.strip("-"), value or "''"))


MAKERS: tuple[Maker, ...] = (
    info, pack, pack_options, out_paths, setting, setting, setting, plan_options, plan_weights, plan_data, train,
    resumed, evaluate, rescore, score_options, predict, predict_options, report, verdict, compare,
)  # fmt: skip


def case(seed: int, number: int, samples: Path, work: Path) -> Case:
    """The case of this seed and number, with its files in `work`."""
    rng = random.Random(f"{seed}/{number}")
    return MAKERS[number % len(MAKERS)](rng, samples, work)


# -- judging -----------------------------------------------------------------------------------------------------------


class TooLong(BaseException):
    """Raised by the alarm; no `except Exception` holds it up."""


class Enough(Exception):
    """A training that was not refused has taken its first steps."""


def let_go_later(work: Path) -> int:
    """A process that ends what waits at a FIFO, which no alarm reaches within a library; 0 without a FIFO."""
    pipes = [path for path in work.rglob("*") if path.is_fifo()]
    helper = os.fork() if pipes else 0
    if pipes and not helper:
        time.sleep(SECONDS + 1)
        for _ in range(600):
            for path in pipes:
                with contextlib.suppress(OSError):  # nobody reads it
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            time.sleep(0.1)
        os._exit(0)
    return helper


@contextlib.contextmanager
def limits(work: Path) -> Iterator[None]:
    """A limit of seconds, and of memory beyond what is in use now."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)

    def ring(*_) -> None:
        raise TooLong

    was, helper = signal.signal(signal.SIGALRM, ring), let_go_later(work)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, before[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, was)
        resource.setrlimit(resource.RLIMIT_AS, before)
        if helper:
            os.kill(helper, signal.SIGKILL)
            os.waitpid(helper, 0)


@contextlib.contextmanager
def within(folder: Path) -> Iterator[None]:
    """The current folder meanwhile."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def few_steps() -> Iterator[None]:
    """No notebook is run, and a training ends after two steps: what it was refused for is known by then."""
    from advdepth_nb.study import notebooks
    from advdepth_nb.training.loop import Training

    step = Training.one_step

    def counted(self, *args, **keys):
        if self.step >= 2:
            raise Enough
        return step(self, *args, **keys)

    with (
        mock.patch.object(Training, "one_step", counted),
        mock.patch.object(notebooks, "execute_notebook", lambda *a, **k: None),
    ):
        yield


def outcome(made: Case, work: Path) -> tuple[int | str, str, str]:
    """Exit code, or what came instead of one; stdout and stderr."""
    told, complained = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(told), contextlib.redirect_stderr(complained), within(work),
        mock.patch.dict(os.environ, ADVDEPTH_DATA=str(work / "worlds")), limits(work), few_steps(),
    ):  # fmt: skip
        try:
            code: int | str = run(*made.words)
        except Enough:
            code = 0
        except TooLong:
            code = f"took more than {SECONDS} s"
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            ours = [f for f in traceback.extract_tb(error.__traceback__) if "advdepth_nb" in f.filename][-1]
            places = f"{Path(ours.filename).name}:{ours.lineno}, {Path(last.filename).name}:{last.lineno}"
            code = f"{type(error).__name__}: {str(error)[:160]} ({places})"
    return code, told.getvalue(), complained.getvalue()


def complaints(made: Case, code: int | str, told: str, complained: str, work: Path) -> list[str]:
    """What is wrong with how a case ended."""
    lines = complained.rstrip("\n").split("\n")
    if isinstance(code, str):
        return [code]
    found = []
    if re.search(r"\.py:\d+: |Traceback", complained):
        found.append("Python's own warning on stderr")
    if left := [f.name for f in work.rglob(".*.part")]:
        found.append(f"left {left[0]}")
    if code == 0:
        return found
    if code not in (1, 2) or (code == 1 and made.words[0] not in ("ablate", "predict")):
        found.append(f"exit code {code}")
    if not lines[-1].startswith("advdepth: "):
        found.append("the last line is no sentence of the command")
    if len(lines[-1]) > 700:
        found.append(f"a sentence of {len(lines[-1])} letters")
    if made.named and not any(repr(name)[1:-1][:90] in complained for name in made.named):
        found.append(f"names none of {', '.join(made.named)}")
    if "=" in made.wrong and (work / "out/experiment.json").exists() and "not finite" not in complained:
        found.append("refused after the plan was written")
    if (work / "out.h5").exists() or (work / "out.csv").exists():
        found.append("left an output")
    return found


def try_case(seed: int, number: int, samples: Path) -> tuple[Case, list[str], str]:
    """Run one case; the case, what is wrong with how it ended, and what it said."""
    work = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        made = case(seed, number, samples, work)
        code, told, complained = outcome(made, work)
        return made, complaints(made, code, told, complained, work), f"exit {code}\n{told[-800:]}\n{complained[-1500:]}"
    finally:
        shutil.rmtree(work, ignore_errors=True)


def failures(seed: int, numbers, samples: Path, loud: bool = False) -> list[str]:
    """A line for each case that ended otherwise than it should, with what makes it again."""
    found = []
    for number in numbers:
        made, wrong, said = try_case(seed, number, samples)
        if loud:
            print(" ".join(made.words), said, sep="\n")
        if wrong:
            ended = said.rstrip().rpartition("\n")[2][:300]
            words = " ".join(w if len(w) < 60 else f"{w[:57]}..." for w in made.words[:4])
            found.append(f"--seed {seed} --only {number}: {words} [{made.wrong}]: {'; '.join(wrong)} | {ended}")
            if loud or len(numbers) > 100:
                print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*", default=[])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples = make_samples(Path(folder))
        numbers = given.only or range(given.count)
        found = failures(given.seed, numbers, samples, loud=bool(given.only))
    print(f"{len(numbers) - len(found)} of {len(numbers)} as they should, seed {given.seed}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
